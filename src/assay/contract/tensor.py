"""Samples of images or other tensors against the contract: shape, type, range, missing values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np

from assay.contract.contract import Contract
from assay.core.digest import Digest
from assay.core.errors import ContractError, DataError
from assay.core.evidence import Evidence, Subject
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure

_BLOCK = 4096


def check_samples(batch: Any, contract: Contract, *, clock: Callable[[], datetime], control: str) -> Evidence:
    """Return the evidence of samples (n, *shape) against a tensor contract. Raises DataError when there are none."""
    tensor = contract.tensor
    if tensor is None:
        raise ContractError("the contract describes no tensor", where=contract.name)
    x = np.asarray(batch)
    if x.ndim == 0 or len(x) == 0 or x.dtype.kind not in "biuf":
        raise DataError(
            f"an array of shape {x.shape} and type {x.dtype} is no set of samples", remedy="Give (n, *shape) numbers"
        )
    findings, n, bad = [], len(x), 0
    if x.shape[1:] != tensor.shape:
        bad = n
        message = f"samples of shape {list(x.shape[1:])} where {list(tensor.shape)} is expected"
        findings.append(
            Finding("wrong-shape", Severity.HIGH, message, remedy="Resize the samples, or correct the contract")
        )
    else:
        flags = np.concatenate([_outside(x[i : i + _BLOCK], tensor.low, tensor.high) for i in range(0, n, _BLOCK)])
        bad = int(flags.any(axis=1).sum())
        for column, rule, says in (
            (0, "not-finite", "is not finite"),
            (1, "out-of-range", f"is outside [{tensor.low:g}, {tensor.high:g}]"),
        ):
            rows = np.flatnonzero(flags[:, column])
            if len(rows):
                message = f"{len(rows)} of {n} samples: a value {says}, as in row {', '.join(map(str, rows[:5]))}"
                findings.append(
                    Finding(rule, Severity.MEDIUM, message, remedy="Scale the samples, or correct the contract")
                )
    if str(x.dtype) != tensor.dtype:
        message = f"values of type {x.dtype} where {tensor.dtype} is expected"
        findings.append(Finding("wrong-type", Severity.MEDIUM, message, remedy=f"Convert to {tensor.dtype}"))
    measures = (Measure("bad_rows", bad / n, bad / n, bad / n, n, method="count of all rows"),)
    parameters = {"contract": str(contract.digest()), "rows": n, "checks": 4}
    subject = Subject("batch", _digest(x))
    return Evidence(control, (subject,), clock(), measures=measures, findings=tuple(findings), parameters=parameters)


def _outside(x: Any, low: float, high: float) -> Any:
    """Return for each sample whether a value is not finite, and whether one is out of range, (n, 2)."""
    flat = x.reshape(len(x), -1)
    finite = np.isfinite(flat)
    return np.stack([~finite.all(axis=1), (finite & ((flat < low) | (flat > high))).any(axis=1)], axis=1)


def _digest(x: Any) -> Digest:
    import hashlib

    state = hashlib.sha256(f"{x.dtype.str} {x.shape}".encode())
    for i in range(0, len(x), _BLOCK):
        state.update(np.ascontiguousarray(x[i : i + _BLOCK]).tobytes())
    return Digest("sha256", state.hexdigest())
