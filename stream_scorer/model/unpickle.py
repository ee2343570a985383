"""Reads pickles of plain values without the ``pickle`` module, so a pickle cannot run code.

A pickle is a program for a small stack machine. Python's own machine can import and call. With an
allow-list in ``find_class`` it can still set attributes of allowed classes, follow the extension
registry and hash any value. So this module interprets only the opcodes that plain values need. It
refuses every other opcode by name, before it reads the argument. It can build:

- None, bool, float, 64-bit int, str, bytes, list, tuple, dict;
- instances of the classes the caller registers (NEWOBJ and BUILD; it never calls a function).

Everything is bounded: bytes, opcodes, instances, containers, nesting, and the expanded size where
one list occurs in another many times. A value cannot contain itself, cannot change after it became
part of another value, and can be a key only if hashing and finding it is cheap. So neither reading
nor walking the result can recurse or loop without end.
"""

from __future__ import annotations

import io
import pickletools
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.errors import ArtifactCorrupt, ArtifactError
from stream_scorer.model.store.names import MODEL_MAX_BYTES

Allowed = Mapping[tuple[str, str], type]
"""(Module, name) as written in the pickle → the class. Names are compared as a whole: dots are
never resolved.

Register only classes whose ``__new__`` creates a new object. Dataclasses do, enumerations do not.
"""


@dataclass(frozen=True, slots=True)
class PickleLimits:
    """Limits on what reading a pickle may cost."""

    max_bytes: int = MODEL_MAX_BYTES
    max_opcodes: int = 2_000_000
    """Each creates a value of about 60 bytes or an entry of about 100, so this bounds memory."""
    max_depth: int = 32
    max_instances: int = 1000
    max_containers: int = 10_000
    """Lists, dicts, tuples: a feature set has a few hundred; each costs a few hundred bytes."""
    max_memo: int = 500_000
    """Memoized values: pickles memoize every string, and vocabularies have many."""
    max_walk: int = 20_000_000
    """Values visited when walking the result. Lists of the same list, 32 deep, would be 2**32."""


DEFAULT_LIMITS: Final = PickleLimits()

_INT_LIMITS: Final = (-(2**63), 2**64 - 1)
"""Larger integers can be crafted to collide as keys, at quadratic cost."""

_OPCODES: Final = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_SCALARS: Final = (
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
)  # fmt: skip

_SHOWN: Final = 200  # characters of a name in a message
_KEY_MAX_LENGTH: Final = 4096
_TUPLE_KEY_MAX_LENGTH: Final = 8
"""Hashing a long key costs its length each time the key is used."""

_MAX_EQUAL_HASHES: Final = 64
"""Of the tuples that are keys. Numbers with equal hashes are few, tuples of them are millions, and
each such key is compared with all others: 10,000 took seconds."""

_MAX_ATTRIBUTES: Final = 256
"""Per instance: the state is copied, and many instances could share it."""

_READING_ERRORS: Final = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""Raised by a malformed argument, or by a registered class given a malformed state."""


def load_pickle(data: bytes, allowed: Allowed, limits: PickleLimits = DEFAULT_LIMITS) -> object:
    """The value in ``data``, as ``pickle.dump`` (protocol 2 or later) or ``joblib.dump`` wrote it.

    Raises:
        ArtifactCorrupt: it cannot be read; the message names the opcode or the class.
    """
    if len(data) > limits.max_bytes:
        raise ArtifactCorrupt(f"pickle has {len(data)} bytes; the limit is {limits.max_bytes}")
    try:
        machine = _Machine(allowed, limits)
        return machine.run(_opcodes(data, limits.max_opcodes, machine.steps))
    except ArtifactError:
        raise
    except _READING_ERRORS as error:
        raise ArtifactCorrupt(
            f"pickle is truncated or malformed: {type(error).__name__}: {error}"
        ) from error


def _opcodes(
    data: bytes, max_opcodes: int, understood: Container[str]
) -> Iterator[tuple[str, Any]]:
    """Names and arguments up to STOP; a claimed length never costs more than the data has."""
    file = io.BytesIO(data)
    for _ in range(max_opcodes):
        opcode = _OPCODES.get(file.read(1))
        if opcode is None:
            raise ArtifactCorrupt(f"pickle has an invalid opcode at byte {file.tell()}")
        if opcode.name == "STOP":
            return
        if opcode.name not in understood:
            raise ArtifactCorrupt(
                f"pickle uses the opcode {opcode.name}, which is not an allowed opcode"
            )
        if opcode.name == "GLOBAL":  # its reader in pickletools warns about invalid escapes
            yield opcode.name, [_line(file), _line(file)]
        else:
            yield opcode.name, opcode.arg.reader(file) if opcode.arg else None
    raise ArtifactCorrupt(f"pickle has more than {max_opcodes} opcodes")


def _line(file: io.BytesIO) -> str:
    return file.readline().removesuffix(b"\n").decode()


@dataclass(frozen=True, slots=True)
class _Global:
    """A registered class on the stack; it can be instantiated but is never part of a value."""

    name: str
    cls: type


class _Machine:
    """The stack machine; each pickle gets a new one."""

    def __init__(self, allowed: Allowed, limits: PickleLimits) -> None:
        self._allowed = allowed
        self._limits = limits
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        # By id: the nesting of each container, the containers that are part of another, and the
        # instances without state yet. Containers are kept alive, so that no id is reused.
        self._containers: list[object] = []
        self._depths: dict[int, int] = {}
        self._walks: dict[int, int] = {}  # values visited when walking a container, with itself
        self._closed: set[int] = set()
        self._unbuilt: set[int] = set()
        self._instance_count = 0
        self._tuple_hashes: Counter[int] = Counter()
        self.steps: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            **dict.fromkeys(_SCALARS, self._push_scalar),
            "NONE": lambda _: self._stack.append(None),
            "NEWTRUE": lambda _: self._stack.append(True),
            "NEWFALSE": lambda _: self._stack.append(False),
            "MARK": lambda _: self._marks.append(len(self._stack)),
            "EMPTY_LIST": lambda _: self._push_container([]),
            "EMPTY_DICT": lambda _: self._push_container({}),
            "EMPTY_TUPLE": lambda _: self._push_tuple([]),
            "TUPLE1": lambda _: self._push_tuple(self._pop_many(1)),
            "TUPLE2": lambda _: self._push_tuple(self._pop_many(2)),
            "TUPLE3": lambda _: self._push_tuple(self._pop_many(3)),
            "TUPLE": lambda _: self._push_tuple(self._pop_to_mark()),
            "APPEND": lambda _: self._append([self._pop()]),
            "APPENDS": lambda _: self._append(self._pop_to_mark()),
            "SETITEM": lambda _: self._set_items(self._pop_many(2)),
            "SETITEMS": lambda _: self._set_items(self._pop_to_mark()),
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "BINGET": lambda index: self._stack.append(self._memo[index]),
            "LONG_BINGET": lambda index: self._stack.append(self._memo[index]),
            "GLOBAL": lambda names: self._push_global(*names),
            "STACK_GLOBAL": lambda _: self._push_global(*self._pop_many(2)),
            "NEWOBJ": lambda _: self._push_instance(),
            "BUILD": lambda _: self._build(),
        }

    def run(self, opcodes: Iterator[tuple[str, Any]]) -> object:
        """Interpret all opcodes and return the one value left on the stack."""
        for name, argument in opcodes:
            self.steps[name](argument)
        if len(self._stack) != 1 or self._marks:
            raise ArtifactCorrupt(f"pickle leaves {len(self._stack)} values instead of one")
        self._use(self._stack[0])
        return self._stack[0]

    def _push_scalar(self, value: object) -> None:
        if isinstance(value, int) and not _INT_LIMITS[0] <= value <= _INT_LIMITS[1]:
            raise ArtifactCorrupt("pickle has an integer with more than 64 bits")
        self._stack.append(value)

    def _pop(self) -> Any:
        return self._pop_many(1)[0]

    def _pop_many(self, count: int) -> list[Any]:
        """The top ``count`` values; never across a mark, which Python's machine refuses too."""
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise ArtifactCorrupt("pickle pops more values than the stack has")
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _put(self, index: int) -> None:
        value = self._pop()
        self._stack.append(value)
        self._memo[index] = value
        if len(self._memo) > self._limits.max_memo:
            raise ArtifactCorrupt(f"pickle memoizes more than {self._limits.max_memo} values")

    def _push_container(self, value: object, depth: int = 1) -> None:
        if depth > self._limits.max_depth:
            raise ArtifactCorrupt(f"pickle nests deeper than {self._limits.max_depth}")
        if len(self._containers) == self._limits.max_containers:
            raise ArtifactCorrupt(f"pickle has more than {self._limits.max_containers} containers")
        self._containers.append(value)
        self._depths[id(value)] = depth
        self._walks[id(value)] = 1
        self._stack.append(value)

    def _lengthen(self, target: object, values: list[Any]) -> None:
        """Add ``values`` to the number of values a walk of ``target`` visits."""
        inner = sum(self._walks.get(id(value), 1) for value in values)
        self._walks[id(target)] += inner
        if self._walks[id(target)] > self._limits.max_walk:
            raise ArtifactCorrupt(f"pickle expands to more than {self._limits.max_walk} values")

    def _push_tuple(self, values: list[Any]) -> None:
        depth = 1 + max(map(self._use, values), default=0)
        self._push_container(tuple(values), depth)
        self._lengthen(self._stack[-1], values)

    def _use(self, value: object) -> int:
        """Freeze ``value``, which becomes part of another value; returns its depth."""
        if isinstance(value, _Global):
            raise ArtifactCorrupt(f"pickle uses {value.name} as a value")
        depth = self._depths.get(id(value), 0)
        if depth:
            self._closed.add(id(value))
        return depth

    def _open(self, kind: type | None) -> Any:
        """The container on top of the stack, if it is of ``kind`` (None: an unbuilt instance)."""
        target = self._pop()
        self._stack.append(target)
        is_right = id(target) in self._unbuilt if kind is None else type(target) is kind
        if not is_right or id(target) in self._closed:
            raise ArtifactCorrupt(
                f"pickle modifies a {type(target).__name__}, which is not allowed"
            )
        return target

    def _fill(self, target: object, values: list[Any]) -> None:
        """Account for ``values``, which become part of ``target``."""
        if any(value is target for value in values):
            raise ArtifactCorrupt("pickle has a value that contains itself")
        depth = max(self._depths[id(target)], 1 + max(map(self._use, values), default=0))
        if depth > self._limits.max_depth:
            raise ArtifactCorrupt(f"pickle nests deeper than {self._limits.max_depth}")
        self._depths[id(target)] = depth
        self._lengthen(target, values)

    def _append(self, values: list[Any]) -> None:
        target = self._open(list)
        self._fill(target, values)
        target.extend(values)

    def _set_items(self, items: list[Any]) -> None:
        target = self._open(dict)
        keys, values = items[::2], items[1::2]
        for key in keys:
            if not _is_key(key):
                raise ArtifactCorrupt(
                    f"pickle uses a {type(key).__name__} that is not allowed as a key"
                )
            if type(key) is tuple:
                self._count_hash(key)
        self._fill(target, items)
        target.update(zip(keys, values, strict=True))

    def _count_hash(self, key: tuple[object, ...]) -> None:
        self._tuple_hashes[hash(key)] += 1
        if self._tuple_hashes[hash(key)] > _MAX_EQUAL_HASHES:
            raise ArtifactCorrupt(f"more than {_MAX_EQUAL_HASHES} keys in a pickle hash equally")

    def _push_global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ArtifactCorrupt("pickle names a class with a value that is not a string")
        cls = self._allowed.get((module, name))
        if cls is None:
            raise ArtifactCorrupt(
                f"pickle refers to {module[:_SHOWN]}.{name[:_SHOWN]}, which is not an allowed class"
            )
        self._stack.append(_Global(f"{module}.{name}", cls))

    def _push_instance(self) -> None:
        """``cls.__new__(cls, *arguments)``."""
        target, arguments = self._pop_many(2)
        if not isinstance(target, _Global) or type(arguments) is not tuple:
            raise ArtifactCorrupt(f"pickle instantiates a {type(target).__name__}, not a class")
        self._instance_count += 1
        if self._instance_count > self._limits.max_instances:
            raise ArtifactCorrupt(f"pickle has more than {self._limits.max_instances} instances")
        depth = 1 + self._use(arguments)
        value = target.cls.__new__(target.cls, *arguments)
        self._push_container(value, depth)
        self._lengthen(value, [arguments])
        self._unbuilt.add(id(value))

    def _build(self) -> None:
        """Set an instance's state, as ``copyreg`` and ``dataclasses`` define it."""
        state = self._pop()
        target = self._open(None)
        self._fill(target, [state])
        self._unbuilt.discard(id(target))
        if hasattr(target, "__setstate__"):
            target.__setstate__(state)
            return
        attributes, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
        if max(len(attributes or ()), len(slots or ())) > _MAX_ATTRIBUTES:
            raise ArtifactCorrupt(
                f"pickle gives an instance more than {_MAX_ATTRIBUTES} attributes"
            )
        if attributes:
            target.__dict__.update(attributes)
        for name, value in (slots or {}).items():
            setattr(target, name, value)


def _is_key(key: object) -> bool:
    if type(key) is tuple:
        return len(key) <= _TUPLE_KEY_MAX_LENGTH and all(
            type(part) is not tuple and _is_key(part) for part in key
        )
    if isinstance(key, str | bytes):
        return len(key) <= _KEY_MAX_LENGTH
    return key is None or isinstance(key, int | float)
