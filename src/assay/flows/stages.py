"""Stages of a run: each is skipped when what it depends on has not changed, by digest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from assay import __version__
from assay.core.digest import Digest, digest_record
from assay.core.errors import AssayError
from assay.core.evidence import Evidence
from assay.core.files import read_record, write_record

Report: TypeAlias = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """How one stage ended. status: ``done``, ``skipped`` (unchanged) or ``failed``; result: plain JSON."""

    name: str
    status: str
    detail: str
    seconds: float
    result: Mapping[str, object] = field(default_factory=dict)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """What the stage's controls saw."""
        records = self.result.get("evidence", ())
        return tuple(Evidence.from_json(r) for r in records) if isinstance(records, (list, tuple)) else ()

    def text(self, key: str) -> str:
        """Return a text of the stage's result."""
        return str(self.result.get(key, ""))


@dataclass(slots=True)
class Memory:
    """Remembers each stage's result under a key made of what the stage depends on.

    folder: where results are kept. report: told (name, status, detail) of every stage.
    """

    folder: Path
    report: Report
    stages: list[Stage] = field(default_factory=list)

    def run(
        self,
        name: str,
        depends: Mapping[str, object],
        work: Callable[[], tuple[str, dict[str, object]]],
        *,
        outputs: tuple[Path, ...] = (),
    ) -> Stage:
        """Return the stage's result, from memory when ``depends`` is unchanged and its outputs are still there.

        work: returns (detail, result as plain JSON); it may raise AssayError, which is reported and raised on.
        outputs: files the stage writes; their digests are remembered, so that an edited one is made again.
        """
        key = str(digest_record({"stage": name, "assay": __version__, **{k: _plain(v) for k, v in depends.items()}}))
        kept = self.folder / f"{name}.json"
        started = time.perf_counter()
        remembered = _recall(kept, key, outputs)
        if remembered is not None:
            stage = Stage(name, "skipped", f"unchanged: {remembered['detail']}", 0.0, _mapping(remembered["result"]))
        else:
            try:
                detail, result = work()
            except AssayError as error:
                self.report(name, "failed", error.line())
                self.stages.append(Stage(name, "failed", error.line(), time.perf_counter() - started))
                raise
            record = {"key": key, "detail": detail, "result": result, "outputs": _digests(outputs)}
            write_record(kept, record)
            stage = Stage(name, "done", detail, time.perf_counter() - started, result)
        self.stages.append(stage)
        self.report(name, stage.status, stage.detail)
        return stage

    def note(self, name: str, detail: str) -> None:
        """Record a stage that is done anew each time, as it costs nothing."""
        self.stages.append(Stage(name, "done", detail, 0.0))
        self.report(name, "done", detail)


def _recall(path: Path, key: str, outputs: tuple[Path, ...]) -> Mapping[str, object] | None:
    if not path.is_file():
        return None
    record = _mapping(read_record(path))
    if record.get("key") != key or record.get("outputs") != _digests(outputs):
        return None
    return record


def _digests(outputs: tuple[Path, ...]) -> dict[str, object]:
    from assay.core.digest import digest_tree

    return {path.name: str(digest_tree(path)) if path.exists() else None for path in outputs}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, (Digest, Path)) else value
