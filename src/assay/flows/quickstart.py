"""From a table to a project folder: infer the contract, split the rows, write the files that a person edits."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from assay.contract.contract import Contract
from assay.core.errors import InputError
from assay.core.files import replacing, write_text
from assay.data.sources import read_table
from assay.flows.project import FILE, Project
from assay.flows.split import split_table
from assay.flows.stages import Report
from assay.registry.policy import DEFAULT_POLICY
from assay.training.provenance import account
from assay.training.recipes import DEFAULT_RECIPE

if TYPE_CHECKING:
    import pyarrow as pa

_PROJECT = """\
# What `assay run` works on. Paths are relative to this file.
project: {name}
author: {author}  # recorded as the maker of the model; somebody else must approve it
seed: {seed}
profile: quick             # quick, standard or deep: how hard the model is attacked
data:
  train: data/train.parquet
  test: data/test.parquet
  contract: contract.yaml  # what the data looks like, and who can change what
model:
  recipe: recipe.py:build  # returns an unfitted scikit-learn estimator
policy: policy.yaml        # what a release must reach
serve:
  guards:                  # what stands before the model; each can be tried first with `mode: observe`
    contract: {{}}           # refuse rows that break the contract
    outlier: {{false_alarm: {false_alarm}}}  # refuse rows far from the training data; false_alarm: share of honest rows refused
    rounding: {{decimals: 2}}     # answer with fewer digits, which makes stealing the model dearer
"""


def make_project(
    table: Path,
    target: str,
    folder: Path,
    *,
    group: str = "",
    time_column: str = "",
    seed: int = 0,
    author: str = "",
    report: Report,
) -> Project:
    """Return a project made of one table; an existing ``assay.yaml`` in ``folder`` is refused, not replaced.

    Rows whose target is missing are refused by the inference. Raises InputError or DataError.
    """
    started = time.perf_counter()
    rows = read_table(table)
    return project_of(
        rows,
        target,
        folder,
        name=table.stem,
        group=group,
        time_column=time_column,
        seed=seed,
        author=author,
        report=report,
        started=started,
    )


def project_of(
    rows: pa.Table,
    target: str,
    folder: Path,
    *,
    name: str,
    group: str = "",
    time_column: str = "",
    seed: int = 0,
    author: str = "",
    report: Report,
    started: float | None = None,
) -> Project:
    """Return a project made of a table in memory; nothing is left behind when it cannot be made."""
    if (folder / FILE).exists():
        raise InputError("a project is here already", where=str(folder), remedy="Use `assay run`, or another --dir")
    contract = Contract.infer(rows, target, name=name, seed=seed, ids=(group,) if group else ())
    train, test, how = split_table(rows, target=target, group=group, time=time_column, seed=seed)
    made = not folder.exists()
    try:
        _write_rows(folder / "data" / "train.parquet", train)
        _write_rows(folder / "data" / "test.parquet", test)
        write_text(folder / "contract.yaml", contract.to_yaml())
        _write_editable(folder, name, seed, author or account(), train.num_rows)
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
    written = _write_editable(folder, name, 0, account(), 0)
    contract = folder / "contract.yaml"
    if not contract.exists():
        write_text(
            contract,
            "# Make it from your table:  assay data infer data/train.parquet --target COLUMN -o contract.yaml\n",
        )
        written.append(contract)
    return written


def _write_editable(folder: Path, name: str, seed: int, author: str, rows: int) -> list[Path]:
    # A false-alarm rate is shown on held-out rows: it cannot be smaller than their number allows.
    rate = max(0.01, math.ceil(200 * 2 / rows) / 200) if rows else 0.01
    texts = {
        FILE: _PROJECT.format(name=name, seed=seed, author=author, false_alarm=min(rate, 0.5)),
        "policy.yaml": DEFAULT_POLICY,
        "recipe.py": DEFAULT_RECIPE,
    }
    for file, text in texts.items():
        if not (folder / file).exists():
            write_text(folder / file, text)
    return [folder / file for file in texts]


def _write_rows(path: Path, rows: pa.Table) -> None:
    import pyarrow.parquet as pq

    with replacing(path) as draft:
        pq.write_table(rows, draft)
