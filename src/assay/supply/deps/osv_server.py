"""OSV records from a server by its API (POST /v1/querybatch, GET /v1/vulns/ID), bounded in time and size."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, quote, urlsplit

from assay.core.canonical import parse
from assay.core.errors import AssayError, FormatError, MissingError, Refused
from assay.core.evidence import NotChecked
from assay.supply.deps.declared import Package, host_of, redacted, short
from assay.supply.deps.osv_record import Answer, Key, Record, is_withdrawn, items, parsed, table
from assay.supply.sources.limits import Deadline, SourceLimits

LIMITS = SourceLimits(seconds=300.0, silence=20.0)
_BATCH = 500
_LARGEST = 32 << 20
_MOST_PAGES = 50
_MOST_RECORDS = 5000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}\Z")
_REMEDY = "Check the server, or give a local dump"


def ask_server(url: str, packages: Mapping[Key, Package], limits: SourceLimits = LIMITS) -> Answer:
    """Return the records that a server knows against packages. Raises Refused, MissingError or FormatError.

    A record whose details cannot be had still counts, without its severity.
    """
    server = _Server(url, limits)
    answer = Answer()
    keys = list(packages)
    ids: dict[str, list[Key]] = {}
    for start in range(0, len(keys), _BATCH):
        for key, found in server.query(keys[start : start + _BATCH]):
            ids.setdefault(found, []).append(key)
    for count, (name, affected) in enumerate(ids.items()):
        record: Record = {"id": name}
        try:
            if count >= _MOST_RECORDS:
                raise Refused(f"more than {_MOST_RECORDS} advisories", remedy="Check fewer packages at once")
            record = server.record(name)
        except AssayError as error:
            answer.unread.append(NotChecked(name, error.message, error.remedy or _REMEDY))
        if is_withdrawn(record):
            continue
        answer.newest = max(answer.newest, str(record.get("modified", ""))[:20])
        for key in affected:
            answer.hits.setdefault(key, []).append(record)
    answer.records = len(ids)
    return answer


class _Server:
    def __init__(self, url: str, limits: SourceLimits) -> None:
        parts = _split(url)
        if parts.scheme not in {"http", "https"} or not host_of(url) or parts.query or parts.fragment:
            raise Refused(
                "is not the URL of a server", where=redacted(url), remedy="Give http(s)://host", reason="osv-url"
            )
        self._base = re.sub(r"(/v1(/querybatch)?)?/*$", "", url)
        self._shown = redacted(self._base)
        self._deadline = Deadline(limits, self._shown)
        # Only what speaks HTTP, and nothing that follows a redirect.
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def query(self, keys: list[Key]) -> Iterator[tuple[Key, str]]:
        waiting = [(key, _question(key)) for key in keys]
        for _ in range(_MOST_PAGES):
            if not waiting:
                return
            held = self._ask("/v1/querybatch", {"queries": [question for _, question in waiting]})
            results = held.get("results")
            if not isinstance(results, list) or len(results) != len(waiting):
                raise FormatError("the server did not answer every question", where=self._shown, remedy=_REMEDY)
            more = []
            for (key, question), result in zip(waiting, results, strict=True):
                if result is not None and not isinstance(result, Mapping):
                    raise FormatError("an answer of the server is no record", where=self._shown, remedy=_REMEDY)
                for found in items(table(result).get("vulns")):
                    name = table(found).get("id")
                    if not isinstance(name, str) or not _ID.match(name):
                        raise FormatError("an advisory of the server has no id", where=self._shown, remedy=_REMEDY)
                    yield key, name
                if token := table(result).get("next_page_token"):
                    more.append((key, {**question, "page_token": str(token)}))
            waiting = more
        if waiting:
            raise FormatError("the server's answer has no end", where=self._shown, remedy=_REMEDY)

    def record(self, name: str) -> Record:
        held = self._ask(f"/v1/vulns/{quote(name, safe='')}", None)
        if held.get("id") != name:
            raise FormatError("the server gave another advisory", where=self._shown, remedy=_REMEDY)
        return held

    def _ask(self, path: str, question: object) -> Record:
        body = None if question is None else json.dumps(question).encode()
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "assay"}
        request = urllib.request.Request(self._base + path, body, headers)  # noqa: S310 - the opener speaks HTTP only
        try:
            data: bytes = self._deadline.run(lambda: self._read(request))
        except urllib.error.HTTPError as error:
            error.close()
            raise MissingError(f"the server said {error.code}", where=self._shown, remedy=_REMEDY) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = short(str(getattr(error, "reason", error)) or type(error).__name__)
            raise MissingError(f"the server did not answer ({why})", where=self._shown, remedy=_REMEDY) from None
        if len(data) > _LARGEST:
            raise Refused("the server's answer has no end", where=self._shown, remedy=_REMEDY, reason="osv-bytes")
        held = parse(data, where=self._shown)
        if not isinstance(held, dict):
            raise FormatError("the server did not answer with a record", where=self._shown, remedy=_REMEDY)
        return held

    def _read(self, request: urllib.request.Request) -> bytes:
        with self._opener.open(request, timeout=self._deadline.left()) as answer:
            data: bytes = answer.read(_LARGEST + 1)
            return data


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _question(key: Key) -> dict[str, object]:
    name, version = key
    with contextlib.suppress(FormatError):
        version = str(parsed(version))
    return {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
