"""One look at a model for two answers: each file's digest, and what loading it would do.

A file is mapped once. A thread hashes the mapping, which leaves the interpreter free, while the scanner walks through
the same bytes; a file that changes meanwhile is refused, so that what was scanned is what is signed.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from mmap import ACCESS_READ, MADV_DONTNEED, mmap
from pathlib import Path

from assay.artifacts.digest_store import DigestStore, identity_of
from assay.artifacts.manifest import Content, Listing
from assay.artifacts.model_files import open_plain, shown
from assay.artifacts.pickle.policy import Policy, builtin_policy
from assay.artifacts.reader import Data
from assay.artifacts.report import FileReport, ScanReport
from assay.artifacts.scan import Limits, scan_bytes
from assay.core.digest import Digest
from assay.core.errors import DataError

# The interpreter's lock is taken between two pieces, and a busy scanner hands it over after 5 ms only.
_PIECE = 1 << 27
_SMALL = 1 << 20


@dataclass(frozen=True, slots=True)
class Examined:
    """Content that can be signed, its ``scan`` filled in, and the report of the scan."""

    content: Content
    report: ScanReport


def examine(
    listing: Listing,
    digests: DigestStore | None = None,
    *,
    policy: Policy | None = None,
    limits: Limits | None = None,
) -> Examined:
    """Return digests and scan of the listed files, each read once. Raises DataError when one changes meanwhile."""
    rules, bounds = policy or builtin_policy(), limits or Limits()
    files: dict[str, Digest] = {}
    reports: list[FileReport] = []
    with ThreadPoolExecutor(1) as pool:
        for name in listing.names:
            digest, report = _examine(listing.root / name, pool, digests, rules, bounds)
            files[str(name)] = digest
            reports.append(report)
    if digests is not None:
        digests.save()
    found = ScanReport(tuple(reports))
    scan = {
        "verdict": found.verdict.value,
        "summary": dict(found.summary),
        "policy": list(rules.versions),
        "files": [
            {"name": str(name), "format": r.format, "verdict": r.verdict.value}
            for name, r in zip(listing.names, reports, strict=True)
        ],
    }
    return Examined(Content(listing, files, scan), found)


def _examine(
    path: Path, pool: ThreadPoolExecutor, digests: DigestStore | None, policy: Policy, limits: Limits
) -> tuple[Digest, FileReport]:
    with open_plain(path) as handle:
        before = identity_of(handle)
        started = digests.now() if digests is not None else 0
        digest = digests.find(before, "sha256") if digests is not None else None
        if before.size <= _SMALL:
            data = os.pread(handle, before.size, 0)
            digest = digest or _hash(data)
            report = scan_bytes(data, str(path), policy=policy, limits=limits)
        else:
            with mmap(handle, 0, access=ACCESS_READ) as mapped:
                hashing = pool.submit(_hash, mapped) if digest is None else None
                try:
                    report = scan_bytes(mapped, str(path), policy=policy, limits=limits)
                finally:
                    # The mapping must not be closed under the thread.
                    digest = hashing.result() if hashing is not None else digest
        if identity_of(handle) != before:
            raise DataError("changed while it was read", where=shown(path), remedy="Sign it when nobody writes to it")
        if digest is None:
            raise DataError("could not be hashed", where=shown(path))
        if digests is not None:
            digests.add(before, digest, started)
    return digest, report


def _hash(data: Data) -> Digest:
    state = hashlib.sha256()
    with memoryview(data) as view:
        for start in range(0, len(view), _PIECE):
            with view[start : start + _PIECE] as piece:
                state.update(piece)
                size = len(piece)
            if isinstance(data, mmap):
                # The pages stay in the cache; they only no longer count as memory of this process.
                data.madvise(MADV_DONTNEED, start, size)
    return Digest("sha256", state.hexdigest())
