"""Builds SSA form from instructions that read and write registers."""

from logv.errors import PtxError
from logv.ptx._ir import Block, Function, Value, link_predecessors, reverse_postorder, simplify_phis

# Bounds the product of blocks and live registers that hostile control flow can demand.
MAX_LIVE = 1_000_000
# Bounds time and memory: one instruction can become 150 operations. Regions bound what is compiled lower.
MAX_OPERATIONS = 400_000


class Builder:
    """Collects blocks and operations; registers become values in :meth:`finish`.

    Reading a register that its block has not written yet yields a placeholder, replaced at the end by
    the value that reaches the block.
    """

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.operations = 0
        self._constants: dict[tuple[str, int], Value] = {}
        self._written: dict[Block, dict[str, Value]] = {}
        self._awaited: dict[Block, dict[str, Value]] = {}
        self._types: dict[str, str] = {}
        self.block = self.new_block()

    def new_block(self) -> Block:
        """Create a block; it gets operations once it is made current by assigning :attr:`block`."""
        block = Block(len(self.blocks))
        self.blocks.append(block)
        self._written[block] = {}
        self._awaited[block] = {}
        return block

    def op(self, name: str, kind: str, *args: Value, attr: object = None) -> Value:
        """Append an operation to the current block."""
        value = Value(name, kind, list(args), attr)
        value.block = self.block
        self.block.ops.append(value)
        self.operations += 1
        if self.operations > MAX_OPERATIONS:
            raise PtxError(
                f"the kernel is too large: its instructions are more than {MAX_OPERATIONS} operations"
            )
        return value

    def const(self, kind: str, bits: int) -> Value:
        """Return the constant of a type with these bits."""
        width = {"float": 32, "double": 64}.get(kind) or int(kind[1:])
        bits &= (1 << width) - 1
        value = self._constants.get((kind, bits))
        if value is None:
            value = self._constants[kind, bits] = Value("const", kind, [], bits)
        return value

    def read(self, register: str, kind: str) -> Value:
        """Return the register's value at this point."""
        value = self._written[self.block].get(register)
        if value is None:
            value = self._awaited[self.block].get(register)
        if value is None:
            value = Value("livein", kind, [], register)
            self._awaited[self.block][register] = value
            self._types[register] = kind
        return value

    def write(self, register: str, value: Value) -> None:
        """Give the register a value from here on."""
        self._written[self.block][register] = value

    def finish(self, name: str) -> Function:
        """Resolve registers to values and return the function."""
        self._skip_empty_blocks()
        blocks = reverse_postorder(self.blocks[0])
        link_predecessors(blocks)
        live = self._live_registers(blocks)
        start: dict[Block, dict[str, Value]] = {}
        replaced: dict[Value, Value] = {}
        phis: list[tuple[Value, str]] = []
        for index, block in enumerate(blocks):
            block.index = index
            if index == 0:
                # Nothing branches to the entry block. A register read before it is written is 0.
                values = {register: self.const(self._types[register], 0) for register in live[block]}
            elif len(block.predecessors) == 1:
                before = block.predecessors[0]
                values = {
                    register: self._written[before].get(register) or start[before][register]
                    for register in live[block]
                }
            else:
                values = {}
                for register in live[block]:
                    phi = Value("phi", self._types[register], [])
                    phi.block = block
                    block.phis.append(phi)
                    phis.append((phi, register))
                    values[register] = phi
            start[block] = values
            for register, placeholder in self._awaited[block].items():
                replaced[placeholder] = values[register]
        for phi, register in phis:
            assert phi.block is not None
            phi.args = [
                self._written[before].get(register) or start[before][register]
                for before in phi.block.predecessors
            ]
        self._replace(blocks, replaced)
        simplify_phis((phi for phi, _ in phis), (value for block in blocks for value in block.ops), blocks)
        return Function(name, blocks, self.operations)

    def _skip_empty_blocks(self) -> None:
        """Let branches go straight to where empty blocks lead."""

        def final(block: Block) -> Block:
            path = set()
            while (
                block.terminator == "jump"
                and not block.ops
                and not self._written[block]
                and block not in path
            ):
                path.add(block)
                block = block.successors[0]
            for step in path:
                step.successors = [block]
            return block

        for block in self.blocks:
            # What follows a barrier keeps a block of its own, where a region can begin.
            if block.terminator in ("jump", "branch") and block is not self.blocks[0]:
                block.successors = [final(successor) for successor in block.successors]
                if block.terminator == "branch" and block.successors[0] is block.successors[1]:
                    block.terminator, block.condition = "jump", None
                    block.successors = block.successors[:1]

    @staticmethod
    def _replace(blocks: list[Block], replaced: dict[Value, Value]) -> None:
        def find(value: Value) -> Value:
            path = []
            while value.op == "livein":
                path.append(value)
                value = replaced[value]
            for step in path:
                replaced[step] = value
            return value

        for block in blocks:
            for value in block.phis:
                value.args = [find(arg) for arg in value.args]
            for value in block.ops:
                value.args = [find(arg) for arg in value.args]
            if block.condition is not None:
                block.condition = find(block.condition)

    def _live_registers(self, blocks: list[Block]) -> dict[Block, list[str]]:
        """Return the registers live at the start of each block, by iteration over bit sets."""
        numbers: dict[str, int] = {}
        for block in blocks:
            for register in self._awaited[block]:
                numbers.setdefault(register, len(numbers))
        names = list(numbers)
        used = {block: sum(1 << numbers[register] for register in self._awaited[block]) for block in blocks}
        kept = {
            block: ~sum(1 << numbers[register] for register in self._written[block] if register in numbers)
            for block in blocks
        }
        live = dict(used)
        pending = list(blocks)
        queued = set(blocks)
        while pending:
            block = pending.pop()
            queued.discard(block)
            after = 0
            for successor in block.successors:
                after |= live[successor]
            now = used[block] | after & kept[block]
            if now != live[block]:
                live[block] = now
                for before in block.predecessors:
                    if before not in queued:
                        queued.add(before)
                        pending.append(before)
        if sum(found.bit_count() for found in live.values()) > MAX_LIVE:
            raise PtxError("the control flow is too complex: too many registers live across branches")
        return {block: [names[bit] for bit in set_bits(live[block])] for block in blocks}


def set_bits(number: int) -> list[int]:
    """Return the positions of the bits that are set, lowest first."""
    text = bin(number)[:1:-1]
    found = []
    position = text.find("1")
    while position >= 0:
        found.append(position)
        position = text.find("1", position + 1)
    return found
