"""Compiled programs against interpreted ones, bit for bit."""

from hypothesis import HealthCheck, given, settings
from tests.ptx.differential import difference
from tests.ptx.program_strategy import Program, programs


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_compiled_programs_do_what_the_interpreter_does(program: Program) -> None:
    """Registers, memory and counters agree at the end of random programs."""
    assert difference(program) is None
