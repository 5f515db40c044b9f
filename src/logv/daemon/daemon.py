"""The daemon's composition: GPU, host driver, hypervisor, and the sockets of the VMs."""

import logging
import os
import selectors
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from logv.daemon.config import DaemonConfig, VmConfig
from logv.daemon.sockets import SocketDirectory, peer_of
from logv.daemon.vm_server import VmServer
from logv.errors import LogvError
from logv.gpu import DiskCache, Gpu
from logv.host import HostDriver
from logv.hypervisor import Hypervisor

_BREATHER_S = 0.05

_log = logging.getLogger(__name__)


class Daemon:
    """Serves VMs until it is closed.

    Parameters
    ----------
    config : DaemonConfig

    Raises
    ------
    InvalidValueError
        A VM's name or share is impossible, or the socket directory is.
    OutOfMemoryError
        The VMs' shares exceed the GPU's memory, or the host's.
    BusyError
        Another daemon has the socket directory.
    """

    def __init__(self, config: DaemonConfig) -> None:
        vram = config.vram if config.vram is not None else sum(vm.memory for vm in config.vms)
        self._closed = False
        self._servers: list[VmServer] = []
        with ExitStack() as stack:
            directory = SocketDirectory(config.socket_dir)
            stack.callback(directory.close)
            gpu = Gpu(
                compute_threads=config.compute_threads,
                tiered_compilation=config.tiered_compilation,
                disk_cache=DiskCache.of_user(),
            )
            stack.callback(gpu.close)
            host = HostDriver(gpu, vram, sum(vm.system_memory for vm in config.vms))
            stack.callback(host.close)
            hypervisor = Hypervisor(host)
            stack.callback(hypervisor.close)
            for vm in config.vms:
                server = self._serve(vm, hypervisor, directory)
                stack.callback(server.close)
                self._servers.append(server)
            self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            stack.callback(os.close, self._stop)
            self._thread = threading.Thread(target=self._accept, name="logv-accept", daemon=True)
            self._thread.start()
            self._resources = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect every VM, take everything back, and remove the sockets. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._resources.close()

    @staticmethod
    def _serve(vm: VmConfig, hypervisor: Hypervisor, directory: SocketDirectory) -> VmServer:
        try:
            machine = hypervisor.create_vm(vm.name, vm.memory, vm.system_memory, vm.channels)
            return VmServer(machine, directory.listen(vm.name))
        except LogvError as error:
            raise type(error)(f"VM {vm.name!r}: {error}") from None

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop, selectors.EVENT_READ)
            for server in self._servers:
                selector.register(server.listener, selectors.EVENT_READ, server)
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    self._welcome(key.data)

    def _welcome(self, server: VmServer) -> None:
        try:
            connection, _ = server.listener.accept()
            connection.setblocking(True)
            peer = peer_of(connection)
        except OSError as error:
            # The client is gone again, or there are no descriptors left: then it goes on waiting, and this
            # must not spin meanwhile.
            _log.warning("accept failed", extra={"reason": error.strerror})
            time.sleep(_BREATHER_S)
            return
        if peer.uid not in (0, os.geteuid()):
            _log.warning("turned away", extra={"pid": peer.pid, "uid": peer.uid, "reason": "another user"})
            connection.close()
            return
        server.attach(connection, peer)
