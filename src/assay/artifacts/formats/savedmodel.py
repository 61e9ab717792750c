"""TensorFlow SavedModel: the operations of its graphs and of the functions in their library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from assay.artifacts.protobuf import BYTES, MOST_FIELDS, VARINT, Damaged, fields
from assay.artifacts.reader import EMBEDDED_CODE, Data, FormatReader, Inspection
from assay.core.finding import Severity

# What a graph can do beyond computing: files, processes of the host, code outside of the model.
_DANGEROUS = {
    "ReadFile": "reads any file", "WriteFile": "writes any file", "MatchingFiles": "lists files",
    "PyFunc": "calls Python of the host", "PyFuncStateless": "calls Python of the host",
    "EagerPyFunc": "calls Python of the host", "WholeFileReader": "reads any file", "WholeFileReaderV2": "reads any file",
    "TextLineReader": "reads any file", "TextLineReaderV2": "reads any file", "FixedLengthRecordReader": "reads any file",
    "FixedLengthRecordReaderV2": "reads any file", "TFRecordReader": "reads any file", "TFRecordReaderV2": "reads any file",
    "ReaderReadV2": "reads any file", "TextLineDataset": "reads any file", "TFRecordDataset": "reads any file",
    "TFRecordDatasetV2": "reads any file", "FixedLengthRecordDataset": "reads any file",
    "FixedLengthRecordDatasetV2": "reads any file", "DebugIdentity": "sends values elsewhere",
    "DebugIdentityV2": "writes values to files", "DebugIdentityV3": "writes values to files",
    "GenerateBigQueryReaderPartitions": "reads from elsewhere", "BigQueryReader": "reads from elsewhere",
    "WriteSummary": "writes files", "WriteGraphSummary": "writes files", "CreateSummaryFileWriter": "writes files",
    "SaveDataset": "writes files", "SaveDatasetV2": "writes files", "LoadDataset": "reads any file",
    "DistributedSave": "writes files", "SnapshotDatasetV2": "writes files", "FileSystemSetConfiguration": "changes the host",
    "ImmutableConst": "reads any file", "Abort": "ends the process", "LoadAndRemapMatrix": "reads any file",
    "CSVDataset": "reads any file", "CSVDatasetV2": "reads any file", "LMDBDataset": "reads any file",
    "LMDBReader": "reads any file",
    "MatchingFilesDataset": "lists files", "SnapshotDataset": "writes files", "SnapshotDatasetReader": "reads any file",
    "CreateSummaryDbWriter": "writes files", "ImportEvent": "writes files", "DebugGradientIdentity": "sends values elsewhere",
    "DebugNanCount": "sends values elsewhere", "DebugNumericSummary": "sends values elsewhere",
    "DebugNumericSummaryV2": "sends values elsewhere", "DataServiceDataset": "talks to another machine",
    "DataServiceDatasetV2": "talks to another machine", "DataServiceDatasetV3": "talks to another machine",
    "DataServiceDatasetV4": "talks to another machine", "RegisterDatasetV2": "sends data elsewhere",
    "RegisterDataset": "sends data elsewhere", "RpcCall": "calls another machine", "RpcClient": "calls another machine",
    "Rpc": "calls another machine", "TryRpc": "calls another machine", "SqlDataset": "reads a data base",
}  # fmt: skip
# Savers write and read where the caller says; a path that is fixed in the graph is the author's choice.
_SAVERS = {"SaveV2": "writes", "Save": "writes", "SaveSlices": "writes", "RestoreV2": "reads", "Restore": "reads",
           "RestoreSlice": "reads", "MergeV2Checkpoints": "writes"}  # fmt: skip
# The last bytes of a table as LevelDB writes them, which checkpoints use.
INDEX_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_REMEDY = "Do not load the model, or rebuild it from its weights"


class SavedModelReader(FormatReader, name="savedmodel", techniques=(EMBEDDED_CODE,)):
    """Walk graphs, functions and their nodes of a ``saved_model.pb``, or of a bare graph definition."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins with a schema version and meta graphs, or with nodes of a graph."""
        if len(data) < 16 or data[0] not in {0x08, 0x0A}:
            return False
        try:
            found = [(n, w, a, b) for n, w, a, b in fields(data, 0, len(data), [4_000])]
        except Damaged:
            return data[0] == 0x08 and data[1] == 0x01 and data[2] == 0x12
        numbers = {n for n, _, _, _ in found}
        if found[0][:2] == (1, VARINT):
            return numbers == {1, 2}
        return (
            numbers <= {1, 2, 3, 4}
            and all(w == BYTES for n, w, _, _ in found if n in {1, 2, 4})
            and _is_node(data, found[0])
        )

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine every node."""
        left = [MOST_FIELDS]
        try:
            for start, stop in _graphs(data, left):
                for node in _nodes(data, start, stop, left):
                    judge_operation(node.op, node.name, f"{where}@{node.place}", inspection)
                    _judge_path(node, f"{where}@{node.place}", inspection)
        except Damaged as damage:
            inspection.error(where, str(damage))
        return "savedmodel"


class CheckpointReader(FormatReader, name="tf-checkpoint"):
    """The index of a checkpoint, and the fingerprint beside a SavedModel: numbers and names, nothing that runs."""

    def claims(self, data: Data) -> bool:
        """Return whether the content ends as an index table, or is a fingerprint record."""
        return bytes(data[-8:]) == INDEX_MAGIC or _is_fingerprint(data)

    def read(self, data: Data, where: str, inspection: Inspection) -> str:  # noqa: ARG002 - nothing to say
        """Return the name of the format."""
        return "tf-checkpoint-index" if bytes(data[-8:]) == INDEX_MAGIC else "tf-fingerprint"


def _is_fingerprint(data: Data) -> bool:
    if not 40 <= len(data) <= 512 or data[0] != 0x08:
        return False
    try:
        found = {n: w for n, w, _, _ in fields(data, 0, len(data), [32])}
    except Damaged:
        return False
    return set(found) <= set(range(1, 8)) and {1, 2, 3, 4} <= {n for n, w in found.items() if w == VARINT}


def judge_operation(op: str, name: str, place: str, inspection: Inspection) -> None:
    """Report an operation that reaches out of the graph, or that TensorFlow itself does not have."""
    op = op.removeprefix("Experimental") if op.removeprefix("Experimental") in _DANGEROUS else op
    if does := _DANGEROUS.get(op):
        text = f"the operation {op} ({name[:60]}) {does} when the model is used"
        inspection.report("savedmodel-operation", Severity.CRITICAL, text, place, EMBEDDED_CODE, _REMEDY)
    elif op not in _known():
        text = f"the operation {op[:80]!r} ({name[:60]}) is none of TensorFlow's own: it needs a custom library"
        inspection.report("savedmodel-custom-operation", Severity.HIGH, text, place, EMBEDDED_CODE, _REMEDY)


def _graphs(data: Data, left: list[int]) -> Iterator[tuple[int, int]]:
    if data[0] == 0x0A:
        yield 0, len(data)
        return
    for number, wire, start, stop in fields(data, 0, len(data), left):
        if number == 2 and wire == BYTES:
            for n, w, a, b in fields(data, start, stop, left):
                if n == 2 and w == BYTES:
                    yield a, b


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of a graph. fed: the name of what its first input comes from, and the operation that makes that."""

    op: str
    name: str
    place: int
    stream: str
    fed: str
    source: str = ""


def _judge_path(node: _Node, place: str, inspection: Inspection) -> None:
    if node.op == "PrintV2" and node.stream.startswith("file:"):
        text = f"the operation PrintV2 ({node.name[:60]}) writes to {node.stream[:120]!r} when the model is used"
    elif node.op in _SAVERS and node.source == "Const":
        text = (
            f"the operation {node.op} ({node.name[:60]}) {_SAVERS[node.op]} a file at a path that is fixed in the model"
        )
    else:
        return
    inspection.report("savedmodel-operation", Severity.CRITICAL, text, place, EMBEDDED_CODE, _REMEDY)


def _nodes(data: Data, start: int, stop: int, left: list[int]) -> Iterator[_Node]:
    """Yield every node of a graph and of the functions in its library."""
    functions: set[str] = set()
    bodies: list[list[_Node]] = [[]]
    for number, wire, a, b in fields(data, start, stop, left):
        if wire != BYTES:
            continue
        if number == 1:
            bodies[0].append(_node(data, a, b, left))
        elif number == 2:
            for n, w, c, d in fields(data, a, b, left):
                if n == 1 and w == BYTES:
                    names, body = _function(data, c, d, left)
                    functions |= names
                    bodies.append(body)
    for body in bodies:
        made = {n.name: n.op for n in body}
        yield from (replace(n, source=made.get(n.fed, "")) for n in body if n.op not in functions)


def _function(data: Data, start: int, stop: int, left: list[int]) -> tuple[set[str], list[_Node]]:
    names: set[str] = set()
    found: list[_Node] = []
    for number, wire, a, b in fields(data, start, stop, left):
        if wire == BYTES and number == 1:
            names |= {_text(data, c, d) for n, w, c, d in fields(data, a, b, left) if n == 1 and w == BYTES}
        elif wire == BYTES and number == 3:
            found.append(_node(data, a, b, left))
    # A function that bears the name of a dangerous operation does not make the operation harmless.
    return names - set(_DANGEROUS) - set(_SAVERS) - {"PrintV2"}, found


def _node(data: Data, start: int, stop: int, left: list[int]) -> _Node:
    op = name = stream = fed = ""
    for number, wire, a, b in fields(data, start, stop, left):
        if wire != BYTES:
            continue
        if number == 1:
            name = _text(data, a, b)
        elif number == 2:
            op = _text(data, a, b)
        elif number == 3 and not fed:
            fed = _text(data, a, b).lstrip("^").partition(":")[0]
        elif number == 5 and op == "PrintV2":
            stream = stream or _output_stream(data, a, b, left)
    return _Node(op, name, start, stream, fed)


def _output_stream(data: Data, start: int, stop: int, left: list[int]) -> str:
    key = value = ""
    for number, wire, a, b in fields(data, start, stop, left):
        if wire == BYTES and number == 1:
            key = _text(data, a, b)
        elif wire == BYTES and number == 2:
            value = next((_text(data, c, d) for n, w, c, d in fields(data, a, b, left) if n == 2 and w == BYTES), "")
    return value if key == "output_stream" else ""


def _is_node(data: Data, field: tuple[int, int, int, int]) -> bool:
    try:
        parts = {n: w for n, w, _, _ in fields(data, field[2], field[3], [500])}
    except Damaged:
        return False
    return parts.get(1) == BYTES and parts.get(2) == BYTES and set(parts) <= {1, 2, 3, 4, 5, 6, 7}


def _text(data: Data, start: int, stop: int) -> str:
    return data[start : min(stop, start + 512)].decode("utf-8", "replace")


@cache
def _known() -> frozenset[str]:
    """Return the names of TensorFlow's own operations, generated by ``tools/make_operations.py``."""
    from importlib.resources import files

    held = json.loads(files("assay.artifacts.formats").joinpath("tensorflow-operations.json").read_text("utf-8"))
    return frozenset(held["operations"])
