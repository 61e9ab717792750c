"""Where models come from: a source a scheme, found by the URL; what it fetches is bounded, checked and pinned.

>>> fetched = open_source("hf://owner/name@<40 hex>/model.joblib", Path("in"))   # doctest: +SKIP
>>> fetched.path, fetched.url, fetched.digest                                     # doctest: +SKIP
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from assay.core.digest import Digest, digest_tree
from assay.core.discovery import Control, discover
from assay.core.errors import FormatError, InputError, Refused, UnsupportedError
from assay.core.evidence import NotChecked
from assay.supply.sources.draft import Draft, drafting, publish
from assay.supply.sources.limits import Deadline, SourceLimits
from assay.supply.sources.range_file import RangeFile

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
DEFAULT_LIMITS = SourceLimits()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model that has arrived.

    path: the file or folder. url: where it came from, pinned (commit, version or entity tag) and without secrets.
    digest: of the file, or of the folder as ``core.digest.digest_tree`` does; of a sparse file, of the ranges that
    were fetched. bytes: that crossed the wire. not_fetched: parts that are holes in ``path``.
    """

    path: Path
    url: str
    digest: Digest
    bytes: int
    not_fetched: tuple[NotChecked, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a source says when it has written its files: the pinned URL, and the name for the file or folder.

    single: the one file was asked for by name, so that the result is the file and not a folder with it.
    """

    url: str
    name: str
    single: bool


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file at its source. url: pinned; size: bytes; read(start, stop): a range of it; same(): whether unchanged."""

    url: str
    name: str
    size: int
    read: Callable[[int, int], bytes]
    same: Callable[[], bool]


class ModelSource(Control, package="assay.supply.sources"):
    """A kind of place that models come from. schemes: of the URLs that it opens."""

    schemes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def fetch(self, url: str, draft: Draft, *, allow_unpinned: bool) -> Arrived:
        """Write the model's files to the draft. Raises Refused, VerificationError, MissingError or InputError."""

    def remote(self, url: str, deadline: Deadline, *, allow_unpinned: bool) -> RemoteFile:
        """Return the one file at ``url`` for reading parts of it. Raises UnsupportedError where that cannot be."""
        del deadline, allow_unpinned
        raise UnsupportedError("cannot be read in parts", where=displayed(url), remedy="Fetch the whole model")


def is_url(text: str) -> bool:
    """Return whether ``text`` names a source and not a local path."""
    return text == "-" or _SCHEME.match(text) is not None


def source_of(url: str) -> ModelSource:
    """Return the source that opens ``url``. Raises InputError that lists the schemes there are, or for secrets in it."""
    found = _SCHEME.match(url)
    scheme = "-" if url == "-" else found[1].lower() if found else ""
    parts = {s: part for part in discover(ModelSource).values() for s in part.schemes}
    if scheme not in parts or "::" in url:
        raise InputError(
            "there is no source for this URL", where=displayed(url), remedy=f"Use one of: {', '.join(sorted(parts))}"
        )
    if not url.isprintable() or len(url) > 4096:
        raise InputError("is not a URL", where=displayed(url), remedy="Check the URL")
    if _secret(url):
        raise InputError(
            "holds a user name or password",
            where=displayed(url),
            remedy="Leave it out and set the credentials in the environment",
        )
    return parts[scheme]()


def open_source(
    url: str, folder: Path, *, limits: SourceLimits = DEFAULT_LIMITS, allow_unpinned: bool = False
) -> Fetched:
    """Fetch the model at ``url`` into ``folder`` and return what arrived.

    The model is written to a private folder and renamed when all of it has arrived and been checked; after an error
    nothing is left. Raises Refused (a limit, a digest, an unsafe name, an unpinned revision), MissingError (server
    or library not there), InputError.
    """
    source = source_of(url)
    with drafting(folder, limits, displayed(url)) as draft:
        arrived = source.fetch(url, draft, allow_unpinned=allow_unpinned)
        if not draft.names:
            raise FormatError("holds no file", where=displayed(url), remedy="Check the URL")
        made = draft.folder / draft.names[0] if arrived.single else draft.folder
        if arrived.single and len(draft.names) != 1:
            raise Refused("gave more than the one file asked for", where=displayed(url), reason="unsafe-name")
        digest = digest_tree(made)
        target = folder / final_name(arrived.name)
        publish(made, target)
        return Fetched(target, arrived.url, digest, draft.total)


def peek(url: str, *, limits: SourceLimits = DEFAULT_LIMITS, allow_unpinned: bool = False) -> RangeFile:
    """Return the remote file at ``url`` as a seekable one that fetches only what is read. Raises as ``open_source``."""
    deadline = Deadline(limits, displayed(url))
    remote = source_of(url).remote(url, deadline, allow_unpinned=allow_unpinned)
    return ranges_of(remote, deadline, limits)


def ranges_of(remote: RemoteFile, deadline: Deadline, limits: SourceLimits) -> RangeFile:
    """Return a remote file as a seekable one, every read within the deadline and the limits."""
    most = min(limits.bytes, limits.file_bytes)
    return RangeFile(
        lambda start, stop: deadline.run(lambda: remote.read(start, stop)),
        remote.size,
        where=displayed(remote.url),
        most=most,
    )


def displayed(url: str) -> str:
    """Return a URL for people and logs: without user, password and query, which may be secrets."""
    text = url[:500] if url.isprintable() else ascii(url[:500])[1:-1]
    text, mark, fragment = text.partition("#")
    text = text.partition("?")[0]
    scheme, colon, rest = text.partition("://")
    if colon:
        host, slash, path = rest.partition("/")
        host = host.rpartition("@")[2] if _secret(f"{scheme}://{host}") else host
        text = f"{scheme}://{host}{slash}{path}"
    return f"{text}{mark}{fragment}"


def final_name(name: str) -> str:
    """Return a file name that is safe on every system, made from a name that need not be."""
    last = re.sub(r"[^A-Za-z0-9._+=@-]", "_", name.rstrip("/").rpartition("/")[2])[:120]
    return last.lstrip(".") or "model"


def _secret(url: str) -> bool:
    # Of the rest, hf:// and abfs:// write what is no user before an "@".
    scheme, _, rest = url.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return bool(at) and scheme.lower() != "hf" and (":" in user or scheme.lower() in {"http", "https", "mlflow"})
