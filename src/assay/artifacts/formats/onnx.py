"""ONNX: a bounded walk over the protobuf for operators outside of the standard and for data outside of the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import TypeAlias

from assay.artifacts.formats.archive_member import escapes
from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.protobuf import BYTES, MOST_FIELDS, Damaged, fields
from assay.artifacts.reader import EMBEDDED_CODE, Data, FormatReader, Inspection
from assay.core.finding import Severity

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft",
            "com.microsoft.nchwc", "ai.onnx.preview", "com.microsoft.experimental", "com.ms.internal.nhwc"}  # fmt: skip
_CODE_OPS = {"PyOp", "PythonOp", "PyFunc", "ATen", "PyCustomOp", "PythonFunction"}
_DEPTH = 16
_GRAPH_FIELDS = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}
_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}


Functions: TypeAlias = "set[tuple[str, str]]"


class OnnxReader(FormatReader, name="onnx", techniques=(EMBEDDED_CODE,)):
    """Walk graphs, subgraphs, functions and tensors of a model."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a model with an IR version, or is one that holds a graph."""
        if len(data) < 8 or data[0] not in {0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42}:
            return False
        try:
            found = {number: (wire, a, b) for number, wire, a, b in fields(data, 0, len(data), [64])}
        except Damaged:
            return data[0] == 0x08 and data[1] < 0x20 and data[2] in {0x12, 0x1A, 0x3A, 0x42} and data[1] != 0x01
        wire, start, stop = found.get(7, (0, 0, 0))
        return wire == BYTES and set(found) <= _MODEL_FIELDS and _is_graph(data, start, stop)

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
        self.left = [MOST_FIELDS]

    def fields(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        return fields(self.data, start, stop, self.left)

    def text(self, start: int, stop: int) -> str:
        return self.data[start : min(stop, start + 4096)].decode("utf-8", "replace")

    def parts(self) -> list[tuple[int, int, int]]:
        """Return (number, start, stop) of the model's parts; what lies behind the last of them is reported."""
        spans: list[tuple[int, int, int]] = []
        end = 0
        try:
            for number, wire, start, stop in self.fields(0, len(self.data)):
                if number not in _MODEL_FIELDS:
                    break
                end = stop
                if wire == BYTES:
                    spans.append((number, start, stop))
        except Damaged:
            if not any(n == 7 for n, _, _ in spans):
                raise
        if end < len(self.data):
            check_tail(self.data, end, self.where, self.inspection)
        return spans

    def model(self) -> None:
        functions: Functions = set()
        spans = self.parts()
        for number, start, stop in spans:
            if number == 25:
                held = {n: self.text(a, b) for n, w, a, b in self.fields(start, stop) if n in {1, 10} and w == BYTES}
                functions.add((held.get(10, ""), held.get(1, "")))
        for number, start, stop in spans:
            if number == 7:
                self.graph(start, stop, functions, 0)
            elif number == 20:
                for n, wire, a, b in self.fields(start, stop):
                    if n in {1, 2} and wire == BYTES:
                        self.graph(a, b, functions, 0)
            elif number == 25:
                for n, wire, a, b in self.fields(start, stop):
                    if n == 7 and wire == BYTES:
                        self.node(a, b, functions, 0)

    def graph(self, start: int, stop: int, functions: Functions, depth: int) -> None:
        if depth > _DEPTH:
            raise Damaged("graphs are nested deeper than the budget allows")
        for number, wire, a, b in self.fields(start, stop):
            if wire != BYTES:
                continue
            if number == 1:
                self.node(a, b, functions, depth)
            elif number == 5:
                self.tensor(a, b)
            elif number == 15:
                self.sparse(a, b)

    def node(self, start: int, stop: int, functions: Functions, depth: int) -> None:
        domain = op = ""
        for number, wire, a, b in self.fields(start, stop):
            if wire != BYTES:
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
        elif (domain, op) not in functions and (
            domain not in _DOMAINS or (op and op not in _known().get(domain, {op}))
        ):
            text = f"the operator {domain[:80]}::{op[:80]} is none of ONNX's own: it needs a custom library"
            self.inspection.report("onnx-custom-operator", Severity.HIGH, text, place, EMBEDDED_CODE)

    def attribute(self, start: int, stop: int, functions: Functions, depth: int) -> None:
        for number, wire, a, b in self.fields(start, stop):
            if wire != BYTES:
                continue
            if number in {6, 11}:
                self.graph(a, b, functions, depth + 1)
            elif number in {5, 10}:
                self.tensor(a, b)
            elif number in {22, 23}:
                self.sparse(a, b)

    def sparse(self, start: int, stop: int) -> None:
        for _, wire, a, b in self.fields(start, stop):
            if wire == BYTES:
                self.tensor(a, b)

    def tensor(self, start: int, stop: int) -> None:
        for number, wire, a, b in self.fields(start, stop):
            if number != 13 or wire != BYTES:
                continue
            pair = {n: self.text(c, d) for n, w, c, d in self.fields(a, b) if w == BYTES}
            key, value = pair.get(1, ""), pair.get(2, "")
            place = f"{self.where}@{a}"
            if key == "location" and (escapes(value) or "://" in value):
                text = f"a tensor is read from {value[:120]!r}, outside of the model's folder"
                self.inspection.report("onnx-external-path", Severity.CRITICAL, text, place, EMBEDDED_CODE)
            elif key not in {"location", "offset", "length", "checksum", "basepath"}:
                text = f"external data have the unknown setting {key[:60]!r}"
                self.inspection.report("onnx-external-setting", Severity.HIGH, text, place, EMBEDDED_CODE)


def _is_graph(data: Data, start: int, stop: int) -> bool:
    """Return whether a span begins as a graph does."""
    try:
        number, wire, _, _ = next(fields(data, start, stop, [2]), (1, BYTES, 0, 0))
    except Damaged:
        return False
    return number in _GRAPH_FIELDS and wire == BYTES


@cache
def _known() -> dict[str, frozenset[str]]:
    """Return the operators of the domains that ONNX defines, generated by ``tools/make_operations.py``."""
    from importlib.resources import files

    held = json.loads(files("assay.artifacts.formats").joinpath("onnx-operators.json").read_text("utf-8"))
    return {domain: frozenset(names) for domain, names in held["operators"].items()}
