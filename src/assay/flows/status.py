"""What a project holds at the moment, read from its folder and its registry; nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.core.clock import Clock, format_time, system_clock
from assay.core.errors import AssayError
from assay.core.files import read_record
from assay.core.statement import Envelope, Statement
from assay.flows.project import Project
from assay.flows.release import open_registry, verify
from assay.registry.gate import GateReport
from assay.registry.store import Registry, Version
from assay.response.incidents import Incidents

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
ALERTS = "alerts.json"


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a project as plain rows, each a record."""

    project: str
    versions: tuple[dict[str, object], ...]
    release: dict[str, object]
    alerts: tuple[dict[str, object], ...]
    incidents: tuple[dict[str, object], ...]

    def to_json(self) -> dict[str, object]:
        """Return the state as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}

    def tables(self) -> tuple[Table, ...]:
        """Return (title, headings, rows) of what there is to show."""
        named = (
            ("Versions", self.versions, ("number", "state", "gate", "author", "approvals", "model", "created")),
            ("Release", (self.release,), ("state", "version", "release", "why")),
            ("Alerts", self.alerts, ("severity", "rule", "subject", "message", "time")),
            ("Open incidents", self.incidents, ("id", "severity", "title", "playbook", "steps_left")),
        )
        return tuple(
            (title, head, [[row.get(h, "") for h in head] for row in rows]) for title, rows, head in named if rows
        )


def project_status(folder: Path, *, clock: Clock = system_clock) -> Status:
    """Return the state of the project in ``folder``. Raises DataError when there is none."""
    project = Project.read(folder)
    with open_registry(project, clock) as registry:
        versions = tuple(_version(registry, v) for v in registry.versions(project.name))
    return Status(project.name, versions, _release(project, clock), _alerts(project), _incidents(project))


def _version(registry: Registry, version: Version) -> dict[str, object]:
    people = [str(_claim(e).predicate.get("person", "")) for e in registry.approvals(version)]
    gate = registry.statements(version).get("gate")
    held = _claim(gate).predicate.get("gate") if gate else None
    return {
        "number": version.number,
        "state": version.state,
        "gate": GateReport.from_json(held).verdict.value if isinstance(held, dict) else "not judged",
        "author": version.author,
        "approvals": ", ".join(people),
        "model": version.digest.short,
        "created": format_time(version.created),
    }


def _claim(envelope: Envelope) -> Statement:
    """Return what an envelope claims, for display only: nothing is decided by it."""
    from assay.core.canonical import parse

    return Statement.from_json(parse(envelope.payload))


def _release(project: Project, clock: Clock) -> dict[str, object]:
    if not project.release.is_dir():
        return {"state": "none", "why": "nothing has been promoted"}
    try:
        found = verify(project.release, project.trust, now=clock())
    except AssayError as error:
        return {"state": "refused", "why": error.line()}
    return {"state": "ok", "version": found.version, "release": found.digest.short, "why": "verified now"}


def _alerts(project: Project) -> tuple[dict[str, object], ...]:
    path = project.state / ALERTS
    held = read_record(path) if path.is_file() else []
    return tuple(dict(a) for a in held if isinstance(a, dict)) if isinstance(held, list) else ()


def _incidents(project: Project) -> tuple[dict[str, object], ...]:
    folder = project.state / "incidents"
    if not folder.is_dir():
        return ()
    return tuple(
        {
            "id": i.id, "severity": i.severity.value, "title": i.title, "playbook": i.playbook, "steps_left": len(i.todo),
        }
        for i in Incidents(folder).list(only_open=True)
    )  # fmt: skip
