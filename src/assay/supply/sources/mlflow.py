"""Model versions of an MLflow registry over plain REST: ``mlflow://models/NAME/VERSION``; MLflow itself is not needed.

MLflow keeps no digest of what it stores, and a version's files can be replaced: the version in the pinned URL is a
name, and only the digest of what arrived says what it was. REST API 2.0, MLflow 3.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, unquote, urlencode, urlsplit

from assay.core.canonical import Json
from assay.core.errors import BudgetError, FormatError, InputError, MissingError, Refused, UnsupportedError
from assay.supply.sources.draft import Draft
from assay.supply.sources.http import Web, check_secure
from assay.supply.sources.limits import Deadline
from assay.supply.sources.source import Arrived, ModelSource, displayed

_URL = re.compile(r"mlflow://models/([^/?#@]+)(?:/(\d{1,18})|@([^/?#@]+))")
_API = "/api/2.0/mlflow"
_PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a folder of artifacts. name: its last part; size: bytes, None when the server does not say."""

    name: str
    folder: bool
    size: int | None


class Artifacts(Protocol):
    """A tree of artifacts on the server; paths are relative to its root."""

    def listing(self, path: str) -> list[Listed]:
        """Return what a folder holds."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes."""


class MlflowVersion(ModelSource, name="mlflow"):
    """Read all files of a registered model version, through the tracking server at MLFLOW_TRACKING_URI.

    Credentials: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
    """

    schemes = ("mlflow",)

    def fetch(self, url: str, draft: Draft, *, allow_unpinned: bool) -> Arrived:
        """Write the files. Raises Refused for an alias, a version not ready or artifacts elsewhere; MissingError."""
        web = _server(draft.deadline)
        name, version = _version(url, web, allow_unpinned=allow_unpinned)
        pinned = f"mlflow://models/{quote(name, safe='')}/{version}"
        tree = _tree(web, name, version, pinned)
        files = list(_walk(tree, "", draft.limits.files, pinned))
        draft.expect(entry.size or 0 for _, entry in files)
        for path, entry in files:
            draft.write(path, tree.chunks(path), size=entry.size)
        return Arrived(pinned, f"{name}-{version}", single=False)


@dataclass(frozen=True, slots=True)
class ProxiedArtifacts:
    """Artifacts that the server hands through from its store (``mlflow-artifacts:``)."""

    web: Web
    base: str
    root: str

    def listing(self, path: str) -> list[Listed]:
        """Return what a folder holds."""
        answer = self.web.json(_PROXY, urlencode({"path": _joined(self.root, path)}))
        return _entries(answer, "")

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes."""
        return self.web.chunks(f"{self.base}{_PROXY}/{quote(_joined(self.root, path))}")


@dataclass(frozen=True, slots=True)
class RunArtifacts:
    """Artifacts of a run, by its id; for servers that read their store themselves."""

    web: Web
    base: str
    run: str
    root: str

    def listing(self, path: str) -> list[Listed]:
        """Return what a folder holds."""
        whole = _joined(self.root, path)
        answer = self.web.json(f"{_API}/artifacts/list", urlencode({"run_id": self.run, "path": whole}))
        return _entries(answer, whole)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes."""
        query = urlencode({"path": _joined(self.root, path), "run_uuid": self.run})
        return self.web.chunks(f"{self.base}/get-artifact?{query}")


def _server(deadline: Deadline) -> Web:
    base = _base()
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    user, word = os.environ.get("MLFLOW_TRACKING_USERNAME", ""), os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    secrets = {}
    if token:
        secrets["Authorization"] = f"Bearer {token}"
    elif user:
        secrets["Authorization"] = f"Basic {base64.b64encode(f'{user}:{word}'.encode()).decode()}"
    if any(not text.isprintable() for text in (token, user, word)):
        raise InputError("the credentials hold a character that no header can", where="MLFLOW_TRACKING_TOKEN")
    return Web(base, deadline, secrets)


def _base() -> str:
    base = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    if not base:
        raise MissingError(
            "there is no MLflow server", where="MLFLOW_TRACKING_URI", remedy="Set it to the server's https:// address"
        )
    if "@" in urlsplit(base).netloc:
        raise InputError(
            "holds a user name or password",
            where="MLFLOW_TRACKING_URI",
            remedy="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    check_secure(base)
    return base


def _version(url: str, web: Web, *, allow_unpinned: bool) -> tuple[str, str]:
    found = _URL.fullmatch(url)
    if found is None:
        raise FormatError("is no URL of a model version", where=displayed(url), remedy="Write mlflow://models/NAME/1")
    name, version, alias = unquote(found[1]), found[2], found[3]
    if version:
        return name, version
    answer = web.json(f"{_API}/registered-models/alias", urlencode({"name": name, "alias": unquote(alias)}))
    version = str(_record(answer, "model_version", url).get("version", ""))
    if not re.fullmatch(r"\d{1,18}", version):
        raise FormatError("the server did not say which version this is", where=displayed(url))
    if not allow_unpinned:
        raise Refused(
            f"{alias!r} can be moved to another version at any time",
            where=displayed(url),
            remedy=f"Use mlflow://models/{quote(name, safe='')}/{version} or allow unpinned sources",
            reason="unpinned",
        )
    return name, version


def _tree(web: Web, name: str, version: str, where: str) -> Artifacts:
    query = urlencode({"name": name, "version": version})
    told = _record(web.json(f"{_API}/model-versions/get", query), "model_version", where)
    if (str(told.get("name")), str(told.get("version"))) != (name, version):
        raise Refused("the server answered with another version", where=where, reason="wrong-version")
    if told.get("status", "READY") != "READY":
        raise Refused("the version is not ready", where=where, remedy="Try again later", reason="not-ready")
    place = str(web.json(f"{_API}/model-versions/get-download-uri", query).get("artifact_uri", ""))
    parts, base = urlsplit(place), _base()
    if parts.scheme == "mlflow-artifacts" and parts.netloc in {"", urlsplit(base).netloc}:
        return ProxiedArtifacts(web, base, _clean(parts.path, where))
    source = urlsplit(str(told.get("source", "")))
    if source.scheme == "runs":
        run, _, root = source.path.lstrip("/").partition("/")
        if not re.fullmatch(r"[0-9a-zA-Z_-]{1,64}", run):
            raise FormatError("the server names no run that could be read", where=where)
        return RunArtifacts(web, base, run, _clean(root, where))
    # The server could name any place; only the user says where their own credentials are sent.
    raise UnsupportedError(
        f"the server keeps the files elsewhere ({parts.scheme or 'a local path'})",
        where=where,
        remedy="Give the URL of the files themselves, or let the server proxy its artifacts",
    )


def _walk(tree: Artifacts, path: str, most: int, where: str) -> Iterator[tuple[str, Listed]]:
    queue, seen = [(path, 0)], 0
    while queue:
        folder, depth = queue.pop()
        for entry in tree.listing(folder):
            seen += 1
            if seen > 2 * most or depth > _DEEPEST:
                raise BudgetError("the server lists more files than allowed", where=where, reason="source-files")
            inside = f"{folder}/{entry.name}" if folder else entry.name
            if entry.folder:
                queue.append((inside, depth + 1))
            else:
                yield inside, entry


def _entries(answer: dict[str, Json], above: str) -> list[Listed]:
    files = answer.get("files", [])
    if not isinstance(files, list):
        raise FormatError("the server did not answer with a list of files", where=_PROXY)
    made = []
    for file in files:
        path = file.get("path") if isinstance(file, dict) else None
        if not isinstance(file, dict) or not isinstance(path, str):
            raise FormatError("the server did not answer with a list of files", where=_PROXY)
        name = path[len(above) + 1 :] if above and path.startswith(f"{above}/") else path
        if "/" in name or name in {"", ".", ".."}:
            raise Refused("the server lists a file outside of its folder", where=_PROXY, reason="unsafe-name")
        size = str(file.get("file_size", ""))
        made.append(Listed(name, bool(file.get("is_dir")), int(size) if re.fullmatch(r"\d{1,18}", size) else None))
    return made


def _record(answer: dict[str, Json], key: str, where: str) -> dict[str, Json]:
    found = answer.get(key)
    if not isinstance(found, dict):
        raise FormatError(f"the server's answer has no {key}", where=displayed(where))
    return found


def _clean(path: str, where: str) -> str:
    parts = [part for part in unquote(path).split("/") if part]
    if ".." in parts or "." in parts:
        raise Refused("the server names a path that leads elsewhere", where=where, reason="unsafe-name")
    return "/".join(parts)


def _joined(root: str, path: str) -> str:
    return "/".join(part for part in (root, path) if part)
