"""RAR archives: headers are walked, stored members are read by content; what RAR packed itself stays unread, never clean."""

from __future__ import annotations

from collections.abc import Iterator

from assay.artifacts.formats.archive_member import check_member, check_twice, scan_member, unread_member
from assay.artifacts.formats.compressed import pieces
from assay.artifacts.formats.rar_headers import (
    MAGIC,
    RarDamage,
    RarEncrypted,
    RarMember,
    is_plain_service,
    members,
)
from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.reader import EMBEDDED_CODE, Data, FormatReader, Inspection

_REMEDY = "Unpack the archive in a sandbox and scan its members, or use a zip archive"


class RarReader(FormatReader, name="rar", techniques=(EMBEDDED_CODE,)):
    """Read the stored members of a RAR archive, of version 4 or 5, and name the others."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a RAR archive."""
        return data[:6] == MAGIC

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine all members in order."""
        if data[6:7] != b"\x00" and data[6:8] != b"\x01\x00":
            inspection.cannot(where, "the archive is of an unknown version of RAR")
            return "rar"
        names: list[str] = []
        try:
            for member in self._within_budget(data, where, inspection):
                if not member.service:
                    names.append(member.name)
                _examine(data, member, where, inspection)
        except RarDamage as damage:
            inspection.error(where, str(damage))
        except RarEncrypted:
            inspection.cannot(where, "the archive's headers are encrypted", _REMEDY)
        check_twice(names, where, inspection)
        return "rar"

    @staticmethod
    def _within_budget(data: Data, where: str, inspection: Inspection) -> Iterator[RarMember]:
        for found in members(data):
            if isinstance(found, int):
                if found > len(data):
                    inspection.error(where, "the archive ends early")
                check_tail(data, found, where, inspection)
                return
            inspection.members += 1
            if inspection.members > inspection.limits.members or inspection.expired():
                inspection.error(where, "has more members, or takes more time, than the budget allows")
                return
            yield found


def _examine(data: Data, member: RarMember, where: str, inspection: Inspection) -> None:
    place = f"{where}!{member.name}"
    if member.damaged:
        inspection.error(place, "has a header with a wrong checksum")
    if member.service and is_plain_service(member.name):
        return
    if member.unread:
        unread_member(member.name, place, member.unread, inspection, link=member.link, target=member.target)
        return
    if member.stop > len(data):
        check_member(member.name, place, inspection, link=member.link, target=member.target)
        inspection.error(place, "lies beyond the end of the archive")
        return
    if member.link or (member.folder and member.start == member.stop):
        check_member(member.name, place, inspection, link=member.link, target=member.target)
        return
    content = pieces(data, member.start, member.stop, "stored")
    size = member.stop - member.start
    scan_member(member.name, content, size, place, inspection, empty=not size)
