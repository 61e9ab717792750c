"""Open Inference Protocol v2: bytes to rows, and answers to bytes, with the binary tensor extension.

Inputs are one tensor ``input`` [n, d] in model space, or one tensor a contract feature (BYTES for
categories and dates, FP32/FP64, INT*, UINT*, BOOL), [n] or [n, 1]. ``null`` in JSON is a missing value.
https://github.com/open-inference/open-inference-protocol, and Triton's binary tensor data extension.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from assay.core.canonical import parse
from assay.core.errors import FormatError
from assay.gateway.columns import Columns
from assay.gateway.limits import Caps
from assay.gateway.reject import Rejected

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {
    "FP64": "<f8", "FP32": "<f4", "FP16": "<f2", "BOOL": "?",
    "INT64": "<i8", "INT32": "<i4", "INT16": "<i2", "INT8": "i1",
    "UINT64": "<u8", "UINT32": "<u4", "UINT16": "<u2", "UINT8": "u1",
}  # fmt: skip
_BAD_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class Tensor(msgspec.Struct):
    """One input as sent. ``data`` stays raw until its datatype says how to read it; empty: it is binary."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: dict[str, Any] | None = None


class Output(msgspec.Struct):
    """One output as asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct):
    """The JSON part of an inference request."""

    inputs: list[Tensor]
    id: str = ""
    outputs: list[Output] | None = None
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A decoded request: rows (n, d), the caller's id, which outputs are wanted ((): all) and which as binary."""

    x: NDArray[np.float64]
    id: str = ""
    wanted: tuple[str, ...] = ()
    binary: frozenset[str] = frozenset()


_request = msgspec.json.Decoder(InferRequest).decode
_flat = msgspec.json.Decoder(list[float | None]).decode
_nested = msgspec.json.Decoder(list[list[float | None]]).decode
_bools = msgspec.json.Decoder(list[bool | None]).decode
_texts = msgspec.json.Decoder(list[str | None]).decode
_encode = msgspec.json.Encoder().encode


def decode(body: bytes, header_length: bytes | None, columns: Columns, caps: Caps) -> Ask:
    """Return the rows of an OIP v2 request. header_length: ``Inference-Header-Content-Length``, None for pure JSON.

    Raises Rejected 400 (not JSON, a key twice, lengths that lie), 413 (too many rows), 422 (not the model's input).
    """
    head, tail = _split(body, header_length)
    try:
        request = _request(head)
        _refuse_repeats(head, len(request.inputs))
        if len(request.inputs) == 1 and request.inputs[0].name == "input":
            x, rest = _matrix(request.inputs[0], tail, columns.width, caps)
        else:
            x, rest = _table(request.inputs, tail, columns, caps)
    except _BAD_JSON as error:
        raise Rejected(400, "json", f"not an inference request ({str(error)[:160]})") from None
    if rest:
        raise Rejected(400, "binary", f"{len(rest)} bytes follow the last tensor")
    if np.isinf(x).any():
        raise Rejected(422, "not_finite", "an infinite value")
    wanted = request.outputs or []
    unknown = [o.name for o in wanted if o.name not in {"label", "probabilities"}]
    if unknown:
        raise Rejected(422, "outputs", f"there is no output {unknown[0][:80]!r}")
    every = bool((request.parameters or {}).get("binary_data_output"))
    asked = {o.name: (o.parameters or {}).get("binary_data", every) for o in wanted}
    names = ("label", "probabilities")
    return Ask(x, request.id, tuple(asked), frozenset(n for n in names if asked.get(n, every)))


def encode(
    ask: Ask, labels: NDArray[np.intp], probabilities: NDArray[np.float64] | None, *, model: str, version: str
) -> tuple[bytes, int | None]:
    """Return the body of the answer, and the length of its JSON part when binary tensors follow it."""
    outputs: list[dict[str, object]] = []
    tail = []
    tensors: list[tuple[str, str, NDArray[Any]]] = [("label", "INT64", labels)]
    if probabilities is not None:
        tensors.append(("probabilities", "FP64", probabilities))
    for name, datatype, values in tensors:
        if ask.wanted and name not in ask.wanted:
            continue
        record: dict[str, object] = {"name": name, "shape": values.shape, "datatype": datatype}
        if name in ask.binary:
            raw = values.astype(_DTYPES[datatype], copy=False).tobytes()
            record["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        else:
            record["data"] = values.ravel().tolist()
        outputs.append(record)
    answer: dict[str, object] = {"model_name": model, "model_version": version, "outputs": outputs}
    if ask.id:
        answer["id"] = ask.id
    head = _encode(answer)
    return (head + b"".join(tail), len(head)) if tail else (head, None)


def _split(body: bytes, header_length: bytes | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    if not header_length.isdigit() or len(header_length) > 12 or int(header_length) > len(body):
        raise Rejected(400, "binary", "Inference-Header-Content-Length is not a length within the body")
    size = int(header_length)
    return body[:size], memoryview(body)[size:]


def _refuse_repeats(head: bytes, tensors: int) -> None:
    # A repeated key is one that two readers may read differently. Counting is enough in the usual case;
    # where counts differ (a category that is called "data", an escape), the strict parser decides.
    if (
        head.count(b'"inputs"') == 1
        and head.count(b'"shape"') == tensors
        and head.count(b'"data"') <= tensors
        and head.count(b'"datatype"') == tensors
        and b"\\" not in head
    ):
        return
    try:
        parse(head)
    except FormatError as error:
        raise Rejected(400, "json", error.message[:200]) from None


def _rows(tensor: Tensor, caps: Caps) -> int:
    shape = tensor.shape
    if not shape or min(shape) < 0 or max(shape) > 2**31 or len(shape) > 8:
        raise Rejected(422, "shape", f"the tensor {tensor.name[:80]!r} has an impossible shape")
    if shape[0] > caps.rows:
        raise Rejected(413, "rows", f"more than {caps.rows} rows")
    if shape[0] == 0:
        raise Rejected(422, "shape", "no rows")
    return shape[0]


def _matrix(tensor: Tensor, tail: memoryview, width: int, caps: Caps) -> tuple[NDArray[np.float64], memoryview]:
    n = _rows(tensor, caps)
    size = math.prod(tensor.shape)
    if len(tensor.shape) < 2 or size != n * width:
        raise Rejected(422, "shape", f"the tensor 'input' must have shape [n, {width}]")
    if tensor.datatype == "BYTES" or tensor.datatype not in _DTYPES:
        raise Rejected(422, "type", "the tensor 'input' must be of numbers")
    if not tensor.data:
        values, tail = _binary(tensor, tail, size)
        return values.astype(np.float64).reshape(n, width), tail
    return _numbers(tensor.data, size).reshape(n, width), tail


def _numbers(data: msgspec.Raw, size: int) -> NDArray[np.float64]:
    try:
        values: Sequence[float | None] = _flat(data)
    except msgspec.ValidationError:
        values = [v for row in _nested(data) for v in row]
    if len(values) != size:
        raise Rejected(422, "shape", f"{len(values)} values where the shape says {size}")
    return np.array(values, dtype=np.float64)


def _table(
    inputs: list[Tensor], tail: memoryview, columns: Columns, caps: Caps
) -> tuple[NDArray[np.float64], memoryview]:
    if not inputs:
        raise Rejected(422, "columns", "no input")
    if len({t.name for t in inputs}) != len(inputs):
        raise Rejected(422, "columns", "a tensor is given twice")
    n = _rows(inputs[0], caps)
    values: dict[str, Sequence[object]] = {}
    for tensor in inputs:
        if tensor.shape not in ([n], [n, 1]):
            raise Rejected(422, "shape", f"the tensor {tensor.name[:80]!r} must have shape [{n}] or [{n}, 1]")
        if not tensor.data:
            values[tensor.name], tail = _binary_list(tensor, tail, n)
        else:
            values[tensor.name] = _json_list(tensor, n)
    return columns.encode(values, n), tail


def _json_list(tensor: Tensor, n: int) -> Sequence[object]:
    data = tensor.data
    if tensor.datatype == "BYTES":
        return _texts(data)
    if tensor.datatype == "BOOL":
        return _bools(data)
    if tensor.datatype not in _DTYPES:
        raise Rejected(422, "type", f"there is no datatype {tensor.datatype[:20]!r}")
    try:
        return _flat(data)
    except msgspec.ValidationError:
        rows = _nested(data)
        if len(rows) != n or any(len(row) != 1 for row in rows):
            raise Rejected(422, "shape", f"the tensor {tensor.name[:80]!r} is not one column") from None
        return [row[0] for row in rows]


def _binary(tensor: Tensor, tail: memoryview, size: int) -> tuple[NDArray[Any], memoryview]:
    dtype = np.dtype(_DTYPES[tensor.datatype])
    raw, tail = _take(tensor, tail)
    if len(raw) != size * dtype.itemsize:
        raise Rejected(422, "shape", f"{len(raw)} bytes where the shape says {size * dtype.itemsize}")
    if tensor.datatype == "BOOL":
        return np.frombuffer(raw, dtype=np.uint8) != 0, tail
    return np.frombuffer(raw, dtype=dtype), tail


def _binary_list(tensor: Tensor, tail: memoryview, n: int) -> tuple[Sequence[object], memoryview]:
    if tensor.datatype != "BYTES":
        if tensor.datatype not in _DTYPES:
            raise Rejected(422, "type", f"there is no datatype {tensor.datatype[:20]!r}")
        values, tail = _binary(tensor, tail, n)
        return cast("list[object]", values.tolist()), tail
    raw, tail = _take(tensor, tail)
    texts: list[object] = []
    while raw and len(texts) < n:
        (length,) = struct.unpack_from("<I", raw) if len(raw) >= 4 else (len(raw),)
        if 4 + length > len(raw):
            raise Rejected(400, "binary", "a text is longer than its tensor")
        texts.append(bytes(raw[4 : 4 + length]).decode("utf-8"))
        raw = raw[4 + length :]
    if raw or len(texts) != n:
        raise Rejected(422, "shape", f"the tensor {tensor.name[:80]!r} does not hold {n} texts")
    return texts, tail


def _take(tensor: Tensor, tail: memoryview) -> tuple[memoryview, memoryview]:
    size = (tensor.parameters or {}).get("binary_data_size")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(tail):
        raise Rejected(
            400, "binary", f"the tensor {tensor.name[:80]!r} has neither data nor a binary size within the body"
        )
    return tail[:size], tail[size:]
