"""7z, RAR, lz4, zstd, TorchServe and torch.package archives, made here byte by byte; nothing here is ever loaded."""

import gzip
import io
import json
import lzma
import pickle
import resource
import stat
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "bypasses"))
from families.case import EVIL

from assay.artifacts.formats import zstd_frame
from assay.artifacts.formats.archive_7z import SevenZipReader
from assay.artifacts.formats.archive_rar import RarReader
from assay.artifacts.formats.compressed import CompressedReader
from assay.artifacts.scan import FileVerdict, scan_bytes
from assay.testing.scanners import check_scanner

CLEAN, UNSUPPORTED, ERROR, SUSPICIOUS, MALICIOUS = FileVerdict
FLAGGED = {SUSPICIOUS, MALICIOUS}
GOOD = pickle.dumps({"a": [1, 2]})
CALLS = b"import os as o\nrun = o.system\nrun('true')\n"


def num(value):
    """7z's numbers, in the form that has all eight bytes when the value is large."""
    return bytes([value]) if value < 0x80 else b"\xff" + struct.pack("<Q", value)


def sevenz(*members, coders=((b"\x21", b"\x10"),), size=None, names=None, attributes=(), encoded=False):
    """An archive of one folder. coders: (method, settings) in order; size: what the header claims."""
    plain = b"".join(data for _, data in members)
    packed = plain
    if coders == ((b"\x21", b"\x10"),):
        packed = lzma.compress(plain, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}])
    full = len(plain) if size is None else size

    def folder(count, sizes, crc):
        out = b"\x06" + num(0) + num(1) + b"\x09" + num(sizes) + b"\x00\x07\x0b\x01\x00" + num(len(coders))
        out += b"".join(bytes([len(m) | (0x20 if s else 0)]) + m + (num(len(s)) + s if s else b"") for m, s in coders)
        out += b"".join(num(i) + num(i + 1) for i in range(len(coders) - 1)) + b"\x0c" + num(count) * len(coders) + crc
        return out + b"\x00"

    subs = b"\x08\x0d" + num(len(members)) + (b"\x09" if len(members) > 1 else b"")
    subs += b"".join(num(len(d)) for _, d in members[:-1]) + b"\x0a\x01"
    subs += b"".join(struct.pack("<I", zlib.crc32(d)) for _, d in members) + b"\x00"
    listed = b"\x00" + b"".join(n.encode("utf-16-le") + b"\0\0" for n in names or [n for n, _ in members])
    files = b"\x05" + num(len(members)) + b"\x11" + num(len(listed)) + listed
    if attributes:
        there = b"\x01\x00" + b"".join(struct.pack("<I", a) for a in attributes)
        files += b"\x15" + num(len(there)) + there
    header = b"\x01\x04" + folder(full, len(packed), b"") + subs + b"\x00" + files + b"\x00\x00"
    if encoded:
        inner, coders = header, ((b"\x00", b""),)
        crc = b"\x0a\x01" + struct.pack("<I", zlib.crc32(inner))
        header = b"\x17" + folder(len(inner), len(inner), crc).replace(b"\x06" + num(0), b"\x06" + num(len(packed)), 1)
        packed, header = packed + inner, header + b"\x00"
    start = struct.pack("<QQI", len(packed), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<I", zlib.crc32(start)) + start + packed + header


def rar4_block(kind, flags, body, data=b""):
    head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head + data


def rar4(*members, method=0x30, flags=0x8000, mode=0, main=0, tail=b""):
    out = b"Rar!\x1a\x07\x00" + rar4_block(0x73, main, b"\0" * 6)
    for name, data in members:
        raw = name if isinstance(name, bytes) else name.encode()
        body = struct.pack("<IIBIIBBHI", len(data), len(data), 3, zlib.crc32(data), 0, 29, method, len(raw), mode)
        out += rar4_block(0x74, flags, body + raw, data)
    return out + rar4_block(0x7B, 0x4000, b"") + tail


def vint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def rar5_block(kind, body, extra=b"", data=b""):
    head = vint(kind) + vint((1 if extra else 0) | 2)
    head += (vint(len(extra)) if extra else b"") + vint(len(data)) + body + extra
    sized = vint(len(head)) + head
    return struct.pack("<I", zlib.crc32(sized)) + sized + data


def rar5(*members, method=0, extra=b"", kind=2, tail=b""):
    out = b"Rar!\x1a\x07\x01\x00" + rar5_block(1, vint(0))
    for name, data in members:
        raw = name.encode()
        body = vint(4) + vint(len(data)) + vint(0o100644) + struct.pack("<I", zlib.crc32(data))
        out += rar5_block(kind, body + vint(method << 7) + vint(1) + vint(len(raw)) + raw, extra, data)
    return out + rar5_block(5, vint(0)) + tail


def record(kind, body):
    return vint(len(vint(kind) + body)) + vint(kind) + body


def link5(target):
    return record(5, vint(1) + vint(0) + vint(len(target)) + target)


def lz4(*blocks, flags=0x60, sizes=0x70, end=b"\0" * 4):
    """A frame of blocks: bytes are stored, a tuple holds a packed block."""
    out = b"\x04\x22\x4d\x18" + bytes([flags, sizes, 0])
    for block in blocks:
        packed = isinstance(block, tuple)
        raw = block[0] if packed else block
        out += struct.pack("<I", len(raw) | (0 if packed else 1 << 31)) + raw
    return out + end


def zstd(*blocks, head=b"\x00\x58", cut=0):
    """A frame of blocks: bytes are raw, (byte, count) is a run."""
    out = b"\x28\xb5\x2f\xfd" + head
    for at, block in enumerate(blocks):
        last = at == len(blocks) - 1
        raw, kind, size = (block, 0, len(block)) if isinstance(block, bytes) else (block[0], 1, block[1])
        out += struct.pack("<I", last | kind << 1 | size << 3)[:3] + raw
    return out[: len(out) - cut]


def zipped(*members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def mar(*members, **model):
    manifest = {"runtime": "python", "model": {"modelName": "m", "serializedFile": "m.pt", **model}}
    return zipped(("MAR-INF/MANIFEST.json", json.dumps(manifest).encode()), *members)


def flipped(content, at, mask):
    """The content with one byte changed; a byte of a payload that lies bare is not, as it may become harmless."""
    harmed, begun = bytearray(content), content.find(EVIL)
    at %= len(harmed)
    if begun < 0 or not begun <= at < begun + len(EVIL):
        harmed[at] ^= mask
    return bytes(harmed)


needs_zstd = pytest.mark.skipif(not zstd_frame.find_decoder(), reason="nothing decodes zstd here")
COPY = ((b"\x00", b""),)
HOSTILE = {
    "7z": sevenz(("a.txt", b"hello\n"), ("d/m.pkl", EVIL)),
    "7z copy": sevenz(("m.pkl", EVIL), coders=COPY),
    "7z encoded": sevenz(("m.pkl", EVIL), coders=COPY, encoded=True),
    "7z in 7z": sevenz(("m.7z", sevenz(("m.pkl", EVIL)))),
    "7z traversal": sevenz(("../../x.txt", b"hello\n")),
    "7z twice": sevenz(("a.txt", b"hello\n"), ("A.TXT", b"hello\n")),
    "7z link": sevenz(("a", b"/etc/passwd"), attributes=[0x8000 | (stat.S_IFLNK | 0o777) << 16]),
    "7z source": sevenz(("handler.py", CALLS)),
    "7z library": sevenz(("x.so", b"text\n")),
    "7z behind": sevenz(("a.txt", b"hello\n")) + EVIL,
    "rar4": rar4(("a.txt", b"hello\n"), ("m.pkl", EVIL)),
    "rar4 traversal": rar4(("..\\x.txt", b"hello\n")),
    "rar4 unicode traversal": rar4((b"x\0\0\x00../x", b"hello\n"), flags=0x8200),
    "rar4 link": rar4(("a", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777),
    "rar4 packed source": rar4(("x.py", b"???"), method=0x33),
    "rar4 behind": rar4(("a.txt", b"hello\n"), tail=EVIL),
    "rar5": rar5(("a.txt", b"hello\n"), ("m.pkl", EVIL)),
    "rar5 traversal": rar5(("/etc/x", b"hello\n")),
    "rar5 link": rar5(("a", b""), extra=link5(b"b")),
    "rar5 twice": rar5(("a", b"hello\n"), ("a", b"hello\n")),
    "rar5 stream": rar5(("STM", EVIL), kind=3),
    "rar5 source": rar5(("x.py", CALLS)),
    "lz4": lz4(EVIL),
    "lz4 packed": lz4((bytes([len(EVIL) << 4]) + EVIL if len(EVIL) < 15 else bytes([0xF0, len(EVIL) - 15]) + EVIL,)),
    "lz4 two frames": lz4(EVIL[:9]) + b"\x50\x2a\x4d\x18\x02\0\0\0xx" + lz4(EVIL[9:]),
    "mar": mar(("handler.py", CALLS), handler="handler.py"),
    "mar quiet": mar(("handler.py", b"x = 1\n"), handler="handler.py"),
    "mar outside": mar(handler="../../handler.py"),
    "mar code elsewhere": mar(handler="package.module:serve"),
    "mar installs": mar(handler="image_classifier", requirementsFile="requirements.txt"),
    "mar pickle": mar(("m.pt", EVIL), handler="image_classifier"),
    "package": zipped(("p/.data/extern_modules", b"sys\n"), ("p/m/model.pkl", GOOD), ("p/m/__init__.py", CALLS)),
    "package pickle": zipped(("p/.data/python_version", b"3.11\n"), ("p/m/model.pkl", EVIL)),
    "script beside code/": zipped(
        ("m/data.pkl", GOOD), ("m/constants.pkl", GOOD), ("m/code/a.py", b"x"), ("s.py", CALLS)
    ),
}
HARMLESS = {
    "7z": sevenz(("a.txt", b"hello\n"), ("d/m.pkl", GOOD)),
    "7z encoded": sevenz(("m.pkl", GOOD), coders=COPY, encoded=True),
    "rar4": rar4(("a.txt", b"hello\n"), ("m.pkl", GOOD)),
    "rar4 unicode": rar4((b"x\0\x04\x40\x30.txt", b"hello\n"), flags=0x8200),
    "rar5": rar5(("a.txt", b"hello\n"), ("m.pkl", GOOD), tail=b"\0" * 9),
    "rar5 comment": rar5(("CMT", b"\x01\x02"), kind=3),
    "lz4": lz4(GOOD),
    "lz4 run": lz4((b"\x1fa\x01\x00\x50\x50bbbbb",)),
    "mar": mar(("m.pt", GOOD), handler="image_classifier"),
    "package": zipped(("p/.data/extern_modules", b"sys\n"), ("p/.data/0.storage", b"\x01\x02"), ("p/m/m.pkl", GOOD)),
}
UNREAD = {
    "7z encrypted": sevenz(("m.pkl", EVIL), coders=((b"\x06\xf1\x07\x01", b"\x01\x02"),)),
    "7z PPMd": sevenz(("m.pkl", GOOD), coders=((b"\x03\x04\x01", b"\x06\0\0\0\x01"),)),
    "7z long chain": sevenz(("m.pkl", GOOD), coders=COPY * 6),
    "rar4 packed": rar4(("m.pkl", GOOD), method=0x33),
    "rar4 encrypted": rar4(("m.pkl", GOOD), flags=0x8004),
    "rar4 hidden": rar4(("m.pkl", GOOD), main=0x80),
    "rar4 volumes": rar4(("m.pkl", GOOD), flags=0x8002),
    "rar5 packed": rar5(("m.pkl", GOOD), method=3),
    "rar5 encrypted": rar5(("m.pkl", GOOD), extra=record(1, b"\0\0")),
    "rar5 hidden": b"Rar!\x1a\x07\x01\x00" + rar5_block(4, vint(0)),
    "rar 9": b"Rar!\x1a\x07\x02\x00" + b"\0" * 40,
    "lz4 of old": b"\x02\x21\x4c\x18" + b"\0" * 9,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_flagged(name):
    report = scan_bytes(HOSTILE[name])
    assert report.verdict in FLAGGED, report
    assert all(f.technique for f in report.findings)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_is_clean(name):
    assert scan_bytes(HARMLESS[name]).verdict is CLEAN, scan_bytes(HARMLESS[name])


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_is_never_clean(name):
    report = scan_bytes(UNREAD[name])
    assert report.verdict is UNSUPPORTED and report.not_checked, report


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(HOSTILE)), st.integers(0, 1 << 20), st.integers(1, 255))
def test_no_flipped_byte_makes_a_hostile_archive_clean(name, at, mask):
    # What lies in a zip archive has moved when the length of its header did: no reader gets the payload then.
    harmed = flipped(HOSTILE[name], at, mask)
    if name in {"7z", "7z copy", "7z encoded", "rar4", "rar5", "lz4 packed"}:
        assert scan_bytes(harmed).verdict is not CLEAN, harmed
    else:
        scan_bytes(harmed)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(HARMLESS)), st.binary(max_size=12), st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_no_damage_raises_or_hangs(name, patch, at, cut):
    content = HARMLESS[name]
    at %= len(content)
    begun = time.thread_time()
    scan_bytes((content[:at] + patch + content[at + len(patch) :])[: len(content) - cut % 40])
    assert time.thread_time() - begun < 2


@pytest.mark.parametrize("name", ["7z", "7z encoded", "rar4", "rar5", "lz4"])
def test_cut_short_is_not_clean(name):
    content = HARMLESS[name].rstrip(b"\0")
    for cut in range(1, len(content) - 8, 3):
        if name == "rar4" and content[:-cut].endswith((GOOD, b"hello\n")):
            continue  # the end mark is optional in the old format
        assert scan_bytes(content[:-cut]).verdict is not CLEAN, cut


def test_readers_hold_the_laws_of_scanners():
    check_scanner(SevenZipReader(), [HARMLESS["7z"], HARMLESS["7z encoded"]])
    check_scanner(RarReader(), [HARMLESS["rar4"], HARMLESS["rar5"]])
    check_scanner(CompressedReader(), [HARMLESS["lz4"], HARMLESS["lz4 run"]])


def test_calls_in_sources_are_named_with_their_line():
    for content in (HOSTILE["mar"], HOSTILE["7z source"], HOSTILE["rar5 source"], HOSTILE["package"]):
        found = [f for f in scan_bytes(content).findings if f.rule == "python-source"]
        assert found[0].severity.value == "critical" and "os.system" in found[0].message
        assert found[0].location.endswith(":3")


def test_archives_tell_their_kind():
    kinds = {"mar": "torchserve-mar", "package": "torch-package", "7z": "7z", "rar4": "rar"}
    assert {k: scan_bytes(HARMLESS[k]).format for k in kinds} == kinds


def test_one_wrong_checksum_is_an_error():
    content = bytearray(sevenz(("a.txt", b"hello world, hello\n"), coders=COPY))
    content[33] ^= 1
    assert scan_bytes(bytes(content)).verdict is ERROR
    damaged = rar5(("a.txt", b"hello\n")).replace(b"a.txt", b"b.txt")
    assert scan_bytes(damaged).verdict is ERROR


@needs_zstd
def test_zstd_is_read_within_its_frames():
    assert scan_bytes(zstd(EVIL)).verdict is MALICIOUS
    assert scan_bytes(zstd(EVIL[:7]) + zstd(EVIL[7:])).verdict is MALICIOUS
    assert scan_bytes(zstd(GOOD)).verdict is CLEAN
    assert scan_bytes(zstd(*[GOOD[i : i + 1] for i in range(len(GOOD))])).verdict is CLEAN
    for bad in (zstd(GOOD, cut=1), zstd(GOOD) + b"x", zstd(GOOD, head=b"\x08\x58"), zstd(GOOD, head=b"\x00\xff")):
        assert scan_bytes(bad).verdict is ERROR, bad
    assert scan_bytes(zstd(GOOD, head=b"\x01\x58\x07")).verdict is UNSUPPORTED


@needs_zstd
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 200), st.integers(1, 255))
def test_no_flipped_byte_of_zstd_is_clean(at, mask):
    assert scan_bytes(flipped(zstd(EVIL), at, mask)).verdict is not CLEAN


def test_zstd_without_a_decoder_says_what_to_install(monkeypatch):
    monkeypatch.setattr(zstd_frame, "_LIKE_STANDARD", ())
    monkeypatch.setattr(zstd_frame, "_OTHERS", ())
    report = scan_bytes(zstd(GOOD))
    assert report.verdict is UNSUPPORTED and "zstandard" in report.not_checked[0].remedy


def test_zstd_is_the_same_through_the_package(monkeypatch):
    pytest.importorskip("zstandard")
    monkeypatch.setattr(zstd_frame, "_LIKE_STANDARD", ())
    assert scan_bytes(zstd(EVIL, (b".", 9))).verdict is MALICIOUS
    assert scan_bytes(zstd(GOOD, cut=2)).verdict is ERROR


def test_joblib_with_lz4_is_read():
    joblib, np = pytest.importorskip("joblib"), pytest.importorskip("numpy")
    pytest.importorskip("lz4")
    buffer = io.BytesIO()
    joblib.dump({"a": np.arange(50_000.0), "b": np.zeros(50_000)}, buffer, compress=("lz4", 3))
    report = scan_bytes(buffer.getvalue())
    assert report.verdict is CLEAN and report.format == "joblib", report
    assert scan_bytes(buffer.getvalue()[:-5]).verdict is ERROR


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"bcd", b"abcd" * 40, b"\0" * 700]), max_size=40), st.booleans(), st.booleans())
def test_lz4_unpacks_what_the_library_packs(parts, linked, checked):
    frame = pytest.importorskip("lz4.frame")
    from assay.artifacts.formats.lz4_frame import unpack

    content = b"".join(parts) * 30
    packed = frame.compress(
        content, block_linked=linked, block_checksum=checked, content_checksum=checked, block_size=4
    )
    assert b"".join(unpack(packed, 0, len(packed))) == content


def test_written_by_py7zr():
    py7zr = pytest.importorskip("py7zr")
    coders = {"LZMA": {}, "LZMA2": {"preset": 1}, "COPY": {}, "DEFLATE": {}, "BZIP2": {}}
    for name, more in coders.items():
        for packed_header in (True, False):
            for data, wanted in ((GOOD, CLEAN), (EVIL, MALICIOUS)):
                out = io.BytesIO()
                with py7zr.SevenZipFile(out, "w", filters=[{"id": getattr(py7zr, f"FILTER_{name}"), **more}]) as made:
                    made.set_encoded_header_mode(packed_header)
                    made.writestr(b"hello\n" * 99, "a.txt")
                    made.writestr(data, "d/m.pkl")
                report = scan_bytes(out.getvalue())
                assert report.verdict is wanted and report.format == "7z", (name, report)


def test_bombs_stay_within_time_and_memory():
    zeros = bytes(96 << 20)
    bombs = [
        sevenz(("m.bin", zeros)),
        sevenz(("m.bin", b"x"), coders=((b"\x21", b"\x28"),) * 4, size=1 << 40),
        sevenz(*[(f"{i}", b"a\n") for i in range(3000)], names=["a"] * 3000),
        lz4(*[(b"\x1f\0\x01\x00" + b"\xff" * 16000 + b"\x00\x50aaaaa",)] * 60),
        lz4() * 100_000,
        gzip.compress(b"") * 300_000,
        rar4(*[("a", b"")] * 5000),
        rar5(*[("a", b"")] * 5000),
    ]
    if zstd_frame.find_decoder():
        bombs += [zstd(*[(b"\0", 128 << 10)] * 4000), zstd(*[b""] * 300_000)]
    del zeros
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bomb in bombs:
        begun = time.thread_time()
        assert scan_bytes(bomb).verdict is not CLEAN, bomb[:16]
        assert time.thread_time() - begun < 2.5, bomb[:16]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


END = b"PK\5\6" + bytes(18)


@pytest.mark.parametrize("before", [b"\1\2\3\4" * 9, b"loader_module: os\n", b"PK\5\6" * 30])
@pytest.mark.parametrize("end", [END, END[:12], END[:16] + struct.pack("<I", 36) + b"\0\0", b"PK\5\6 by chance"])
def test_the_end_of_an_archive_makes_no_other_content_clean(before, end):
    assert scan_bytes(before + end).verdict is not CLEAN


def test_bytes_before_the_first_member_are_told_though_offsets_count_them():
    out = io.BytesIO()
    out.write(b"loader_module: os\n")
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("a.txt", "hello")
    report = scan_bytes(out.getvalue())
    assert report.verdict in FLAGGED and "zip-prefix" in {f.rule for f in report.findings}


def test_an_empty_archive_is_clean():
    assert scan_bytes(END).verdict is CLEAN
