"""Direct identifiers and free text about people, by what the values look like and what the columns are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.contract.contract import Identifier, Role
from assay.contract.table import as_text
from assay.core.clock import stream
from assay.core.finding import Finding, Severity
from assay.data.privacy.base import PrivacyCheck, Seen, Tables, counted
from assay.data.privacy.patterns import DIRECT_NAMES, PATTERNS, QUASI_NAMES, Pattern, says

if TYPE_CHECKING:
    from assay.core.measure import Measure

_MOST_ROWS = 20_000
_LONGEST = 1_000
_FEWEST = 50
_UNIQUE = 0.95
_WORDS = 4
_BY_CHANCE = 1e-6
_NEAR = 10
_FEW = 20
_DROP = "Leave the column out of the table, or replace its values by keyed pseudonyms that stay elsewhere"


class Identifiers(PrivacyCheck, name="identifiers"):
    """Find columns that name a person: by patterns with check digits, by values that never repeat, free text, and names.

    Every column is read, on at most 20,000 rows drawn at random and the first 1,000 characters of a text. A column that the model
    gets weighs more than one that the contract keeps from it. Values are never shown.
    """

    __slots__ = ()

    def look(self, tables: Tables) -> Seen:
        """Return the share of rows that hold each kind of identifier, column by column."""
        rows = None
        if tables.train.num_rows > _MOST_ROWS:
            chosen = stream(tables.seed, "identifiers").permutation(tables.train.num_rows)[:_MOST_ROWS]
            rows = np.sort(chosen)
        target = tables.contract.target.name if tables.contract.target else ""
        measures: list[Measure] = []
        findings: list[Finding] = []
        for name in tables.train.column_names:
            if name == target:
                continue
            column = tables.train.column(name)
            seen = _Column.read(name, column if rows is None else column.take(rows), tables)
            for pattern in PATTERNS:
                made, found = seen.holds(pattern, whole=rows is None, seed=tables.seed)
                measures += made
                findings += found
            findings += seen.reads()
            findings += seen.is_called()
        return Seen(tuple(measures), tuple(findings))


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """One column. kind: text, whole or other; texts: different values, cut short; counts: rows of each; known: rows with one.

    used: the model gets it; declared: what the contract says of it.
    """

    name: str
    kind: str
    texts: Any
    counts: np.ndarray[Any, np.dtype[np.intp]]
    known: int
    used: bool
    declared: Identifier

    @classmethod
    def read(cls, name: str, column: Any, tables: Tables) -> _Column:
        import pyarrow as pa
        import pyarrow.compute as pc

        told = next((c for c in tables.contract.columns if c.name == name), None)
        used = told is not None and told.role is Role.FEATURE
        kind = "text" if pa.types.is_string(column.type) else "whole" if _whole(column) else "other"
        declared = told.identifier if told else Identifier.NO
        if kind == "other":
            return cls(name, kind, pa.array([], pa.string()), np.empty(0, np.intp), 0, used, declared)
        text = pc.utf8_slice_codeunits(as_text(column).drop_null(), 0, _LONGEST)
        text = text.filter(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0))
        found = pc.value_counts(text)
        values, counts = found.field("values"), np.asarray(found.field("counts"), dtype=np.intp)
        return cls(name, kind, values, counts, len(text), used, declared)

    def weighs(self, severity: Severity) -> Severity:
        """Return the severity of something in this column: a note where the model never gets it."""
        return severity if self.used else Severity.NOTE

    def holds(self, pattern: Pattern, *, whole: bool, seed: int) -> tuple[list[Measure], list[Finding]]:
        """Return the share of rows that hold what ``pattern`` describes, and the finding if chance does not explain it."""
        if not len(self.texts) or (self.kind == "whole" and not pattern.numbers):
            return [], []
        import pyarrow.compute as pc
        from scipy.special import bdtrc

        maybe = np.flatnonzero(np.asarray(pc.match_substring_regex(self.texts, pattern.expression)))
        parts = passed = hits = 0
        for i in maybe:
            fit, valid = pattern.found(self.texts[int(i)].as_py())
            parts, passed = parts + fit, passed + valid
            hits += int(self.counts[i]) if valid else 0
        if not passed:
            return [], []
        chance = float(bdtrc(passed - 1, parts, pattern.chance)) if pattern.chance else 0.0
        # A number may pass by chance, and in a column of numbers it takes all of them to be more than that.
        if chance > _BY_CHANCE and not (self.kind == "text" and passed == parts):
            return [], []
        sure = chance <= _BY_CHANCE
        if self.kind == "whole" and passed < 0.9 * len(self.texts):
            return [], []
        severity = self.weighs(pattern.severity if sure else Severity.LOW)
        share = counted(f"rows_with_{pattern.name}@{self.name}", hits, self.known, whole=whole, seed=seed)
        word = "hold" if sure else "may hold"
        message = f"{hits} of {self.known} values that were read {word} {pattern.what}"
        return [share], [Finding(f"personal-{pattern.name}", severity, message, self.name, _DROP)]

    def reads(self) -> list[Finding]:
        """Return the finding that values never repeat, or are sentences; a column declared an identifier is known."""
        if self.known < _FEWEST or self.declared is Identifier.DIRECT:
            return []
        share = len(self.texts) / self.known
        if self.kind == "whole":
            if share < 1.0 or not self.used:
                return []
            message = f"no two of {self.known} whole numbers are equal: each names one row"
            severity = Severity.MEDIUM if _given_out(self.texts) else Severity.LOW
            return [Finding("unique-values", severity, message, self.name, "Give it role: id in the contract")]
        if share < _UNIQUE:
            return []
        import pyarrow.compute as pc

        words = float(np.median(np.asarray(pc.count_substring_regex(self.texts, r"\S+")))) if len(self.texts) else 0.0
        if words >= _WORDS:
            message = f"free text (half of the values have {words:.0f} words or more): it may name people and what befell them"
            remedy = "Take the facts that are needed into columns of their own, and leave the text out"
            return [Finding("free-text", self.weighs(Severity.MEDIUM), message, self.name, remedy)]
        message = f"{share:.0%} of the values are different: each names one row"
        return [
            Finding("unique-values", self.weighs(Severity.HIGH), message, self.name, "Give it role: id in the contract")
        ]

    def is_called(self) -> list[Finding]:
        """Return the finding that the name speaks of a person and the contract does not say so."""
        if self.declared is not Identifier.NO or not self.used:
            return []
        # A column of few values, such as "telephone: yes", tells a property of a person and not who it is.
        if says(self.name, DIRECT_NAMES) and len(self.texts) > min(_FEW, self.known / 2):
            message = "by its name, the column tells who a person is"
            return [Finding("identifier-name", Severity.MEDIUM, message, self.name, _DROP)]
        if says(self.name, QUASI_NAMES):
            message = "others may know this of a person, and the contract does not say so"
            remedy = "Say identifier: quasi, so that k-anonymity is measured with it"
            return [Finding("undeclared-quasi-identifier", Severity.LOW, message, self.name, remedy)]
        return []


def _given_out(texts: Any) -> bool:
    """Return whether different whole numbers lie so close that measurements would have repeated.

    The number of equal pairs that chance makes is about Poisson, its mean half the sum of the density at each value.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = np.sort(np.asarray(pc.cast(texts, pa.float64())))
    reach = min(_NEAR, len(values) - 1)
    # Different whole numbers lie one apart at least, though large ones are equal as floats.
    density = reach / np.maximum(values[reach:] - values[:-reach], reach)
    return bool(np.exp(-0.5 * len(values) * density.mean()) < _BY_CHANCE)


def _whole(column: Any) -> bool:
    """Return whether a column holds whole numbers, as integers or as floats for the sake of what is missing."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return True
    if not pa.types.is_floating(column.type) or not column.null_count:
        return False
    values = column.drop_null().to_numpy()
    values = values[~np.isnan(values)]
    return bool(len(values)) and bool((values == np.floor(values)).all()) and bool(np.abs(values).max() < 2.0**53)
