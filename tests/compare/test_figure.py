"""The figure, drawn from invented numbers."""

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from logv.compare import figure
from logv.errors import NotSupportedError


def numbers() -> dict[str, Any]:
    """Return what a machine might have measured on which only short kernels cost anything."""
    points = []
    for length in figure.LENGTHS_US:
        modes = {
            mode: {"ratio": 1 + each / length, "interval": [1 + each / length, 1.01 + each / length]}
            for mode, each in (("logv", 0.1), ("trap", 20.0), ("remote", 50.0))
        }
        points.append({"us": length, "modes": modes})
    return {"bar": 1.04, "lengths": points}


def test_figure_depends_on_its_numbers_only(tmp_path: Path) -> None:
    """Drawn twice it is the same file, which names every mode, and no date."""
    pytest.importorskip("matplotlib")
    first, second = tmp_path / "a" / "first.svg", tmp_path / "second.svg"
    figure.draw(numbers(), first)
    figure.draw(numbers(), second)
    text = first.read_text(encoding="utf-8")
    assert text == second.read_text(encoding="utf-8")
    assert "<svg" in text
    assert "dc:date" not in text


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is measured: nobody waits for minutes for this message."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(figure, "measure", lambda: pytest.fail("measured in vain"))
    with pytest.raises(NotSupportedError, match=r"logv\[figures\]"):
        figure.draw(numbers(), tmp_path / "never.svg")
    told = CliRunner().invoke(figure.main, ["--directory", str(tmp_path)])
    assert told.exit_code == 1
    assert "logv[figures]" in told.output
    assert not list(tmp_path.iterdir())
