"""Array bytes that joblib writes between the opcodes: how many there are, and whether they are a pickle again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from assay.artifacts.pickle.trace import Broken, Spent
from assay.artifacts.pickle.values import Call, Global, Pairs, Value

if TYPE_CHECKING:
    from assay.artifacts.pickle.machine import Machine

# Before 0.23, scikit-learn brought a joblib of its own.
_WRAPPERS = {"joblib.numpy_pickle.NumpyArrayWrapper", "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper"}
_LAST = "NumpyArrayWrapper"
_DTYPE = re.compile(r"[<>=|]?([?bBhHiIuUlLqQefdgFDGSVOMmcnpa])(\d*)(?:\[.*\])?\Z")
_SIZES = {"?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "l": 8, "L": 8, "q": 8, "Q": 8, "e": 2, "f": 4,
          "d": 8, "g": 16, "F": 8, "D": 16, "G": 32, "O": 8, "M": 8, "m": 8, "c": 1, "n": 8, "p": 8}  # fmt: skip
_MOST_FIELDS, _MOST_STATE, _MOST_DIMENSIONS = 4096, 64, 64


def skip_array(machine: Machine, target: Value, state: Value, seen: list[int]) -> None:
    """Move a machine over the array bytes that follow the BUILD of a joblib array wrapper.

    An array of objects is a pickle of its own, which is followed as part of this one. seen: gets the
    offset of every array.
    """
    if type(target) is not Call or type(target.func) is not Global:
        return
    if not target.func.name.endswith(_LAST) or target.func.path not in _WRAPPERS:
        return
    seen.append(machine.pos)
    fields = state if isinstance(state, Pairs) and len(state) <= _MOST_STATE else Pairs()
    size, objects = dtype_size(fields.get("dtype"))
    if objects:
        _follow_objects(machine)
        return
    count = _product(fields.get("shape"))
    if size is None or count is None:
        machine.soft("an array whose size cannot be told")
        return
    align = fields.get("numpy_array_alignment_bytes")
    padding = 1 + machine.data[machine.pos] if align is not None and machine.pos < machine.end else 0
    stop = machine.pos + padding + size * count
    if stop > machine.end:
        raise Broken("an array longer than the file")
    machine.pos = stop


def _follow_objects(machine: Machine) -> None:
    from assay.artifacts.pickle.machine import Machine as Inner

    # joblib reads these objects with a plain unpickler, which knows of no arrays between the opcodes.
    left = machine.limit - machine.trace.opcodes
    inner = Inner(machine.data, machine.pos, opcodes=left, deadline=machine.deadline)
    trace, own = inner.run(), machine.trace
    for name in ("globals", "calls", "builds", "outside", "blobs", "unresolved", "bombs"):
        getattr(own, name).extend(getattr(trace, name))
    own.opcodes += trace.opcodes
    own.spent = own.spent or trace.spent
    own.broken = own.broken or trace.broken
    machine.pos = trace.end
    machine.keep(inner.kept)
    if machine.spent():
        raise Spent(own.spent)


def dtype_size(value: Value) -> tuple[int | None, bool]:
    """Return the bytes of one item of a symbolic dtype (None: unknown), and whether it holds objects."""
    if isinstance(value, Global):
        return _by_name(value.name)
    if not isinstance(value, Call) or not isinstance(value.args, tuple) or not value.args:
        return None, False
    code = value.args[0]
    found = _DTYPE.match(code) if isinstance(code, str) else None
    if not found:
        return None, _holds_objects(value)
    letter, digits = found.groups()
    size: int | None = _item_size(letter, digits)
    state = value.state
    # numpy takes the size from the state of flexible types alone; elsewhere a state may say anything.
    if letter in "USVa" and isinstance(state, tuple) and len(state) > 5 and isinstance(state[5], int) and state[5] > 0:
        size = state[5]
    return size, _holds_objects(value)


def _holds_objects(value: Value) -> bool:
    """Return whether a dtype, or one that it is made of, is of objects; so it is said of one with too many parts."""
    seen: set[int] = set()
    parts = [value]
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Global) and _by_name(part.name)[1]:
            return True
        if not isinstance(part, Call) or not isinstance(part.args, tuple):
            continue
        found = _DTYPE.match(part.args[0]) if part.args and isinstance(part.args[0], str) else None
        if found and found[1] == "O":
            return True
        if isinstance(part.state, tuple) and len(part.state) > 5:
            parts += part.state[2][:1] if isinstance(part.state[2], tuple) else ()
            fields = part.state[4][1::2] if isinstance(part.state[4], Pairs) else ()
            parts += [v[0] for v in fields if isinstance(v, tuple) and v]
        if len(seen) + len(parts) > _MOST_FIELDS:
            return True
    return False


def _item_size(letter: str, digits: str) -> int:
    if letter == "U":
        return 4 * int(digits or 0)
    if letter in "SVa":
        return int(digits or 0)
    return int(digits) if digits else _SIZES[letter]


def _by_name(name: str) -> tuple[int | None, bool]:
    found = re.fullmatch(r"(?:u?int|float|complex|bool)_?(\d*)", name)
    return (int(found.group(1) or 8) // 8 if found else None), name in {"object_", "object"}


def _product(shape: Value) -> int | None:
    if not isinstance(shape, (tuple, list)) or len(shape) > _MOST_DIMENSIONS:
        return None
    count = 1
    for length in shape:
        if not isinstance(length, int) or not 0 <= length < 1 << 63:
            return None
        count *= length
    return count


__all__ = ["dtype_size", "skip_array"]
