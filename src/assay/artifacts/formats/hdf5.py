"""HDF5, as Keras saves it: groups, attributes and links are walked, and the configurations in attributes judged.

HDF5 File Format Specification 3.0. Read are superblocks 0 to 3, object headers 1 and 2, symbol tables, compact links and
attributes with fixed or variable strings; what else holds attributes or links (dense storage) is said not to be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from assay.artifacts.formats.keras_config import KerasConfig
from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.reader import CODE_EXECUTION, Data, FormatReader, Inspection
from assay.core.finding import Severity

_MAGIC = b"\x89HDF\r\n\x1a\n"
_NONE = 0xFFFFFFFFFFFFFFFF
_MOST_OBJECTS, _MOST_MESSAGES, _MOST_TEXT = 20_000, 400_000, 64 << 20
_LINK_INFO, _LINK, _EXTERNAL_FILES, _ATTRIBUTE, _CONTINUES, _SYMBOLS, _ATTRIBUTE_INFO = 2, 6, 7, 0x0C, 0x10, 0x11, 0x15
_EXTERNAL_LINK, _SOFT_LINK, _HARD_LINK = 64, 1, 0
_REMEDY = "Ask its author for ONNX, or rebuild the model from its weights"


class _Broken(Exception):
    """The file cannot be followed."""


class Hdf5Reader(FormatReader, name="hdf5", techniques=(CODE_EXECUTION,)):
    """Walk a file's groups; judge ``model_config`` and the like, and links out of the file."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as HDF5."""
        return data[:8] == _MAGIC

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine every object."""
        walk = _Walk(data, where, inspection)
        try:
            walk.file()
            check_tail(data, walk.end(), where, inspection)
        except (_Broken, IndexError, UnicodeDecodeError) as error:
            inspection.error(where, f"the HDF5 structure cannot be followed ({error})"[:200])
        return "keras-h5" if walk.configurations else "hdf5"


@dataclass(slots=True)
class _Walk:
    data: Data
    where: str
    inspection: Inspection
    seen: set[int] = field(default_factory=set)
    messages: int = 0
    configurations: int = 0

    def number(self, position: int, size: int = 8) -> int:
        if position < 0 or position + size > len(self.data):
            raise _Broken(f"it points beyond its end, at {position}")
        return int.from_bytes(self.data[position : position + size], "little")

    def file(self) -> None:
        version = self.data[8]
        if version in {0, 1}:
            if self.data[13] != 8 or self.data[14] != 8:
                raise _Broken("its offsets are not of 8 bytes")
            root = 24 + (4 if version == 1 else 0) + 32
            self.object(self.number(root + 8), "/")
        elif version in {2, 3}:
            if self.data[9] != 8 or self.data[10] != 8:
                raise _Broken("its offsets are not of 8 bytes")
            self.object(self.number(36), "/")
        else:
            raise _Broken(f"superblock version {version}")

    def end(self) -> int:
        """Return where the file ends by its own account."""
        return self.number((40 if self.data[8] == 0 else 44) if self.data[8] < 2 else 28)

    def object(self, address: int, path: str) -> None:
        stack = [(address, path)]
        while stack:
            place, name = stack.pop()
            if place in self.seen or place == _NONE:
                continue
            self.seen.add(place)
            if len(self.seen) > _MOST_OBJECTS or self.inspection.expired():
                raise _Broken("it holds more objects than the budget allows")
            for kind, start, size in self.header(place):
                stack += self.message(kind, start, size, name)

    def header(self, address: int) -> Iterator[tuple[int, int, int]]:
        """Yield (type, start, size) of the messages of an object, through its continuations."""
        if self.data[address : address + 4] == b"OHDR":
            yield from self.header_v2(address)
            return
        if self.number(address, 1) != 1:
            raise _Broken(f"no object header at {address}")
        blocks = [(address + 16, self.number(address + 8, 4))]
        for start, size in blocks:
            position, end = start, start + size
            while position + 8 <= end:
                kind, length = self.number(position, 2), self.number(position + 2, 2)
                yield self.counted(kind), position + 8, length
                if kind == _CONTINUES:
                    blocks.append(self.continuation(position + 8, len(blocks)))
                position += 8 + length

    def header_v2(self, address: int) -> Iterator[tuple[int, int, int]]:
        flags = self.number(address + 5, 1)
        position = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = self.number(position, width)
        blocks = [(position + width, size)]
        for start, length in blocks:
            place, end = start, start + length
            while place + 4 <= end:
                kind, span = self.number(place, 1), self.number(place + 1, 2)
                begin = place + 4 + (2 if flags & 4 else 0)
                yield self.counted(kind), begin, span
                if kind == _CONTINUES:
                    offset, room = self.continuation(begin, len(blocks))
                    blocks.append((offset + 4, room - 8))
                place = begin + span

    def counted(self, kind: int) -> int:
        self.messages += 1
        if self.messages > _MOST_MESSAGES:
            raise _Broken("it holds more messages than the budget allows")
        return kind

    def continuation(self, position: int, blocks: int) -> tuple[int, int]:
        if blocks > 1_000:
            raise _Broken("an object header goes on without end")
        return self.number(position), self.number(position + 8)

    def message(self, kind: int, start: int, size: int, path: str) -> list[tuple[int, str]]:
        if kind == _ATTRIBUTE:
            self.attribute(start, size, path)
        elif kind == _EXTERNAL_FILES:
            self.outside("hdf5-external-data", f"the data of {path!r} are read from another file")
        elif kind == _SYMBOLS:
            return list(self.symbols(self.number(start), self.number(start + 8), path))
        elif kind == _LINK:
            return list(self.link(start, path))
        elif kind == _LINK_INFO and self.dense(start, 8):
            self.inspection.cannot(self.where, f"the links of {path!r} are in dense storage, which is not read")
        elif kind == _ATTRIBUTE_INFO and self.dense(start, 2):
            self.inspection.cannot(self.where, f"the attributes of {path!r} are in dense storage, which is not read")
        return []

    def dense(self, start: int, counter: int) -> bool:
        """Return whether an info message points to a heap. counter: size of the optional largest index."""
        flags = self.number(start + 1, 1)
        return self.number(start + 2 + (counter if flags & 1 else 0)) != _NONE

    def outside(self, rule: str, text: str) -> None:
        self.inspection.report(rule, Severity.HIGH, text[:300], self.where, CODE_EXECUTION, "Do not load the file")

    def symbols(self, tree: int, heap: int, path: str) -> Iterator[tuple[int, str]]:
        if self.data[heap : heap + 4] != b"HEAP":
            raise _Broken("a group has no heap of names")
        names, queue, visited = self.number(heap + 24), [tree], set()
        while queue:
            node = queue.pop()
            if node in visited or node == _NONE:
                continue
            visited.add(node)
            if len(visited) > _MOST_OBJECTS:
                raise _Broken("a group has more nodes than the budget allows")
            if self.data[node : node + 4] == b"TREE":
                queue += [self.number(node + 32 + 16 * i) for i in range(self.number(node + 6, 2))]
            elif self.data[node : node + 4] == b"SNOD":
                for i in range(self.number(node + 6, 2)):
                    entry = node + 8 + 40 * i
                    name = f"{path.rstrip('/')}/{self.text(names + self.number(entry))}"
                    if self.number(entry + 16, 4) != 2:
                        yield self.number(entry + 8), name
            else:
                raise _Broken("a group's tree is broken")

    def link(self, start: int, path: str) -> Iterator[tuple[int, str]]:
        flags = self.number(start + 1, 1)
        place = start + 2
        kind = self.number(place, 1) if flags & 8 else _HARD_LINK
        place += (1 if flags & 8 else 0) + (8 if flags & 4 else 0) + (1 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        length = self.number(place, width)
        name = bytes(self.data[place + width : place + width + min(length, 512)]).decode("utf-8", "replace")
        place += width + length
        if kind == _HARD_LINK:
            yield self.number(place), f"{path.rstrip('/')}/{name}"
        elif kind != _SOFT_LINK:
            self.outside("hdf5-external-link", f"{path.rstrip('/')}/{name} is a link into another file")

    def attribute(self, start: int, size: int, path: str) -> None:
        version = self.number(start, 1)
        lengths = [self.number(start + 2 + 2 * i, 2) for i in range(3)]
        place = start + (9 if version == 3 else 8)
        padded = [-(-n // 8) * 8 if version == 1 else n for n in lengths]
        name = bytes(self.data[place : place + max(0, lengths[0] - 1)]).decode("utf-8", "replace")
        kind = place + padded[0]
        value = kind + padded[1] + padded[2]
        if name not in {"model_config", "training_config", "layer_config", "config"}:
            return
        self.configuration(self.value(kind, value, start + size - value), f"{path}@{name}")

    def value(self, kind: int, start: int, size: int) -> bytes:
        """Return the bytes of a string attribute."""
        family = self.number(kind, 1) & 0x0F
        if family == 3:
            return bytes(self.data[start : start + min(self.number(kind + 4, 4), size)])
        if family == 9:
            return self.heap(self.number(start + 4), self.number(start + 12, 4), self.number(start, 4))
        raise _Broken(f"a configuration is no text (type {family})")

    def heap(self, address: int, wanted: int, length: int) -> bytes:
        """Return an object of a global heap collection."""
        if self.data[address : address + 4] != b"GCOL" or length > _MOST_TEXT:
            raise _Broken("a text points to no heap")
        place, end = address + 16, address + self.number(address + 8)
        for _ in range(_MOST_MESSAGES):
            if place + 16 > end:
                break
            index, size = self.number(place, 2), self.number(place + 8)
            if index == wanted:
                return bytes(self.data[place + 16 : place + 16 + min(size, length)])
            if index == 0:
                break
            place += 16 + -(-size // 8) * 8
        raise _Broken("a text is not in its heap")

    def configuration(self, text: bytes, place: str) -> None:
        self.configurations += 1
        try:
            document = json.loads(text.rstrip(b"\0").decode("utf-8"))
        except (ValueError, RecursionError):
            self.inspection.error(self.where, f"the configuration at {place} is no JSON")
            return
        if isinstance(document, dict):
            KerasConfig().check(document, f"{self.where}!{place}", self.inspection)

    def text(self, start: int) -> str:
        end = start
        while end < min(len(self.data), start + 512) and self.data[end]:
            end += 1
        return bytes(self.data[start:end]).decode("utf-8", "replace")
