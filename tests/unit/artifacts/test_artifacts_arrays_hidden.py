"""Raw arrays in joblib files end where numpy's sizes say, whatever the stream says; nothing hides in what is skipped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bypasses"))
from bombs import P4, name, text, wrapper

from assay.artifacts.report import FileVerdict
from assay.artifacts.scan import scan_bytes

EVIL = b"0" + name("os", "system") + text("true") + b"\x85R."
DTYPE = name("numpy", "dtype")


def dtype(code: str, state: bytes = b"") -> bytes:
    return DTYPE + text(code) + b"\x89\x88\x87R" + state


def state(fields: bytes = b"N", size: bytes = b"J\xff\xff\xff\xff", base: bytes = b"N") -> bytes:
    return b"(K\x03" + text("<") + base + b"N" + fields + size + b"J\xff\xff\xff\xffK\x00tb"


def array(kind: bytes, count: bytes = b"K\x01") -> bytes:
    shape = text("shape") + count + b"\x85" + text("dtype")
    return P4 + name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + shape + kind + b"ub"


def of_fields(kinds: list[bytes]) -> bytes:
    return b"}(" + b"".join(text(f"f{i}") + k + b"K\x00\x86" for i, k in enumerate(kinds)) + b"u"


def nested(depth: int) -> bytes:
    kind = dtype("O8")
    for _ in range(depth):
        kind = dtype("V8", state(of_fields([kind]), b"K\x08"))
    return kind


HIDDEN = {
    "behind the array": array(dtype("f8", state())) + bytes(8) + EVIL,
    "in the size that a state claims for a number": array(dtype("f8", state(size=b"M\xe8\x03"))) + bytes(8) + EVIL + bytes(2000),
    "in what objects claim as their own array": (
        array(dtype("O8", state())) + wrapper("V1", 10_000) + EVIL + bytes(10_000)
    ),
    "in objects of the sixth level": array(nested(6)) + P4 + EVIL[1:] + bytes(8),
    "in objects of the last field of 1500": array(dtype("V8", state(of_fields([dtype("i8")] * 1500 + [dtype("O8")]), b"K\x08"))) + P4 + EVIL[1:] + bytes(8),
    "in objects of a part of an array type": array(dtype("V16", state(base=dtype("O8") + b"K\x02\x85\x86", size=b"K\x10"))) + P4 + EVIL[1:] + bytes(16),
}  # fmt: skip


@pytest.mark.parametrize("where", HIDDEN)
def test_a_payload_is_found(where):
    assert scan_bytes(HIDDEN[where]).verdict is FileVerdict.MALICIOUS


@pytest.mark.parametrize(
    ("kind", "count", "size"),
    [
        (dtype("f8", state()), b"K\x03", 24),
        (dtype("V8", state(size=b"K\x28")), b"K\x02", 80),
        (dtype("U5"), b"K\x02", 40),
    ],
)
def test_sizes_are_numpys(kind, count, size):
    assert scan_bytes(array(kind, count) + b"." * size + b".").verdict is FileVerdict.CLEAN
    assert scan_bytes(array(kind, count) + b"." * (size - 1)).verdict is not FileVerdict.CLEAN


@pytest.mark.parametrize(
    "shape", [b"(" + b"K\x01" * 100 + b"t", b"\x8a\x20" + b"\x7f" * 32 + b"\x85", b"J\xff\xff\xff\xff\x85"]
)
def test_a_shape_that_numpy_refuses_is_never_clean(shape):
    body = P4 + name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + text("shape") + shape
    assert scan_bytes(body + text("dtype") + dtype("f8") + b"ub" + bytes(100) + b".").verdict is not FileVerdict.CLEAN
