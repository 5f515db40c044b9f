"""Coverage-guided fuzzing: ``python -m tests.ptx.fuzz [corpus folder] [options of libFuzzer]``.

Needs the ``fuzz`` extra. An input is raw text, or decides how valid PTX is damaged. Anything but a refusal
ends the run and is kept, as is an input that takes too long or too much memory.
"""

import sys

import atheris

with atheris.instrument_imports(include=["logv.ptx"]):
    from tests.ptx.mutations import damaged, probe

_LIMITS = ["-timeout=120", "-rss_limit_mb=2048", "-max_len=4096", "-len_control=0"]


def check(data: bytes) -> None:
    """Probe one input."""
    provider = atheris.FuzzedDataProvider(data)
    if provider.ConsumeBool():
        probe(damaged(provider.ConsumeIntInRange))
    else:
        probe(provider.ConsumeBytes(provider.remaining_bytes()))


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *_LIMITS, *sys.argv[1:]], check)
    atheris.Fuzz()
