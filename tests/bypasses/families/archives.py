"""Archives and compressed streams: torch's zip and its quirks, archives within archives, names that leave the folder, code."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

from .case import EVIL, EVIL_OLD, GOOD, Case, call, table, tarred, zip_link, zipped

PICKLE = ("m/data.pkl", EVIL)
NOTES = (("m/version", b"3\n"), ("m/byteorder", b"little"))


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def central(data: bytes, name: bytes) -> int:
    """Where the central entry of a member begins."""
    return data.index(b"PK\x01\x02", data.rindex(name) - 60)


def torch_zip() -> dict[str, bytes]:
    plain = zipped(PICKLE, *NOTES)
    second = zipped(("m/a", b"x"), PICKLE)
    flags = central(plain, b"m/data.pkl") + 8
    named = plain.index(b"m/data.pkl")
    return {
        "plain.pt": plain,
        "deflated.pt": zipped(PICKLE, *NOTES, method=zipfile.ZIP_DEFLATED),
        "bzip2.pt": zipped(PICKLE, *NOTES, method=zipfile.ZIP_BZIP2),
        "lzma.pt": zipped(PICKLE, *NOTES, method=zipfile.ZIP_LZMA),
        "upper-case.pt": zipped(("m/DATA.PKL", EVIL), *NOTES),
        "mixed-case.pt": zipped(("M/Data.Pkl", EVIL), *NOTES),
        "evil-first.pt": zipped(PICKLE, ("m/data.pkl", GOOD)),
        "evil-last.pt": zipped(("m/data.pkl", GOOD), PICKLE),
        "two-cases.pt": zipped(("m/data.pkl", GOOD), ("m/DATA.pkl", EVIL)),
        "two-folders.pt": zipped(("m/data.pkl", GOOD), ("n/data.pkl", EVIL)),
        "script-prefix.pt": zipped(PICKLE, prefix=b"#!/bin/sh\nexit\n"),
        "wrong-checksum.pt": patched(plain, 14, b"\1\2\3\4"),
        "local-name.pt": patched(plain, named, b"m/data.txt"),
        "local-encrypted.pt": patched(plain, 6, b"\x01"),
        "central-encrypted.pt": patched(plain, flags, b"\x01"),
        "strong-encryption.pt": patched(plain, flags, b"\x41"),
        "method-99-first.pt": patched(second, 8, b"\x63"),
        "constants.pt": zipped(("m/data.pkl", GOOD), ("m/constants.pkl", EVIL), ("m/code/__torch__.py", b""), *NOTES),
        "optimizer.pt": zipped(("m/data.pkl", GOOD), ("m/extra/optimizer.pkl", EVIL), *NOTES),
        "storage-deflated.pt": zipped(("m/data.pkl", GOOD), ("m/data/0", EVIL), method=zipfile.ZIP_DEFLATED),
        "protocol-0.pt": zipped(("m/data.pkl", EVIL_OLD), *NOTES),
        "comment-decoy.pt": zipped(PICKLE, comment=b"PK\x05\x06" + bytes(18)),
        "null-in-name.pt": zipped(("m/data.pkl\0.txt", EVIL), *NOTES),
        "no-folder.pt": zipped(("data.pkl", EVIL)),
    }  # fmt: skip


def packed(kind: str, data: bytes) -> bytes:
    return {"gzip": gzip.compress(data, mtime=0), "bz2": bz2.compress(data), "xz": lzma.compress(data), "zlib": zlib.compress(data),
            "lzma": lzma.compress(data, lzma.FORMAT_ALONE)}[kind]  # fmt: skip


def compressed() -> dict[str, bytes]:
    kinds = ("gzip", "bz2", "xz", "zlib", "lzma")
    second = gzip.compress(GOOD, mtime=0) + gzip.compress(EVIL, mtime=0)
    small = zlib.compressobj(9, zlib.DEFLATED, 9)
    named = io.BytesIO()
    with gzip.GzipFile("model.pkl", "wb", fileobj=named, mtime=0) as stream:
        stream.write(EVIL)
    return {
        **{f"{kind}.joblib": packed(kind, EVIL) for kind in kinds},
        **{f"{kind}-old.pkl.{kind}": packed(kind, EVIL_OLD) for kind in kinds},
        "gzip-in-bz2.pkl": bz2.compress(packed("gzip", EVIL)),
        "xz-in-gzip.joblib": packed("gzip", packed("xz", EVIL)),
        "second-member.pkl.gz": second,
        "with-name.pkl.gz": named.getvalue(),
        "zfile.joblib": b"ZF0x" + hex(len(EVIL))[2:].ljust(17).encode() + zlib.compress(EVIL),
        "level-0.joblib": zlib.compress(EVIL, 0),
        "cut.pkl.gz": packed("gzip", EVIL + bytes(4000))[:-6],
        "junk-behind.pkl.gz": packed("gzip", EVIL) + b"junk",
        "zlib-window.joblib": small.compress(EVIL) + small.flush(),
    }


def nested_archives() -> dict[str, bytes]:
    inner = zipped(("m.pkl", EVIL))
    tar = tarred(("m.pkl", EVIL))
    deep = EVIL
    for number in range(5):
        deep = zipped((f"{number}", deep))
    return {
        "zip-in-zip.zip": zipped(("a.zip", inner)),
        "three-deep.zip": zipped(("a", zipped(("b", inner)))),
        "five-deep.bin": deep,
        "tar.tar": tar,
        "tar-gz.tar.gz": gzip.compress(tar, mtime=0),
        "tar-xz.tar.xz": lzma.compress(tar),
        "tar-in-zip.zip": zipped(("a.tar", tar)),
        "zip-in-tar.tar": tarred(("a.zip", inner)),
        "gzip-in-zip.zip": zipped(("a.gz", gzip.compress(EVIL, mtime=0)), method=zipfile.ZIP_DEFLATED),
        "torch-in-zip.zip": zipped(("model.pt", zipped(PICKLE, *NOTES))),
        "npz-in-tar.tar": tarred(("a.npz", zipped(("a.npy", b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(69) + b"\n" + EVIL)))),
        "no-suffix.zip": zipped(("weights", EVIL)),
        "among-many.zip": zipped(*[(f"{i}.txt", b"text") for i in range(200)], ("note.md", EVIL)),
        "pax.tar": tarred(("m" * 150, EVIL), form=tarfile.PAX_FORMAT),
    }  # fmt: skip


def traversal() -> dict[str, bytes]:
    long_name = "../" * 40 + "x" * 60
    return {
        "zip-parent.zip": zipped(("../../x.txt", b"text")),
        "zip-absolute.zip": zipped(("/tmp/x.txt", b"text")),
        "zip-windows.zip": zipped(("..\\..\\x.txt", b"text")),
        "zip-drive.zip": zipped(("C:\\x.txt", b"text")),
        "zip-link.zip": zip_link("weights", "/etc/hosts"),
        "zip-link-parent.zip": zip_link("weights", "../../x"),
        "torch-parent.pt": zipped(("m/data.pkl", GOOD), ("m/../../x", b"text")),
        "tar-parent.tar": tarred(("../x.txt", b"text")),
        "tar-absolute.tar": tarred(("/tmp/x.txt", b"text")),
        "tar-link.tar": tarred(link=("weights", "/etc/hosts")),
        "tar-link-parent.tar": tarred(link=("weights", "../../x")),
        "tar-hard-link.tar": tarred(link=("weights", "/etc/hosts"), kind=tarfile.LNKTYPE),
        "tar-device.tar": tarred(link=("weights", ""), kind=tarfile.CHRTYPE),
        "tar-pipe.tar": tarred(link=("weights", ""), kind=tarfile.FIFOTYPE),
        "tar-long-name.tar": tarred((long_name, b"text")),
        "tar-long-name-pax.tar": tarred((long_name, b"text"), form=tarfile.PAX_FORMAT),
        "tar-long-link.tar": tarred(link=("w" * 120, "../" * 60 + "x")),
        "tar-long-link-pax.tar": tarred(link=("w" * 120, "../" * 60 + "x"), form=tarfile.PAX_FORMAT),
        "tar-gz-parent.tar.gz": gzip.compress(tarred(("../x.txt", b"text")), mtime=0),
        "npz-parent.npz": zipped(("../a.npy", b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }".ljust(69) + b"\n\0")),
    }  # fmt: skip


CALLS = b"import os\n\ndef handle(data, context):\n    os.system('true')\n"
QUIET = b"class Model:\n    def predict(self, x):\n        return x\n"
MANIFEST = b'{"runtime": "python", "model": {"modelName": "m", "serializedFile": "m.pt", "handler": "handler.py"}}'
PACKAGE = (("p/.data/extern_modules", b"os\n"), ("p/.data/version", b"6\n"), ("p/.data/python_version", b"3.11"))


def code_in_archive() -> dict[str, bytes]:
    return {
        "torchserve.mar": zipped(("MAR-INF/MANIFEST.json", MANIFEST), ("handler.py", CALLS)),
        "torchserve-quiet.mar": zipped(("MAR-INF/MANIFEST.json", MANIFEST), ("handler.py", QUIET)),
        "torchserve.tar.gz": gzip.compress(tarred(("MAR-INF/MANIFEST.json", MANIFEST), ("handler.py", CALLS)), mtime=0),
        "package.pt": zipped(*PACKAGE, ("p/my/model.py", CALLS), ("p/my/model.pkl", GOOD)),
        "package-quiet.pt": zipped(*PACKAGE, ("p/my/model.py", QUIET), ("p/my/model.pkl", GOOD)),
        "compiled.zip": zipped(("model/__init__.pyc", b"\xa7\r\r\n" + bytes(20))),
        "library.zip": zipped(("model/op.so", b"\x7fELF" + bytes(60))),
        "source.zip": zipped(("setup.py", CALLS), method=zipfile.ZIP_DEFLATED),
        "upper-case.zip": zipped(("Model.PY", CALLS)),
        "source.tar": tarred(("model/code.py", CALLS)),
        "library.tar.gz": gzip.compress(tarred(("libcustom.so", b"\x7fELF" + bytes(60))), mtime=0),
        "shell.zip": zipped(("start.sh", b"#!/bin/sh\ntrue\n")),
        "inductor.pt2": zipped(("m/archive_format", b"pt2"), ("m/data/aotinductor/model/m.wrapper.so", b"\x7fELF" + bytes(60))),
        "wheel.whl": zipped(("pkg/__init__.py", CALLS), ("pkg-1.dist-info/METADATA", b"Name: pkg\n")),
    }  # fmt: skip


def polyglots() -> dict[str, bytes]:
    inner = zipped(("m/data.pkl", EVIL))
    png = b"\x89PNG\r\n\x1a\n" + bytes(40)
    array = (
        b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }".ljust(69) + b"\n\0"
    )
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    tensors = struct.pack("<Q", len(header)) + header + b"\0"
    return {
        "pickle-then-zip.pkl": GOOD + inner,
        "evil-then-good-zip.pt": EVIL + zipped(("m/data.pkl", GOOD)),
        "png-then-zip.png": png + inner,
        "array-then-zip.npy": array + inner,
        "array-then-pickle.npy": array + EVIL,
        "tensors-then-zip.safetensors": tensors + inner,
        "tensors-then-pickle.safetensors": tensors + EVIL,
        "pickle-then-pickle.pkl": GOOD + EVIL,
        "zip-then-pickle.zip": zipped(("a.txt", b"text")) + EVIL,
        "text-then-zip.json": b'{"a": 1}\n' + inner,
        "gif-then-zip.gif": b"GIF89a" + bytes(30) + inner,
        "elf-then-zip.bin": b"\x7fELF" + bytes(30) + inner,
    }


def misnamed() -> dict[str, bytes]:
    torch = zipped(PICKLE, *NOTES)
    endings = (
        "npy",
        "npz",
        "onnx",
        "safetensors",
        "txt",
        "skops",
        "h5",
        "keras",
        "json",
        "md",
        "png",
        "pb",
        "gguf",
        "csv",
        "yaml",
        "pmml",
        "ubj",
        "cbm",
    )
    return {
        **{f"pickle.{e}": EVIL for e in endings},
        **{f"old-pickle.{e}": EVIL_OLD for e in ("txt", "json", "cfg", "log")},
        **{f"torch.{e}": torch for e in ("onnx", "safetensors", "txt", "bin", "ckpt")},
        "gzip.onnx": gzip.compress(EVIL, mtime=0), "tar.pt": tarred(("m.pkl", EVIL)), "no-ending": EVIL, "zip.png": zipped(("m.pkl", EVIL)),
        "unknown-name.dat": call("nowhere_package.core", "Model", "true"),
    }  # fmt: skip


def bombs() -> list[Case]:
    """Files that unpack to far more than they hold, or announce more than there is."""
    zeros = b"N0" * (48 << 19)
    inside = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = inside.compress(b"\x80\x04" + zeros) + inside.flush()
    made = {
        "gzip.pkl.gz": gzip.compress(b"\x80\x04" + zeros, 9, mtime=0),
        "gzip-twice.gz": gzip.compress(gzip.compress(bytes(96 << 20), 9, mtime=0), 9, mtime=0),
        "torch-inflating.pt": zipped(("m/data.pkl", b"\x80\x04" + zeros), method=zipfile.ZIP_DEFLATED),
        "zip-overlapping.zip": overlapping(body, 60),
        "xz.joblib": lzma.compress(bytes(160 << 20), preset=1),
    }
    return table("bomb", made)


def overlapping(body: bytes, count: int) -> bytes:
    """An archive in which every entry of the directory stands for the same packed bytes."""
    size = 2 + 48 * (1 << 20)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, len(body), size, 1, 0) + b"a"
    entries = b""
    for number in range(count):
        name = f"{number:02}".encode()
        entries += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, 0, len(body), size, len(name), 0, 0, 0, 0, 0, 0) + name  # fmt: skip
    start = len(local) + len(body)
    return local + body + entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entries), start, 0)


def cases() -> list[Case]:
    return [
        *table("torch-zip", torch_zip()), *table("compressed", compressed()), *table("nested-archive", nested_archives()),
        *table("traversal", traversal()), *table("code-in-archive", code_in_archive()), *table("polyglot", polyglots()),
        *[Case("misnamed", n, n, d) for n, d in misnamed().items()], *bombs(),
    ]  # fmt: skip
