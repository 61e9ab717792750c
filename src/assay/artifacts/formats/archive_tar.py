"""Tar archives, torch's oldest format among them: every member is read by its content, links and slips are found."""

from __future__ import annotations

from assay.artifacts.formats.archive_member import escapes, is_source, scan_source
from assay.artifacts.formats.compressed import pieces, unpack_and_scan
from assay.artifacts.reader import EMBEDDED_CODE, Data, FormatReader, Inspection
from assay.core.finding import Severity

_BLOCK = 512
_LONGEST_NAME = 1 << 16
# What can stand in an octal number, as int() reads it; all else cannot be a checksum.
_NUMERIC = b"01234567 \0+-_oO\t\n\r\v\f"


class TarReader(FormatReader, name="tar", techniques=(EMBEDDED_CODE,)):
    """Walk the members of an uncompressed tar archive."""

    def claims(self, data: Data) -> bool:
        """Return whether the first block is a tar header with a good checksum."""
        return len(data) >= _BLOCK and _good(data[:_BLOCK])

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine all members in order."""
        position, long_name = 0, ""
        names: set[str] = set()
        while position + _BLOCK <= len(data):
            head = data[position : position + _BLOCK]
            if not head.strip(b"\x00"):
                return "torch-tar" if {"pickle", "storages"} <= names else "tar"
            size = _number(head[124:136])
            inspection.members += 1
            if (
                not _good(head)
                or size is None
                or inspection.members > inspection.limits.members
                or inspection.expired()
            ):
                break
            start, stop = position + _BLOCK, position + _BLOCK + size
            if stop > len(data):
                break
            kind = head[156:157]
            if kind in {b"L", b"x"}:
                long_name = _long_name(data[start : min(stop, start + _LONGEST_NAME)], kind)
            else:
                name = long_name or _name(head)
                long_name = ""
                names.add(name)
                self._member(data, (start, stop), kind, name, head, where, inspection)
            position = stop + (-size % _BLOCK)
        inspection.error(f"{where}@{position}", "the archive is damaged, or larger than the budget allows")
        return "tar"

    @staticmethod
    def _member(
        data: Data, span: tuple[int, int], kind: bytes, name: str, head: bytes, where: str, inspection: Inspection
    ) -> None:
        place = f"{where}!{name}"
        if escapes(name):
            text = f"{name!r} would be unpacked outside of its folder"
            inspection.report("archive-traversal", Severity.CRITICAL, text, place, EMBEDDED_CODE)
        if kind in {b"1", b"2"}:
            target = head[157:257].rstrip(b"\x00").decode("utf-8", "replace")
            severity = Severity.CRITICAL if escapes(target) else Severity.HIGH
            inspection.report("archive-link", severity, f"the member is a link to {target!r}", place, EMBEDDED_CODE)
        elif kind in {b"3", b"4", b"6"}:
            inspection.report("archive-device", Severity.HIGH, "the member is a device or a pipe", place, EMBEDDED_CODE)
        elif is_source(name):
            scan_source(
                name, pieces(data, *span, "stored"), span[1] - span[0], place, inspection, empty=span[0] == span[1]
            )
        elif name.endswith((".pyc", ".so", ".sh")):
            inspection.report("code-in-archive", Severity.HIGH, f"{name!r} is code", place, EMBEDDED_CODE)
        elif kind in {b"0", b"\x00", b"7"} and span[0] < span[1]:
            unpack_and_scan(data, *span, "stored", place, inspection)


def _good(head: bytes) -> bool:
    if head[148:156].translate(None, _NUMERIC) and head[148] < 0x80:
        return False
    wanted = _number(head[148:156])
    return wanted is not None and wanted == sum(head) - sum(head[148:156]) + 8 * 32 and head[0] != 0


def _number(raw: bytes) -> int | None:
    if raw[:1] and raw[0] & 0x80:
        return int.from_bytes(raw[1:], "big")
    text = raw.strip(b" \x00")
    try:
        return int(text or b"0", 8)
    except ValueError:
        return None


def _name(head: bytes) -> str:
    name, prefix = head[:100].split(b"\x00")[0], head[345:500].split(b"\x00")[0]
    full = prefix + b"/" + name if prefix and head[257:262] == b"ustar" and head[262:263] == b"\x00" else name
    return full.decode("utf-8", "replace")


def _long_name(raw: bytes, kind: bytes) -> str:
    if kind == b"L":
        return raw.rstrip(b"\x00").decode("utf-8", "replace")
    found = [line.partition(b"path=")[2] for line in raw.split(b"\n") if b" path=" in line]
    return found[-1].decode("utf-8", "replace") if found else ""
