"""An entry, decoded: what each statement does, and how a thread runs them."""

from dataclasses import dataclass

from logv.errors import InvalidValueError, PtxError
from logv.ptx._syntax import Instruction, Label
from logv.ptx.interpreter._bits import BITS
from logv.ptx.interpreter._control import CONTROL
from logv.ptx.interpreter._convert import CONVERSIONS
from logv.ptx.interpreter._float import FLOATING
from logv.ptx.interpreter._form import PREDICATE, Decoder, Form, Reader, Step
from logv.ptx.interpreter._integer import INTEGER
from logv.ptx.interpreter._memory_access import MEMORY
from logv.ptx.interpreter._select import SELECTIONS
from logv.ptx.interpreter._thread import Thread
from logv.ptx.interpreter._warp import WARP
from logv.ptx.module import Entry

_OTHERS = {**BITS, **CONVERSIONS, **SELECTIONS, **MEMORY, **WARP, **CONTROL}


@dataclass(frozen=True, slots=True)
class _Statement:
    instruction: Instruction
    guard: Reader | None
    step: Step


class Program:
    """The statements of one entry.

    Parameters
    ----------
    entry : Entry

    Raises
    ------
    PtxError
        An instruction that the interpreter does not know; names line and reason.
    """

    def __init__(self, entry: Entry) -> None:
        labels: dict[str, int] = {}
        instructions: list[Instruction] = []
        for statement in entry.body.statements:
            if isinstance(statement, Label):
                labels[statement.name] = len(instructions)
            else:
                instructions.append(statement)
        self._statements = [
            _decode(instruction, entry, labels, place) for place, instruction in enumerate(instructions)
        ]

    def run(self, thread: Thread, steps: int) -> None:
        """Run a thread until it waits, ends, or has executed a number of instructions.

        Raises
        ------
        PtxError
            An access to memory that is not there, a trap, or too many instructions.
        """
        launch, statements = thread.block.launch, self._statements
        for _ in range(steps):
            if thread.pc == len(statements):
                thread.done = True
            if thread.done or thread.waiting is not None:
                return
            statement = statements[thread.pc]
            if launch.executed >= launch.steps:
                raise statement.instruction.error(f"the kernel did not end after {launch.steps} instructions")
            launch.executed += 1
            thread.pc += 1
            if statement.guard is not None and not statement.guard(thread):
                continue
            try:
                statement.step(thread)
            except InvalidValueError as error:
                raise statement.instruction.error(
                    f"{error} (thread {thread.index} of block {thread.block.index})"
                ) from error

    def error(self, thread: Thread, reason: str) -> PtxError:
        """Return the error that names the instruction that a thread waits in."""
        return self._statements[thread.pc - 1].instruction.error(reason)


def _decode(instruction: Instruction, entry: Entry, labels: dict[str, int], place: int) -> _Statement:
    form = Form(instruction, entry, labels, place)
    guard = form.source(instruction.guard, PREDICATE) if instruction.guard is not None else None
    return _Statement(instruction, guard, _decoder(form)(form))


def _decoder(form: Form) -> Decoder:
    floating = bool(form.kinds) and form.kinds[0].floating
    decoder = (FLOATING if floating else INTEGER).get(form.opcode) or _OTHERS.get(form.opcode)
    if decoder is None:
        name = ".".join((form.opcode, *form.instruction.modifiers))
        raise form.error(f"{name} is not known to the interpreter")
    return decoder
