"""Jobs: training a recipe, auditing it, fitting it again on parts of the data, converting its model; in the sandbox.

A job's folder appears whole or not at all: it is made under a temporary name and renamed at the end.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.core.errors import AssayError, DataError, DependencyError, JobError, UnsupportedError
from assay.core.files import read_record, write_record
from assay.training.isolation import Engine, Limits, choose, run_isolated

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WORKER = "assay.training.worker"
_RESULT_BYTES = 1 << 24
# What a job may say of itself beyond "it failed".
_KINDS: dict[str, type[AssayError]] = {kind.code: kind for kind in (UnsupportedError, DataError, DependencyError)}


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model: its file, what the worker said of it, and the isolation that was in force."""

    model: Path
    summary: Mapping[str, object]
    isolation: Mapping[str, object]


def train(
    recipe: str,
    x: NDArray[np.float64],
    y: NDArray[np.integer],
    *,
    output: Path,
    seed: int = 0,
    engine: str = "auto",
    limits: Limits | None = None,
    columns: Sequence[str] = (),
    categorical: Sequence[int] = (),
) -> Trained:
    """Fit ``recipe`` (``file.py:function``) on rows x (n, d) and labels y (n,) in the sandbox; ``output`` gets the model.

    columns, categorical: names of the columns and positions of those that hold categories, for a recipe that asks.
    Raises JobError with one line when the recipe fails or breaks its confinement; ``output`` is then as before.
    """
    if len(x) == 0 or len(x) != len(y):
        raise DataError(f"{len(x)} rows and {len(y)} labels cannot be trained on")
    with _folder(output) as (work, draft):
        data = _save(work, x=x, y=y)
        task: dict[str, object] = {"kind": "fit", "recipe": recipe, "data": str(data), "seed": seed}
        task |= {"columns": list(columns), "categorical": list(categorical)}
        summary, confined = _run(task, work, draft, (data, *recipe_files(recipe)), engine, limits)
    return Trained(output / "model.joblib", summary, confined)


def audit(
    recipe: str,
    x: NDArray[np.float64],
    y: NDArray[np.integer],
    *,
    seed: int = 0,
    engine: str = "auto",
    limits: Limits | None = None,
    columns: Sequence[str] = (),
    categorical: Sequence[int] = (),
) -> Mapping[str, object]:
    """Train the recipe's private estimator once more with canaries, in the sandbox; return its audit as plain data.

    The model of the audit never leaves the sandbox. Raises JobError, or UnsupportedError for what cannot be audited.
    """
    with tempfile.TemporaryDirectory(prefix="assay-audit-") as folder, _folder(Path(folder) / "audit") as (work, draft):
        data = _save(work, x=x, y=y)
        task: dict[str, object] = {"kind": "audit", "recipe": recipe, "data": str(data), "seed": seed}
        task |= {"columns": list(columns), "categorical": list(categorical)}
        found, _ = _run(task, work, draft, (data, *recipe_files(recipe)), engine, limits)
    return found


def refit(
    recipe: str,
    sets: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    x: NDArray[np.float64],
    queries: NDArray[np.float64],
    *,
    classes: int,
    work: Path,
    seed: int = 0,
    engine: str = "auto",
    limits: Limits | None = None,
    columns: Sequence[str] = (),
    categorical: Sequence[int] = (),
    fewest: int | None = None,
    variant: Mapping[str, object] | None = None,
) -> NDArray[np.float64]:
    """Return the probabilities (k, q, classes) that k fresh fits of the recipe give to ``queries`` (q, d).

    sets: for each fit, the rows of x (n, d) it sees and their labels. One job does all fits. fewest: as in
    ``models.refit.Refit``. variant: of the recipe's estimator, as ``training.variants`` reads it.
    """
    import numpy as np

    output = work / f"refit-{secrets.token_hex(6)}"
    try:
        with _folder(output) as (space, draft):
            rows = np.concatenate([r for r, _ in sets])
            labels = np.concatenate([y for _, y in sets])
            ends = np.cumsum([len(r) for r, _ in sets])
            data = _save(space, x=x, queries=queries, rows=rows, labels=labels, ends=ends)
            task: dict[str, object] = {
                "kind": "refit",
                "recipe": recipe,
                "data": str(data),
                "seed": seed,
                "classes": classes,
                "columns": list(columns),
                "categorical": list(categorical),
                "fewest": fewest,
                "variant": dict(variant or {}),
            }
            _run(task, space, draft, (data, *recipe_files(recipe)), engine, limits)
        answer: NDArray[np.float64] = np.load(output / "probabilities.npy", allow_pickle=False)
    finally:
        shutil.rmtree(output, ignore_errors=True)
    return answer


def call(
    function: str,
    arguments: Mapping[str, object],
    *,
    inputs: tuple[Path, ...],
    output: Path,
    engine: str = "auto",
    limits: Limits | None = None,
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Call Assay's ``module:function(arguments, output)`` in the sandbox; return its answer and the isolation in force."""
    with _folder(output) as (work, draft):
        task: dict[str, object] = {"kind": "call", "function": function, "arguments": dict(arguments)}
        return _run(task, work, draft, inputs, engine, limits)


def recipe_files(recipe: str) -> tuple[Path, ...]:
    """Return what a recipe may read: its own file and the Python files beside it. Raises DataError when it is missing."""
    file = Path(recipe.rpartition(":")[0])
    if not file.is_file():
        raise DataError("the recipe does not exist", where=str(file), remedy="Give file.py:function")
    return tuple(sorted(p.resolve() for p in file.parent.glob("*.py")))


def _run(
    task: dict[str, object], work: Path, draft: Path, inputs: tuple[Path, ...], engine: str, limits: Limits | None
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    confinement: Engine = choose(engine)
    bounds = limits or Limits()
    file = work / "task.json"
    write_record(file, {**task, "output": str(draft)})
    said = run_isolated(_WORKER, file, inputs=inputs, output=draft, limits=bounds, engine=confinement)
    result = draft / "result.json"
    if not result.is_file():
        raise JobError(f"the job left no result: {(said.strip().splitlines() or ['no output'])[-1][:300]}")
    answer = read_record(result, limit=_RESULT_BYTES)
    if not isinstance(answer, dict) or not ({"error", "answer"} & set(answer)):
        raise JobError("the job left a result that is no record of ours", remedy="Do not write result.json")
    if "error" in answer:
        kind = _KINDS.get(str(answer.get("code", "")), JobError)
        raise kind(str(answer["error"])[:2000], remedy=str(answer.get("remedy", ""))[:500])
    result.unlink()
    in_force = {**confinement.in_force(), "seconds": bounds.seconds, "memory_mb": bounds.memory_mb}
    held = answer["answer"]
    return held if isinstance(held, dict) else {"answer": held}, in_force


def _save(work: Path, **arrays: Any) -> Path:
    import numpy as np

    path = work / "data.npz"
    np.savez(path, **arrays)
    return path


@contextmanager
def _folder(output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a folder for the job's inputs and the draft of its output, renamed to ``output`` at the end."""
    output.parent.mkdir(parents=True, exist_ok=True)
    work = (output.parent / f".{output.name}.{secrets.token_hex(6)}.job").resolve()
    draft = work / "output"
    draft.mkdir(parents=True)
    try:
        yield work, draft
        shutil.rmtree(draft / ".tmp", ignore_errors=True)
        shutil.rmtree(output, ignore_errors=True)
        draft.rename(output)
    finally:
        shutil.rmtree(work, ignore_errors=True)
