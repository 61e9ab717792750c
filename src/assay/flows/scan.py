"""Scanning files, folders and URLs, with what has been accepted before."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from assay.artifacts.baseline import Baseline, Judged
from assay.artifacts.report import FileReport, FileVerdict, ScanReport
from assay.artifacts.scan import explain as explain_path
from assay.artifacts.scan import scan_paths
from assay.core.clock import Clock, system_clock
from assay.core.digest import Digest, digest_file
from assay.core.errors import SettingError
from assay.flows.fetch import local_sources, renamed


@dataclass(frozen=True, slots=True)
class Accept:
    """What a person says who accepts everything that a scan finds. until: the last day, at most a year away."""

    reason: str
    by: str
    until: date

    @classmethod
    def of(cls, reason: str | None, by: str | None, until: str | None) -> Accept | None:
        """Return it from a command line, None when nothing was given. Raises SettingError for a part of it."""
        if reason is None and by is None and until is None:
            return None
        if not (reason and by and until):
            raise SettingError(
                "an acceptance has a reason, a name and an end", remedy="Give --accept, --by and --until"
            )
        try:
            return cls(reason, by, date.fromisoformat(until))
        except ValueError as error:
            raise SettingError(f"{until!r} is no date", where="--until", remedy="Write it as 2027-01-31") from error


def scan_models(
    names: Iterable[str | os.PathLike[str]],
    *,
    allow_unpinned: bool = False,
    whole: bool = False,
    explain: bool = False,
    baseline: Path | None = None,
    accept: Accept | None = None,
    clock: Clock = system_clock,
) -> tuple[Judged, str]:
    """Return what loading the models would do, and with ``explain`` how, as text.

    names: files, folders, URLs, or "-". baseline: file of accepted findings, written anew with ``accept``. Against a
    baseline, URLs are fetched whole, since an acceptance holds for all bytes of a file. Raises as ``local_sources``,
    and SettingError or FormatError for an unusable acceptance or baseline.
    """
    if accept is not None and baseline is None:
        raise SettingError("an acceptance is kept in a file", where="--accept", remedy="Give --baseline FILE too")
    whole = whole or baseline is not None
    files: list[FileReport] = []
    digests: dict[str, Digest] = {}
    texts: list[str] = []
    with local_sources(names, allow_unpinned=allow_unpinned, whole=whole) as sources:
        for source in sources:
            for found in scan_paths([source.path]).files:
                files.append(renamed(found, source))
                if baseline is not None and found.verdict is not FileVerdict.CLEAN and os.path.isfile(found.path):
                    digests[files[-1].path] = digest_file(found.path)
            if explain:
                text = explain_path(source.path)
                texts.append(text.replace(str(source.path), source.shown) if source.fetched else text)
    report, today = ScanReport(tuple(files)), clock().date()
    known = Baseline.read(baseline) if baseline and (accept is None or baseline.exists()) else Baseline()
    if accept is not None and baseline is not None:
        known = known.accepting(
            report, digests, reason=accept.reason, by=accept.by, until=accept.until, today=today
        )  # fmt: skip
        known.write(baseline)
    return known.judge(report, digests, today), "\n\n".join(texts)
