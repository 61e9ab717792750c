"""Training one table by itself: contract, recipe and rows in; a model made in isolation and its record out."""

from __future__ import annotations

from pathlib import Path

from assay.contract.contract import Contract
from assay.contract.encode import encode, labels
from assay.core.digest import digest_file
from assay.core.files import write_record
from assay.data.sources import dataset_digest, read_table
from assay.training.isolation import Limits
from assay.training.job import train


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
) -> dict[str, object]:
    """Return the record of a training: model and data digests, seed, isolation in force; also written beside the model.

    recipe: ``file.py:function`` or ``file.py`` (then ``build``). Raises DataError, ContractError or JobError.
    """
    file, _, function = recipe.partition(":")
    described = Contract.read(contract)
    rows = read_table(table)
    reference = f"{Path(file).resolve()}:{function or 'build'}"
    trained = train(
        reference,
        encode(described, rows),
        labels(described, rows),
        output=folder.resolve(),
        seed=seed,
        engine=engine,
        limits=Limits(seconds=seconds, memory_mb=memory_mb),
    )
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
    write_record(folder / "training.json", record)
    return record
