"""Two VMs with two processes each against a model of who owns what."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from tests.hypervisor.raw_guest import PAGE

from logv.errors import BusyError, InvalidHandleError, QuotaExceededError
from logv.gpu import Gpu
from logv.guest import GuestDriver, Process
from logv.host import HostDriver
from logv.hypervisor import Hypervisor
from logv.uapi import Domain

QUOTA = {Domain.VRAM: 16 * PAGE, Domain.SYSTEM: 8 * PAGE}
PLACES = [(vm, process) for vm in range(2) for process in range(2)]
places = st.sampled_from(PLACES)
Place = tuple[int, int]


class Ownership(RuleBasedStateMachine):
    """Random calls of four processes; the model says what each may do, and what each VM holds."""

    gpu: Gpu

    def __init__(self) -> None:
        super().__init__()
        self.host = HostDriver(self.gpu, 1 << 20, 1 << 20)
        self.hypervisor = Hypervisor(self.host)
        self.vms = [
            self.hypervisor.create_vm(name, QUOTA[Domain.VRAM], QUOTA[Domain.SYSTEM]) for name in ("a", "b")
        ]
        self.guests = [GuestDriver(vm.device) for vm in self.vms]
        self.processes = {place: self.guests[place[0]].open() for place in PLACES}
        self.sizes: dict[tuple[Place, int], tuple[int, Domain]] = {}
        self.mapped: dict[tuple[Place, int, int], int] = {}
        self.spaces = {place: process.vspace_new() for place, process in self.processes.items()}

    memories = Bundle("memories")
    mappings = Bundle("mappings")
    freed = Bundle("freed")

    def used(self, vm: int, domain: Domain) -> int:
        """Return what the model says a VM uses."""
        return sum(
            size for (place, _), (size, where) in self.sizes.items() if place[0] == vm and where is domain
        )

    @rule(target=memories, place=places, size=st.integers(1, 5 * PAGE), domain=st.sampled_from(list(Domain)))
    def allocate(self, place: Place, size: int, domain: Domain) -> Any:
        """Allocate; what does not fit into the VM's quota is refused, whoever of its processes asks."""
        rounded = -(-size // PAGE) * PAGE
        if self.used(place[0], domain) + rounded > QUOTA[domain]:
            with pytest.raises(QuotaExceededError):
                self.processes[place].mem_alloc(size, domain)
            return multiple()
        try:
            memory = self.processes[place].mem_alloc(size, domain)
        except QuotaExceededError:
            raise AssertionError("refused within the quota") from None
        except MemoryError:
            return multiple()  # within the quota, but no hole is large enough
        self.sizes[place, memory.handle] = (memory.size, domain)
        return place, memory.handle

    @rule(target=mappings, memory=memories)
    def map(self, memory: tuple[Place, int]) -> Any:
        """Map a buffer object, unless it was freed."""
        place, handle = memory
        if memory not in self.sizes:
            with pytest.raises(InvalidHandleError):
                self.processes[place].vspace_map(self.spaces[place], handle)
            return multiple()
        address = self.processes[place].vspace_map(self.spaces[place], handle)
        self.mapped[place, handle, address] = self.sizes[memory][0]
        return place, handle, address

    @rule(mapping=consumes(mappings))
    def unmap(self, mapping: tuple[Place, int, int]) -> None:
        """Unmap."""
        place, _, address = mapping
        if mapping in self.mapped:
            self.processes[place].vspace_unmap(self.spaces[place], address)
            del self.mapped[mapping]

    @rule(target=freed, memory=memories)
    def free(self, memory: tuple[Place, int]) -> Any:
        """Free: refused while mapped, and the second time."""
        place, handle = memory
        process = self.processes[place]
        if memory not in self.sizes:
            with pytest.raises(InvalidHandleError):
                process.mem_free(handle)
        elif any(key[:2] == memory for key in self.mapped):
            with pytest.raises(BusyError):
                process.mem_free(handle)
        else:
            process.mem_free(handle)
            del self.sizes[memory]
            return memory
        return multiple()

    @rule(memory=memories, place=places)
    def trespass(self, memory: tuple[Place, int], place: Place) -> None:
        """Another process's handle is refused, unless it is the number of an object of one's own."""
        if (place, memory[1]) not in self.sizes:
            for call in (Process.mem_free, Process.mem_map):
                with pytest.raises(InvalidHandleError):
                    call(self.processes[place], memory[1])

    @rule(memory=freed)
    def use_after_free(self, memory: tuple[Place, int]) -> None:
        """A freed handle stays invalid."""
        with pytest.raises(InvalidHandleError):
            self.processes[memory[0]].mem_map(memory[1])

    @rule(place=places)
    def restart(self, place: Place) -> None:
        """A process that ends returns all it held, and another starts in its place."""
        self.processes[place].close()
        self.sizes = {key: value for key, value in self.sizes.items() if key[0] != place}
        self.mapped = {key: value for key, value in self.mapped.items() if key[0] != place}
        self.processes[place] = self.guests[place[0]].open()
        self.spaces[place] = self.processes[place].vspace_new()

    @invariant()
    def the_books_are_right(self) -> None:
        """Ledger, host driver and model agree."""
        for index, vm in enumerate(self.vms):
            counters = vm.counters
            assert counters.memory_used == self.used(index, Domain.VRAM)
            assert counters.system_memory_used == self.used(index, Domain.SYSTEM)
            assert counters.buffers == sum(place[0] == index for place, _ in self.sizes)
            assert counters.vspaces == 2
        usage = self.host.usage()
        assert usage.buffers == len(self.sizes)
        assert usage.mappings == len(self.mapped)
        assert usage.vram_bytes + usage.system_bytes == sum(size for size, _ in self.sizes.values())

    def teardown(self) -> None:
        """Close all; nothing is left."""
        self.hypervisor.close()
        usage = self.host.usage()
        self.host.close()
        assert usage == type(usage)()


def test_ownership(hypervisor_gpu: Gpu) -> None:
    """Whatever the processes do, each VM is charged what it holds, and nobody reaches another's."""

    class Machine(Ownership):
        gpu = hypervisor_gpu

    Machine.TestCase.settings = settings(
        max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    Machine.TestCase("runTest").runTest()
