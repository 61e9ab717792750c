"""Incidents: what went wrong and what people did about it, one JSON record each in a folder."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from assay.core.alert import Alert
from assay.core.clock import Clock, format_time, parse_time, system_clock
from assay.core.errors import DataError, FormatError, SettingError
from assay.core.files import read_record, write_record
from assay.core.finding import Severity
from assay.response.playbooks import playbook

_ID = re.compile(r"INC-\d{4,9}")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the playbook. done, by: when and who did it (None, "": open)."""

    name: str
    text: str
    done: datetime | None = None
    by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident. key: of the alert that opened it; closed: when (None: open); reason: why it could be closed.

    seen: how often the same alert fired while it was open. Round trip: ``Incident.from_json(i.to_json()) == i``.
    """

    id: str
    title: str
    severity: Severity
    playbook: str
    steps: tuple[Step, ...]
    opened: datetime
    by: str = ""
    key: str = ""
    closed: datetime | None = None
    closed_by: str = ""
    reason: str = ""
    seen: int = 1
    data: Mapping[str, object] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it is still open."""
        return self.closed is None

    @property
    def todo(self) -> tuple[Step, ...]:
        """The steps that nobody has done yet."""
        return tuple(s for s in self.steps if s.done is None)

    def to_json(self) -> dict[str, object]:
        """Return the incident as plain data."""
        record = {name: getattr(self, name) for name in self.__slots__}
        steps = [{n: getattr(s, n) for n in s.__slots__} | {"done": _text(s.done)} for s in self.steps]
        times = {"opened": format_time(self.opened), "closed": _text(self.closed)}
        return {**record, **times, "severity": self.severity.value, "steps": steps, "data": dict(self.data)}

    @classmethod
    def from_json(cls, record: object, *, where: str = "") -> Incident:
        """Return the incident in plain data. Raises FormatError."""
        if not isinstance(record, Mapping):
            raise FormatError("not an incident", where=where)
        try:
            steps = tuple(Step(**{**s, "done": _time(s["done"])}) for s in record["steps"])
            changed = {
                "steps": steps,
                "severity": Severity(record["severity"]),
                "opened": parse_time(record["opened"]),
                "closed": _time(record["closed"]),
            }
            return cls(**{**record, **changed})
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"not an incident ({error})", where=where) from error


class Incidents:
    """The incidents of one folder. Every change is one atomic write; a lock keeps writers apart."""

    def __init__(self, folder: str | os.PathLike[str], *, clock: Clock = system_clock) -> None:
        self.folder = Path(folder)
        self._clock = clock

    def list(self, *, only_open: bool = False) -> tuple[Incident, ...]:
        """Return the incidents by id. Raises FormatError that names a damaged record."""
        paths = sorted(self.folder.glob("INC-*.json")) if self.folder.is_dir() else []
        found = (Incident.from_json(read_record(p), where=str(p)) for p in paths)
        return tuple(sorted((i for i in found if i.open or not only_open), key=lambda i: i.id))

    def show(self, incident_id: str) -> Incident:
        """Return one incident. Raises DataError when there is none of that id."""
        path = self._path(incident_id)
        if not path.is_file():
            raise DataError("there is no such incident", where=incident_id, remedy="See assay incident list")
        return Incident.from_json(read_record(path), where=str(path))

    def open(self, title: str, playbook_name: str, *, severity: Severity = Severity.MEDIUM, by: str = "") -> Incident:
        """Open an incident with the steps of a playbook. Raises SettingError on an unknown playbook."""
        with self._alone():
            return self._new(title, playbook_name, severity, by, "", {})

    def raised(self, alert: Alert) -> Incident:
        """Return the incident of an alert: the open one of the same key, seen once more, or a new one."""
        with self._alone():
            for incident in self.list(only_open=True):
                if incident.key == alert.key:
                    worst = max(incident.severity, alert.severity, key=lambda s: s.rank)
                    return self._write(replace(incident, seen=incident.seen + 1, severity=worst))
            title = f"{alert.rule}: {alert.message}"
            return self._new(title, alert.playbook, alert.severity, "", alert.key, alert.to_json())

    def done(self, incident_id: str, step: str, *, by: str, note: str = "") -> Incident:
        """Record that a step was done. Raises SettingError when it is unknown or done, or the incident closed."""
        if not by:
            raise SettingError("a step is done by someone", remedy="Give a name")
        with self._alone():
            incident = self._still_open(incident_id)
            if step not in {s.name for s in incident.todo}:
                names = ", ".join(s.name for s in incident.todo) or "none"
                raise SettingError(f"there is no open step {step!r}", where=incident_id, remedy=f"Open steps: {names}")
            now = self._clock()
            steps = tuple(replace(s, done=now, by=by, note=note) if s.name == step else s for s in incident.steps)
            return self._write(replace(incident, steps=steps))

    def close(self, incident_id: str, *, by: str, reason: str) -> Incident:
        """Close an incident; steps left open stay visible. Raises SettingError without a name and a reason."""
        if not by or not reason.strip():
            raise SettingError("an incident is closed by someone, for a reason", where=incident_id, remedy="Give both")
        with self._alone():
            incident = self._still_open(incident_id)
            return self._write(replace(incident, closed=self._clock(), closed_by=by, reason=reason))

    def _still_open(self, incident_id: str) -> Incident:
        incident = self.show(incident_id)
        if not incident.open:
            raise SettingError("is closed", where=incident_id, remedy="Open a new incident")
        return incident

    def _new(
        self, title: str, name: str, severity: Severity, by: str, key: str, data: Mapping[str, object]
    ) -> Incident:
        steps = tuple(Step(step, text) for step, text in playbook(name).steps)
        taken = [int(p.stem.partition("-")[2]) for p in self.folder.glob("INC-*.json") if _ID.fullmatch(p.stem)]
        made = f"INC-{max(taken, default=0) + 1:04d}"
        return self._write(Incident(made, title[:500], severity, name, steps, self._clock(), by, key, data=data))

    def _write(self, incident: Incident) -> Incident:
        write_record(self._path(incident.id), incident.to_json())
        return incident

    def _path(self, incident_id: str) -> Path:
        if not _ID.fullmatch(incident_id):
            raise SettingError(f"{incident_id!r} is no incident id", remedy="Ids read INC-0001")
        return self.folder / f"{incident_id}.json"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _time(text: object) -> datetime | None:
    return None if text is None else parse_time(str(text))
