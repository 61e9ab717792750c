"""The opcodes of pickle protocols 0 to 5: code, name and how the operand is framed (PEP 307, 3154, 574)."""

from __future__ import annotations

from enum import Enum


class Operand(Enum):
    """How an operand lies in the stream."""

    NONE = "none"
    LINE = "line"
    TWO_LINES = "two lines"
    FIXED = "fixed"
    COUNTED = "counted"


# name, code, operand, size in bytes (of the operand, or of its counter)
_ROWS = (
    ("MARK", b"(", Operand.NONE, 0), ("STOP", b".", Operand.NONE, 0), ("POP", b"0", Operand.NONE, 0),
    ("POP_MARK", b"1", Operand.NONE, 0), ("DUP", b"2", Operand.NONE, 0), ("FLOAT", b"F", Operand.LINE, 0),
    ("INT", b"I", Operand.LINE, 0), ("BININT", b"J", Operand.FIXED, 4), ("BININT1", b"K", Operand.FIXED, 1),
    ("LONG", b"L", Operand.LINE, 0), ("BININT2", b"M", Operand.FIXED, 2), ("NONE", b"N", Operand.NONE, 0),
    ("PERSID", b"P", Operand.LINE, 0), ("BINPERSID", b"Q", Operand.NONE, 0), ("REDUCE", b"R", Operand.NONE, 0),
    ("STRING", b"S", Operand.LINE, 0), ("BINSTRING", b"T", Operand.COUNTED, 4),
    ("SHORT_BINSTRING", b"U", Operand.COUNTED, 1), ("UNICODE", b"V", Operand.LINE, 0),
    ("BINUNICODE", b"X", Operand.COUNTED, 4), ("APPEND", b"a", Operand.NONE, 0), ("BUILD", b"b", Operand.NONE, 0),
    ("GLOBAL", b"c", Operand.TWO_LINES, 0), ("DICT", b"d", Operand.NONE, 0), ("EMPTY_DICT", b"}", Operand.NONE, 0),
    ("APPENDS", b"e", Operand.NONE, 0), ("GET", b"g", Operand.LINE, 0), ("BINGET", b"h", Operand.FIXED, 1),
    ("INST", b"i", Operand.TWO_LINES, 0), ("LONG_BINGET", b"j", Operand.FIXED, 4), ("LIST", b"l", Operand.NONE, 0),
    ("EMPTY_LIST", b"]", Operand.NONE, 0), ("OBJ", b"o", Operand.NONE, 0), ("PUT", b"p", Operand.LINE, 0),
    ("BINPUT", b"q", Operand.FIXED, 1), ("LONG_BINPUT", b"r", Operand.FIXED, 4), ("SETITEM", b"s", Operand.NONE, 0),
    ("TUPLE", b"t", Operand.NONE, 0), ("EMPTY_TUPLE", b")", Operand.NONE, 0), ("SETITEMS", b"u", Operand.NONE, 0),
    ("BINFLOAT", b"G", Operand.FIXED, 8), ("PROTO", b"\x80", Operand.FIXED, 1), ("NEWOBJ", b"\x81", Operand.NONE, 0),
    ("EXT1", b"\x82", Operand.FIXED, 1), ("EXT2", b"\x83", Operand.FIXED, 2), ("EXT4", b"\x84", Operand.FIXED, 4),
    ("TUPLE1", b"\x85", Operand.NONE, 0), ("TUPLE2", b"\x86", Operand.NONE, 0), ("TUPLE3", b"\x87", Operand.NONE, 0),
    ("NEWTRUE", b"\x88", Operand.NONE, 0), ("NEWFALSE", b"\x89", Operand.NONE, 0),
    ("LONG1", b"\x8a", Operand.COUNTED, 1), ("LONG4", b"\x8b", Operand.COUNTED, 4),
    ("BINBYTES", b"B", Operand.COUNTED, 4), ("SHORT_BINBYTES", b"C", Operand.COUNTED, 1),
    ("SHORT_BINUNICODE", b"\x8c", Operand.COUNTED, 1), ("BINUNICODE8", b"\x8d", Operand.COUNTED, 8),
    ("BINBYTES8", b"\x8e", Operand.COUNTED, 8), ("EMPTY_SET", b"\x8f", Operand.NONE, 0),
    ("ADDITEMS", b"\x90", Operand.NONE, 0), ("FROZENSET", b"\x91", Operand.NONE, 0),
    ("NEWOBJ_EX", b"\x92", Operand.NONE, 0), ("STACK_GLOBAL", b"\x93", Operand.NONE, 0),
    ("MEMOIZE", b"\x94", Operand.NONE, 0), ("FRAME", b"\x95", Operand.FIXED, 8),
    ("BYTEARRAY8", b"\x96", Operand.COUNTED, 8), ("NEXT_BUFFER", b"\x97", Operand.NONE, 0),
    ("READONLY_BUFFER", b"\x98", Operand.NONE, 0),
)  # fmt: skip

CODES: dict[str, int] = {name: code[0] for name, code, _, _ in _ROWS}
NAMES: dict[int, str] = {code[0]: name for name, code, _, _ in _ROWS}
FRAMING: dict[str, tuple[Operand, int]] = {name: (operand, size) for name, _, operand, size in _ROWS}

# Opcodes that a stream of each protocol can begin with; those of text protocols are printable.
OPENERS = frozenset(CODES[n] for n in CODES if n not in {"STOP", "POP", "POP_MARK", "DUP", "REDUCE", "BUILD", "APPEND",
    "APPENDS", "SETITEM", "SETITEMS", "TUPLE1", "TUPLE2", "TUPLE3", "NEWOBJ", "NEWOBJ_EX", "STACK_GLOBAL", "MEMOIZE",
    "BINPERSID", "ADDITEMS", "FROZENSET", "PUT", "BINPUT", "LONG_BINPUT", "TUPLE", "LIST", "DICT", "OBJ", "INST",
    "GET", "BINGET", "LONG_BINGET", "READONLY_BUFFER"})  # fmt: skip
