"""Training one table by itself: contract, recipe and rows in; a model made in isolation and its record out."""

from __future__ import annotations

from pathlib import Path

from assay.contract.contract import Contract
from assay.contract.encode import encode, labels
from assay.core.clock import Clock, system_clock
from assay.core.digest import digest_file
from assay.core.evidence import Subject
from assay.core.files import write_record
from assay.core.keys import PrivateKey
from assay.core.measure import Measure
from assay.core.statement import Envelope
from assay.data.sources import dataset_digest, read_table
from assay.flows.assess import columns_of
from assay.training.isolation import Limits
from assay.training.job import Trained, train
from assay.training.provenance import provenance


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
    clock: Clock = system_clock,
) -> dict[str, object]:
    """Return the record of a training: model and data digests, seed, isolation in force; also written beside the model.

    recipe: ``file.py:function`` or ``file.py`` (then ``build``). author: who trains ("": the account). key: signs the
    statement in ``provenance.json``, which has no signature without it. Raises DataError, ContractError or JobError.
    """
    file, _, function = recipe.partition(":")
    described = Contract.read(contract)
    rows = read_table(table)
    reference = f"{Path(file).resolve()}:{function or 'build'}"
    names, categorical = columns_of(described)
    started = clock()
    trained = train(
        reference,
        encode(described, rows),
        labels(described, rows),
        output=folder.resolve(),
        seed=seed,
        engine=engine,
        limits=Limits(seconds=seconds, memory_mb=memory_mb),
        columns=names,
        categorical=categorical,
    )
    statement = provenance(
        Subject("model.joblib", digest_file(trained.model)), recipe=reference,
        datasets={"table": dataset_digest(table), "contract": described.digest()}, seed=seed,
        isolation=trained.isolation, started=started, finished=clock(), who=author, parameters=claims(trained),
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
    record |= claims(trained)
    write_record(folder / "training.json", record)
    return record


def claims(trained: Trained) -> dict[str, object]:
    """Return what a private estimator says it has spent, nothing for another one."""
    return {"privacy": trained.summary["privacy"]} if "privacy" in trained.summary else {}


def claimed_measures(trained: Trained) -> tuple[Measure, ...]:
    """Return the claimed epsilon as measures, none for another estimator. Raises FormatError for a broken statement."""
    if "privacy" not in trained.summary:
        return ()
    from assay.training.private.claim import measures_of

    return measures_of(trained.summary["privacy"], int(str(trained.summary.get("rows", 0))))
