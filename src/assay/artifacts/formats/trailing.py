"""What lies behind the end of a file's own format: no reader of the format sees it, and another one may."""

from __future__ import annotations

import re

from assay.artifacts.reader import EMBEDDED_CODE, Data, Inspection
from assay.core.finding import Severity

_NOTHING = re.compile(rb"[\s\x00]*+")
_LARGEST = 32 << 20
_REMEDY = "Have the file written anew by the library of its format"


def check_tail(data: Data, at: int, where: str, inspection: Inspection) -> None:
    """Report bytes behind ``at`` that are more than padding, and examine them by content."""
    found = _NOTHING.match(data, min(at, len(data)))
    begun = found.end() if found else at
    if begun >= len(data):
        return
    place, size = f"{where}@{begun}", len(data) - begun
    text = f"{size} bytes lie behind the end of the content"
    inspection.report("trailing-data", Severity.MEDIUM, text, place, EMBEDDED_CODE, _REMEDY)
    if size > _LARGEST:
        inspection.error(place, "what lies behind the content is larger than the budget allows")
        return
    inspection.scan(bytes(data[begun:]), f"{place}!behind")
