"""The daemon's life: its start, its sockets, its end, and what its clients see of that."""

import signal
import socket
import stat
from pathlib import Path

import pytest
from tests.daemon import application
from tests.daemon.daemon_process import DaemonProcess, run_cli
from tests.daemon.guest_process import GuestProcess

import logv
from logv.connection import Connection

PATIENCE_S = 30.0


def refusal(directory: Path, *arguments: str) -> str:
    """Return the one line with which ``logv serve`` refuses to start."""
    result = run_cli("serve", "--socket-dir", directory, *arguments)
    assert result.returncode != 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_ready_line_is_all_that_is_printed(sockets: Path) -> None:
    """One line on the standard output, once the VMs can be reached; events go to the standard error."""
    with DaemonProcess(sockets, {"dash": "16MiB", "ivi": "16MiB"}) as daemon:
        assert daemon.ready == f"logv: ready, serving dash ivi in {sockets}\n"
        with Connection(daemon.socket("ivi")):
            pass
        assert daemon.stop() == 0
        assert daemon.rest_of_stdout() == ""
        assert "vm=ivi" in daemon.log


def test_directory_is_made_for_its_owner_alone(sockets: Path) -> None:
    """A missing directory, and its parents, are made; nobody else may enter, nor connect."""
    directory = sockets / "run" / "logv"
    with DaemonProcess(directory, {"dash": "16MiB"}) as daemon:
        assert mode(directory) == 0o700
        assert mode(daemon.socket("dash")) == 0o600


@pytest.mark.parametrize("permissions", [0o755, 0o770, 0o701])
def test_directory_open_to_others_is_refused(sockets: Path, permissions: int) -> None:
    """Whoever may enter the directory could take a VM, so the daemon says how to close it."""
    sockets.chmod(permissions)
    line = refusal(sockets, "--vm", "dash:16MiB")
    assert f"chmod 700 {sockets}" in line
    assert list(sockets.iterdir()) == []


def test_directory_that_is_a_file_is_refused(sockets: Path) -> None:
    """The error names what is in the way."""
    (sockets / "file").touch()
    result = run_cli("serve", "--socket-dir", sockets / "file", "--vm", "dash:16MiB")
    assert result.returncode != 0
    assert str(sockets / "file") in result.stderr.splitlines()[-1]


def test_path_longer_than_a_socket_may_have_is_refused(sockets: Path) -> None:
    """The kernel's own message would not say which path, nor how long it may be."""
    line = refusal(sockets / ("d" * 100), "--vm", "dash:16MiB")
    assert "dash.sock" in line
    assert "107" in line


def test_other_file_in_a_sockets_place_is_kept(sockets: Path) -> None:
    """The daemon replaces sockets, and nothing else."""
    (sockets / "dash.sock").write_text("mine")
    assert str(sockets / "dash.sock") in refusal(sockets, "--vm", "dash:16MiB")
    assert (sockets / "dash.sock").read_text() == "mine"


def test_refused_start_leaves_no_sockets(sockets: Path) -> None:
    """A daemon that fails at its second VM takes the first one's socket away again."""
    refusal(sockets, "--vram", "24MiB", "--vm", "dash:16MiB", "--vm", "ivi:16MiB")
    assert list(sockets.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(sockets: Path, number: signal.Signals) -> None:
    """Exit status 0, the sockets removed, no traceback, though a client is attached and idle."""
    with (
        DaemonProcess(sockets, {"dash": "16MiB", "ivi": "16MiB"}) as daemon,
        GuestProcess("hold", daemon.socket("dash")),
    ):
        daemon.process.send_signal(number)
        assert daemon.process.wait(PATIENCE_S) == 0
        assert list(sockets.iterdir()) == []
        assert "Traceback" not in daemon.log


def test_signal_ends_it_while_a_kernel_runs(sockets: Path) -> None:
    """A kernel that does not end by itself does not keep the daemon; its VM's wait ends with an error."""
    with (
        DaemonProcess(sockets, {"dash": "16MiB"}) as daemon,
        GuestProcess("spin", daemon.socket("dash")) as guest,
    ):
        assert daemon.stop() == 0
        assert list(sockets.iterdir()) == []
        _, (outcome,), _ = guest.proceed()
        assert outcome.startswith(("ClosedError", "ChannelError")), outcome


def test_sockets_of_a_crashed_daemon_are_replaced(sockets: Path) -> None:
    """A daemon that was killed leaves its socket; the next one serves there."""
    with DaemonProcess(sockets, {"dash": "16MiB"}) as crashed:
        crashed.kill()
        assert crashed.socket("dash").is_socket()
    with (
        DaemonProcess(sockets, {"dash": "16MiB"}) as daemon,
        Connection(daemon.socket("dash")) as connection,
        connection.device() as device,
    ):
        assert application.is_right(device, seed=1)


def test_sockets_of_a_living_daemon_are_left_alone(sockets: Path) -> None:
    """A second daemon in the same directory is refused, and the first one's VM does not notice."""
    with (
        DaemonProcess(sockets, {"dash": "16MiB"}) as daemon,
        Connection(daemon.socket("dash")) as connection,
        connection.device() as device,
    ):
        assert str(sockets) in refusal(sockets, "--vm", "dash:16MiB", "--vm", "other:16MiB")
        assert not (sockets / "other.sock").exists()
        assert application.is_right(device, seed=1)
        connection.close()
        with Connection(daemon.socket("dash")) as again, again.device() as another:
            assert application.is_right(another, seed=2)


@pytest.mark.parametrize("stale", [False, True])
def test_nobody_serves(sockets: Path, stale: bool) -> None:
    """Without a daemon the error names the socket, whether or not a crashed one has left it there."""
    path = sockets / "dash.sock"
    if stale:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    with pytest.raises(logv.ClosedError, match=str(path)):
        Connection(path)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_daemon_ends_under_its_client(sockets: Path, end: str) -> None:
    """Whatever asks the daemon or waits for the GPU gets an error, and the process can end."""
    with DaemonProcess(sockets, {"dash": "16MiB"}) as daemon:
        with GuestProcess("outlive", daemon.socket("dash")) as guest:
            getattr(daemon, end)()
            status, printed, errors = guest.proceed()
        outcomes = {name: outcome for name, _, outcome in (line.partition(": ") for line in printed)}
        assert {name: outcome.partition(":")[0] for name, outcome in outcomes.items()} == dict.fromkeys(
            ("allocate", "memory_info", "copy and sync", "device", "connect"), "ClosedError"
        )
        assert str(daemon.socket("dash")) in outcomes["connect"]
        assert (status, errors) == (0, "")


def test_daemon_is_killed_under_a_wait(sockets: Path) -> None:
    """A process that waits for a kernel when the daemon dies gets an error instead of waiting on."""
    with (
        DaemonProcess(sockets, {"dash": "16MiB"}) as daemon,
        GuestProcess("spin", daemon.socket("dash")) as guest,
    ):
        daemon.kill()
        status, (outcome,), errors = guest.proceed()
        assert outcome.startswith("ClosedError"), outcome
        assert (status, errors) == (0, "")
