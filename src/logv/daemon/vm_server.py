"""One VM's socket: at most one client at a time, on a thread of its own."""

import logging
import socket
import threading

from logv.daemon.sockets import Peer
from logv.hypervisor import Vm
from logv.transport import GpuDevice, MessageSocket, Session

_JOIN_S = 5.0

_log = logging.getLogger(__name__)


class VmServer:
    """Serves a VM to whoever connects, one after the other.

    Parameters
    ----------
    vm : Vm
        Used, not owned.
    listener : socket.socket
        Where clients connect; closed with this.
    """

    def __init__(self, vm: Vm, listener: socket.socket) -> None:
        self.listener = listener
        self._vm = vm
        self._device = GpuDevice(vm.device)
        self._lock = threading.Lock()
        self._channel: MessageSocket | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def attach(self, connection: socket.socket, peer: Peer) -> None:
        """Serve a client on a thread, or turn it away if the VM has one."""
        with self._lock:
            if self._closed or self._channel is not None:
                _log.info("turned away", extra={"vm": self._vm.name, "pid": peer.pid, "reason": "busy"})
                connection.close()
                return
            self._channel = channel = MessageSocket(connection)
            # One slow VM never delays another: each has a thread, which sleeps in recvmsg.
            self._thread = threading.Thread(
                target=self._serve, args=(channel, peer), name=f"logv-vm-{self._vm.name}", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError as error:
                _log.warning("turned away", extra={"vm": self._vm.name, "pid": peer.pid, "reason": error})
                self._channel = self._thread = None
                channel.close()

    def close(self) -> None:
        """Disconnect the client, take back what it held, and stop listening."""
        with self._lock:
            self._closed = True
            if self._channel is not None:
                self._channel.hang_up()
            thread = self._thread
        if thread is not None:
            # A client that keeps its own interrupt's counter full can hold its own thread up, not us.
            thread.join(_JOIN_S)
        self.listener.close()

    def _serve(self, channel: MessageSocket, peer: Peer) -> None:
        name = self._vm.name
        _log.info("attached", extra={"vm": name, "pid": peer.pid, "uid": peer.uid})
        reason = "the server failed"
        try:
            reason = Session(channel, self._device).run()
        except Exception:
            _log.exception("serving failed", extra={"vm": name})
        finally:
            held = self._vm.counters.memory_used
            try:
                self._device.detach()
            except Exception:
                _log.exception("taking back failed", extra={"vm": name})
            extra = {"vm": name, "pid": peer.pid, "reason": reason, "held": held}
            _log.info("detached", extra=extra)
            with self._lock:
                channel.close()
                self._channel = None
