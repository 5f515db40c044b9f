"""What a daemon serves, from the command line or from a TOML file.

.. code-block:: toml

    vram = "1GiB"                     # of the GPU; what the VMs have together, if left out
    compute-threads = 2               # that run the blocks of one launch; 1, if left out
    socket-dir = "/run/user/1000/logv"

    [vm.dash]
    memory = "128MiB"                 # GPU memory of the VM
    system-memory = "64MiB"           # system memory that the GPU may reach; as much, if left out
    channels = 16                     # at one time; 128, if left out
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logv.errors import InvalidValueError
from logv.hw.software_gpu import CHANNELS_PER_CLIENT
from logv.machine import Size, parse_size


@dataclass(frozen=True, slots=True)
class VmConfig:
    """One VM's share.

    Attributes
    ----------
    name : str
    memory, system_memory : int
        Bytes of GPU memory, and of system memory that the GPU may reach.
    channels : int
        At one time.
    """

    name: str
    memory: int
    system_memory: int
    channels: int = CHANNELS_PER_CLIENT

    @classmethod
    def parse(cls, text: str) -> "VmConfig":
        """Return the VM that ``NAME:MEMORY`` describes; raise InvalidValueError."""
        name, colon, memory = text.partition(":")
        if not name or not colon:
            raise InvalidValueError(f"VM {text!r} must be NAME:MEMORY, such as dash:128MiB")
        size = parse_size(memory, f"memory of VM {name}")
        return cls(name, size, size)


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """What a daemon serves.

    Attributes
    ----------
    socket_dir : Path
    vms : tuple of VmConfig
        At least one, each name once.
    vram : int or None
        Bytes of GPU memory; None means what the VMs have together.
    compute_threads : int
        Host threads that run the blocks of one launch.
    tiered_compilation : bool
        As of :class:`logv.Machine`.
    """

    socket_dir: Path
    vms: tuple[VmConfig, ...]
    vram: int | None = None
    compute_threads: int = 1
    tiered_compilation: bool = True

    def __post_init__(self) -> None:
        names = [vm.name for vm in self.vms]
        if not names:
            raise InvalidValueError("name at least one VM: --vm NAME:MEMORY, or [vm.NAME] in the file")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidValueError(f"VM {twice[0]!r} is named twice")
        memory = sum(vm.memory for vm in self.vms)
        if self.vram is not None and memory > self.vram:
            raise InvalidValueError(
                f"the VMs ({', '.join(names)}) have {memory} bytes of GPU memory together, and the GPU has "
                f"{self.vram}: raise vram, or give them less"
            )


def load_config(path: Path) -> dict[str, Any]:
    """Return what a TOML file says, by the names of :class:`DaemonConfig`'s attributes.

    Raises
    ------
    InvalidValueError
        The file cannot be read, is no TOML, or has an unknown key or a value that is none.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidValueError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidValueError(f"{path}: {error}") from None
    try:
        return _parse(content)
    except InvalidValueError as error:
        raise InvalidValueError(f"{path}: {error}") from None


def _parse(content: Mapping[str, Any]) -> dict[str, Any]:
    _check_keys(content, {"vram", "compute-threads", "tiered-compilation", "socket-dir", "vm"}, "the file")
    found: dict[str, Any] = {}
    if "vram" in content:
        found["vram"] = parse_size(content["vram"], "vram")
    if "compute-threads" in content:
        found["compute_threads"] = content["compute-threads"]
    if "tiered-compilation" in content:
        if not isinstance(content["tiered-compilation"], bool):
            raise InvalidValueError("tiered-compilation must be true or false")
        found["tiered_compilation"] = content["tiered-compilation"]
    if "socket-dir" in content:
        if not isinstance(content["socket-dir"], str):
            raise InvalidValueError("socket-dir must be text")
        found["socket_dir"] = Path(content["socket-dir"])
    tables = content.get("vm", {})
    if not isinstance(tables, dict):
        raise InvalidValueError("vm must be tables, [vm.NAME]")
    found["vms"] = tuple(_parse_vm(name, table) for name, table in tables.items())
    return found


def _parse_vm(name: str, table: object) -> VmConfig:
    where = f"[vm.{name}]"
    if not isinstance(table, dict):
        raise InvalidValueError(f"{where} must be a table")
    _check_keys(table, {"memory", "system-memory", "channels"}, where)
    if "memory" not in table:
        raise InvalidValueError(f'{where} needs memory, such as memory = "128MiB"')
    memory: Size = table["memory"]
    return VmConfig(
        name,
        parse_size(memory, f"memory in {where}"),
        parse_size(table.get("system-memory", memory), f"system-memory in {where}"),
        table.get("channels", CHANNELS_PER_CLIENT),
    )


def _check_keys(table: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise InvalidValueError(f"{where} has no {unknown[0]!r}; it has: {', '.join(sorted(known))}")
