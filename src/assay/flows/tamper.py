"""Tampering on purpose, with copies of a release: each case must be refused, and each with its own reason."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from assay.core.errors import VerificationError
from assay.flows.release import verify
from assay.registry.trust import Trust


@dataclass(frozen=True, slots=True)
class Tampering:
    """One case: what was done, and the reason of the refusal ("": it was let through)."""

    what: str
    reason: str
    message: str


def tamper(release: Path, trust: Trust, *, now: datetime) -> tuple[Tampering, ...]:
    """Return what verification says of a flipped byte in the model, an edited measure, an edited approval, and more.

    The release itself is only read.
    """
    return tuple(_tried(release, trust, what, harm, now) for what, harm in _HARMS)


@contextmanager
def copied(release: Path) -> Iterator[Path]:
    """Yield a copy of a release folder that may be harmed."""
    with tempfile.TemporaryDirectory(prefix="assay-tamper-") as scratch:
        copy = Path(scratch) / "release"
        shutil.copytree(release, copy)
        yield copy


def flip(path: Path) -> None:
    """Invert the lowest bit of the byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def edit_measure(path: Path) -> None:
    """Raise the first measure in a signed statement to 0.999, as someone would who dislikes the result."""

    def better(statement: dict[str, object]) -> None:
        predicate = statement["predicate"]
        assert isinstance(predicate, dict)
        for measure in predicate.get("measures", [])[:1]:
            measure |= {"estimate": 0.999, "high": 1.0}

    _edit(path, better)


def edit_reason(path: Path) -> None:
    """Change the words of a signed approval."""

    def other(statement: dict[str, object]) -> None:
        predicate = statement["predicate"]
        assert isinstance(predicate, dict)
        predicate["reason"] = "looks fine"

    _edit(path, other)


def _edit(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    envelope = json.loads(path.read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    path.write_text(json.dumps(envelope, sort_keys=True, separators=(",", ":")), encoding="utf-8")


_HARMS: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("one flipped byte in the model", lambda r: flip(r / "model" / "model.onnx")),
    ("a widened contract", lambda r: flip(r / "model" / "contract.yaml")),
    ("an edited measure", lambda r: edit_measure(r / "statements" / "quality.json")),
    ("an edited approval", lambda r: edit_reason(r / "statements" / "approval-1.json")),
    ("a removed statement", lambda r: (r / "statements" / "membership.json").unlink()),
    ("an added file", lambda r: shutil.copyfile(r / "model.sig", r / "model" / "extra.py")),
    ("an exchanged log proof", lambda r: flip(r / "statements" / "scan.tlog-proof")),
)


def _tried(release: Path, trust: Trust, what: str, harm: Callable[[Path], object], now: datetime) -> Tampering:
    with copied(release) as copy:
        harm(copy)
        try:
            verify(copy, trust, now=now)
        except VerificationError as error:
            return Tampering(what, error.reason, error.line())
    return Tampering(what, "", "the release was accepted")
