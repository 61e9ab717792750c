"""An alert: a rule that fired, which monitoring raises and response works on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from assay.core.clock import format_time
from assay.core.finding import Severity


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that fired. key: the same for the same trouble, so that one incident is opened for it.

    rule: its name; subject: model or release; message: what was seen; playbook: what people do about it.
    """

    rule: str
    subject: str
    severity: Severity
    message: str
    playbook: str
    time: datetime
    technique: str = ""

    @property
    def key(self) -> str:
        """Rule and subject: two alerts with one key are about the same trouble."""
        return f"{self.rule}@{self.subject}"

    def to_json(self) -> dict[str, object]:
        """Return the alert as plain data."""
        return {
            "rule": self.rule,
            "subject": self.subject,
            "severity": self.severity.value,
            "message": self.message,
            "playbook": self.playbook,
            "time": format_time(self.time),
            "technique": self.technique,
        }
