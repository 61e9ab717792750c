"""Is the evaluation valid? Leakage, overlap, duplicates and splits, before any measure is believed.

A finding of one of the ``VOIDING`` rules means that measures on this split say nothing about new data:
``voids`` names the reason, and whoever measures marks the measures void.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from assay.contract.contract import Contract, Kind, Role
from assay.core.clock import Clock, system_clock
from assay.core.digest import digest_bytes
from assay.core.errors import DataError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.data.copies import RULE as NEAR
from assay.data.copies import near_copies
from assay.data.leakage import lookup_accuracy, row_keys, single_feature_auc

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

CONTROL = "data.validity"
VOIDING = frozenset(
    {"column-order", "target-copy", "test-in-train", "group-overlap", "time-overlap", "one-class", NEAR, "same-person"}
)
_AUC_LEAK = 0.999
_AUC_DOUBT = 0.98
_LOOKUP_LEAK = 0.999
_OVERLAP = 0.1
_FEWEST = 20


def check_validity(
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike,
    y_test: ArrayLike,
    contract: Contract | None = None,
    *,
    names: Sequence[str] = (),
    groups: tuple[ArrayLike, ArrayLike] | None = None,
    times: tuple[ArrayLike, ArrayLike] | None = None,
    clock: Clock = system_clock,
) -> Evidence:
    """Return the evidence on whether measures on this train/test split can be believed.

    x_train, x_test: (n, ...) in model space; y_train, y_test: (n,) class indices. names: of the columns, in the
    order the model gets them. groups, times: of the training and of the test rows, (n,) each. Raises DataError.
    """
    train, test = _block(x_train, y_train, "train"), _block(x_test, y_test, "test")
    if train[0].shape[1] != test[0].shape[1]:
        raise DataError(
            f"train has {train[0].shape[1]} columns and test {test[0].shape[1]}", remedy="Give both the same columns"
        )
    names = list(names) or [f.name for f in contract.features] if contract else list(names)
    names = names or [f"column {i}" for i in range(train[0].shape[1])]
    measures: list[Measure] = []
    findings: list[Finding] = [*_order(names, contract, train[0].shape[1]), *_classes(train[1], test[1])]
    for found, measured in (
        _overlap(train, test),
        _copied(train[0], test[0], contract),
        _leaks(train, test, names, contract),
        _grouped(groups),
        _timed(times),
    ):
        findings += found
        measures += measured
    return Evidence(
        control=CONTROL,
        subjects=tuple(
            Subject(n, digest_bytes(row_keys(x, y).tobytes())) for n, (x, y) in (("train", train), ("test", test))
        ),
        made=clock(),
        measures=tuple(measures),
        findings=tuple(sorted(findings, key=lambda f: -f.severity.rank)),
        not_checked=_not_checked(contract, groups, times),
        parameters={"train_rows": len(train[0]), "test_rows": len(test[0])},
    )


def voids(evidence: Evidence) -> str:
    """Return why no measure on this split may be used, "" when they may."""
    reasons = [f"{f.rule}: {f.message}" for f in evidence.findings if f.rule in VOIDING and f.severity is Severity.HIGH]
    return "; ".join(reasons[:3])


def _block(x: ArrayLike, y: ArrayLike, where: str) -> tuple[Array, Labels]:
    rows, labels = np.asarray(x, dtype=np.float64), np.asarray(y)
    if rows.ndim < 2 or len(rows) == 0 or labels.shape != (len(rows),) or labels.dtype.kind not in "iub":
        raise DataError(
            f"rows of shape {rows.shape} with labels of shape {labels.shape} and type {labels.dtype}",
            where=where,
            remedy="Give (n, d) rows and (n,) class indices, n >= 1",
        )
    return rows.reshape(len(rows), -1), labels.astype(np.intp)


def _order(names: Sequence[str], contract: Contract | None, width: int) -> list[Finding]:
    if contract is None or contract.tensor is not None:
        return []
    wanted = [f.name for f in contract.features]
    if list(names) == wanted and width == len(wanted):
        return []
    remedy = "Encode the table with the contract"
    if width != len(wanted) or len(names) != len(wanted):
        message = f"{width} columns where the contract has {len(wanted)}"
        return [Finding("column-order", Severity.HIGH, message, "table", remedy)]
    first = next(i for i, (a, b) in enumerate(zip(names, wanted, strict=True)) if a != b)
    message = f"column {first} is {names[first]!r} where the contract has {wanted[first]!r}"
    return [Finding("column-order", Severity.HIGH, message, names[first], remedy)]


def _classes(y_train: Labels, y_test: Labels) -> list[Finding]:
    seen, tested = set(y_train.tolist()), set(y_test.tolist())
    out = []
    for name, classes in (("train", seen), ("test", tested)):
        if len(classes) < 2:
            out.append(
                Finding("one-class", Severity.HIGH, f"the {name} rows hold one class only", name, "Split by class")
            )
    if tested - seen:
        message = f"classes {sorted(tested - seen)} are tested and never trained on"
        out.append(Finding("untrained-class", Severity.HIGH, message, "test", "Split by class"))
    return out


def _overlap(train: tuple[Array, Labels], test: tuple[Array, Labels]) -> tuple[list[Finding], list[Measure]]:
    keys_train, keys_test = row_keys(train[0]), row_keys(test[0])
    overlap = np.isin(keys_test, keys_train).mean()
    _, first, inverse, counts = np.unique(keys_train, return_index=True, return_inverse=True, return_counts=True)
    natural = (counts[inverse] > 1).mean()
    conflict = np.zeros(len(first), dtype=bool)
    np.logical_or.at(conflict, inverse, train[1] != train[1][first][inverse])
    conflicting = conflict[inverse].mean()
    measures = [
        _share("test_rows_in_train", overlap, len(keys_test)),
        _share("duplicate_train_rows", 1 - len(first) / len(keys_train), len(keys_train)),
        _share("conflicting_train_labels", conflicting, len(keys_train)),
    ]
    findings = []
    if overlap > 0:
        # rows repeat by nature where features are few and coarse: then as often within train as across the split
        high = overlap > max(_OVERLAP, 2 * natural)
        severity = Severity.HIGH if high else Severity.MEDIUM if overlap > max(0.01, 2 * natural) else Severity.LOW
        message = f"{overlap:.2%} of the test rows are also training rows ({natural:.2%} of training rows repeat)"
        findings.append(
            Finding("test-in-train", severity, message, "test", "Split so that equal rows stay on one side")
        )
    if conflicting > 0:
        message = f"{conflicting:.2%} of the training rows have an equal row with another label"
        severity = Severity.MEDIUM if conflicting > 0.05 else Severity.LOW
        findings.append(Finding("conflicting-labels", severity, message, "train", "Audit the labels of these rows"))
    return findings, measures


def _copied(train: Array, test: Array, contract: Contract | None) -> tuple[list[Finding], list[Measure]]:
    features = contract.features if contract else ()
    category = np.array([f.kind is Kind.CATEGORY and not f.ordered for f in features], dtype=bool)
    found = near_copies(train, test, category if len(category) == train.shape[1] else None)
    return ([], []) if found is None else (list(found.findings()), list(found.measures()))


def _leaks(
    train: tuple[Array, Labels], test: tuple[Array, Labels], names: Sequence[str], contract: Contract | None
) -> tuple[list[Finding], list[Measure]]:
    if contract is not None and contract.tensor is not None:
        return [], []
    if len(test[0]) < _FEWEST or len(set(test[1].tolist())) < 2:
        return [], []
    auc, lookup = single_feature_auc(*test), lookup_accuracy(train, test)
    top = int(auc.argmax())
    findings = []
    for i in np.flatnonzero((auc >= _AUC_DOUBT) | (lookup >= _LOOKUP_LEAK)):
        leak = auc[i] >= _AUC_LEAK or lookup[i] >= _LOOKUP_LEAK
        message = f"the feature alone tells the class (AUC {auc[i]:.4f}): a copy of the target, or known only after it"
        rule, severity = ("target-copy", Severity.HIGH) if leak else ("strong-feature", Severity.MEDIUM)
        findings.append(Finding(rule, severity, message, names[int(i)], "Remove it, or show that it is known in time"))
    return findings, [_exact_auc(float(auc[top]), len(test[0]))]


def _grouped(groups: tuple[ArrayLike, ArrayLike] | None) -> tuple[list[Finding], list[Measure]]:
    if groups is None:
        return [], []
    train, test = (_keys(g) for g in groups)
    share = float(np.isin(test, train).mean()) if len(test) else 0.0
    message = f"{share:.2%} of the test rows belong to a group that is trained on"
    found = [Finding("group-overlap", Severity.HIGH, message, "test", "Split by group")] if share > 0 else []
    return found, [_share("test_groups_in_train", share, len(test))]


def _keys(groups: ArrayLike) -> NDArray[np.str_]:
    """Return groups as texts; a missing one is nobody's, and a whole number is the same however it is stored."""
    values = np.asarray(groups)
    if values.dtype.kind == "f":
        values = values[~np.isnan(values)]
        values = values.astype(np.int64) if (values == np.floor(values)).all() else values
    if values.dtype.kind == "O":
        values = np.array([v for v in values if v is not None and v == v and v != ""])  # NaN is not itself
    texts: NDArray[np.str_] = values.astype(str)
    return texts


def _timed(times: tuple[ArrayLike, ArrayLike] | None) -> tuple[list[Finding], list[Measure]]:
    if times is None:
        return [], []
    train, test = (np.asarray(t) for t in times)
    if not len(train) or not len(test):
        return [], []
    share = float((train > test.min()).mean())
    severity = Severity.HIGH if share > 0.05 else Severity.LOW
    message = f"{share:.2%} of the training rows are later than the first test row"
    found = [Finding("time-overlap", severity, message, "train", "Test on the last rows by time")] if share > 0 else []
    return found, [_share("train_rows_after_test", share, len(train))]


def _not_checked(
    contract: Contract | None, groups: tuple[ArrayLike, ArrayLike] | None, times: tuple[ArrayLike, ArrayLike] | None
) -> tuple[NotChecked, ...]:
    roles = {c.role: c.name for c in contract.columns} if contract else {}
    out = []
    if groups is None and Role.GROUP in roles:
        out.append(
            NotChecked(
                "group split", f"{roles[Role.GROUP]} groups the rows and was not given", "Give groups=(train, test)"
            )
        )
    if times is None and Role.TIME in roles:
        out.append(
            NotChecked("time split", f"{roles[Role.TIME]} times the rows and was not given", "Give times=(train, test)")
        )
    return tuple(out)


def _share(name: str, value: float, n: int) -> Measure:
    value = float(value)
    return Measure(name, value, value, value, n, method="count of all rows")


def _exact_auc(value: float, n: int) -> Measure:
    return Measure("best_single_feature_auc", value, value, value, n, unit="auc", method="exact on the test rows")
