"""What a comparison across processes comes to, and by which bars it is judged."""

from collections.abc import Mapping
from dataclasses import dataclass

from logv.compare.contest import Measured
from logv.compare.paired import PairedResult, Verdict, worst

LONG_BAR = 1.01
"""The most that the upper bound of the ratio may be, for an application of 80 ms and more."""

SHORT_BAR = 1.04
"""The same for one of about 20 ms."""

RUN_BAR = 1.02
"""The same for the run phase alone."""

GEOMEAN_BAR = 1.01
"""The same for the geometric mean of all applications."""

FINDING_BAR = 1.15
"""What trapping and remoting are expected to cost the micro-application at least."""


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """What the comparison of one workload came to.

    Attributes
    ----------
    name, input : str
        As the workload says.
    bar : float or None
        The most that the upper bound of LoGV's ratio may be; None for the micro-application.
    modes : mapping of str to Measured
        Each mode against native.
    """

    name: str
    input: str
    bar: float | None
    modes: Mapping[str, Measured]

    @property
    def right(self) -> bool:
        """Whether every run's result, in any mode, was what NumPy computed."""
        return all(measured.right for measured in self.modes.values())

    @property
    def native_ms(self) -> float:
        """Median time natively, in milliseconds; for orientation only."""
        return self.modes["logv"].native_ms

    @property
    def verdict(self) -> Verdict | None:
        """Whether LoGV keeps to the bars and the run phase makes no hypercall; None without a bar."""
        if self.bar is None:
            return None
        logv = self.modes["logv"]
        if logv.hypercalls_in_run:
            return Verdict.FAIL
        return worst([logv.whole.judge(self.bar), logv.run.judge(RUN_BAR)])


@dataclass(frozen=True, slots=True)
class Finding:
    """What another way to share a GPU costs the micro-application; expected to be a lot.

    Attributes
    ----------
    workload, mode : str
        What ran where.
    result : PairedResult
        The mode over native.
    """

    workload: str
    mode: str
    result: PairedResult

    @property
    def confirmed(self) -> bool | None:
        """Whether it costs at least ``FINDING_BAR``; None if the pairs cannot tell."""
        verdict = self.result.judge(FINDING_BAR)
        return None if verdict is Verdict.INCONCLUSIVE else verdict is Verdict.FAIL


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """What a comparison across processes came to.

    Attributes
    ----------
    rows : tuple of ProcessRow
        One for each workload, in the order asked for.
    control : PairedResult
        Native over native, in two different processes.
    geomeans : mapping of str to PairedResult
        For each mode, the geometric mean over all applications that are judged; empty without any.
    complete : bool
        Whether all applications took part; only then does the geometric mean's bar apply.
    """

    rows: tuple[ProcessRow, ...]
    control: PairedResult
    geomeans: Mapping[str, PairedResult]
    complete: bool

    @property
    def right(self) -> bool:
        """Whether every result was right."""
        return all(row.right for row in self.rows)

    @property
    def verdict(self) -> Verdict:
        """Pass if every gate of LoGV passed, fail if one failed, else inconclusive."""
        verdicts = [*(row.verdict for row in self.rows), self.mean_verdict]
        return worst(verdict for verdict in verdicts if verdict is not None)

    @property
    def mean_verdict(self) -> Verdict | None:
        """Whether LoGV's geometric mean keeps to its bar; None where that does not apply."""
        return self.geomeans["logv"].judge(GEOMEAN_BAR) if self.complete else None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the other modes cost where every launch is waited for."""
        return tuple(
            Finding(row.name, mode, measured.whole)
            for row in self.rows
            for mode, measured in row.modes.items()
            if row.bar is None and mode != "logv"
        )
