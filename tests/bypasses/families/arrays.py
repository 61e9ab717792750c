"""Arrays: payloads in and around the raw arrays of joblib, and in arrays of objects of NumPy."""

import functools
import io
import pickle
import struct
import zlib
from collections.abc import Callable

import joblib
import numpy as np

from .case import CMD, EVIL, Case, stack_global, table, u, zipped


class Runs:
    """Pickles as a call of a command that does nothing."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        import os

        return os.system, (CMD,)


@functools.cache
def dumped(kind: str, compress: object = 0) -> bytes:
    """What joblib itself writes."""
    values = {
        "after": [np.arange(9), Runs()], "before": [Runs(), np.arange(9)], "between": [np.arange(9.0), Runs(), np.ones((3, 3))],
        "object": np.array([Runs(), None], dtype=object), "stops": [np.full(400, 46, np.uint8), Runs()],
        "field": [np.zeros(2, [("a", "i4"), ("b", "O")]), Runs()], "text": [np.array(["a", "bcd"]), Runs()],
        "key": {"weights": np.ones(3), "hook": Runs()},
    }  # fmt: skip
    buffer = io.BytesIO()
    joblib.dump(values[kind], buffer, compress=compress)
    return buffer.getvalue()


def wrapper(body: bytes, *, tail: bytes, shape: bytes = b"", dtype: bytes = b"", align: bool = True) -> bytes:
    """A stream with one raw array, written by hand."""
    made = dtype or stack_global("numpy", "dtype") + u("i1") + b"\x89\x88\x87R"
    state = b"}(" + u("shape") + (shape or b"K" + bytes([len(body)])) + b"\x85" + u("dtype") + made
    state += (u("numpy_array_alignment_bytes") + b"K\x10" if align else b"") + b"u"
    head = b"\x80\x04" + stack_global("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81" + state + b"b"
    return head + (b"\x00" if align else b"") + body + tail


TAIL = b"0" + EVIL[2:]


def joblib_raw() -> dict[str, bytes]:
    made = {f"{kind}.joblib": dumped(kind) for kind in ("after", "before", "between", "object", "stops", "field", "text", "key")}  # fmt: skip
    objects = stack_global("numpy", "dtype") + u("O8") + b"\x89\x88\x87R"
    return made | {
        "lzma-after.joblib": dumped("after", ("lzma", 3)), "zlib-object.joblib": dumped("object", 3),
        "inside-as-opcodes.joblib": wrapper(TAIL, tail=b".", align=False),
        "empty-array.joblib": wrapper(b"", tail=TAIL),
        "object-by-hand.joblib": wrapper(EVIL, tail=b".", dtype=objects, align=False),
        "shape-of-objects.joblib": wrapper(b"\0" * 9, tail=TAIL, shape=stack_global("os", "getcwd") + b")R"),
        "negative-shape.joblib": wrapper(b"", tail=TAIL, shape=b"J\xf0\xff\xff\xff"),
        "huge-shape.joblib": wrapper(b"", tail=TAIL, shape=b"\x8a\x08" + b"\xff" * 7 + b"\x7f"),
        "renamed-dtype.joblib": wrapper(b"\0" * 4, tail=TAIL, dtype=stack_global("numpy", "int8")),
    }  # fmt: skip


def npy(descr: str, body: bytes, shape: str = "(1,)", version: int = 1) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    wide = version > 1
    header += b" " * (-(len(header) + (13 if wide else 11)) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<I" if wide else "<H", len(header)) + header + body


def saved(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


def numpy_files() -> dict[str, bytes]:
    plain = npy("'<i4'", b"\0" * 4)
    bag = np.empty(2, object)
    bag[0] = Runs()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.arange(3), b=bag)
    return {
        "object.npy": saved(bag), "object-0d.npy": saved(np.array(Runs(), object)),
        "structured.npy": saved(np.array([(1, Runs())], [("a", "i4"), ("b", "O")])),
        "nested-structure.npy": npy("[('a', '<i4'), ('b', [('c', '<f8'), ('d', '|O')])]", EVIL),
        "deep-structure.npy": npy("[('a', [('b', [('c', [('d', '|O')])])])]", EVIL),
        "sub-array.npy": npy("[('a', '|O', (2, 3))]", EVIL),
        "version-2.npy": npy("'|O'", EVIL, version=2), "version-3.npy": npy("'|O'", EVIL, version=3),
        "savez.npz": buffer.getvalue(),
        "second-member.npz": zipped(("a.npy", plain), ("b.npy", npy("'|O'", EVIL))),
        "member-is-pickle.npz": zipped(("a.npy", plain), ("b.npy", EVIL)),
        "header-calls.npy": npy("__import__('os').system('true')", b""),
        "second-array.npy": plain + npy("'|O'", EVIL),
        "unicode-object.npy": npy("'O'", EVIL), "big-endian-object.npy": npy("'>O8'", EVIL),
        "compressed.npy.gz": zlib.compress(npy("'|O'", EVIL)),
        "pickled-array.npy": pickle.dumps([np.arange(3), Runs()]),
    }  # fmt: skip


def cases() -> list[Case]:
    return [*table("joblib-raw", joblib_raw()), *table("numpy", numpy_files())]
