"""One file of the corpus, and the small assembler with which the hostile ones are written.

The payloads would run ``true`` or name something that does not exist; no test ever loads one.
"""

import dataclasses
import io
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

P2, P4 = b"\x80\x02", b"\x80\x04"
CMD = "true"


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A file: its family, its name, the file name it has on disk, and its bytes or what writes it."""

    family: str
    name: str
    filename: str
    content: bytes | Callable[[Path], None]

    def write(self, folder: Path) -> Path:
        """Write the file (or the folder of files) below ``folder`` and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.filename
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return path


def table(family: str, rows: dict[str, bytes], ending: str = ".pkl") -> list[Case]:
    """One case for each row; a name that has a suffix keeps it as its file name."""
    return [Case(family, n, n.replace("/", "_") if "." in n[-12:] else n + ending, d) for n, d in rows.items()]


def u(text: str) -> bytes:
    raw = text.encode()
    return b"\x8c" + bytes([len(raw)]) + raw if len(raw) < 256 else b"X" + len(raw).to_bytes(4, "little") + raw


def b(raw: bytes) -> bytes:
    return b"B" + len(raw).to_bytes(4, "little") + raw


def text_global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def stack_global(module: str, name: str) -> bytes:
    return u(module) + u(name) + b"\x93"


def apply(module: str, name: str, *args: str | bytes) -> bytes:
    """The opcodes that call module.name; an argument in bytes is opcodes already."""
    return stack_global(module, name) + b"(" + b"".join(a if isinstance(a, bytes) else u(a) for a in args) + b"tR"


def call(module: str, name: str, *args: str | bytes) -> bytes:
    return P4 + apply(module, name, *args) + b"."


def call_old(module: str, name: str, *args: str) -> bytes:
    """The same in protocol 0."""
    return text_global(module, name) + b"(" + b"".join(f"V{a}\n".encode() for a in args) + b"tR."


EVIL = call("os", "system", CMD)
EVIL_OLD = call_old("os", "system", CMD)
GOOD = P2 + b"}q\x00X\x01\x00\x00\x00aq\x01]q\x02(K\x01K\x02es."


def zipped(
    *members: tuple[str, bytes], method: int = zipfile.ZIP_STORED, prefix: bytes = b"", comment: bytes = b""
) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")
        archive.comment = comment
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return prefix + buffer.getvalue()


def zip_link(name: str, target: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
    return buffer.getvalue()


def tarred(
    *members: tuple[str, bytes],
    link: tuple[str, str] | None = None,
    kind: bytes = tarfile.SYMTYPE,
    form: int = tarfile.GNU_FORMAT,
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        if link:
            entry = tarfile.TarInfo(link[0])
            entry.type, entry.linkname = kind, link[1]
            archive.addfile(entry)
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, body: bytes | str | int) -> bytes:
    """A protobuf field: a number, or bytes with their length."""
    if isinstance(body, int):
        return varint(number << 3) + varint(body)
    raw = body.encode() if isinstance(body, str) else body
    return varint(number << 3 | 2) + varint(len(raw)) + raw
