"""What every privacy check of data shares: the tables it looks at, and how what it saw becomes one piece of evidence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assay.contract.contract import Contract, Identifier, Kind
from assay.contract.encode import encode
from assay.contract.table import as_table, source_digest
from assay.core.clock import Clock, system_clock
from assay.core.discovery import Control, discover
from assay.core.errors import AssayError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding
from assay.core.measure import Measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CONTROL = "data.privacy"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one check measured, found and could not check. parameters: what shaped it, as plain JSON."""

    measures: tuple[Measure, ...] = ()
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The tables that are looked at. train, test: pyarrow tables of plain columns; test: None where there is none."""

    contract: Contract
    train: Any
    test: Any = None
    seed: int = 0

    def encoded(self) -> tuple[Array, Array | None]:
        """Return both tables in model space, (n, d) each, without the features that hold texts. Raises DataError."""
        from dataclasses import replace

        kept = tuple(c for c in self.contract.columns if c.kind is not Kind.TEXT)
        plain = replace(self.contract, columns=kept, relations=(), implications=(), one_hot=())
        return encode(plain, self.train), None if self.test is None else encode(plain, self.test)

    def marked(self, identifier: Identifier) -> list[str]:
        """Return the columns of the training table that the contract marks so."""
        have = set(self.train.column_names)
        return [c.name for c in self.contract.columns if c.identifier is identifier and c.name in have]


class PrivacyCheck(Control, package="assay.data.privacy"):
    """One thing that a table may give away. Authors write ``look``."""

    __slots__ = ()

    @abstractmethod
    def look(self, tables: Tables) -> Seen:
        """Return what this check sees. An AssayError that it raises becomes something not checked."""


def check_privacy(
    train: object,
    contract: Contract,
    *,
    test: object = None,
    seed: int = 0,
    clock: Clock = system_clock,
    names: tuple[str, str] = ("train", "test"),
) -> Evidence:
    """Return the evidence on what tables give away of the people in them.

    train, test: paths, frames or Arrow tables of the rows that a model is made of and measured on; test may be
    missing. names: of both, as subjects. Raises DataError when a table cannot be read.
    """
    tables = Tables(contract, as_table(train), None if test is None else as_table(test), seed)
    found: list[Seen] = []
    for name, kind in discover(PrivacyCheck).items():
        try:
            found.append(kind().look(tables))
        except AssayError as error:
            found.append(Seen(not_checked=(NotChecked(f"{CONTROL}.{name}", error.message, error.remedy),)))
    subjects = [Subject(names[0], source_digest(train))]
    if test is not None:
        subjects.append(Subject(names[1], source_digest(test)))
    return Evidence(
        control=CONTROL,
        subjects=tuple(subjects),
        made=clock(),
        techniques=("AML.T0024.000",),
        measures=tuple(m for seen in found for m in seen.measures),
        findings=tuple(sorted((f for seen in found for f in seen.findings), key=lambda f: -f.severity.rank)),
        not_checked=tuple(n for seen in found for n in seen.not_checked),
        parameters={
            "rows": tables.train.num_rows,
            "seed": seed,
            **{k: v for s in found for k, v in s.parameters.items()},
        },
    )


def counted(name: str, hits: int, n: int, *, whole: bool = True, seed: int | None = None) -> Measure:
    """Return a share as a measure: the exact count of all rows, or with the interval of a sample of them."""
    share = hits / n if n else 0.0
    if whole:
        return Measure(name, share, share, share, n, method="count of all rows")
    from assay.stats.intervals import clopper_pearson

    low, high = clopper_pearson(hits, n)
    return Measure(name, share, low, high, n, seed=seed)
