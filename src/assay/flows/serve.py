"""Serving: the gateway answers for a verified release only, and looks again while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.contract.contract import Contract
from assay.core.canonical import parse
from assay.core.clock import Clock, system_clock
from assay.core.errors import FormatError, MissingError, VerificationError
from assay.core.event import Event
from assay.flows.release import verify
from assay.gateway.app import Gateway, gateway
from assay.gateway.auth import Keys, make_key
from assay.gateway.events import EventFile
from assay.gateway.limits import Rate
from assay.gateway.serve import run
from assay.registry.release import VerifiedRelease
from assay.registry.trust import Trust


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway finds its release, whom it trusts, who may ask, and where it records."""

    release: Path
    trust: Path
    keys: Path
    events: Path

    @classmethod
    def of(
        cls,
        folder: Path,
        *,
        release: Path | None = None,
        trust: Path | None = None,
        keys: Path | None = None,
        events: Path | None = None,
    ) -> Place:
        """Return the places of a project folder, save those that are named."""
        state = folder / ".assay"
        return cls(
            release or folder / "release",
            trust or (release.absolute().parent if release else folder) / "trust.json",
            keys or state / "api-keys.json",
            events or state / "events",
        )


def new_key(place: Place, principal: str) -> str:
    """Return a new API key for a caller; its digest is added to the file of keys."""
    known = Keys.read(place.keys) if place.keys.exists() else Keys.empty()
    secret, keys = make_key(known, principal)
    keys.write(place.keys)
    return secret


def serve_place(
    place: Place,
    *,
    host: str,
    port: int,
    certificate: str = "",
    key: str = "",
    rate: float,
    burst: float,
    dry: bool,
    say: Callable[[str], None],
) -> None:
    """Serve until interrupted. dry: only verify. Raises VerificationError, SettingError, MissingError."""
    events = EventFile(place.events)
    try:
        app = serve_release(
            place.release,
            Trust.read(place.trust),
            Keys.read(place.keys) if place.keys.exists() else Keys.empty(),
            events,
            rate=Rate(per_second=rate, burst=burst),
        )
        say(f"{app.model} version {app.version}, release {app.release.partition(':')[2][:12]}: verified")
        if dry:
            return
        if not place.keys.exists():
            raise MissingError("nobody has a key", where=str(place.keys), remedy="Run `assay serve --new-key NAME`")
        scheme = "https" if certificate else "http"
        say(f"{scheme}://{host}:{port}/v2/models/{app.model}/infer  (events in {place.events}; Ctrl-C ends)")
        run(app, host=host, port=port, certificate=certificate, key=key)
    finally:
        events.close()


def serve_release(
    release: Path,
    trust: Trust,
    keys: Keys,
    events: EventFile,
    *,
    clock: Clock = system_clock,
    **options: Any,
) -> Gateway:
    """Return the gateway of a release folder, after verifying it; every few seconds it is verified again.

    A release that does not hold is recorded as a ``release.refused`` event with its reason, and raised.
    options: those of ``assay.gateway.app.Gateway``, as in ``rate``, ``caps``, ``recheck_seconds``.
    """
    try:
        verified = verify(release, trust, now=clock())
    except VerificationError as error:
        events.put(Event("release.refused", clock(), "", str(release), error.reason, data={"message": error.line()}))
        raise
    guards = _record(verified, "model/guards.json")
    settings, fitted = guards.get("settings"), guards.get("fitted")
    if not isinstance(settings, Mapping) or not isinstance(fitted, Mapping):
        raise FormatError("lacks settings or fitted guards", where="model/guards.json", remedy="Release the model anew")
    contract = Contract.from_yaml(verified.files["model/contract.yaml"].decode(), where="model/contract.yaml")
    return gateway(
        verified.model, contract, keys, events, guards=settings, fitted=fitted, model=verified.name,
        version=verified.version, release=str(verified.digest), recheck=_unchanged(release, trust, verified, clock),
        clock=clock, **options,
    )  # fmt: skip


def _unchanged(release: Path, trust: Trust, served: VerifiedRelease, clock: Clock) -> Callable[[], object]:
    """Return the check that the folder still verifies, and still is the release that is served."""

    def check() -> object:
        again = verify(release, trust, now=clock())
        if again.digest != served.digest:
            raise VerificationError(
                "another release took the place of the one that is served", where=str(release),
                remedy="Start the gateway again", reason="release-replaced",
            )  # fmt: skip
        return again

    return check


def _record(release: VerifiedRelease, path: str) -> Mapping[str, Any]:
    if path not in release.files:
        raise VerificationError("is missing", where=path, reason="file-missing")
    record = parse(release.files[path], where=path)
    if not isinstance(record, Mapping):
        raise FormatError("is no record", where=path)
    return record
