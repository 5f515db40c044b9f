"""VMs as processes: how they end, what comes back, and that nobody else notices."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.daemon import application
from tests.daemon.daemon_process import DaemonProcess, command, run_cli
from tests.daemon.guest_process import PATIENCE_S, ROOT, GuestProcess

import logv
from logv.connection import Connection

APPLICATION = """
import logv
from tests.daemon import application
with logv.connect() as device:
    print(device.name, application.is_right(device, seed=1))
"""


def check_free_and_right(socket: Path) -> None:
    """Open a VM, which holds nothing, and run an application in it."""
    with Connection(socket, timeout_s=PATIENCE_S) as connection, connection.device() as device:
        free, size = device.memory_info
        assert free == size
        assert application.is_right(device, seed=3)


def run_in_vm(socket: Path, *program: str) -> subprocess.CompletedProcess[str]:
    """Run a program with ``logv run``."""
    return run_cli("run", "--vm", socket, "--", *program)


@pytest.mark.parametrize("action", ["hold", "leave", "spin"])
def test_killed_process_gives_everything_back(daemon: DaemonProcess, action: str) -> None:
    """SIGKILL leaves nothing behind, also while a kernel runs that does not end by itself."""
    with GuestProcess(action, daemon.socket("dash")) as guest:
        guest.send_signal(signal.SIGKILL)
        status, _, _ = guest.proceed()
        assert status == -signal.SIGKILL
        check_free_and_right(daemon.socket("dash"))


@pytest.mark.parametrize(
    ("action", "status", "says"), [("leave", 0, ""), ("vanish", 0, ""), ("fail", 1, "the application failed")]
)
def test_process_that_closes_nothing_gives_everything_back(
    daemon: DaemonProcess, action: str, status: int, says: str
) -> None:
    """The end of the program, ``os._exit`` and an exception: the process ends as it would, the VM is free."""
    with GuestProcess(action, daemon.socket("dash")) as guest:
        ended, _, errors = guest.proceed()
        assert ended == status
        assert says in errors
        assert (errors == "") == (says == "")
        check_free_and_right(daemon.socket("dash"))


def test_vm_in_use_is_busy(daemon: DaemonProcess) -> None:
    """A second process is refused in words, the first one works on, and afterwards the VM is free."""
    with GuestProcess("hold", daemon.socket("dash")) as guest:
        with pytest.raises(logv.BusyError, match="in use"):
            Connection(daemon.socket("dash"), timeout_s=0.1)
        assert guest.proceed() == (0, [], "")
    check_free_and_right(daemon.socket("dash"))


def test_client_waits_for_a_vm_that_is_given_up(daemon: DaemonProcess) -> None:
    """A process that comes while another one ends gets the VM: it tries again until its time is over."""
    with ExitStack() as stack:
        held = stack.enter_context(Connection(daemon.socket("dash")))
        waiting = stack.enter_context(
            subprocess.Popen(
                command("run", "--vm", daemon.socket("dash"), "--", sys.executable, "-c", APPLICATION),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        held.close()
        output, errors = waiting.communicate(timeout=PATIENCE_S)
        assert (output, errors) == ("dash True\n", "")


def test_two_vms_work_at_once(daemon: DaemonProcess) -> None:
    """Both are attached, with memory of their own; each gets its own results."""
    with (
        GuestProcess("hold", daemon.socket("dash")) as guest,
        Connection(daemon.socket("ivi")) as connection,
        connection.device() as device,
    ):
        for seed in range(20):
            assert application.is_right(device, seed)
        # The other one's memory is not this one's loss.
        assert device.memory_info == (32 << 20, 32 << 20)
        assert guest.proceed() == (0, [], "")


def test_death_of_one_vm_is_no_other_vms_matter(daemon: DaemonProcess) -> None:
    """A VM goes on with what it has open while another one is killed and its VM is used anew."""
    with (
        Connection(daemon.socket("ivi")) as connection,
        connection.device() as device,
        device.create_stream() as stream,
        device.allocate(4096) as buffer,
    ):
        buffer.fill(7, stream=stream)
        with GuestProcess("leave", daemon.socket("dash")) as guest:
            guest.send_signal(signal.SIGKILL)
        check_free_and_right(daemon.socket("dash"))
        stream.sync()
        assert bytes(memoryview(buffer)) == bytes([7]) * 4096
        assert application.is_right(device, seed=4)


def test_stopped_client_delays_nobody(daemon: DaemonProcess) -> None:
    """While a VM's process is stopped, another VM opens, runs and closes; then the first one goes on."""
    with GuestProcess("hold", daemon.socket("dash")) as guest:
        guest.send_signal(signal.SIGSTOP)
        for _ in range(5):
            check_free_and_right(daemon.socket("ivi"))
        guest.send_signal(signal.SIGCONT)
        assert guest.proceed() == (0, [], "")


FORKS = """
import os, sys
import logv
from tests.daemon import application

device = logv.connect(sys.argv[1])
child = os.fork()
if child == 0:
    for attempt in (lambda: logv.connect(sys.argv[1]), lambda: device.allocate(4096)):
        try:
            attempt()
        except (logv.BusyError, logv.ClosedError):
            continue
        os._exit(1)
    os._exit(0)
right = all(application.is_right(device, number) for number in range(20))
_, status = os.waitpid(child, 0)
# One more that outlives this process, and must not keep its VM.
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()
    os._exit(0)
print(right, status, flush=True)
os.kill(os.getpid(), 9)
"""


def test_forked_child_leaves_the_vm_to_its_parent(daemon: DaemonProcess) -> None:
    """A child is refused what is its parent's, disturbs nothing, and does not keep the VM busy."""
    program = [sys.executable, "-c", FORKS, str(daemon.socket("dash"))]
    with subprocess.Popen(
        program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "True 0\n"
        process.wait()
        check_free_and_right(daemon.socket("dash"))


def test_devices_of_one_process_share_its_connection(daemon: DaemonProcess) -> None:
    """``connect`` twice for the same socket: two devices of one VM, whatever the path looks like."""
    program = f"""
import logv
first = logv.connect({str(daemon.socket("dash"))!r})
second = logv.connect({str(daemon.directory / "." / "x" / ".." / "dash.sock")!r})
from tests.daemon import application
buffer = first.allocate(1 << 20)
assert second.memory_info == first.memory_info == (15 << 20, 16 << 20)
assert application.is_right(first, 1) and application.is_right(second, 2)
first.close()
assert second.memory_info == (16 << 20, 16 << 20)
assert application.is_right(second, 3)
"""
    result = run_in_vm(daemon.socket("dash"), sys.executable, "-c", program)
    assert (result.returncode, result.stderr) == (0, "")


def test_device_needs_no_closing_before_the_connection(daemon: DaemonProcess) -> None:
    """Closing the connection closes its devices, and says so to who uses them."""
    with Connection(daemon.socket("dash")) as connection:
        device = connection.device()
    assert device.closed
    with pytest.raises(logv.ClosedError):
        device.allocate(4096)
    with pytest.raises(logv.ClosedError):
        connection.device()
    check_free_and_right(daemon.socket("dash"))


def test_run_phase_makes_no_hypercalls(daemon: DaemonProcess) -> None:
    """Submitting and waiting cross no socket; allocating does."""
    with (
        Connection(daemon.socket("dash")) as connection,
        connection.device() as device,
        device.create_stream() as stream,
    ):
        before = connection.hypercalls
        buffer = device.allocate(4096)
        made = connection.hypercalls
        assert made > before
        for value in range(50):
            buffer.fill(value, stream=stream)
            stream.sync()
        assert connection.hypercalls == made
        buffer.close()


def test_program_of_run_finds_its_vm(daemon: DaemonProcess) -> None:
    """``logv.connect()`` without a path gives the VM that ``logv run`` named."""
    result = run_in_vm(daemon.socket("ivi"), sys.executable, "-c", APPLICATION)
    assert (result.returncode, result.stdout, result.stderr) == (0, "ivi True\n", "")


def test_run_takes_a_relative_path(daemon: DaemonProcess) -> None:
    """The program may change its directory and finds its VM nevertheless."""
    program = f"import os; os.chdir('/'); import sys; sys.path.insert(0, {str(Path.cwd())!r})\n{APPLICATION}"
    relative = Path(os.path.relpath(daemon.socket("ivi")))
    result = run_in_vm(relative, sys.executable, "-c", program)
    assert (result.returncode, result.stdout, result.stderr) == (0, "ivi True\n", "")


@pytest.mark.parametrize("status", [0, 3, 255])
def test_run_passes_the_exit_status(daemon: DaemonProcess, status: int) -> None:
    """The program's status is ``logv run``'s."""
    result = run_in_vm(daemon.socket("dash"), sys.executable, "-c", f"raise SystemExit({status})")
    assert result.returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_run_passes_signals(daemon: DaemonProcess, number: signal.Signals) -> None:
    """A signal to ``logv run`` is one to the program."""
    program = f"""
import signal, sys
signal.signal({int(number)}, lambda *_: sys.exit(42))
print("ready", flush=True)
signal.pause()
"""
    with subprocess.Popen(
        command("run", "--vm", daemon.socket("dash"), "--", sys.executable, "-c", program),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 42
        finally:
            process.kill()


def test_run_tells_of_a_death_by_signal(daemon: DaemonProcess) -> None:
    """A program that a signal kills ends ``logv run`` in a way that a shell can tell."""
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    result = run_in_vm(daemon.socket("dash"), sys.executable, "-c", program)
    assert result.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)


def test_run_leaves_the_programs_options_alone(daemon: DaemonProcess) -> None:
    """Options behind the program's name are the program's, with or without ``--``."""
    for separator in ([], ["--"]):
        program = [sys.executable, "-c", "import sys; print(sys.argv[1:])", "--vm", "x", "-h"]
        result = run_cli("run", "--vm", daemon.socket("dash"), *separator, *program)
        assert result.stdout == "['--vm', 'x', '-h']\n"


def test_run_of_what_is_no_program_is_one_line(daemon: DaemonProcess) -> None:
    """A program that cannot be started is named."""
    result = run_in_vm(daemon.socket("dash"), "no-such-program")
    assert result.returncode != 0
    (line,) = result.stderr.splitlines()
    assert "no-such-program" in line


def test_run_without_a_daemon_is_one_line(sockets: Path) -> None:
    """The program is not even started when there is no socket."""
    result = run_in_vm(sockets / "dash.sock", sys.executable, "-c", "print('started')")
    assert result.returncode != 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert str(sockets / "dash.sock") in line


def test_connect_without_run_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names both ways to say which VM is meant."""
    monkeypatch.delenv("LOGV_VM", raising=False)
    with pytest.raises(logv.LogvError, match=r"logv run --vm") as caught:
        logv.connect()
    assert "logv.connect(" in str(caught.value)


def test_other_service_is_no_vm(sockets: Path) -> None:
    """A path that is a plain file ends in an error that names it."""
    path = sockets / "dash.sock"
    path.touch()
    with pytest.raises(logv.ClosedError, match=str(path)):
        Connection(path)
