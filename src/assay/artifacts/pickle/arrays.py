"""Array bytes that joblib writes between the opcodes: how many there are, and whether they are a pickle again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from assay.artifacts.pickle.trace import Broken
from assay.artifacts.pickle.values import Call, Global, Pairs, Value

if TYPE_CHECKING:
    from assay.artifacts.pickle.machine import Machine

_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_LAST = "NumpyArrayWrapper"
_DTYPE = re.compile(r"[<>=|]?([?bBhHiIuUlLqQefdgFDGSVOMmcnpa])(\d*)(?:\[.*\])?\Z")
_SIZES = {"?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "l": 8, "L": 8, "q": 8, "Q": 8, "e": 2, "f": 4,
          "d": 8, "g": 16, "F": 8, "D": 16, "G": 32, "O": 8, "M": 8, "m": 8, "c": 1, "n": 8, "p": 8}  # fmt: skip
_MOST_FIELDS = 1000


def skip_array(machine: Machine, target: Value, state: Value, seen: list[int]) -> None:
    """Move a machine over the array bytes that follow the BUILD of a joblib array wrapper.

    An array of objects is a pickle of its own, which is followed as part of this one. seen: gets the
    offset of every array.
    """
    if type(target) is not Call or type(target.func) is not Global:
        return
    if not target.func.name.endswith(_LAST) or target.func.path != _WRAPPER:
        return
    seen.append(machine.pos)
    fields = state if isinstance(state, Pairs) else Pairs()
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

    inner = Inner(
        machine.data, machine.pos, opcodes=machine.limit, deadline=machine.deadline, on_build=machine.on_build
    )
    trace, own = inner.run(), machine.trace
    for name in ("globals", "calls", "builds", "outside", "blobs", "unresolved", "bombs"):
        getattr(own, name).extend(getattr(trace, name))
    own.spent = own.spent or trace.spent
    own.broken = own.broken or trace.broken
    machine.pos = trace.end


def dtype_size(value: Value, depth: int = 4) -> tuple[int | None, bool]:
    """Return the bytes of one item of a symbolic dtype (None: unknown), and whether it holds objects."""
    if isinstance(value, Global):
        return _by_name(value.name)
    if not isinstance(value, Call) or not isinstance(value.args, tuple) or not value.args or depth <= 0:
        return None, False
    code = value.args[0]
    found = _DTYPE.match(code) if isinstance(code, str) else None
    size, objects = None, False
    if found:
        letter, digits = found.groups()
        size = _item_size(letter, digits)
        objects = letter == "O"
    if isinstance(value.state, tuple) and len(value.state) > 5:
        objects = objects or _holds_objects(value.state, depth)
        if isinstance(value.state[5], int) and value.state[5] > 0:
            size = value.state[5]
    return size, objects


def _item_size(letter: str, digits: str) -> int:
    if letter == "U":
        return 4 * int(digits or 0)
    if letter in "SVa":
        return int(digits or 0)
    return int(digits) if digits else _SIZES[letter]


def _holds_objects(state: tuple[Value, ...], depth: int) -> bool:
    parts: list[Value] = []
    if isinstance(state[2], tuple):
        parts += state[2][:1]
    if isinstance(state[4], Pairs):
        parts += [v[0] for v in state[4][1 : 2 * _MOST_FIELDS : 2] if isinstance(v, tuple) and v]
    return any(dtype_size(part, depth - 1)[1] for part in parts)


def _by_name(name: str) -> tuple[int | None, bool]:
    found = re.fullmatch(r"(?:u?int|float|complex|bool)_?(\d*)", name)
    return (int(found.group(1) or 8) // 8 if found else None), name in {"object_", "object"}


def _product(shape: Value) -> int | None:
    if not isinstance(shape, (tuple, list)):
        return None
    count = 1
    for length in shape:
        if not isinstance(length, int) or length < 0:
            return None
        count *= length
    return count


__all__ = ["dtype_size", "skip_array"]
