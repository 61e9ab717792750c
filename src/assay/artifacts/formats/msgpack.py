"""MessagePack, as spaCy, Flax and others keep weights in: plain values, in which byte strings can hide a second stage.

Readers with an extension for arrays (msgpack-numpy) unpickle what is marked as an array of objects, so every byte string that is
a pickle is followed. MessagePack specification, 2017.
"""

from __future__ import annotations

from assay.artifacts.pickle.stream import looks_like_pickle
from assay.artifacts.reader import EMBEDDED_CODE, Data, FormatReader, Inspection
from assay.core.finding import Severity

_MOST_ITEMS, _DEEPEST, _TRIAL = 2_000_000, 64, 20_000
# Code: (bytes of the number that gives the length, what has that length); see the specification's table.
_LENGTHS = {0xC4: (1, "bytes"), 0xC5: (2, "bytes"), 0xC6: (4, "bytes"), 0xD9: (1, "text"), 0xDA: (2, "text"), 0xDB: (4, "text"),
            0xDC: (2, "array"), 0xDD: (4, "array"), 0xDE: (2, "map"), 0xDF: (4, "map"),
            0xC7: (1, "more"), 0xC8: (2, "more"), 0xC9: (4, "more")}  # fmt: skip
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
          0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}  # fmt: skip
# First code, last code, kind, bits of the code that give the length.
_SHORT = ((0x80, 0x8F, "map", 0x0F), (0x90, 0x9F, "array", 0x0F), (0xA0, 0xBF, "text", 0x1F))
_LEAST = 12


class _Broken(Exception):
    """The content is no MessagePack, or beyond the budget."""


class MsgpackReader(FormatReader, name="msgpack", techniques=(EMBEDDED_CODE,)):
    """Follow the values to their end; byte strings are looked into."""

    fallback = True

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a map or an array of values, and is one as far as a trial goes."""
        if len(data) < _LEAST or not (0x81 <= data[0] <= 0x9F or data[0] in {0xDC, 0xDD, 0xDE, 0xDF}):
            return False
        try:
            end, _ = _walk(data, _TRIAL)
        except _Broken:
            return False
        return end in {len(data), -1}

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine every byte string that could be a second stage."""
        try:
            end, held = _walk(data, _MOST_ITEMS)
        except _Broken as broken:
            inspection.error(where, str(broken))
            return "msgpack"
        if end < 0:
            inspection.error(where, "holds more values than the budget allows")
        for at, size in held:
            raw = bytes(data[at : at + size])
            if looks_like_pickle(raw):
                text = "a byte string in the values is a pickle, which readers of arrays load"
                inspection.report("nested-pickle", Severity.MEDIUM, text, f"{where}@{at}", EMBEDDED_CODE)
                inspection.scan(raw, f"{where}@{at}!nested")
        return "msgpack"


def _walk(data: Data, most: int) -> tuple[int, list[tuple[int, int]]]:
    """Return where the first value ends (-1: after more values than ``most``), and the byte strings in it. Raises _Broken."""
    at, left = 0, [1]
    held: list[tuple[int, int]] = []
    for _ in range(most):
        while left and left[-1] == 0:
            left.pop()
        if not left:
            return at, held
        left[-1] -= 1
        if at >= len(data):
            raise _Broken("the content ends early")
        kind, size, at = _head(data, at)
        if kind in {"map", "array"}:
            if len(left) >= _DEEPEST:
                raise _Broken("is nested deeper than the budget allows")
            left.append(2 * size if kind == "map" else size)
            continue
        if kind == "bytes" and size >= _LEAST:
            held.append((at, size))
        at += size + (kind == "more")
        if at > len(data):
            raise _Broken("the content ends early")
    return -1, held


def _head(data: Data, at: int) -> tuple[str, int, int]:
    """Return the kind of the value at a place, its length or how many values it holds, and where its content begins."""
    code = data[at]
    at += 1
    if code in _LENGTHS:
        width, kind = _LENGTHS[code]
        return kind, int.from_bytes(data[at : at + width], "big"), at + width
    if code == 0xC1:
        raise _Broken("a value of no kind")
    short = next((row for row in _SHORT if row[0] <= code <= row[1]), None)
    return (short[2], code & short[3], at) if short else ("fixed", _FIXED.get(code, 0), at)
