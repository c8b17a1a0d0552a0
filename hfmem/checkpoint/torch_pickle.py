"""What a pickle that torch.save wrote describes, told from its opcodes without unpickling it.

``pickletools.genops`` decodes the opcodes and nothing is looked up, imported or called: a global is
a pair of names, and a call is accepted only where torch and collections write one themselves. What
else a pickle may hold, code included, is a reason to refuse the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Final

from hfmem.checkpoint.torch_values import Global, PickleRefusedError, Table, called, storage

OPCODES_CAP: Final = 2_000_000
"""A tensor takes about 40; one file of a checkpoint holds some thousand tensors."""
_STACK_CAP: Final = 1_000_000
_TEXT_CAP: Final = 4096
_GLOBAL: Final = b"c"
_GLOBAL_CAP: Final = 512


class PickleCutError(Exception):
    """The bytes end before the pickle does."""


class _Mark:
    """Where a run of stack entries begins."""


_MARK: Final = _Mark()


def load(raw: bytes, *, storage_fields: int = 5) -> tuple[object, int]:
    """What the pickle at the start of ``raw`` describes, and its length.

    Dicts come as ``Table``, tensors as ``View``. ``storage_fields`` is 5, and 6 in the legacy
    format. Raises PickleRefusedError, and PickleCutError where ``raw`` ends too early.
    """
    machine = _Machine(storage_fields=storage_fields)
    stream = BytesIO(raw)
    opcodes = pickletools.genops(stream)
    for count in range(1, OPCODES_CAP + 1):
        _check_opcode(raw, stream.tell())
        try:
            opcode, argument, _ = next(opcodes)
        except StopIteration:
            break
        except (ValueError, OverflowError) as fault:
            # pickletools raises plain ValueErrors for all that it cannot decode.
            if stream.tell() >= len(raw):
                break
            why = f"opcode {count:,} cannot be read ({str(fault)!r:.80})"
            raise PickleRefusedError(why) from None
        if opcode.name == "STOP":
            return machine.result(), stream.tell()
        machine.step(opcode.name, argument)
        if len(machine.stack) > _STACK_CAP:
            raise PickleRefusedError(f"it stacks more than {_STACK_CAP:,} values")
    else:
        raise PickleRefusedError(f"it has more than {OPCODES_CAP:,} opcodes")
    raise PickleCutError("it ends before the pickle does")


def _check_opcode(raw: bytes, at: int) -> None:
    """Refuse what is not allowed before pickletools decodes what follows it."""
    code = raw[at : at + 1]
    if code and code not in _ALLOWED:
        name = f"opcode {_NAMES[code]}" if code in _NAMES else f"byte {code!r}"
        raise PickleRefusedError(f"the {name} does not occur in a plain checkpoint")
    if code == _GLOBAL:
        # Two lines, in which pickletools would resolve escapes.
        names = raw[at : at + _GLOBAL_CAP].split(b"\n", 2)
        if len(names) < 3 and at + _GLOBAL_CAP < len(raw):
            raise PickleRefusedError("it names a global of more than 512 bytes")
        if any(b"\\" in name for name in names[:2]):
            raise PickleRefusedError("it names a global with an escape in it")


class _Machine:
    """The stack and the memo of a pickle; every value is inert."""

    def __init__(self, *, storage_fields: int) -> None:
        self.stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._storage_fields = storage_fields

    def result(self) -> object:
        """What the pickle ends with."""
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise PickleRefusedError("it does not end with one object")
        return self.stack[0]

    def step(self, name: str, argument: object) -> None:
        """One opcode."""
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(_shortened(argument))
        elif name in _PUTS and isinstance(argument, int):
            self._memo[argument] = self._top()
        elif name in _GETS and isinstance(argument, int):
            if argument not in self._memo:
                raise PickleRefusedError("it reads a memo that it has not written")
            self.stack.append(self._memo[argument])
        elif name == "GLOBAL" and isinstance(argument, str):
            module, _, symbol = argument.partition(" ")
            self.stack.append(Global(module, symbol))

    def _top(self) -> object:
        if not self.stack or self.stack[-1] is _MARK:
            raise PickleRefusedError("its stack is empty where it should not be")
        return self.stack[-1]

    def pop(self) -> object:
        """The last value."""
        found = self._top()
        self.stack.pop()
        return found

    def popped(self, count: int) -> tuple[object, ...]:
        """The last ``count`` values, in order."""
        return tuple(self.pop() for _ in range(count))[::-1]

    def above_mark(self) -> list[object]:
        """Everything since the last mark."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                found = self.stack[index + 1 :]
                del self.stack[index:]
                return found
        raise PickleRefusedError("it lacks a mark")

    def memoize(self) -> None:
        """Keep the last value under the next free number."""
        self._memo[len(self._memo)] = self._top()

    def put(self, value: object) -> None:
        """A new value."""
        self.stack.append(value)

    def set_items(self, flat: Sequence[object]) -> None:
        """Add keys and values to the dict on top."""
        table = self._top()
        if not isinstance(table, Table) or len(flat) % 2:
            raise PickleRefusedError("it sets items of what is no dict")
        table.items.extend(zip(flat[::2], flat[1::2], strict=True))

    def append_items(self, items: Sequence[object]) -> None:
        """Add to the list on top."""
        found = self._top()
        if not isinstance(found, list):
            raise PickleRefusedError("it appends to what is no list")
        found.extend(items)

    def stack_global(self) -> None:
        """A global named by the two last texts."""
        module, name = self.popped(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleRefusedError("it names a global by what is no text")
        self.put(Global(module, name))

    def persistent(self) -> None:
        """A storage, from what torch.save writes in its place."""
        self.put(storage(self.pop(), fields=self._storage_fields))

    def reduce(self) -> None:
        """A call, of the few that are known."""
        function, arguments = self.popped(2)
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise PickleRefusedError("it calls what is no global")
        self.put(called(function, arguments, depth=0))


_HANDLERS: Final[Mapping[str, Callable[[_Machine], None]]] = {
    "MARK": lambda m: m.put(_MARK),
    "EMPTY_DICT": lambda m: m.put(Table()),
    "EMPTY_LIST": lambda m: m.put([]),
    "EMPTY_TUPLE": lambda m: m.put(()),
    "TUPLE": lambda m: m.put(tuple(m.above_mark())),
    "TUPLE1": lambda m: m.put(m.popped(1)),
    "TUPLE2": lambda m: m.put(m.popped(2)),
    "TUPLE3": lambda m: m.put(m.popped(3)),
    "MEMOIZE": lambda m: m.memoize(),
    "STACK_GLOBAL": lambda m: m.stack_global(),
    "BINPERSID": lambda m: m.persistent(),
    "REDUCE": lambda m: m.reduce(),
    "SETITEM": lambda m: m.set_items(m.popped(2)),
    "SETITEMS": lambda m: m.set_items(m.above_mark()),
    "APPEND": lambda m: m.append_items(m.popped(1)),
    "APPENDS": lambda m: m.append_items(m.above_mark()),
    # The state of an object, such as the _metadata of an OrderedDict: nothing is sized by it.
    "BUILD": lambda m: _drop(m),
    "POP": lambda m: _drop(m),
}


def _drop(machine: _Machine) -> None:
    machine.pop()


_CONSTANTS: Final[Mapping[str, object]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS: Final = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
)
_PUTS: Final = frozenset({"BINPUT", "LONG_BINPUT"})
_GETS: Final = frozenset({"BINGET", "LONG_BINGET"})
_IGNORED: Final = frozenset({"PROTO", "FRAME"})


_NAMES: Final = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}
_ALLOWED: Final = frozenset(
    code
    for code, name in _NAMES.items()
    if name in {*_HANDLERS, *_CONSTANTS, *_LITERALS, *_PUTS, *_GETS, *_IGNORED, "GLOBAL", "STOP"}
)


def _shortened(value: object) -> object:
    """A literal; a text or bytes that no name of a tensor can be is not kept."""
    return None if isinstance(value, str | bytes) and len(value) > _TEXT_CAP else value
