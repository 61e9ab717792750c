"""Training one table by itself: contract, recipe and rows in; a model made in isolation and its record out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.contract.contract import Contract
from assay.contract.encode import encode, labels
from assay.core.clock import Clock, system_clock
from assay.core.digest import digest_file
from assay.core.errors import AssayError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.files import write_record
from assay.core.keys import PrivateKey
from assay.core.measure import Measure
from assay.core.statement import Envelope
from assay.data.sources import dataset_digest, read_table
from assay.flows.assess import columns_of
from assay.training.isolation import Limits
from assay.training.job import Trained, audit, train
from assay.training.provenance import provenance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.training.private.audit import Audited

# The claims of two trainings that differ by less are of the same settings.
_SAME = 0.1


def train_table(
    recipe: str,
    table: Path,
    contract: Path,
    folder: Path,
    *,
    engine: str = "auto",
    seed: int = 0,
    seconds: float = 600,
    memory_mb: int = 8192,
    author: str = "",
    key: PrivateKey | None = None,
    privacy_audit: bool = True,
    clock: Clock = system_clock,
) -> dict[str, object]:
    """Return the record of a training: model and data digests, seed, isolation in force; also written beside the model.

    recipe: ``file.py:function`` or ``file.py`` (then ``build``). author: who trains ("": the account). key: signs the
    statement in ``provenance.json``, which has no signature without it. privacy_audit: whether a private model is trained
    once more with canaries, after it. Raises DataError, ContractError or JobError.
    """
    file, _, function = recipe.partition(":")
    described = Contract.read(contract)
    rows = read_table(table)
    reference = f"{Path(file).resolve()}:{function or 'build'}"
    names, categorical = columns_of(described)
    job = Job(
        reference, encode(described, rows), labels(described, rows), seed=seed, engine=engine, columns=names,
        categorical=categorical, limits=Limits(seconds=seconds, memory_mb=memory_mb),
    )  # fmt: skip
    started = clock()
    trained = job.train(folder.resolve())
    finished = clock()
    subject = Subject("model.joblib", digest_file(trained.model))
    audited = audit_evidence(
        trained.summary.get("privacy"), job, (subject, Subject(table.name, dataset_digest(table))), clock,
        wanted=privacy_audit,
    )  # fmt: skip
    told = claims(trained) | ({"privacy_audit": audited.to_json()} if audited else {})
    statement = provenance(
        subject, recipe=reference, datasets={"table": dataset_digest(table), "contract": described.digest()}, seed=seed,
        isolation=trained.isolation, started=started, finished=finished, who=author, parameters=told,
    )  # fmt: skip
    write_record(folder / "provenance.json", Envelope.of(statement, *([key] if key else [])).to_json())
    record: dict[str, object] = {
        "model": str(trained.model),
        "model_digest": str(digest_file(trained.model)),
        "data_digest": str(dataset_digest(table)),
        "contract_digest": str(described.digest()),
        "recipe_digest": str(digest_file(file)),
        "estimator": trained.summary["estimator"],
        "rows": trained.summary["rows"],
        "seed": seed,
        "isolation": dict(trained.isolation),
    }
    record |= told
    write_record(folder / "training.json", record)
    return record


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained, and once more audited, in the sandbox. x: (n, d) in model space; y: (n,); the rest as in ``train``."""

    recipe: str
    x: NDArray[np.float64]
    y: NDArray[np.intp]
    seed: int = 0
    engine: str = "auto"
    columns: Sequence[str] = ()
    categorical: Sequence[int] = ()
    limits: Limits | None = None

    def train(self, output: Path) -> Trained:
        """Fit the recipe; ``output`` gets the model. Raises JobError."""
        return train(self.recipe, self.x, self.y, output=output, **self._rest())

    def audit(self) -> Audited:
        """Fit the recipe's private estimator with canaries; keep what that shows, and no model.

        Raises JobError, UnsupportedError, and FormatError for an answer that is no audit.
        """
        from assay.training.private.audit import Audited

        return Audited.from_json(audit(self.recipe, self.x, self.y, **self._rest()))

    def _rest(self) -> dict[str, Any]:
        return {
            "seed": self.seed, "engine": self.engine, "limits": self.limits, "columns": self.columns,
            "categorical": self.categorical,
        }  # fmt: skip


def audit_evidence(
    claim: object, job: Job, subjects: tuple[Subject, ...], clock: Clock, *, wanted: bool = True
) -> Evidence | None:
    """Return the evidence of a private training's audit: epsilon from below beside the claim, and the checks of it.

    claim: the privacy statement of the model that was trained; None: it makes none, and there is nothing to audit. wanted: whether
    to audit at all. What could not be audited is evidence that says so.
    """
    if claim is None:
        return None
    what, off = "one-run audit of the claimed epsilon", "Set model.privacy_audit to true, or leave --no-audit away"
    missing: tuple[NotChecked, ...] = ()
    if not wanted:
        missing = (NotChecked(what, "it was switched off", off),)
    else:
        try:
            found = job.audit()
        except AssayError as error:
            missing = (NotChecked(what, error.message, error.remedy or "Audit by hand, or give the audit more time"),)
    if missing:
        return Evidence("privacy.audit", subjects, clock(), techniques=("AML.T0024.000",), not_checked=missing)
    from assay.training.private.claim import trained_epsilon

    claimed = trained_epsilon(claim)
    if abs(found.claimed - claimed) > _SAME * claimed:
        why = f"its training claims epsilon {found.claimed:.4g} where the model's own claims {claimed:.4g}"
        remedy = "Give the rate and the number of rows as numbers, so that canaries do not change them"
        missing = (NotChecked("the settings of the model itself", why, remedy),)
    return replace(found.evidence(subjects, clock()), not_checked=missing)


def audit_line(evidence: Evidence) -> str:
    """Return what an audit found in one line."""
    if not evidence.measures:
        return f"not audited: {evidence.not_checked[0].why}"
    measure, failed = evidence.measures[0], [f.rule for f in evidence.findings]
    said = f"epsilon at least {measure.low:.3g}, claimed {measure.high:.3g}"
    return f"{said}; failed: {', '.join(failed)}" if failed else f"{said}; all checks hold"


def claims(trained: Trained) -> dict[str, object]:
    """Return what a private estimator says it has spent, nothing for another one."""
    return {"privacy": trained.summary["privacy"]} if "privacy" in trained.summary else {}


def claimed_measures(trained: Trained) -> tuple[Measure, ...]:
    """Return the claimed epsilon as measures, none for another estimator. Raises FormatError for a broken statement."""
    if "privacy" not in trained.summary:
        return ()
    from assay.training.private.claim import measures_of

    return measures_of(trained.summary["privacy"], int(str(trained.summary.get("rows", 0))))
