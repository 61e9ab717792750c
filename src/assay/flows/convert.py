"""Converting a model file: in the sandbox, compared on real rows, with a record that ties child to parent."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from assay.contract.contract import Contract
from assay.contract.encode import encode
from assay.core.clock import Clock, system_clock
from assay.core.digest import digest_file
from assay.core.errors import DataError
from assay.core.evidence import Evidence, Subject
from assay.core.files import write_record
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.data.sources import read_table
from assay.stats.intervals import clopper_pearson
from assay.training.job import call

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CONVERT = "assay.artifacts.convert:convert_sklearn"
_NEAR = 1e-5


def convert_file(
    model: Path, table: Path, contract: Path, folder: Path, *, engine: str = "auto", clock: Clock = system_clock
) -> Evidence:
    """Convert a scikit-learn ``.joblib`` model to ``folder/model.onnx``; return evidence of how far the two agree.

    The evidence is also written beside the model, as ``conversion.json``. Raises DataError, ContractError,
    UnsupportedError or JobError; ``folder`` is then as it was.
    """
    if not model.is_file():
        raise DataError("the model does not exist", where=str(model), remedy="Check the path")
    return convert_rows(model, encode(Contract.read(contract), read_table(table)), folder, engine=engine, clock=clock)


def convert_rows(
    model: Path, x: NDArray[np.float64], folder: Path, *, engine: str = "auto", clock: Clock = system_clock
) -> Evidence:
    """Convert a model and compare both on rows x (n, d) in model space; as ``convert_file``."""
    import numpy as np

    parent = digest_file(model)
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch).resolve() / "rows.npy"
        np.save(rows, x)
        arguments = {"model": str(model.resolve()), "rows": str(rows)}
        answer, isolation = call(
            _CONVERT, arguments, inputs=(model.resolve(), rows), output=folder.resolve(), engine=engine
        )
    child = digest_file(folder / "model.onnx")
    n, share, far = len(x), float(str(answer["label_agreement"])), float(str(answer["max_difference"]))
    low, high = clopper_pearson(round(share * n), n)
    findings: tuple[Finding, ...] = ()
    if far > _NEAR or share < 1.0:
        findings = (
            Finding(
                "convert-differs", Severity.HIGH, f"probabilities differ by up to {far:.2g}, labels agree on {share:.4%}",
                "model.onnx", "Assess and approve the converted model, not the original",
            ),
        )  # fmt: skip
    evidence = Evidence(
        control="convert",
        subjects=(Subject("model.onnx", child), Subject(model.name, parent)),
        made=clock(),
        measures=(
            Measure("label_agreement", share, min(low, share), max(high, share), n),
            Measure("max_probability_difference", far, far, far, n, unit="probability", method="maximum over rows"),
        ),
        findings=findings,
        parameters={
            "dtype": str(answer["dtype"]),
            "parent": str(parent),
            "child": str(child),
            "isolation": dict(isolation),
        },
    )
    write_record(folder / "conversion.json", evidence.to_json())
    return evidence
