"""What each opcode does to the machine: one small function an opcode, and the table that holds them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from assay.artifacts.pickle.opcodes import NAMES
from assay.artifacts.pickle.trace import Broken, Stopped
from assay.artifacts.pickle.values import UNKNOWN, Blob, Build, Call, LongText, Members, Outside, Pairs, Value

if TYPE_CHECKING:
    from assay.artifacts.pickle.machine import Machine

_BLOB = 1 << 8
_LONG_TEXT = 1 << 12
_MOST_TUPLES, _MOST_ITEMS = 512, 4096
_U2, _U4, _U8 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|\n|.)", re.DOTALL)
_PLAIN_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"\n": b""}
Handler: TypeAlias = "Callable[[Machine], object]"


def _invalid(m: Machine) -> None:
    raise Broken(f"invalid opcode 0x{m.data[m.at]:02x}")


def _stop(_: Machine) -> None:
    raise Stopped


def _proto(m: Machine) -> None:
    m.trace.protocol = m.take(1)[0]
    if m.trace.protocol > 5:
        m.soft(f"protocol {m.trace.protocol} does not exist")


def _pop(m: Machine) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.stack.pop()


def _int(m: Machine) -> None:
    text = m.line()
    m.stack.append({b"00": False, b"01": True}[text] if text in {b"00", b"01"} else _number(m, text))


def _number(m: Machine, text: bytes) -> Value:
    m.keep(min(len(text), 1000))
    # CPython reads these with base 0: hexadecimal, octal and binary forms are good, C octal too.
    try:
        return int(text.strip().removesuffix(b"L")[:2000], 0)
    except ValueError:
        if not re.fullmatch(rb"\s*[+-]?[0-9a-fA-FxXoObB_]+\s*L?", text):
            m.soft("not an integer")
        return UNKNOWN


def _long(m: Machine) -> None:
    m.stack.append(_number(m, m.line()))


def _float(m: Machine) -> None:
    try:
        m.stack.append(float(m.line()))
    except ValueError:
        m.soft("not a float")
        m.stack.append(UNKNOWN)


def _string(m: Machine) -> None:
    text = m.line().strip()
    m.keep(len(text))
    if len(text) < 2 or text[:1] not in {b"'", b'"'} or text[-1:] != text[:1]:
        m.soft("a STRING without quotes")
    held = text[1:-1]
    m.stack.append((_ESCAPE.sub(_unescape, held) if b"\\" in held else held).decode("latin-1"))


def _unescape(found: re.Match[bytes]) -> bytes:
    code = found.group(1)
    if code[:1] == b"x" and len(code) == 3:
        return bytes([int(code[1:], 16)])
    if code.isdigit():
        return bytes([int(code, 8) & 255])
    return _PLAIN_ESCAPES.get(code, code if code in {b"\\", b"'", b'"'} else b"\\" + code)


def _unicode(m: Machine) -> None:
    text = m.line()
    m.keep(len(text))
    m.stack.append(text.decode("raw-unicode-escape"))


# The most frequent opcodes read their operand in place: a scan of many small files is spent here.
def _short_text(m: Machine) -> None:
    start = m.pos + 1
    m.pos = stop = start + m.data[start - 1]
    raw = m.data[start:stop]
    if stop > m.end:
        raise Broken("the stream ends within an operand")
    try:
        m.stack.append(raw.decode())
    except UnicodeDecodeError:
        m.pos = start - 1
        _odd_short_text(m)


def _byte(m: Machine) -> None:
    m.stack.append(m.data[m.pos])
    m.pos += 1


def _binfloat(m: Machine) -> None:
    m.stack.append(_F8.unpack_from(m.data, m.pos)[0])
    m.pos += 8


def _put_short(m: Machine) -> None:
    m.memo[m.data[m.pos]] = m.stack[-1]
    m.pos += 1


def _memoize(m: Machine) -> None:
    memo = m.memo
    memo[len(memo)] = m.stack[-1]


def _get_short(m: Machine) -> None:
    m.stack.append(m.memo[m.data[m.pos]])
    m.pos += 1


def _text(form: struct.Struct | None, encoding: str) -> Handler:
    def handle(m: Machine) -> None:
        size = m.take(1)[0] if form is None else form.unpack(m.take(form.size))[0]
        if _LONG_TEXT < size <= m.end - m.pos:
            m.stack.append(LongText(m.pos, size))
            m.pos += size
            return
        raw = m.take(size)
        m.keep(size)
        try:
            m.stack.append(raw.decode(encoding, "surrogatepass"))
        except UnicodeDecodeError:
            m.soft("text that is not UTF-8")
            m.stack.append(raw.decode("latin-1"))

    return handle


def _short_bytes(m: Machine) -> None:
    start = m.pos + 1
    m.pos = stop = start + m.data[start - 1]
    if stop > m.end:
        raise Broken("the stream ends within an operand")
    if stop - start >= 8:
        m.trace.blobs.append((start, stop - start))
        m.keep(stop - start)
    m.stack.append(m.data[start:stop])


def _binary(form: struct.Struct) -> Handler:
    def handle(m: Machine) -> None:
        size = m.count(form)
        start = m.pos
        if size > m.end - start:
            m.take(size)
        m.pos = start + size
        if size >= 8:
            m.trace.blobs.append((start, size))
        if size > _BLOB:
            m.stack.append(Blob(start, size))
        else:
            m.keep(size)
            m.stack.append(m.data[start : m.pos])

    return handle


def _int4(m: Machine) -> None:
    m.stack.append(_I4.unpack_from(m.data, m.pos)[0])
    m.pos += 4


def _int2(m: Machine) -> None:
    m.stack.append(_U2.unpack_from(m.data, m.pos)[0])
    m.pos += 2


def _counted_long(form: struct.Struct | None) -> Handler:
    def handle(m: Machine) -> None:
        raw = m.take(m.take(1)[0] if form is None else m.count(form))
        m.keep(len(raw) if len(raw) <= 1 << 10 else 0)
        m.stack.append(int.from_bytes(raw, "little", signed=True) if len(raw) <= 1 << 10 else UNKNOWN)

    return handle


def _push(value: Value) -> Handler:
    return lambda m: m.stack.append(value)


def _tuple1(m: Machine) -> None:
    stack = m.stack
    stack[-1] = (stack[-1],)


def _tuple2(m: Machine) -> None:
    last = m.stack.pop()
    m.stack[-1] = (m.stack[-1], last)


def _tuple3(m: Machine) -> None:
    last, middle = m.stack.pop(), m.stack.pop()
    m.stack[-1] = (m.stack[-1], middle, last)


def _append(m: Machine) -> None:
    _extend(m, [m.stack.pop()], "append")


def _appends(m: Machine) -> None:
    _extend(m, m.since_mark(), "extend")


def _additems(m: Machine) -> None:
    _extend(m, m.since_mark(), "add")


def _setitem(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    _extend(m, [key, value], "__setitem__")


def _setitems(m: Machine) -> None:
    _extend(m, m.since_mark(), "__setitem__")


def _extend(m: Machine, values: list[Value], method: str) -> None:
    top = m.stack[-1]
    if method in {"__setitem__", "add"} and not m.bombed:
        for key in values if method == "add" else values[::2]:
            if type(key) is tuple and _explodes(key):
                m.bomb("hashing a key of tuples within tuples takes exponential time")
    if isinstance(top, list):
        top.extend(values)
    elif not isinstance(top, Call):
        # The load calls append, extend, add or __setitem__ of something that is no fresh container.
        m.trace.builds.append(Build(top, (method, *values[:4]), m.at))


def _explodes(key: tuple[Value, ...]) -> bool:
    stack: list[tuple[Value, ...]] = [key]
    visited = looked = 0
    while stack and visited < _MOST_TUPLES and looked < _MOST_ITEMS:
        inner = stack.pop()
        visited += 1
        looked += len(inner)
        if len(inner) <= _MOST_TUPLES:
            stack.extend(v for v in inner if type(v) is tuple)
    return bool(stack)


def _global(m: Machine) -> None:
    module, name = m.line(), m.line()
    m.name(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"))


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.name(module, name)


def _inst(m: Machine) -> None:
    _global(m)
    func = m.stack.pop()
    args = tuple(m.since_mark())
    m.call(func, args, "INST" if args else "NEWOBJ")


def _obj(m: Machine) -> None:
    func, *args = m.since_mark()
    m.call(func, tuple(args), "OBJ" if args else "NEWOBJ")


def _reduce(m: Machine) -> None:
    args = m.stack.pop()
    m.call(m.stack.pop(), args, "REDUCE")


def _newobj(m: Machine) -> None:
    args = m.stack.pop()
    m.call(m.stack.pop(), args, "NEWOBJ")


def _newobj_ex(m: Machine) -> None:
    named, args, func = m.stack.pop(), m.stack.pop(), m.stack.pop()
    if isinstance(args, tuple):
        m.keep(0, len(args))
        args = (*args, named)
    m.call(func, args, "NEWOBJ_EX")


def _build(m: Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    m.trace.builds.append(Build(target, state, m.at))
    if isinstance(target, Call):
        target.state = state
    if m.on_build is not None:
        m.on_build(m, target, state)


def _outside(kind: str, read: Callable[[Machine], Value]) -> Handler:
    def handle(m: Machine) -> None:
        found = Outside(kind, read(m), m.at)
        m.trace.outside.append(found)
        m.stack.append(found)

    return handle


def _index(m: Machine) -> int:
    number = _number(m, m.line())
    if not isinstance(number, int):
        raise Broken("a memo index that is no number")
    return number


def _frame(m: Machine) -> None:
    if m.count(_U8) > m.end - m.pos:
        m.soft("a frame longer than the stream")


def _readonly(m: Machine) -> None:
    m.stack[-1]


_odd_short_text = _text(None, "utf-8")

_TABLE: dict[str, Handler] = {
    "MARK": lambda m: m.marks.append(len(m.stack)), "STOP": _stop, "POP": _pop, "POP_MARK": lambda m: m.since_mark(),
    "DUP": lambda m: m.stack.append(m.stack[-1]), "FLOAT": _float, "INT": _int, "LONG": _long,
    "BININT": _int4, "BININT1": _byte, "BININT2": _int2, "NONE": _push(None),
    "NEWTRUE": _push(True), "NEWFALSE": _push(False), "EMPTY_TUPLE": _push(()),
    "BINFLOAT": _binfloat, "LONG1": _counted_long(None), "LONG4": _counted_long(_U4),
    "STRING": _string, "UNICODE": _unicode, "SHORT_BINUNICODE": _short_text, "BINUNICODE": _text(_U4, "utf-8"),
    "BINUNICODE8": _text(_U8, "utf-8"), "BINSTRING": _text(_U4, "latin-1"), "SHORT_BINSTRING": _text(None, "latin-1"),
    "BINBYTES": _binary(_U4), "SHORT_BINBYTES": _short_bytes, "BINBYTES8": _binary(_U8), "BYTEARRAY8": _binary(_U8),
    "EMPTY_LIST": lambda m: m.stack.append([]), "LIST": lambda m: m.stack.append(m.since_mark()),
    "EMPTY_DICT": lambda m: m.stack.append(Pairs()), "DICT": lambda m: m.stack.append(Pairs(m.since_mark())),
    "EMPTY_SET": lambda m: m.stack.append(Members()), "FROZENSET": lambda m: m.stack.append(Members(m.since_mark())),
    "TUPLE": lambda m: m.stack.append(tuple(m.since_mark())),
    "TUPLE1": _tuple1, "TUPLE2": _tuple2, "TUPLE3": _tuple3,
    "APPEND": _append, "APPENDS": _appends, "ADDITEMS": _additems, "SETITEM": _setitem, "SETITEMS": _setitems,
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "INST": _inst, "OBJ": _obj, "REDUCE": _reduce, "NEWOBJ": _newobj,
    "NEWOBJ_EX": _newobj_ex, "BUILD": _build, "PROTO": _proto, "FRAME": _frame,
    "PERSID": _outside("persistent", lambda m: m.line().decode("latin-1")),
    "BINPERSID": _outside("persistent", lambda m: m.stack.pop()),
    "EXT1": _outside("extension", lambda m: m.take(1)[0]), "EXT2": _outside("extension", lambda m: m.count(_U2)),
    "EXT4": _outside("extension", lambda m: m.count(_U4)), "NEXT_BUFFER": _outside("buffer", lambda _: None),
    "READONLY_BUFFER": _readonly,
    "PUT": lambda m: m.put(_index(m)), "BINPUT": _put_short, "LONG_BINPUT": lambda m: m.put(m.count(_U4)),
    "MEMOIZE": _memoize,
    "GET": lambda m: m.stack.append(m.memo[_index(m)]), "BINGET": _get_short,
    "LONG_BINGET": lambda m: m.stack.append(m.memo[m.count(_U4)]),
}  # fmt: skip

HANDLERS: list[Handler] = [_TABLE[NAMES[code]] if code in NAMES else _invalid for code in range(256)]
