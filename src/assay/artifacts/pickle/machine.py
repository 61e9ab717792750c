"""The pickle machine: a real stack, marks and memo over symbolic values, for every opcode of protocols 0 to 5.

It follows the stream exactly as CPython's unpickler does, but a GLOBAL becomes a name and a REDUCE a
record. Where a loader would stop with an error the machine stops too, or goes on if it can: seeing
more than a loader is safe, seeing less is not. Nothing is imported and nothing is called.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from mmap import mmap
from typing import TypeAlias

from assay.artifacts.pickle.opcodes import CODES, NAMES
from assay.artifacts.pickle.values import UNKNOWN, Blob, Build, Call, Global, Members, Outside, Pairs, Value

Data: TypeAlias = "bytes | mmap"
BuildHook: TypeAlias = "Callable[[Machine, Value, Value], None]"

_BLOB = 1 << 12
_LONGEST_LINE = 1 << 20
_MEMO_BOMB = 1 << 24
_CHUNK = 1 << 15
_U2, _U4, _U8 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|\n|.)", re.DOTALL)
_PLAIN_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"\n": b""}


class Broken(Exception):  # noqa: N818 - a state of the stream, caught by the machine itself
    """The stream cannot be followed any further."""


class Stopped(Exception):  # noqa: N818 - STOP is how a good stream ends
    """The stream reached its STOP."""


class Trace:
    """What one pickle would do, in the order of the stream.

    end: the offset after the last opcode followed. broken: why a load fails ("" when it does not).
    spent: the budget that ran out ("" when none did). bombs: demands on memory out of all proportion.
    """

    __slots__ = ("blobs", "bombs", "broken", "builds", "calls", "end", "globals", "opcodes", "outside", "protocol",
                 "result", "spent", "start", "unresolved")  # fmt: skip

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.globals: list[Global] = []
        self.calls: list[Call] = []
        self.builds: list[Build] = []
        self.outside: list[Outside] = []
        self.blobs: list[tuple[int, int]] = []
        self.unresolved: list[tuple[int, Value, Value]] = []
        self.bombs: list[tuple[int, str]] = []
        self.broken = self.spent = ""
        self.result: Value = UNKNOWN
        self.opcodes = self.protocol = 0


class Machine:
    """Follow one pickle in ``data`` from ``start``; ``run`` returns its Trace and never raises.

    opcodes: how many to follow at most. deadline: a ``time.monotonic`` value. on_build: called after
    every BUILD, for formats that put data between the opcodes; it may move ``pos``.
    """

    __slots__ = ("at", "data", "deadline", "end", "limit", "marks", "memo", "on_build", "pos", "stack", "trace")

    def __init__(
        self,
        data: Data,
        start: int = 0,
        *,
        opcodes: int = 1_500_000,
        deadline: float = float("inf"),
        on_build: BuildHook | None = None,
    ) -> None:
        self.data = data
        self.pos = self.at = start
        self.end = len(data)
        self.limit = opcodes
        self.deadline = deadline
        self.on_build = on_build
        self.stack: list[Value] = []
        self.marks: list[int] = []
        self.memo: dict[int, Value] = {}
        self.trace = Trace(start)

    def run(self) -> Trace:
        """Follow the stream to its STOP, its break or the end of a budget."""
        trace = self.trace
        try:
            self._follow()
            trace.spent = trace.spent or "more opcodes than the budget allows"
        except Stopped:
            trace.result = self.stack[-1] if self.stack else UNKNOWN
        except Broken as error:
            trace.broken = trace.broken or f"{error} at offset {self.at}"
        except (IndexError, KeyError, struct.error, ValueError, OverflowError, MemoryError) as error:
            trace.broken = trace.broken or f"{_REASONS.get(type(error), 'bad operand')} at offset {self.at}"
        trace.end = min(self.pos, self.end)
        return trace

    def _follow(self) -> None:
        data, handlers, end, trace = self.data, HANDLERS, self.end, self.trace
        while trace.opcodes < self.limit:
            for _ in range(min(_CHUNK, self.limit - trace.opcodes)):
                at = self.at = self.pos
                if at >= end:
                    raise Broken("the stream ends without STOP")
                self.pos = at + 1
                handlers[data[at]](self)
            trace.opcodes += _CHUNK
            if time.monotonic() > self.deadline:
                trace.spent = "more time than the budget allows"
                return

    # -- operands ----------------------------------------------------------------------------------

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes of the stream. Raises Broken at its end."""
        start, stop = self.pos, self.pos + size
        if stop > self.end:
            if size > _MEMO_BOMB:
                self.trace.bombs.append((self.at, f"announces {size} bytes where {self.end - start} are left"))
            raise Broken("the stream ends within an operand")
        self.pos = stop
        return self.data[start:stop]

    def line(self) -> bytes:
        """Return the text up to the next line end. Raises Broken without one."""
        start = self.pos
        stop = self.data.find(b"\n", start, min(self.end, start + _LONGEST_LINE))
        if stop < 0:
            raise Broken("the stream ends within a line")
        self.pos = stop + 1
        return self.data[start:stop]

    def count(self, form: struct.Struct) -> int:
        """Return the little-endian number that comes next."""
        number: int = form.unpack(self.take(form.size))[0]
        return number

    def since_mark(self) -> list[Value]:
        """Return and remove what is above the last mark. Raises IndexError without one."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    # -- effects -----------------------------------------------------------------------------------

    def name(self, module: Value, name: Value) -> None:
        """Push the global of that module and name; both may be symbolic."""
        if type(module) is str and type(name) is str:
            found = Global(module, name, self.at)
            self.trace.globals.append(found)
            self.stack.append(found)
        else:
            self.trace.unresolved.append((self.at, module, name))
            self.stack.append(UNKNOWN)

    def call(self, func: Value, args: Value, kind: str) -> None:
        """Push the record of a call."""
        made = Call(func, args, self.at, kind)
        self.trace.calls.append(made)
        self.stack.append(made)

    def put(self, index: int) -> None:
        """Store the top of the stack in the memo."""
        if index > _MEMO_BOMB and index > 64 * self.end:
            self.trace.bombs.append((self.at, f"memo index {index} makes a load reserve memory for it"))
        self.memo[index] = self.stack[-1]

    def soft(self, why: str) -> None:
        """Note that a load would fail here, and go on."""
        self.trace.broken = self.trace.broken or f"{why} at offset {self.at}"


_REASONS: dict[type[Exception], str] = {
    IndexError: "stack or mark underflow", KeyError: "a memo entry that was never set", struct.error: "a short operand",
}  # fmt: skip
Handler: TypeAlias = Callable[[Machine], None]


def _invalid(m: Machine) -> None:
    raise Broken(f"invalid opcode 0x{m.data[m.at]:02x}")


def _stop(m: Machine) -> None:
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
    if len(text) < 2 or text[:1] not in {b"'", b'"'} or text[-1:] != text[:1]:
        m.soft("a STRING without quotes")
    m.stack.append(_ESCAPE.sub(_unescape, text[1:-1]).decode("latin-1"))


def _unescape(found: re.Match[bytes]) -> bytes:
    code = found.group(1)
    if code[:1] == b"x" and len(code) == 3:
        return bytes([int(code[1:], 16)])
    if code.isdigit():
        return bytes([int(code, 8) & 255])
    return _PLAIN_ESCAPES.get(code, code if code in {b"\\", b"'", b'"'} else b"\\" + code)


def _unicode(m: Machine) -> None:
    m.stack.append(m.line().decode("raw-unicode-escape"))


def _text(form: struct.Struct | None, encoding: str) -> Handler:
    def handle(m: Machine) -> None:
        size = m.take(1)[0] if form is None else form.unpack(m.take(form.size))[0]
        raw = m.take(size)
        try:
            m.stack.append(raw.decode(encoding, "surrogatepass"))
        except UnicodeDecodeError:
            m.soft("text that is not UTF-8")
            m.stack.append(raw.decode("latin-1"))

    return handle


def _binary(form: struct.Struct | None) -> Handler:
    def handle(m: Machine) -> None:
        size = m.take(1)[0] if form is None else m.count(form)
        start = m.pos
        if size > m.end - start:
            m.take(size)
        m.pos = start + size
        if size >= 8:
            m.trace.blobs.append((start, size))
        m.stack.append(Blob(start, size) if size > _BLOB else m.data[start : m.pos])

    return handle


def _integer(size: int, signed: struct.Struct | None = None) -> Handler:
    def handle(m: Machine) -> None:
        raw = m.take(size)
        m.stack.append(signed.unpack(raw)[0] if signed else int.from_bytes(raw, "little"))

    return handle


def _counted_long(form: struct.Struct | None) -> Handler:
    def handle(m: Machine) -> None:
        raw = m.take(m.take(1)[0] if form is None else m.count(form))
        m.stack.append(int.from_bytes(raw, "little", signed=True) if len(raw) <= 1 << 10 else UNKNOWN)

    return handle


def _push(value: Value) -> Handler:
    return lambda m: m.stack.append(value)


def _tuple_of(size: int) -> Handler:
    def handle(m: Machine) -> None:
        if len(m.stack) < size:
            raise Broken("stack underflow")
        values = tuple(m.stack[-size:])
        m.stack[-size:] = [values]

    return handle


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
    if isinstance(top, list):
        top.extend(values)
    elif not isinstance(top, Call):
        # The load calls append, extend, add or __setitem__ of something that is no fresh container.
        m.trace.builds.append(Build(top, (method, *values[:4]), m.at))


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
    args, func = m.stack.pop(), m.stack.pop()
    m.call(func, args, "REDUCE")


def _newobj(m: Machine) -> None:
    args, func = m.stack.pop(), m.stack.pop()
    m.call(func, args, "NEWOBJ")


def _newobj_ex(m: Machine) -> None:
    named, args, func = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.call(func, (*args, named) if isinstance(args, tuple) else args, "NEWOBJ_EX")


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
    m.stack[-1]  # noqa: B018 - raises on an empty stack, as a load does


_TABLE: dict[str, Handler] = {
    "MARK": lambda m: m.marks.append(len(m.stack)), "STOP": _stop, "POP": _pop, "POP_MARK": lambda m: m.since_mark() and None,
    "DUP": lambda m: m.stack.append(m.stack[-1]), "FLOAT": _float, "INT": _int, "LONG": _long,
    "BININT": _integer(4, _I4), "BININT1": _integer(1), "BININT2": _integer(2), "NONE": _push(None),
    "NEWTRUE": _push(True), "NEWFALSE": _push(False), "EMPTY_TUPLE": _push(()),
    "BINFLOAT": _integer(8, _F8), "LONG1": _counted_long(None), "LONG4": _counted_long(_U4),
    "STRING": _string, "UNICODE": _unicode, "SHORT_BINUNICODE": _text(None, "utf-8"), "BINUNICODE": _text(_U4, "utf-8"),
    "BINUNICODE8": _text(_U8, "utf-8"), "BINSTRING": _text(_U4, "latin-1"), "SHORT_BINSTRING": _text(None, "latin-1"),
    "BINBYTES": _binary(_U4), "SHORT_BINBYTES": _binary(None), "BINBYTES8": _binary(_U8), "BYTEARRAY8": _binary(_U8),
    "EMPTY_LIST": lambda m: m.stack.append([]), "LIST": lambda m: m.stack.append(m.since_mark()),
    "EMPTY_DICT": lambda m: m.stack.append(Pairs()), "DICT": lambda m: m.stack.append(Pairs(m.since_mark())),
    "EMPTY_SET": lambda m: m.stack.append(Members()), "FROZENSET": lambda m: m.stack.append(Members(m.since_mark())),
    "TUPLE": lambda m: m.stack.append(tuple(m.since_mark())),
    "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2), "TUPLE3": _tuple_of(3),
    "APPEND": _append, "APPENDS": _appends, "ADDITEMS": _additems, "SETITEM": _setitem, "SETITEMS": _setitems,
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "INST": _inst, "OBJ": _obj, "REDUCE": _reduce, "NEWOBJ": _newobj,
    "NEWOBJ_EX": _newobj_ex, "BUILD": _build, "PROTO": _proto, "FRAME": _frame,
    "PERSID": _outside("persistent", lambda m: m.line().decode("latin-1")),
    "BINPERSID": _outside("persistent", lambda m: m.stack.pop()),
    "EXT1": _outside("extension", lambda m: m.take(1)[0]), "EXT2": _outside("extension", lambda m: m.count(_U2)),
    "EXT4": _outside("extension", lambda m: m.count(_U4)), "NEXT_BUFFER": _outside("buffer", lambda m: None),
    "READONLY_BUFFER": _readonly,
    "PUT": lambda m: m.put(_index(m)), "BINPUT": lambda m: m.put(m.take(1)[0]), "LONG_BINPUT": lambda m: m.put(m.count(_U4)),
    "MEMOIZE": lambda m: m.put(len(m.memo)),
    "GET": lambda m: m.stack.append(m.memo[_index(m)]), "BINGET": lambda m: m.stack.append(m.memo[m.take(1)[0]]),
    "LONG_BINGET": lambda m: m.stack.append(m.memo[m.count(_U4)]),
}  # fmt: skip

HANDLERS: list[Handler] = [_TABLE[NAMES[code]] if code in NAMES else _invalid for code in range(256)]

assert set(_TABLE) == set(CODES)
