"""NumPy .npy files: the header is read as a literal and never evaluated; arrays of objects are pickles."""

from __future__ import annotations

import ast
import re
import warnings
from math import prod

from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.pickle.stream import read_pickles
from assay.artifacts.reader import CODE_EXECUTION, Data, FormatReader, Inspection
from assay.core.finding import Severity

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER, _LARGEST_LITERAL = 1 << 20, 1 << 16
_MOST_ARRAYS, _DEEPEST = 10_000, 32
_PLAIN = re.compile(
    r"\{'descr': '([^'\\]{1,40})', 'fortran_order': (?:True|False), 'shape': \(([0-9, ]{0,400})\), ?\} *"
)
_PYTHON2 = re.compile(r"(?<=\d)L(?=\s*[,)])")
_TYPE = re.compile(r"[<>=|]?([?bBhHiIuUlLqQefdgFDGSVOMmcna])(\d{0,15})(?:\[[^\]]{0,40}\])?")
_KEYS = {"descr", "fortran_order", "shape"}


class _Odd(Exception):
    """The header is no plain description of an array."""


class NpyReader(FormatReader, name="npy", techniques=(CODE_EXECUTION,)):
    """Check the header of each array of a file and follow the pickle of an array of objects."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a .npy file."""
        return data[:6] == _MAGIC

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine the arrays; np.load with allow_pickle would unpickle arrays of objects."""
        at = 0
        for _ in range(_MOST_ARRAYS):
            wide = data[at + 6 : at + 7] >= b"\x02"
            start = at + (12 if wide else 10)
            size = int.from_bytes(data[at + 8 : start], "little")
            body = start + size
            if size > _LONGEST_HEADER or body > len(data) or data[at + 6] not in {1, 2, 3}:
                inspection.error(f"{where}@{at}", "the header is damaged")
                return "npy"
            try:
                item, objects, count = _header(data[start:body], data[at + 6])
            except _Odd as odd:
                text = f"the header is no plain description of an array{odd}"
                inspection.report("npy-header", Severity.MEDIUM, text, f"{where}@{at}", CODE_EXECUTION)
                inspection.error(f"{where}@{at}", text)
                return "npy"
            if objects:
                read_pickles(data, where, inspection, start=body)
                return "npy"
            at = body + item * count
            if at > len(data):
                inspection.error(where, "the array is longer than the file")
                return "npy"
            if data[at : at + 6] != _MAGIC:
                # One file may hold several arrays, one behind the other; anything else has no place in it.
                check_tail(data, at, where, inspection)
                return "npy"
        inspection.error(where, "holds more arrays than the budget allows")
        return "npy"


def _header(raw: bytes, version: int) -> tuple[int, bool, int]:
    """Return the bytes of an item, whether it holds objects, and how many items there are. Raises _Odd."""
    text = raw.decode("utf-8" if version == 3 else "latin-1", "replace").strip()
    if plain := _PLAIN.fullmatch(text):
        return *_item(plain[1]), prod(int(n) for n in plain[2].split(",") if n.strip())
    if len(text) > _LARGEST_LITERAL:
        raise _Odd(": it is very long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            held = ast.literal_eval(_PYTHON2.sub("", text))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise _Odd(": it is no literal") from error
    if not isinstance(held, dict) or set(held) != _KEYS or not isinstance(held["fortran_order"], bool):
        raise _Odd("")
    return *_item(held["descr"]), _count(held["shape"])


def _item(described: object, depth: int = 0) -> tuple[int, bool]:
    """Return the bytes of one item of a type, and whether it holds objects. Raises _Odd."""
    if depth > _DEEPEST:
        raise _Odd(": its type is nested too deeply")
    if isinstance(described, str):
        found = _TYPE.fullmatch(described)
        if not found:
            raise _Odd(f": {described[:40]!r} is no type")
        size = int(found[2] or (8 if found[1] == "O" else 1))
        return (4 * size if found[1] == "U" else size), found[1] == "O"
    if isinstance(described, tuple) and len(described) == 2:
        size, objects = _item(described[0], depth + 1)
        return size * _count(described[1]), objects
    if not isinstance(described, list):
        raise _Odd("")
    total, any_objects = 0, False
    for row in described:
        if not isinstance(row, tuple) or len(row) not in {2, 3}:
            raise _Odd("")
        size, objects = _item(row[1], depth + 1)
        total += size * (_count(row[2]) if len(row) == 3 else 1)
        any_objects = any_objects or objects
    return total, any_objects


def _count(shape: object) -> int:
    lengths = shape if isinstance(shape, tuple) else (shape,)
    if not all(isinstance(n, int) and 0 <= n < 1 << 63 for n in lengths):
        raise _Odd(": its shape is none")
    return prod(lengths)
