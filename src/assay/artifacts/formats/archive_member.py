"""What the name and kind of an archive's member say, whatever archive it lies in; code is told from data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from assay.artifacts.formats.compressed import Reason, scan_pieces
from assay.artifacts.formats.python_source import LARGEST_SOURCE, check_source
from assay.artifacts.reader import EMBEDDED_CODE, Inspection
from assay.core.finding import Severity

_NATIVE = (".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".exe", ".bat")
_SOURCE = (".py", ".pyw")
_REMEDY = "Repack the archive, or ask its author for a safe format"


def escapes(name: str) -> bool:
    """Return whether an archive's member name leads out of the folder that it is unpacked to."""
    path = name.replace("\\", "/")
    return path.startswith("/") or ".." in path.split("/") or (len(path) > 1 and path[1] == ":") or "\x00" in name


def is_source(name: str) -> bool:
    """Return whether the name is that of Python source."""
    return name.lower().endswith(_SOURCE)


def check_twice(names: Iterable[str], where: str, inspection: Inspection) -> None:
    """Report names that occur twice, where case does not count."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            text = f"{name!r} is in the archive twice; readers disagree on which one counts"
            inspection.report("archive-ambiguous", Severity.HIGH, text, f"{where}!{name}", EMBEDDED_CODE, _REMEDY)
        seen.add(name.lower())


def check_member(name: str, place: str, inspection: Inspection, *, link: bool = False, target: str = "") -> None:
    """Report a name that leads out of the archive, a link, and compiled code. target: of the link, where it is known."""
    if escapes(name):
        text = f"{name!r} would be unpacked outside of its folder"
        inspection.report("archive-traversal", Severity.CRITICAL, text, place, EMBEDDED_CODE, _REMEDY)
    if link:
        severity = Severity.CRITICAL if escapes(target) else Severity.HIGH
        text = f"the member is a link to {target!r}" if target else "the member is a link"
        inspection.report("archive-link", severity, text, place, EMBEDDED_CODE, _REMEDY)
    if name.lower().endswith(_NATIVE):
        text = f"{name!r} is code that is run when the archive is used as a model"
        inspection.report("code-in-archive", Severity.HIGH, text, place, EMBEDDED_CODE, _REMEDY)


def unread_member(
    name: str, place: str, why: str, inspection: Inspection, *, link: bool = False, target: str = ""
) -> None:
    """Report what the name alone says, and that the content was not examined."""
    check_member(name, place, inspection, link=link, target=target)
    if is_source(name):
        check_source(b"", name, place, inspection)
    inspection.cannot(place, why)


def scan_member(
    name: str,
    pieces: Iterable[bytes | Reason],
    packed: int,
    place: str,
    inspection: Inspection,
    *,
    link: bool = False,
    empty: bool = False,
) -> None:
    """Examine a member: its name, then its content, Python source by what it calls."""
    check_member(name, place, inspection, link=link)
    if is_source(name):
        scan_source(name, pieces, packed, place, inspection, empty=empty)
    else:
        scan_pieces(pieces, packed, "empty", place, inspection, empty=empty)


def scan_source(
    name: str, pieces: Iterable[bytes | Reason], packed: int, place: str, inspection: Inspection, *, empty: bool = False
) -> None:
    """Examine Python source: as any content, and by what it calls."""
    kept = bytearray()
    scan_pieces(_keeping(pieces, kept), packed, "empty", place, inspection, empty=empty)
    check_source(bytes(kept), name, place, inspection)


def _keeping(pieces: Iterable[bytes | Reason], kept: bytearray) -> Iterator[bytes | Reason]:
    for piece in pieces:
        if isinstance(piece, bytes) and len(kept) <= LARGEST_SOURCE:
            kept += piece[: LARGEST_SOURCE + 1 - len(kept)]
        yield piece
