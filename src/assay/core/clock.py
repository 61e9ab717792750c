"""Time and chance as arguments: one ``now`` a run, one seed a run, streams derived from it by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NewType, TypeAlias

from assay.core.errors import FormatError

if TYPE_CHECKING:
    from numpy.random import Generator

Seed = NewType("Seed", int)
Clock: TypeAlias = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the present time in UTC, without microseconds (records carry whole seconds)."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def format_time(moment: datetime) -> str:
    """Return a moment as RFC 3339 text in UTC, whole seconds. Raises FormatError without a time zone."""
    if moment.tzinfo is None:
        raise FormatError("a time without a zone cannot be recorded", remedy="Use a UTC time")
    return moment.astimezone(timezone.utc).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Return the moment written as RFC 3339 text with a zone. Raises FormatError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise FormatError(f"{text!r} is not a time", remedy="Write it as 2026-01-31T12:00:00Z") from error
    if moment.tzinfo is None:
        raise FormatError(f"{text!r} has no time zone", remedy="End it with Z for UTC")
    return moment


def derive_seed(seed: int, *names: str | int) -> Seed:
    """Return a 63-bit seed of its own for the stream called ``names``, the same on every machine."""
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return Seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1)


def stream(seed: int, *names: str | int) -> Generator:
    """Return the random generator of the stream called ``names`` under ``seed``."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, *names))
