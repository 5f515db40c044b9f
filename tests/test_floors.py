"""The floors of docs/architecture.md: imports go down only."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "logv"
_IMPORT = re.compile(r"^\s*(?:from|import|cimport)\s+(logv[\w.]*)(?:\s+c?import\s+(\w+))?", re.MULTILINE)


def _floors() -> list[set[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract for contract in settings["contracts"] if contract["type"] == "layers")["layers"]
    return [{name.strip(" ()").removeprefix("logv.") for name in layer.split("|")} for layer in layers]


def _height(name: str) -> int:
    """Return how far up a module of logv stands; the top floor is the highest."""
    floors = _floors()
    for depth, floor in enumerate(floors):
        if name in floor:
            return len(floors) - depth
    raise AssertionError(f"logv.{name} stands on no floor: add it to [tool.importlinter] in pyproject.toml")


def test_import_linter() -> None:
    """The contracts of pyproject.toml hold for everything written in Python."""
    # In a process of its own, because it sets up logging for all of it.
    script = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.p[yx][xd]")), ids=lambda path: path.name)
def test_compiled_modules_import_downwards(path: Path) -> None:
    """Compiled modules, which import-linter does not see, keep to the floors as well."""
    own = path.relative_to(SOURCE).parts[0].split(".")[0]
    found = 0
    for module, name in _IMPORT.findall(path.read_text()):
        other = module.removeprefix("logv").strip(".").split(".")[0] or name
        found += 1
        # _hw.pxd is generated from hw, and stands where hw stands.
        if other not in {own, "_hw"}:
            assert _height(other) < _height(own), f"{path.name} imports logv.{other}"
    # The one is generated, and the other is called by compiled kernels only.
    assert found or path.name in {"_hw.pxd", "_dispatch.pyx"}


def test_every_module_stands_on_a_floor() -> None:
    """A new package or module has to be given its place."""
    for path in SOURCE.iterdir():
        if path.suffix in {".py", ".pyx"} or (path / "__init__.py").exists():
            name = path.name.split(".")[0]
            if name not in {"__init__", "__main__"}:
                assert _height(name)
