"""Every error that Assay raises, with a stable code, the cause in one line and the next step.

The hierarchy, with the exit code that the command line gives to each branch::

    AssayError
    |-- InputError            2  bad usage or bad input: what, where, what to do
    |   |-- SettingError         a parameter outside its declared range
    |   |-- ContractError        a contract that does not hold together
    |   |-- DataError            a table that is missing, empty, truncated or of the wrong shape
    |   `-- FormatError          a file or record that cannot be parsed
    |-- Refused               1  a policy, gate, guard or verification said no
    |   |-- VerificationError    a signature, digest, proof or approval does not hold
    |   |-- RowsRefused          a guard refuses rows for what they hold; others would be answered
    |   |-- BudgetError          a hard budget is spent
    |   `-- JobError             an isolated job failed, broke its limits or its confinement
    `-- MissingError          3  something needed is not there, so nothing could be checked
        |-- DependencyError      an optional library or tool is not installed
        `-- UnsupportedError     a format, model or platform that Assay cannot examine

Library code raises these; only ``assay.cli`` turns them into text and exit codes.
"""

from __future__ import annotations

from typing import ClassVar


class AssayError(Exception):
    """An error with a stable ``code``, a ``where`` and a ``remedy``; the root of all others.

    message: what is wrong, one line. where: file, column, row, url or option it concerns.
    remedy: what the user can do next.
    """

    code: ClassVar[str] = "assay"
    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy

    def line(self) -> str:
        """Return the one line that a person reads: where, what, and what to do."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        text = f"{text}. {self.remedy}" if self.remedy else text
        return " ".join(text.split())

    def to_json(self) -> dict[str, str]:
        """Return the error as plain data for ``--json`` output."""
        return {"code": self.code, "message": self.message, "where": self.where, "remedy": self.remedy}

    def __str__(self) -> str:
        return self.line()


class InputError(AssayError):
    """The user gave something that cannot be used."""

    code = "input"


class SettingError(InputError):
    """A parameter lies outside its declared range or options."""

    code = "setting"


class ContractError(InputError):
    """A contract is contradictory, incomplete or does not fit the data."""

    code = "contract"


class DataError(InputError):
    """A table or array is missing, empty, truncated or of the wrong shape."""

    code = "data"


class FormatError(InputError):
    """A file or record could not be parsed."""

    code = "format"


class Refused(AssayError):
    """A policy, gate, guard or verification said no.

    reason: one stable word for programs, as in ``model-changed``; events and tests go by it.
    """

    code = "refused"
    exit_code = 1

    def __init__(self, message: str, *, where: str = "", remedy: str = "", reason: str = "") -> None:
        super().__init__(message, where=where, remedy=remedy)
        self.reason = reason or self.code

    def to_json(self) -> dict[str, str]:
        """Return the error as plain data, its reason among it."""
        return {**super().to_json(), "reason": self.reason}


class VerificationError(Refused):
    """A signature, digest, proof or approval does not hold."""

    code = "verification"


class RowsRefused(Refused):
    """A guard refuses rows of a question for what they hold; without them it would be answered.

    rows: places of such rows; of all of them or of some, () where the guard does not say.
    """

    code = "rows"

    def __init__(self, message: str, *, where: str = "", remedy: str = "", rows: tuple[int, ...] = ()) -> None:
        super().__init__(message, where=where, remedy=remedy)
        self.rows = rows


class BudgetError(Refused):
    """A hard budget of queries, rows or time is spent. wait: seconds until some of it is back (None: never)."""

    code = "budget"

    def __init__(
        self, message: str, *, where: str = "", remedy: str = "", reason: str = "", wait: float | None = None
    ) -> None:
        super().__init__(message, where=where, remedy=remedy, reason=reason)
        self.wait = wait


class JobError(Refused):
    """An isolated job failed, or broke its limits or its confinement."""

    code = "job"


class MissingError(AssayError):
    """Something needed is not there, so nothing could be checked."""

    code = "missing"
    exit_code = 3


class DependencyError(MissingError):
    """An optional library or an outside tool is not installed."""

    code = "dependency"


class UnsupportedError(MissingError):
    """A format, model or platform that Assay cannot examine."""

    code = "unsupported"
