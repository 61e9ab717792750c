"""Files by HTTPS, and the bounded HTTP client of the other sources: no plain text, no credentials to strangers."""

from __future__ import annotations

import http.client
import ipaddress
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import IO
from urllib.parse import quote, urlsplit

from assay.core.canonical import Json, parse
from assay.core.errors import AssayError, DataError, FormatError, MissingError, Refused, VerificationError
from assay.supply.sources.draft import Draft
from assay.supply.sources.limits import Deadline
from assay.supply.sources.source import Arrived, ModelSource, RemoteFile, displayed

_CHUNK = 1 << 20
_LARGEST_ANSWER = 32 << 20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_REFUSALS = {
    401: "the server wants credentials, or others",
    403: "the server does not let this user read it",
    404: "the server has no such model",
    429: "the server wants fewer requests",
}


class Web:
    """A client for one server.

    secrets: header fields that only this server may see; they are dropped when it redirects elsewhere. Every answer
    is bounded in size and time. Errors name the URL without its query, and never a header or what the server wrote.
    """

    def __init__(self, base: str, deadline: Deadline, secrets: Mapping[str, str] | None = None) -> None:
        check_secure(base)
        self._base, self._deadline = base.rstrip("/"), deadline
        self._secrets = dict(secrets or {})
        # Only what speaks HTTP: the default opener would also follow file: and ftp:.
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(self._base, frozenset(name.lower() for name in self._secrets)),
        ):
            self._opener.add_handler(handler)

    def json(self, path: str, query: str = "") -> dict[str, Json]:
        """Return the record that the server answers with. Raises FormatError for anything else, MissingError."""
        url = f"{self._base}{path}{'?' if query else ''}{query}"
        with self.open(url) as answer:
            body = b"".join(self._bounded(answer, url))
        found = parse(body, where=displayed(url))
        if not isinstance(found, dict):
            raise FormatError("the server did not answer with a record", where=displayed(url))
        return found

    def chunks(self, url: str) -> Iterator[bytes]:
        """Yield the body of ``url``. Raises VerificationError when it is not as long as its header says."""
        with self.open(url) as answer:
            yield from _body(answer, url)

    def part(self, url: str, start: int, stop: int) -> bytes:
        """Return a range of bytes. Raises MissingError when the server gives no ranges."""
        with self.open(url, {"Range": f"bytes={start}-{stop - 1}"}) as answer:
            span = _span(answer, url)
            if span[:2] != (start, stop):
                raise VerificationError(
                    "gave another range than asked for", where=displayed(url), reason="wrong-length"
                )
            return _read(answer, stop - start + 1, url)

    def facts(self, url: str) -> tuple[int, str]:
        """Return the size of ``url`` in bytes and its entity tag ("": none), told by its first byte."""
        with self.open(url, {"Range": "bytes=0-0"}) as answer:
            return _span(answer, url)[2], _tag(answer)

    def open(self, url: str, fields: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
        """Return the answer to a GET. Raises Refused for a redirect that is not followed, MissingError."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "assay", **(fields or {}), **self._secrets}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the opener speaks HTTP only
        try:
            answer = self._deadline.run(lambda: self._opener.open(request, timeout=self._deadline.left()))
        except urllib.error.HTTPError as error:
            error.close()
            raise _refusal(error.code, url) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _no_answer(url, error) from None
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            answer.close()
            raise FormatError("the answer is compressed, which was not asked for", where=displayed(url))
        made: http.client.HTTPResponse = answer
        return made

    def _bounded(self, answer: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
        body, total = _body(answer, url), 0
        while chunk := self._deadline.run(lambda: next(body, b"")):
            total += len(chunk)
            if total > _LARGEST_ANSWER:
                raise Refused("the server's answer has no end", where=displayed(url), reason="source-bytes")
            yield chunk


class HttpFile(ModelSource, name="http"):
    """Read one file by HTTPS, or by HTTP from this machine; the pinned URL carries the entity tag."""

    schemes = ("https", "http")

    def fetch(self, url: str, draft: Draft, *, allow_unpinned: bool) -> Arrived:
        """Write the file. Raises Refused for plain HTTP to another machine, or as ``Web`` does."""
        del allow_unpinned
        plain = url.partition("#")[0]
        web = Web(plain, draft.deadline)
        tag: list[str] = []

        def chunks() -> Iterator[bytes]:
            with web.open(plain) as answer:
                tag.append(_tag(answer))
                yield from _body(answer, plain)

        draft.write("model", chunks())
        return Arrived(_pinned(plain, tag[0]), _last(plain), single=True)

    def remote(self, url: str, deadline: Deadline, *, allow_unpinned: bool) -> RemoteFile:
        """Return the file for reading parts of it; the server must give ranges."""
        del allow_unpinned
        plain = url.partition("#")[0]
        web = Web(plain, deadline)
        size, tag = web.facts(plain)
        return RemoteFile(
            _pinned(plain, tag),
            _last(plain),
            size,
            lambda start, stop: web.part(plain, start, stop),
            lambda: web.facts(plain) == (size, tag),
        )


def check_secure(url: str) -> None:
    """Check that a URL is HTTPS, or HTTP to this machine. Raises Refused."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or not is_loopback(parts.hostname or ""):
        raise Refused(
            "is not HTTPS, so that anyone on the way could change the model",
            where=displayed(url),
            remedy="Use https://",
            reason="insecure-transport",
        )


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow few redirects, to secure places only, and leave the credentials behind when the server changes."""

    max_redirections = 5
    max_repeats = 2

    def __init__(self, base: str, secret: frozenset[str]) -> None:
        self._base, self._secret = base, secret

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        # The caller reads the rest of this answer next, and it may have no end.
        fp.close()
        check_secure(newurl)
        if is_loopback(urlsplit(newurl).hostname or "") and not is_loopback(urlsplit(self._base).hostname or ""):
            raise Refused("redirects to this machine", where=displayed(self._base), reason="redirect")
        made = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if made is not None and _origin(newurl) != _origin(self._base):
            for name in [n for n in made.headers if n.lower() in self._secret | {"authorization", "cookie"}]:
                made.remove_header(name)
        return made


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _refusal(status: int, url: str) -> AssayError:
    text = f"{_REFUSALS.get(status, 'the server failed')} ({status})"
    if status == 404:
        return DataError(text, where=displayed(url), remedy="Check the URL")
    return MissingError(text, where=displayed(url), remedy="Check the credentials, or try again later")


def _no_answer(url: str, error: Exception) -> MissingError:
    why = error.reason if isinstance(error, urllib.error.URLError) else error
    said = why.strerror if isinstance(why, OSError) and why.strerror else type(why).__name__
    return MissingError(f"no answer ({said})", where=displayed(url), remedy="Check the address and the network")


def _body(answer: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    announced, total = answer.length, 0
    while chunk := _read(answer, _CHUNK, url, once=True):
        total += len(chunk)
        yield chunk
    if announced is not None and total != announced:
        raise VerificationError(
            f"ended after {total} of {announced} bytes", where=displayed(url), remedy="Fetch it again",
            reason="wrong-length",
        )  # fmt: skip


def _read(answer: http.client.HTTPResponse, most: int, url: str, *, once: bool = False) -> bytes:
    try:
        return answer.read1(most) if once else answer.read(most)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _no_answer(url, error) from None


def _span(answer: http.client.HTTPResponse, url: str) -> tuple[int, int, int]:
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", "")) if answer.status == 206 else None
    if found is None:
        raise MissingError(
            "the server does not give parts of files", where=displayed(url), remedy="Fetch the whole model"
        )
    return int(found[1]), int(found[2]) + 1, int(found[3])


def _tag(answer: http.client.HTTPResponse) -> str:
    return (answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")[:200]


def _pinned(url: str, tag: str) -> str:
    return f"{displayed(url)}#etag={quote(tag.strip(chr(34)), safe='')}" if tag else displayed(url)


def _last(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2] or "model"
