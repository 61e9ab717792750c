"""R's serialised objects (.rds, .rda): promises and calls in them run when the object is touched (CVE-2024-27322).

R Internals, section 1.8 "Serialization Formats": versions 2 and 3 in XDR. Everything is walked; nothing is evaluated.
"""

from __future__ import annotations

import struct

from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.reader import CODE_EXECUTION, Data, FormatReader, Inspection
from assay.core.finding import Severity

_HEADS = (b"RDX2\n", b"RDX3\n")
_MOST_ITEMS = 2_000_000
_PAIRS = {2: "pairlist", 3: "closure", 5: "promise", 6: "call", 17: "dots", 240: "call", 239: "pairlist"}
_NOTHING = {254, 253, 252, 251, 250, 242, 241, 0, 23}
_NUMBERS = {10: 4, 13: 4, 14: 8, 15: 16, 24: 1}
_LISTS = {16, 19, 20}
_RUNNERS = frozenset(
    "system system2 shell shell.exec eval evalq parse source sys.source sys.function do.call download.file url file pipe fifo "
    "socketConnection unlink file.remove writeLines writeBin cat dyn.load library.dynam Sys.setenv Sys.chmod readRDS load "
    "unserialize attachNamespace loadNamespace library require install.packages delayedAssign makeActiveBinding body<- .Call "
    ".External .C .Internal .Primitive get match.fun Recall on.exit reg.finalizer".split()
)
_REMEDY = "Do not read the file with R; ask its author for the numbers alone"


class _Broken(Exception):
    """The stream cannot be followed."""


class RDataReader(FormatReader, name="r-data", techniques=(CODE_EXECUTION,)):
    """Walk the objects of R's serialisation; report promises, functions and calls that reach the system."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as R's serialisation in XDR."""
        return data[:5] in _HEADS or (data[:2] == b"X\n" and data[2:5] == b"\0\0\0" and data[5:6] in {b"\2", b"\3"})

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine every object."""
        walk = _Walk(data, where, inspection, 5 if data[:5] in _HEADS else 0)
        try:
            walk.stream()
            check_tail(data, walk.at, where, inspection)
        except _Broken as broken:
            inspection.error(f"{where}@{walk.at}", f"the R object cannot be followed ({broken})")
        return "r-data"


class _Walk:
    """One pass over the items of a stream; ``last`` is the symbol read last, ``seen`` the symbols by their number."""

    def __init__(self, data: Data, where: str, inspection: Inspection, at: int) -> None:
        self.data, self.where, self.inspection, self.at = data, where, inspection, at
        self.seen: list[str] = []

    def number(self) -> int:
        raw = self.data[self.at : self.at + 4]
        if len(raw) < 4:
            raise _Broken("it ends early")
        self.at += 4
        value: int = struct.unpack(">i", raw)[0]
        return value

    def skip(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise _Broken("it ends early")
        self.at += size
        return bytes(self.data[self.at - size : self.at - size + 100])

    def stream(self) -> None:
        if self.data[self.at : self.at + 2] != b"X\n":
            raise _Broken("it is not in XDR")
        self.at += 2
        version = self.number()
        self.skip(8)
        if version == 3:
            self.skip(self.number())
        elif version != 2:
            raise _Broken(f"version {version}")
        # What is still to be read: an item, or the function of a call.
        rest = ["item"]
        for _ in range(_MOST_ITEMS):
            if not rest:
                return
            if self.inspection.expired():
                break
            rest += self.item(rest.pop())
        raise _Broken("it holds more than the budget allows")

    def item(self, role: str) -> list[str]:
        """Read one item; return what follows it, last first."""
        begun, flags = self.at, self.number()
        kind, attributes, tag = flags & 0xFF, bool(flags & 0x200), bool(flags & 0x400)
        if kind in _PAIRS:
            self.code(_PAIRS[kind], begun)
            head = "function" if _PAIRS[kind] == "call" else "item"
            return ["item", head, *(["item"] if tag else []), *(["item"] if attributes or kind in {240, 239} else [])]
        if kind == 1:
            return ["symbol:" + role]
        if kind == 9:
            size = self.number()
            text = self.skip(size).decode("utf-8", "replace") if size >= 0 else ""
            if role.startswith("symbol:"):
                self.seen.append(text)
                self.called(text, role, begun)
        elif kind == 255:
            index = flags >> 8 or self.number()
            if 0 < index <= len(self.seen):
                self.called(self.seen[index - 1], f"symbol:{role}", begun)
        elif kind == 4:
            self.skip(4)
            self.seen.append("")
            return ["item"] * 4
        elif kind in {249, 248, 247}:
            self.skip(4)
            self.seen.append("")
            return ["item"] * max(0, self.number())
        else:
            return self.vector(kind, attributes, begun)
        return ["item"] if attributes and kind != 9 else []

    def vector(self, kind: int, attributes: bool, begun: int) -> list[str]:
        more = ["item"] if attributes else []
        if kind in _NUMBERS:
            self.skip(self.length() * _NUMBERS[kind])
        elif kind in _LISTS:
            count = self.length()
            if count > _MOST_ITEMS:
                raise _Broken("it holds more than the budget allows")
            return more + ["item"] * count
        elif kind in {7, 8}:
            self.called(self.skip(self.number()).decode("utf-8", "replace"), "symbol:function", begun)
        elif kind == 22:
            self.seen.append("")
            return [*more, "item", "item"]
        elif kind == 238:
            return ["item"] * 3
        elif kind == 21:
            self.code("closure", begun)
            raise _Broken("compiled code is not read")
        elif kind not in _NOTHING and kind != 25:
            raise _Broken(f"an item of type {kind}")
        return more

    def length(self) -> int:
        size = self.number()
        return self.number() << 32 | (self.number() & 0xFFFFFFFF) if size == -1 else size

    def code(self, what: str, place: int) -> None:
        if what == "promise":
            text = "the object holds a promise, an expression that R evaluates when the object is touched"
            self.report("r-promise", Severity.CRITICAL, text, place)
        elif what == "closure":
            self.report(
                "r-function", Severity.HIGH, "the object holds a function, which runs when the model is used", place
            )

    def called(self, name: str, role: str, place: int) -> None:
        if role == "symbol:function" and name in _RUNNERS:
            text = f"the object holds a call of {name}, which reaches the system or runs code"
            self.report("r-call", Severity.CRITICAL, text, place)

    def report(self, rule: str, severity: Severity, text: str, place: int) -> None:
        self.inspection.report(rule, severity, text, f"{self.where}@{place}", CODE_EXECUTION, _REMEDY)
