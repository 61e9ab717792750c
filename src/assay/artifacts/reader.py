"""Readers and the inspection that they report to: formats are told by content, budgets are hard."""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cache
from mmap import mmap
from typing import ClassVar, TypeAlias

from assay.artifacts.pickle.policy import Policy
from assay.core.discovery import Control, discover
from assay.core.evidence import NotChecked
from assay.core.finding import Finding, Severity

Data: TypeAlias = "bytes | mmap"

CODE_EXECUTION = "AML.T0011.000"
EMBEDDED_CODE = "AML.T0018.002"
DENIAL = "AML.T0029"
_MOST_FINDINGS = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost. seconds: at least; larger files get a second for every 128 MB of them.

    It is the thread's time on a processor, so that a verdict does not depend on what else the machine does.
    opcodes: of one pickle. unpacked: bytes that archives and streams may unpack to, together.
    ratio: unpacked over packed size beyond which a large output counts as a bomb. members: of archives.
    """

    seconds: float = 1.6
    opcodes: int = 1_500_000
    depth: int = 8
    unpacked: int = 1 << 30
    ratio: int = 150
    members: int = 20_000


@dataclass(slots=True)
class Inspection:
    """One file under examination: its budgets, and what the readers say of it.

    ``scan`` looks at the file and, through the readers, at everything inside of it. ``context`` names
    the formats that enclose the current one, outermost first. ``admitted``: allowed names that pickles import.
    ``inflated``: how many times larger the current content is than it lies in the file.
    """

    policy: Policy
    limits: Limits
    deadline: float
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    context: list[str] = field(default_factory=list)
    failed: bool = False
    unsupported: bool = False
    unpacked: int = 0
    inflated: float = 1.0
    members: int = 0
    notes: list[str] | None = None
    admitted: set[tuple[str, str]] = field(default_factory=set)

    def scan(self, data: Data, where: str) -> str:
        """Examine ``data`` with every reader that claims it; return the name of its format."""
        if len(self.context) > self.limits.depth:
            self.error(where, "is nested deeper than the budget allows")
            return "unknown"
        first, fallback = readers()
        claimed = [r for r in first if r.claims(data)] or [r for r in fallback if r.claims(data)][:1]
        if not claimed:
            self.cannot(where, "the content has no known format" if len(data) else "the file is empty")
            return "unknown"
        labels = []
        for reader in claimed:
            self.context.append(reader.name)
            labels.append(reader.read(data, where, self))
            self.context.pop()
        if len(claimed) > 1:
            names = ", ".join(labels)
            self.report("polyglot", Severity.MEDIUM, f"the content is valid as {names} at once", where, EMBEDDED_CODE)
        return labels[0]

    def report(
        self, rule: str, severity: Severity, message: str, where: str, technique: str = "", remedy: str = ""
    ) -> None:
        """Add a finding; the worst are kept when there are very many."""
        made = Finding(rule, severity, message[:600], where[:400], remedy, technique)
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(made)
        elif severity is Severity.CRITICAL and self.findings[-1].severity is not Severity.CRITICAL:
            self.findings[-1] = made

    def error(self, where: str, why: str) -> None:
        """Say that something is damaged or beyond a budget, so that it was not examined to its end."""
        self.failed = True
        self._unchecked(where, why, "Get the file again from its source, or convert it to a safe format")

    def cannot(self, where: str, why: str, remedy: str = "") -> None:
        """Say that something has a format that is not read, so that it was not examined."""
        self.unsupported = True
        self._unchecked(where, why, remedy or "Use a format that can be examined, such as ONNX or safetensors")

    def bomb(self, where: str, why: str) -> None:
        """Say that loading demands memory or time out of all proportion."""
        self.report("resource-bomb", Severity.HIGH, why, where, DENIAL, "Do not load the file")

    def expired(self) -> bool:
        """Whether the time for this file is over."""
        return time.thread_time() > self.deadline

    def _unchecked(self, where: str, why: str, remedy: str) -> None:
        if len(self.not_checked) < _MOST_FINDINGS:
            self.not_checked.append(NotChecked(where[:400], why[:300], remedy))


class FormatReader(Control, package="assay.artifacts.formats"):
    """A format: whether content has it, and what loading such content would do.

    fallback: asked only when no other reader claims the content.
    """

    fallback: ClassVar[bool] = False

    @abstractmethod
    def claims(self, data: Data) -> bool:
        """Return whether the content has this format. Cheap, and never raises."""

    @abstractmethod
    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine the content, report to the inspection, return the name of the format. Never raises."""


@cache
def readers() -> tuple[tuple[FormatReader, ...], tuple[FormatReader, ...]]:
    """Return one of every reader that is discovered: those that are asked first, and the fallbacks."""
    made = [reader() for reader in discover(FormatReader).values()]
    return tuple(r for r in made if not r.fallback), tuple(r for r in made if r.fallback)
