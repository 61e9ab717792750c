"""Numbers between a sandbox and its caller: one JSON line and raw arrays, nothing that could run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from assay.core.errors import JobError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KINDS = "biufU"
_HEAD_BYTES = 1 << 20
_LARGEST = 4 << 30
_MOST_AXES = 32


def send(stream: IO[bytes], head: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one message. Raises JobError for an array of anything but numbers, booleans and text."""
    import numpy as np

    rows = []
    plain = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in arrays.items()}
    for name, value in plain.items():
        if value.dtype.kind not in _KINDS:
            raise JobError(f"{name} is an array of {value.dtype}", remedy="Only numbers, booleans and text travel")
        rows.append([name, value.dtype.str, list(value.shape)])
    text = json.dumps({**head, "arrays": rows}).encode()
    if len(text) > _HEAD_BYTES:
        raise JobError("the message has a head of more than 1 MiB", remedy="Send fewer or shorter names")
    stream.write(len(text).to_bytes(8, "big") + text)
    for value in plain.values():
        stream.write(value.tobytes())
    stream.flush()


def receive(stream: IO[bytes], *, limit: int = _LARGEST) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read one message of at most ``limit`` bytes. The other side is not trusted. Raises JobError when it is none."""
    size = int.from_bytes(_exactly(stream, 8), "big")
    if size > _HEAD_BYTES:
        raise JobError("the sandbox answered with something that is no message")
    try:
        head = json.loads(_exactly(stream, size))
        rows = head.pop("arrays")
        kinds = [_kind(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise JobError("the sandbox answered with something that is no message") from error
    arrays = {}
    for name, dtype, shape in kinds:
        count = math.prod(shape)
        limit -= count * dtype.itemsize
        if limit < 0:
            raise JobError("the sandbox answered with more bytes than the limit allows")
        import numpy as np

        arrays[name] = np.frombuffer(_exactly(stream, count * dtype.itemsize), dtype, count).reshape(shape)
    return head, arrays


def _kind(row: object) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    import numpy as np

    if not isinstance(row, list) or len(row) != 3 or not isinstance(row[0], str) or not isinstance(row[1], str):
        raise TypeError("row")
    dtype = np.dtype(row[1])
    shape = row[2]
    if dtype.kind not in _KINDS or dtype.itemsize < 1 or not isinstance(shape, list) or len(shape) > _MOST_AXES:
        raise TypeError("row")
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 40 for n in shape):
        raise TypeError("row")
    return row[0], dtype, tuple(shape)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise JobError("the sandbox ended before it answered", remedy="Its memory or time may have run out")
    return data
