"""Makes the PTX files of this folder again, with nvcc: ``python compile.py``."""

import subprocess
from pathlib import Path


def main() -> None:
    """Compile every source of this folder."""
    for source in sorted(Path(__file__).parent.glob("*.cu")):
        subprocess.run(
            ["nvcc", "-ptx", "-arch=compute_80", source.name, "-o", source.with_suffix(".ptx").name],
            cwd=source.parent,
            check=True,
        )


if __name__ == "__main__":
    main()
