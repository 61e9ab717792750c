"""From a table to a project folder: infer the contract, split the rows, write the files that a person edits."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from assay.core.errors import InputError
from assay.core.files import replacing, write_text
from assay.flows.project import FILE, Project
from assay.flows.stages import Report

if TYPE_CHECKING:
    import pyarrow as pa

_PROJECT = """\
# What `assay run` works on. Paths are relative to this file.
project: {name}
author: {author}           # recorded as the maker of the model; somebody else must approve it
seed: {seed}
profile: quick             # quick, standard or deep: how hard the model is attacked
data:
  train: {train}
  test: {test}
  contract: contract.yaml  # what the data looks like, and who can change what
model:
  recipe: recipe.py:build  # returns an unfitted scikit-learn estimator
policy: policy.yaml        # what a release must reach
serve:
  guards:                  # each can be tried first with `mode: observe`
    contract: {{}}
    outlier: {{false_alarms: 0.01}}
    rounding: {{decimals: 2}}
"""


def make_project(  # noqa: PLR0913 - what the command line offers
    table: Path, target: str, folder: Path, *, group: str = "", time_column: str = "", seed: int = 0,
    author: str = "author", report: Report,
) -> Project:
    """Return a project made of one table; an existing ``assay.yaml`` in ``folder`` is refused, not replaced.

    Rows whose target is missing are refused by the inference. Raises InputError or DataError.
    """
    from assay.data.sources import read_table

    started = time.perf_counter()
    rows = read_table(table)
    return project_of(
        rows, target, folder, name=table.stem, group=group, time_column=time_column, seed=seed, author=author,
        report=report, started=started,
    )


def project_of(  # noqa: PLR0913 - as above
    rows: pa.Table, target: str, folder: Path, *, name: str, group: str = "", time_column: str = "", seed: int = 0,
    author: str = "author", report: Report, started: float | None = None,
) -> Project:
    """Return a project made of a table in memory; nothing is left behind when it cannot be made."""
    from assay.contract.contract import Contract
    from assay.flows.split import split_table

    if (folder / FILE).exists():
        raise InputError("a project is here already", where=str(folder), remedy="Use `assay run`, or another --dir")
    contract = Contract.infer(rows, target, name=name, seed=seed, ids=(group,) if group else ())
    train, test, how = split_table(rows, target=target, group=group, time=time_column, seed=seed)
    made = not folder.exists()
    try:
        _write_rows(folder / "data" / "train.parquet", train)
        _write_rows(folder / "data" / "test.parquet", test)
        write_text(folder / "contract.yaml", contract.to_yaml())
        _write_editable(folder, name, seed, author, "data/train.parquet", "data/test.parquet")
    except BaseException:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    spent = time.perf_counter() - started if started else 0.0
    features = len(contract.features)
    report("project", "done", f"{rows.num_rows} rows, {features} features, split: {how} ({spent:.1f} s)")
    return Project.read(folder)


def write_blank(folder: Path, name: str) -> list[Path]:
    """Return the files of a project to fill in, written into ``folder``. Raises InputError when one is there already."""
    if (folder / FILE).exists():
        raise InputError("a project is here already", where=str(folder), remedy="Edit its files")
    written = _write_editable(folder, name, 0, "author", "data/train.parquet", "data/test.parquet")
    contract = folder / "contract.yaml"
    if not contract.exists():
        write_text(contract, "# Make it from your table:  assay data infer data/train.parquet --target COLUMN -o contract.yaml\n")
        written.append(contract)
    return written


def _write_editable(folder: Path, name: str, seed: int, author: str, train: str, test: str) -> list[Path]:
    from assay.registry.policy import DEFAULT_POLICY
    from assay.training.recipes import DEFAULT_RECIPE

    texts = {
        FILE: _PROJECT.format(name=name, seed=seed, author=author, train=train, test=test),
        "policy.yaml": DEFAULT_POLICY,
        "recipe.py": DEFAULT_RECIPE,
    }
    for file, text in texts.items():
        write_text(folder / file, text)
    return [folder / file for file in texts]


def _write_rows(path: Path, rows: pa.Table) -> None:
    import pyarrow.parquet as pq

    with replacing(path) as draft:
        pq.write_table(rows, draft)
