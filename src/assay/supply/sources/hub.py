"""Models of the Hugging Face hub at one commit: ``hf://owner/name@REVISION/path``; every file is held against the hub's digest.

The hub is asked through ``huggingface_hub``. The bytes come through our own client: the library's download cannot be
stopped at a number of bytes or seconds.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from assay.core.errors import (
    AssayError,
    DataError,
    DependencyError,
    FormatError,
    MissingError,
    Refused,
    VerificationError,
)
from assay.supply.sources.draft import Draft
from assay.supply.sources.http import Web, check_secure
from assay.supply.sources.limits import Deadline
from assay.supply.sources.source import Arrived, ModelSource, RemoteFile, displayed

_ENDPOINT = "https://huggingface.co"
_WORD = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,95}"
_URL = re.compile(rf"hf://({_WORD}/{_WORD})(?:@([^/@]{{1,255}}))?(?:/(.*))?", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REMEDY = "Write hf://owner/name@REVISION/path, with a / in the revision as %2F"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub lists it. sha256: of large files, git: blob id of the others; "" when the hub gives none."""

    name: str
    size: int
    sha256: str
    git: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository at one commit. path: what the URL names in it, "" for all."""

    repository: str
    commit: str
    path: str
    files: tuple[HubFile, ...]

    @property
    def url(self) -> str:
        """The pinned URL."""
        return f"hf://{self.repository}@{self.commit}{'/' if self.path else ''}{self.path}"


class Hub(ModelSource, name="hub"):
    """Read a file, a folder or all of a model repository, at a commit that the URL gives in full."""

    schemes = ("hf",)

    def fetch(self, url: str, draft: Draft, *, allow_unpinned: bool) -> Arrived:
        """Write the files. Raises Refused for a branch or tag, VerificationError for a wrong digest, MissingError."""
        found = _snapshot(url, draft.deadline, allow_unpinned=allow_unpinned)
        chosen, single = _chosen(found)
        draft.expect(file.size for file in chosen)
        web = _web(draft.deadline)
        for file in chosen:
            name = file.name.rpartition("/")[2] if single else file.name
            body = web.chunks(_address(found, file))
            draft.write(name, body, size=file.size, sha256=file.sha256, git="" if file.sha256 else file.git)
        return Arrived(found.url, found.path or found.repository, single=single)

    def remote(self, url: str, deadline: Deadline, *, allow_unpinned: bool) -> RemoteFile:
        """Return one file for reading parts of it; parts cannot be held against the hub's digest."""
        found = _snapshot(url, deadline, allow_unpinned=allow_unpinned)
        chosen, single = _chosen(found)
        if not single:
            raise DataError("is no single file", where=displayed(url), remedy="Name one file of the repository")
        address, web = _address(found, chosen[0]), _web(deadline)
        # A commit does not change: there is nothing to look at again.
        return RemoteFile(
            found.url,
            chosen[0].name,
            chosen[0].size,
            lambda start, stop: web.part(address, start, stop),
            lambda: True,
        )


def _snapshot(url: str, deadline: Deadline, *, allow_unpinned: bool) -> Snapshot:
    found = _URL.fullmatch(url)
    if found is None:
        raise FormatError("is no URL of a model on the hub", where=displayed(url), remedy=_REMEDY)
    repository, revision, path = found[1], unquote(found[2] or "main"), unquote(found[3] or "").strip("/")
    info = _info(repository, revision, deadline, displayed(url))
    commit = str(info.sha or "").lower()
    if not _COMMIT.fullmatch(commit):
        raise FormatError("the hub did not say which commit this is", where=displayed(url))
    snapshot = Snapshot(repository, commit, path, tuple(_file(s, url) for s in info.siblings or ()))
    if not _COMMIT.fullmatch(revision):
        if not allow_unpinned:
            raise Refused(
                f"{revision!r} can be moved to another model at any time",
                where=displayed(url),
                remedy=f"Use {snapshot.url} or allow unpinned sources",
                reason="unpinned",
            )
    elif revision != commit:
        raise VerificationError(
            "the hub answered with another commit", where=displayed(url), remedy="Do not use it", reason="wrong-commit"
        )
    return snapshot


def _info(repository: str, revision: str, deadline: Deadline, where: str) -> Any:
    hub = _library()
    try:
        api = hub.HfApi(endpoint=_endpoint(), token=_token() or False)
        return deadline.run(
            lambda: api.model_info(repository, revision=revision, files_metadata=True, timeout=deadline.left())
        )
    except AssayError:
        raise
    except hub.errors.HFValidationError:
        raise FormatError("is no URL of a model on the hub", where=where, remedy=_REMEDY) from None
    except hub.errors.GatedRepoError:
        raise MissingError("is gated", where=where, remedy="Accept its terms on the hub and set HF_TOKEN") from None
    except (hub.errors.RepositoryNotFoundError, hub.errors.RevisionNotFoundError):
        raise DataError(
            "the hub has no such model or revision", where=where, remedy="Check the URL, and HF_TOKEN for private ones"
        ) from None
    except Exception as error:  # noqa: BLE001 - errors of the library's HTTP client, which it has changed before
        if getattr(getattr(error, "response", None), "status_code", 0) == 404:
            raise DataError("the hub has no such model or revision", where=where, remedy="Check the URL") from None
        raise MissingError(
            f"the hub gave no usable answer ({type(error).__name__})", where=where, remedy="Try again later"
        ) from None


def _file(sibling: Any, url: str) -> HubFile:
    lfs, size = sibling.lfs, sibling.size
    if not isinstance(size, int) or size < 0:
        raise FormatError("the hub does not give the sizes of the files", where=displayed(url))
    return HubFile(str(sibling.rfilename), size, str(lfs.sha256) if lfs else "", str(sibling.blob_id or ""))


def _chosen(found: Snapshot) -> tuple[list[HubFile], bool]:
    named = [f for f in found.files if f.name == found.path]
    inside = [f for f in found.files if not found.path or f.name.startswith(f"{found.path}/")]
    if not named and not inside:
        raise DataError("the repository has no such file", where=found.url, remedy="Check the path")
    chosen = named or inside
    for file in chosen:
        if not (file.sha256 or file.git):
            raise VerificationError(
                f"the hub gives no digest for {file.name[:80]!r}", where=found.url, reason="wrong-digest"
            )
    return chosen, bool(named)


def _address(found: Snapshot, file: HubFile) -> str:
    return str(_library().hf_hub_url(found.repository, file.name, revision=found.commit, endpoint=_endpoint()))


def _web(deadline: Deadline) -> Web:
    token = _token()
    return Web(_endpoint(), deadline, {"Authorization": f"Bearer {token}"} if token else None)


def _endpoint() -> str:
    # Read at each use; the library reads it once, when it is imported.
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _ENDPOINT
    check_secure(endpoint)
    return endpoint


def _token() -> str:
    token = _library().get_token() or ""
    return str(token)


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise DependencyError(
            "the library huggingface_hub is not installed", where="hf://", remedy="pip install 'assay[hub]'"
        ) from error
    return huggingface_hub
