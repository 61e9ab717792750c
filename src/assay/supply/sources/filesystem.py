"""Object stores and remote file systems through fsspec: ``s3://``, ``gs://``, ``az://``, ``hdfs://``, ``sftp://``, ``memory://``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

from assay.core.digest import digest_record
from assay.core.errors import AssayError, DataError, DependencyError, MissingError, Refused, VerificationError
from assay.supply.sources.draft import Draft
from assay.supply.sources.limits import Deadline
from assay.supply.sources.source import Arrived, ModelSource, RemoteFile, displayed

T = TypeVar("T")
_CHUNK = 1 << 20
_TAGS = ("VersionId", "version_id", "generation", "ETag", "etag", "md5Hash", "content_md5", "checksum")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modificationTime", "created")


class FileSystem(ModelSource, name="filesystem"):
    """Read a file or a folder through fsspec; credentials come from the environment, as each store defines it."""

    schemes = (
        "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "hdfs", "webhdfs", "sftp", "smb", "memory",
    )  # fmt: skip

    def fetch(self, url: str, draft: Draft, *, allow_unpinned: bool) -> Arrived:
        """Write the file or all files of the folder. Raises VerificationError when one changes meanwhile."""
        del allow_unpinned
        store, path = _opened(url, draft.deadline)
        info = _asked(lambda: store.info(path), url, draft.deadline)
        single = info.get("type") == "file"
        listed = {path: info} if single else _asked(lambda: _walk(store, path, draft.limits.files), url, draft.deadline)
        draft.expect(int(i.get("size") or 0) for i in listed.values())
        tags = {full: self._file(store, full, _relative(full, path, single, url), url, draft) for full in listed}
        tag = tags[path] if single else f"sha256:{digest_record(tags).hex}" if all(tags.values()) else ""
        return Arrived(_pinned(url, tag), path, single=single)

    def remote(self, url: str, deadline: Deadline, *, allow_unpinned: bool) -> RemoteFile:
        """Return one file for reading parts of it."""
        del allow_unpinned
        store, path = _opened(url, deadline)
        info = _asked(lambda: store.info(path), url, deadline)
        size = info.get("size")
        if info.get("type") != "file" or not isinstance(size, int):
            raise DataError("is no file of a known size", where=displayed(url), remedy="Name one file")
        return RemoteFile(
            _pinned(url, _tag(info)),
            path,
            size,
            lambda start, stop: _spoken(lambda: bytes(store.cat_file(path, start=start, end=stop)), url),
            lambda: _tag(_fresh(store, path, url, deadline)) == _tag(info),
        )

    @staticmethod
    def _file(store: Any, full: str, name: str, url: str, draft: Draft) -> str:
        # Asked for again, since listings word the same facts in other ways than this does.
        told = _fresh(store, full, url, draft.deadline)
        if told.get("type") != "file" or told.get("islink"):
            raise Refused("holds a link or something else that is no file", where=displayed(url), reason="unsafe-name")

        def chunks() -> Iterator[bytes]:
            stream = _spoken(lambda: store.open(full, "rb", block_size=_CHUNK, cache_type="readahead"), url)
            try:
                while chunk := _spoken(lambda: bytes(stream.read(_CHUNK)), url):
                    yield chunk
            finally:
                stream.close()

        size = told.get("size")
        draft.write(name, chunks(), size=size if isinstance(size, int) else None)
        tag = _tag(told)
        if _tag(_fresh(store, full, url, draft.deadline)) != tag:
            raise VerificationError(
                "changed while it was read", where=displayed(url), remedy="Fetch it again", reason="source-changed"
            )
        return tag


def _opened(url: str, deadline: Deadline) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise DependencyError(
            "the library fsspec is not installed", where=displayed(url), remedy="pip install 'assay[hub]'"
        ) from error
    plain = url.partition("#")[0]
    store, path = _asked(lambda: url_to_fs(plain), url, deadline)
    # Listings are kept for the whole process: a change would go unseen.
    _spoken(store.invalidate_cache, url)
    return store, str(path)


def _fresh(store: Any, path: str, url: str, deadline: Deadline) -> dict[str, Any]:
    _spoken(store.invalidate_cache, url)
    told: dict[str, Any] = _asked(lambda: store.info(path), url, deadline)
    return told


def _walk(store: Any, root: str, most: int) -> dict[str, dict[str, Any]]:
    listed: dict[str, dict[str, Any]] = {}
    for _, folders, files in store.walk(root, detail=True):
        listed |= {str(told["name"]): told for told in files.values()}
        # Endless trees: stop where the limit on files will refuse anyway.
        if len(listed) + len(folders) > 4 * most:
            break
    return dict(sorted(listed.items()))


def _relative(full: str, root: str, single: bool, url: str) -> str:
    if single:
        return full.rstrip("/").rpartition("/")[2]
    prefix = f"{root.rstrip('/')}/"
    if not full.startswith(prefix):
        raise Refused("lists a file outside of the folder asked for", where=displayed(url), reason="unsafe-name")
    return full[len(prefix) :]


def _tag(info: dict[str, Any]) -> str:
    for key in (*_TAGS, *_TIMES):
        if info.get(key):
            return str(info[key]).strip('"')[:200]
    return ""


def _pinned(url: str, tag: str) -> str:
    plain = displayed(url.partition("#")[0])
    return f"{plain}#etag={quote(tag, safe=':')}" if tag else plain


def _asked(call: Callable[[], T], url: str, deadline: Deadline) -> T:
    return deadline.run(lambda: _spoken(call, url))


def _spoken(call: Callable[[], T], url: str) -> T:
    try:
        return call()
    except AssayError:
        raise
    except ImportError as error:
        raise DependencyError(
            "the library for this kind of store is not installed",
            where=displayed(url),
            remedy="Install s3fs, gcsfs, adlfs or what fsspec names for this scheme",
        ) from error
    except FileNotFoundError:
        raise DataError("does not exist", where=displayed(url), remedy="Check the URL") from None
    except Exception as error:  # noqa: BLE001 - every store's client has errors of its own, and texts with secrets
        raise MissingError(
            f"cannot be read ({type(error).__name__})", where=displayed(url), remedy="Check the URL and the credentials"
        ) from None
