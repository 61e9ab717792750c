"""The gateway: a raw ASGI application that answers for one verified release, behind its guards.

A request passes, in this order: the release is still good, there is room, the key, the scope, the media type,
the body within its bounds, decoding, the rate, the guards that judge rows, the model, the guards that shape
answers, the record. Whatever fails first is the answer, and everything after it does not happen.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from assay.core.clock import Clock, system_clock
from assay.core.errors import AssayError, DataError, SettingError
from assay.core.event import Event
from assay.gateway.auth import Key, Keys
from assay.gateway.body import Message, Receive, read_body
from assay.gateway.codec import decode, encode
from assay.gateway.columns import Columns
from assay.gateway.engine import Engine
from assay.gateway.events import Sink
from assay.gateway.guard import Armed, arm_guards, guards_of
from assay.gateway.invocations import decode_invocation, encode_invocation
from assay.gateway.limits import Buckets, Caps, Rate
from assay.gateway.metrics import Metrics
from assay.gateway.reject import Rejected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.contract import Contract

Send: TypeAlias = Callable[[Message], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]
_JSON: list[Header] = [(b"content-type", b"application/json")]
_MEDIA = frozenset({b"", b"application/json", b"application/octet-stream"})
_ROWS_SHOWN = 10
_RECORD_PATIENCE = 2.0
_encode_json = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Trace:
    """What is known of a request so far."""

    start: float
    actor: str = ""
    rows: int = 0
    recorded: bool = True
    flags: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    headers: list[Header]


class Gateway:
    """The ASGI application. It holds the model's verified bytes in memory and reads no file of the release again.

    release: digest of the release, in every event. keys: who may ask. events: where each request is recorded
    before it is answered. guards: as ``arm_guards`` made them. recheck: called every ``recheck_seconds``; when
    it raises, the gateway answers 503 from then on, until it is started anew. record_rows: most rows of one
    request whose values are kept for drift (0: none, for data that must not be logged).
    Raises SettingError when the engine and the contract disagree on the width.
    """

    def __init__(
        self,
        engine: Engine,
        contract: Contract,
        keys: Keys,
        events: Sink,
        *,
        model: str = "model",
        version: str = "1",
        release: str = "",
        guards: Sequence[Armed] = (),
        caps: Caps | None = None,
        rate: Rate | None = None,
        recheck: Callable[[], object] | None = None,
        recheck_seconds: float = 5.0,
        record_rows: int = 16,
        clock: Clock = system_clock,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        if engine.width is not None and engine.width != contract.width:
            raise SettingError(f"the model takes {engine.width} values and the contract describes {contract.width}")
        self.metrics = Metrics()
        self.model, self.version, self.release = model, version, release
        self._engine, self._keys, self._events = engine, keys, events
        self._columns, self._contract = Columns(contract), contract
        self._classes = contract.target.classes if contract.target else ()
        self._screens = [g for g in guards if g.screen is not None]
        self._shapes = [g.shape for g in guards if g.shape is not None and g.enforce]
        self._caps, self._buckets = caps or Caps(), Buckets(rate or Rate())
        self._anonymous = Buckets(Rate(per_second=10.0, burst=100.0))
        self._unrecorded = 0
        self._check, self._check_seconds = recheck, recheck_seconds
        self._record_rows, self._clock, self._timer = record_rows, clock, timer
        self._pending = 0
        self._stopped = ""
        self._routes = self._table()

    def _table(self) -> dict[str, tuple[str, str]]:
        routes = {
            "/v2/health/live": ("GET", "live"), "/v2/health/ready": ("GET", "ready"), "/ping": ("GET", "ready"),
            "/health": ("GET", "ready"), "/v2": ("GET", "server"), "/metrics": ("GET", "metrics"),
            "/invocations": ("POST", "invocations"),
        }  # fmt: skip
        for base in (f"/v2/models/{self.model}", f"/v2/models/{self.model}/versions/{self.version}"):
            routes |= {base: ("GET", "metadata"), f"{base}/ready": ("GET", "ready"), f"{base}/infer": ("POST", "infer")}
        return routes

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        if scope["type"] != "http":
            return
        trace = _Trace(self._timer())
        try:
            reply = await self._answer(scope, receive, trace)
        except Rejected as rejected:
            reply = await self._refuse(rejected, trace)
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def stop(self, reason: str, message: str) -> None:
        """Stop answering, for good: every later request gets 503, and ``release.refused`` is recorded once."""
        if not self._stopped:
            self._stopped = reason
            self._events.put(self._event("release.refused", "", reason, {"message": message}))

    def recheck(self) -> bool:
        """Check the release again, and stop when it does not hold any more. Return whether it holds."""
        try:
            if self._check is not None:
                self._check()
        except (AssayError, OSError) as error:
            reason = str(getattr(error, "reason", "") or getattr(error, "code", "unreadable"))
            self.stop(reason, str(error)[:500])
        return not self._stopped

    async def _answer(self, scope: Mapping[str, Any], receive: Receive, trace: _Trace) -> _Reply:
        method, name = self._routes.get(scope["path"], ("", ""))
        trace.recorded = name in {"infer", "invocations"}
        if not name:
            raise Rejected(404, "path", "there is nothing here")
        if scope["method"] != method:
            raise Rejected(405, "method", f"use {method}")
        if name == "live":
            return _Reply(200, b'{"live":true}', _JSON)
        if self._stopped:
            raise Rejected(503, "release", "the release does not hold any more", retry_after=60)
        if name == "ready":
            return _Reply(200, b'{"ready":true}', _JSON)
        if self._pending >= self._caps.pending:
            raise Rejected(503, "busy", "too many requests are waiting", retry_after=1)
        headers = dict(scope["headers"])
        key = self._admit(headers, "metrics" if name == "metrics" else "infer", trace)
        if method == "GET":
            return self._told(name)
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() not in _MEDIA:
            raise Rejected(415, "media_type", "send application/json or application/octet-stream")
        self._pending += 1
        try:
            body = await read_body(receive, headers, self._caps)
            return await self._infer(name, body, headers, key, trace)
        finally:
            self._pending -= 1

    def _told(self, name: str) -> _Reply:
        if name == "metrics":
            return _Reply(200, self.metrics.text(), [(b"content-type", b"text/plain; version=0.0.4")])
        if name == "server":
            return _Reply(200, b'{"name":"assay","version":"2","extensions":["binary_tensor_data"]}', _JSON)
        return _Reply(200, _encode_json(self._metadata()), _JSON)

    def _admit(self, headers: Mapping[bytes, bytes], scope: str, trace: _Trace) -> Key:
        secret = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        key = self._keys.find(secret)
        if key is None:
            raise Rejected(401, "key", "give a valid key in X-API-Key or as a bearer token")
        trace.actor = key.principal
        if not key.opens(self.model, scope):
            raise Rejected(403, "scope", "this key does not open this")
        return key

    async def _infer(self, name: str, body: bytes, headers: Mapping[bytes, bytes], key: Key, trace: _Trace) -> _Reply:
        if name == "infer":
            ask = decode(body, headers.get(b"inference-header-content-length"), self._columns, self._caps)
            x = ask.x
        else:
            ask, x = None, decode_invocation(body, self._columns, self._caps)
        trace.rows = len(x)
        wait = self._buckets.take(key.principal, len(x), self._timer())
        if math.isinf(wait):
            raise Rejected(413, "rows", "more rows than the rate of this gateway can ever pay for")
        if wait:
            raise Rejected(429, "rate", "more than this key may ask for now", retry_after=math.ceil(wait))
        self._screen(x, trace)
        labels, probabilities = self._predict(x)
        if self._stopped:
            raise Rejected(503, "release", "the release does not hold any more", retry_after=60)
        await self._record(lambda: self._served(x, labels, trace, self._timer() - trace.start))
        self.metrics.count(200, "", len(x), self._timer() - trace.start)
        if ask is None:
            return _Reply(200, encode_invocation(labels, probabilities, self._classes), _JSON)
        content, length = encode(ask, labels, probabilities, model=self.model, version=self.version)
        if length is None:
            return _Reply(200, content, _JSON)
        binary = (b"inference-header-content-length", b"%d" % length)
        return _Reply(200, content, [(b"content-type", b"application/octet-stream"), binary])

    def _screen(self, x: NDArray[np.float64], trace: _Trace) -> None:
        for guard in self._screens:
            screen = guard.screen(x) if guard.screen else None
            if screen is None:
                continue
            bad = np.flatnonzero(~screen.ok)
            self.metrics.flag(guard.name, len(bad))
            if guard.enforce:
                shown = [{"row": int(i), "reasons": list(screen.reasons[i])} for i in bad[:_ROWS_SHOWN]]
                raise Rejected(422, guard.name, f"{len(bad)} of {len(x)} rows are refused", rows=shown)
            trace.flags[guard.name] = len(bad)

    def _predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64] | None]:
        try:
            probabilities = self._engine.probabilities(x)
        except DataError as error:
            raise Rejected(422, "unanswerable", error.message) from None
        if not np.isfinite(probabilities).all():
            raise Rejected(422, "unanswerable", "the model has no finite answer for these rows")
        labels = probabilities.argmax(axis=1)
        answer: NDArray[np.float64] | None = probabilities
        for shape in self._shapes:
            answer = None if answer is None else shape(answer)
        return labels, answer

    def _served(self, x: NDArray[np.float64], labels: NDArray[np.intp], trace: _Trace, seconds: float) -> Event:
        data: dict[str, object] = {"rows": len(x), "us": round(seconds * 1e6)}
        if self._record_rows:
            kept = x[: self._record_rows]
            data["x"] = [[None if math.isnan(v) else v for v in row] for row in kept.tolist()]
            data["labels"] = labels[: self._record_rows].tolist()
        if trace.flags:
            data["flags"] = trace.flags
        return self._event("request.served", trace.actor, "", data)

    async def _refuse(self, rejected: Rejected, trace: _Trace) -> _Reply:
        seconds = self._timer() - trace.start
        if trace.recorded:
            self._record_refusal(rejected, trace, seconds)
        self.metrics.count(rejected.status, rejected.reason, 0, seconds)
        body: dict[str, object] = {"error": rejected.message, "reason": rejected.reason}
        if rejected.rows:
            body["rows"] = rejected.rows
        headers = _JSON
        if rejected.retry_after is not None:
            headers = [*headers, (b"retry-after", b"%d" % rejected.retry_after)]
        if rejected.status == 401:
            headers = [*headers, (b"www-authenticate", b"Bearer")]
        return _Reply(rejected.status, _encode_json(body), headers)

    def _record_refusal(self, rejected: Rejected, trace: _Trace, seconds: float) -> None:
        # Strangers must not be able to fill the disk: beyond a rate their refusals are only counted.
        if not trace.actor and self._anonymous.take("", 0, self._timer()):
            self._unrecorded += 1
            return
        data: dict[str, object] = {"status": rejected.status, "rows": trace.rows, "us": round(seconds * 1e6)}
        if rejected.rows:
            data["refused"] = [dict(row) for row in rejected.rows]
        if self._unrecorded and not trace.actor:
            data["unrecorded"], self._unrecorded = self._unrecorded, 0
        self._events.put(self._event("request.refused", trace.actor, rejected.reason, data))

    async def _record(self, event: Callable[[], Event]) -> None:
        made = event()
        if self._events.put(made):
            return
        patience = self._timer() + _RECORD_PATIENCE
        while self._timer() < patience:
            await asyncio.sleep(0.005)
            if self._events.put(made):
                return
        raise Rejected(503, "events", "the request cannot be recorded, so it is not answered", retry_after=5)

    def _event(self, kind: str, actor: str, reason: str, data: Mapping[str, object]) -> Event:
        return Event(kind, self._clock(), actor, f"{self.model}@{self.release}", reason, data=data)

    def _metadata(self) -> dict[str, object]:
        return {
            "name": self.model,
            "versions": [self.version],
            "platform": "onnx",
            "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, self._contract.width]}],
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": [-1]},
                {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(self._classes) or -1]},
            ],
            "parameters": {
                "classes": list(self._classes),
                "features": [f.name for f in self._contract.features],
                "release": self.release,
            },
        }

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        watch: asyncio.Task[None] | None = None
        while (message := await receive())["type"] != "lifespan.shutdown":
            if message["type"] == "lifespan.startup":
                self._events.put(self._event("gateway.started", "", "", {"guards": [g.name for g in self._screens]}))
                watch = asyncio.create_task(self._watch()) if self._check is not None else None
                await send({"type": "lifespan.startup.complete"})
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        self._events.put(self._event("gateway.stopped", "", "", {}))
        await send({"type": "lifespan.shutdown.complete"})

    async def _watch(self) -> None:
        try:
            while await asyncio.to_thread(self.recheck):  # noqa: ASYNC110 (files send no signal)
                await asyncio.sleep(self._check_seconds)
        finally:
            # However the watch ends, other than by shutdown, the release is no longer watched: stop answering.
            current = asyncio.current_task()
            if not (current and current.cancelling()):
                self.stop("recheck_failed", "the release could not be checked again")


def gateway(
    graph: bytes,
    /,
    contract: Contract,
    keys: Keys,
    events: Sink,
    *,
    guards: Mapping[str, object] | None = None,
    fitted: Mapping[str, object] | None = None,
    **options: Any,
) -> Gateway:
    """Return the gateway of a verified release.

    graph: the verified ONNX bytes. guards: ``serve.guards`` of assay.yaml; fitted: as ``fit_guards`` gave it.
    options: those of ``Gateway``. Raises InputError when they do not fit together.
    """
    armed = arm_guards(guards_of(guards or {}), contract, fitted or {})
    return Gateway(Engine(graph), contract, keys, events, guards=armed, **options)
