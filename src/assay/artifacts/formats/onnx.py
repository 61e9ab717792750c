"""ONNX: a bounded walk over the protobuf for operators outside of the standard and for data outside of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assay.artifacts.formats.archive_zip import escapes
from assay.artifacts.reader import EMBEDDED_CODE, Data, FormatReader, Inspection
from assay.core.finding import Severity

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft",
            "com.microsoft.nchwc", "ai.onnx.preview"}  # fmt: skip
_CODE_OPS = {"PyOp", "PythonOp", "PyFunc", "ATen", "PyCustomOp", "PythonFunction"}
_MOST_FIELDS = 400_000
_DEPTH = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Trees are long runs of numbers with a one-byte key (attributes' floats and ints), passed over in one step.
_RUNS = {0x40: re.compile(rb"(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])++"), 0x3D: re.compile(rb"(?:\x3d.{4})++", re.DOTALL)}
_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}


class Damaged(Exception):
    """The protobuf cannot be followed."""


class OnnxReader(FormatReader, name="onnx", techniques=(EMBEDDED_CODE,)):
    """Walk graphs, subgraphs, functions and tensors of a model."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a model with an IR version, or is one that holds a graph."""
        if len(data) < 8 or data[0] not in {0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42}:
            return False
        try:
            found = {number for number, _, _, _ in _fields(data, 0, len(data), [64])}
        except Damaged:
            return data[0] == 0x08 and data[1] < 0x20 and data[2] in {0x12, 0x1A, 0x3A, 0x42}
        return 7 in found and found <= _MODEL_FIELDS

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine the whole model."""
        walk = _Walk(data, where, inspection)
        try:
            walk.model()
        except Damaged as damage:
            inspection.error(where, str(damage))
        return "onnx"


class _Walk:
    """One walk over a model, within a budget of fields."""

    def __init__(self, data: Data, where: str, inspection: Inspection) -> None:
        self.data = data
        self.where = where
        self.inspection = inspection
        self.left = [_MOST_FIELDS]

    def fields(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        return _fields(self.data, start, stop, self.left)

    def text(self, start: int, stop: int) -> str:
        return self.data[start : min(stop, start + 4096)].decode("utf-8", "replace")

    def model(self) -> None:
        functions: set[str] = set()
        spans = [(n, a, b) for n, wire, a, b in self.fields(0, len(self.data)) if wire == _BYTES]
        for number, start, stop in spans:
            if number == 25:
                functions |= {self.text(a, b) for n, w, a, b in self.fields(start, stop) if n == 10 and w == _BYTES}
        for number, start, stop in spans:
            if number == 7:
                self.graph(start, stop, functions, 0)
            elif number == 25:
                for n, wire, a, b in self.fields(start, stop):
                    if n == 7 and wire == _BYTES:
                        self.node(a, b, functions, 0)

    def graph(self, start: int, stop: int, functions: set[str], depth: int) -> None:
        if depth > _DEPTH:
            raise Damaged("graphs are nested deeper than the budget allows")
        for number, wire, a, b in self.fields(start, stop):
            if wire != _BYTES:
                continue
            if number == 1:
                self.node(a, b, functions, depth)
            elif number == 5:
                self.tensor(a, b)
            elif number == 15:
                for _, kind, c, d in self.fields(a, b):
                    if kind == _BYTES:
                        self.tensor(c, d)

    def node(self, start: int, stop: int, functions: set[str], depth: int) -> None:
        domain = op = ""
        for number, wire, a, b in self.fields(start, stop):
            if wire != _BYTES:
                continue
            if number == 7:
                domain = self.text(a, b)
            elif number == 4:
                op = self.text(a, b)
            elif number == 5:
                self.attribute(a, b, functions, depth)
        place = f"{self.where}@{start}"
        if op in _CODE_OPS or domain.startswith(("ai.onnx.contrib", "org.pytorch", "com.python")):
            text = f"the operator {domain}::{op} runs code from outside of the model"
            self.inspection.report("onnx-code-operator", Severity.CRITICAL, text, place, EMBEDDED_CODE)
        elif domain not in _DOMAINS and domain not in functions:
            text = f"the operator {domain[:80]}::{op[:80]} needs a custom library"
            self.inspection.report("onnx-custom-operator", Severity.HIGH, text, place, EMBEDDED_CODE)

    def attribute(self, start: int, stop: int, functions: set[str], depth: int) -> None:
        for number, wire, a, b in self.fields(start, stop):
            if wire != _BYTES:
                continue
            if number in {6, 11}:
                self.graph(a, b, functions, depth + 1)
            elif number in {5, 10}:
                self.tensor(a, b)

    def tensor(self, start: int, stop: int) -> None:
        for number, wire, a, b in self.fields(start, stop):
            if number != 13 or wire != _BYTES:
                continue
            pair = {n: self.text(c, d) for n, w, c, d in self.fields(a, b) if w == _BYTES}
            key, value = pair.get(1, ""), pair.get(2, "")
            place = f"{self.where}@{a}"
            if key == "location" and (escapes(value) or "://" in value):
                text = f"a tensor is read from {value[:120]!r}, outside of the model's folder"
                self.inspection.report("onnx-external-path", Severity.CRITICAL, text, place, EMBEDDED_CODE)
            elif key not in {"location", "offset", "length", "checksum", "basepath"}:
                text = f"external data have the unknown setting {key[:60]!r}"
                self.inspection.report("onnx-external-setting", Severity.HIGH, text, place, EMBEDDED_CODE)


def _fields(data: Data, start: int, stop: int, left: list[int]) -> Iterator[tuple[int, int, int, int]]:
    position = start
    while position < stop:
        left[0] -= 1
        if left[0] < 0:
            raise Damaged("the model has more fields than the budget allows")
        key, position = _varint(data, position, stop)
        number, wire = key >> 3, key & 7
        begin = position
        if run := _RUNS.get(key):
            found = run.match(data, begin - 1, stop)
            position = found.end() if found else stop + 1
        elif wire == _VARINT:
            _, position = _varint(data, position, stop)
        elif wire == _BYTES:
            size, begin = _varint(data, position, stop)
            position = begin + size
        elif wire in {_FIXED64, _FIXED32}:
            position += 8 if wire == _FIXED64 else 4
        else:
            raise Damaged("the model is no protobuf")
        if position > stop or number == 0:
            raise Damaged("the model is damaged")
        yield number, wire, begin, position


def _varint(data: Data, position: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while position < stop and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise Damaged("the model ends within a number")
