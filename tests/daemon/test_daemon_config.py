"""What a daemon is told: the TOML file, the options beside it, and what it says to mistakes."""

from pathlib import Path
from typing import cast

import pytest
from tests.daemon import application
from tests.daemon.daemon_process import DaemonProcess, run_cli

import logv
from logv.connection import Connection
from logv.daemon import Daemon, DaemonConfig, VmConfig, load_config
from logv.uapi import Param

PAGE = 4096

GOOD = """
vram = "64MiB"
socket-dir = "{sockets}"

[vm.dash]
memory = "16MiB"
system-memory = "8MiB"
channels = 2

[vm.ivi]
memory = 33554432
"""


def test_file_says_what_each_vm_gets(sockets: Path) -> None:
    """GPU memory, system memory and channels are those of the file; what it leaves out has a default."""
    config = sockets / "car.toml"
    config.write_text(GOOD.format(sockets=sockets))
    with DaemonProcess(sockets, {}, vram="64MiB", arguments=("--config", config)) as daemon:
        assert daemon.ready == f"logv: ready, serving dash ivi in {sockets}\n"
        with Connection(daemon.socket("dash")) as connection, connection.device() as device:
            assert device.memory_info == (16 << 20, 16 << 20)
            assert device.context.driver.get_param(Param.SYSTEM_SIZE) == 8 << 20
            streams = [device.create_stream() for _ in range(2)]
            with pytest.raises(logv.ExhaustedError):
                device.create_stream()
            streams.pop().close()
            assert application.is_right(device, seed=1)
        with Connection(daemon.socket("ivi")) as connection, connection.device() as device:
            assert device.memory_info == (32 << 20, 32 << 20)
            assert device.context.driver.get_param(Param.SYSTEM_SIZE) == 32 << 20
            assert len([device.create_stream() for _ in range(3)]) == 3


def test_options_override_the_file_and_add_to_it(sockets: Path) -> None:
    """The directory of the command line counts, and its VM is served beside the file's."""
    config = sockets / "car.toml"
    config.write_text(GOOD.format(sockets="/nonexistent"))
    arguments = ("--config", config)
    with DaemonProcess(sockets, {"radio": "16MiB"}, arguments=arguments) as daemon:
        assert daemon.ready.split()[3:6] == ["dash", "ivi", "radio"]
        assert daemon.socket("radio").is_socket()


@pytest.mark.parametrize(("options", "workers"), [((), 2), (("--compute-threads", "2"), 1)])
def test_compute_threads(sockets: Path, options: tuple[str, ...], workers: int) -> None:
    """The daemon has as many threads as the file says, or the option instead of it; the engine is one."""
    config = sockets / "car.toml"
    config.write_text(f"compute-threads = 3\n{GOOD.format(sockets=sockets)}")
    with DaemonProcess(sockets, {}, vram=None, arguments=("--config", config, *options)) as daemon:
        tasks = Path(f"/proc/{daemon.process.pid}/task").iterdir()
        assert [(task / "comm").read_text() for task in tasks].count("logv-compute\n") == workers
        with Connection(daemon.socket("dash")) as connection, connection.device() as device:
            assert application.is_right(device, seed=1)


@pytest.mark.parametrize(
    ("options", "optimized"), [((), "true"), (("--tiered-compilation",), "false")], ids=["file", "option"]
)
def test_tiered_compilation(
    sockets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], optimized: str
) -> None:
    """A kernel that hardly runs is optimised if the file says so, unless the option says otherwise."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = sockets / "car.toml"
    config.write_text(f"tiered-compilation = false\n{GOOD.format(sockets=sockets)}")
    with (
        DaemonProcess(sockets, {}, vram=None, arguments=("--config", config, *options)) as daemon,
        Connection(daemon.socket("dash")) as connection,
        connection.device() as device,
    ):
        assert application.is_right(device, seed=1)
    records = [path.read_bytes() for path in (tmp_path / "logv" / "kernels").iterdir()]
    assert records
    assert all(f'"optimized": {optimized}'.encode() in record for record in records)


def test_vram_is_what_the_vms_need_unless_told(sockets: Path) -> None:
    """Without ``vram`` the GPU is as large as its VMs together."""
    config = sockets / "car.toml"
    config.write_text(f'socket-dir = "{sockets}"\n[vm.dash]\nmemory = "48MiB"\n')
    with (
        DaemonProcess(sockets, {}, vram=None, arguments=("--config", config)) as daemon,
        Connection(daemon.socket("dash")) as connection,
        connection.device() as device,
        device.allocate(40 << 20),
    ):
        assert device.memory_info == (8 << 20, 48 << 20)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("vrams = 1", "vrams"),
        ("vram = 'big'", "big"),
        ("vram = ", "Invalid value"),
        ("vram = '64'\nvram = '65'", "overwrite"),
        ("socket-dir = 5", "socket-dir"),
        ("tiered-compilation = 1", "tiered-compilation"),
        ("vm = 'dash'", "[vm.NAME]"),
        ("[vm]\ndash = '16MiB'", "[vm.dash]"),
        ("[vm.dash]", "memory"),
        ("[vm.dash]\nmemory = '16MiB'\nspeed = 3", "speed"),
        ("[vm.dash]\nmemory = '16 apples'", "16 apples"),
        ("[vm.dash]\nmemory = '-16MiB'", "-16MiB"),
        ("[vm.dash]\nmemory = 0", "memory in [vm.dash]"),
        ("[vm.dash]\nmemory = true", "memory in [vm.dash]"),
        ("[vm.dash]\nmemory = 1.5", "memory in [vm.dash]"),
        ("[vm.dash]\nmemory = '16MiB'\nsystem-memory = 'much'", "system-memory in [vm.dash]"),
        ("[vm.dash]\nmemory = '16MiB'\n[vm.dash]\nmemory = '16MiB'", "declare"),
    ],
)
def test_mistake_in_the_file_is_named(sockets: Path, text: str, named: str) -> None:
    """The error says which file, and what in it."""
    config = sockets / "car.toml"
    config.write_text(text)
    with pytest.raises(logv.InvalidValueError) as caught:
        load_config(config)
    assert str(caught.value).startswith(f"{config}: ")
    assert named in str(caught.value)


def test_file_that_is_no_text_is_refused(sockets: Path) -> None:
    """Bytes that are no UTF-8 are the file's mistake as well."""
    config = sockets / "car.toml"
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(logv.InvalidValueError, match=str(config)):
        load_config(config)


@pytest.mark.parametrize(
    ("vm", "named"),
    [
        (VmConfig("../dash", PAGE, PAGE), "../dash"),
        (VmConfig("", PAGE, PAGE), "name"),
        (VmConfig("d" * 65, PAGE, PAGE), "64"),
        (VmConfig("dash", PAGE, PAGE, channels=0), "channels"),
        (VmConfig("dash", PAGE, PAGE, channels=129), "channels"),
        (VmConfig("dash", PAGE, PAGE, channels=cast("int", "16")), "channels"),
        (VmConfig("dash", PAGE, PAGE, channels=cast("int", 1.5)), "channels"),
        (VmConfig("dash", 5 * PAGE, PAGE), "vram"),
    ],
)
def test_impossible_share_is_refused(sockets: Path, vm: VmConfig, named: str) -> None:
    """What reads well and cannot be had is refused before anything is served."""
    first = VmConfig("ivi", PAGE, PAGE)
    with pytest.raises(logv.LogvError, match=named):
        Daemon(DaemonConfig(sockets, (first, vm), vram=4 * PAGE))
    assert list(sockets.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--vm", "dash"), "dash:128MiB"),
        (("--vm", "dash:lots"), "lots"),
        (("--vm", "dash:16MiB", "--vm", "dash:16MiB"), "dash"),
        (("--vram", "8MiB", "--vm", "dash:16MiB"), "vram"),
        (("--compute-threads", "0", "--vm", "dash:16MiB"), "compute_threads"),
        (("--config", "/nonexistent.toml"), "/nonexistent.toml"),
        ((), "--vm"),
    ],
)
def test_mistake_is_one_line(sockets: Path, arguments: tuple[str, ...], named: str) -> None:
    """One line and a status, whichever part of the daemon finds the mistake; nothing is left."""
    result = run_cli("serve", "--socket-dir", sockets, *arguments)
    assert result.returncode != 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("logv: ")
    assert named in line
    assert list(sockets.iterdir()) == []


def test_directory_has_to_be_named() -> None:
    """Without a directory for the sockets the error says which option names it."""
    result = run_cli("serve", "--vm", "dash:16MiB")
    assert result.returncode != 0
    (line,) = result.stderr.splitlines()
    assert "--socket-dir" in line
