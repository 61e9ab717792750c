"""What runs inside the sandbox: ``python -m assay.training.worker TASK.json``.

It limits itself before it loads anything of the user's, does one task (``fit``, ``audit``, ``refit`` or ``call``) and
writes ``result.json``: either the task's answer, or the error with its place in the recipe.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from assay.core.errors import AssayError, JobError

_DENIED = {errno.EROFS, errno.EACCES, errno.EPERM}
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN}


def main(task_file: str) -> int:
    """Do the task and write its result; return the exit code, 0 or 1."""
    limit_resources()
    task = json.loads(Path(task_file).read_bytes())
    output = Path(task["output"])
    if task["kind"] == "refit":
        # Fits side by side: one thread each, set before any library reads it.
        os.environ["OMP_NUM_THREADS"] = "1"
    try:
        answer = {"answer": _TASKS[task["kind"]](task, output)}
    except AssayError as error:
        answer = {"error": error.message, "remedy": error.remedy, "code": error.code}
    except MemoryError:
        answer = {"error": "the job needs more memory than its limit", "remedy": "Raise the limit, or train on less"}
    except BaseException as error:  # noqa: BLE001 - the recipe is not ours: whatever it raises is reported
        answer = {"error": _explain(error, task), "remedy": "Correct the recipe"}
    (output / "result.json").write_text(json.dumps(answer))
    return 0 if "answer" in answer else 1


def load_recipe(reference: str) -> Callable[..., Any]:
    """Return the function of ``file.py:function``. Raises JobError when the file has no such function."""
    file, _, name = reference.rpartition(":")
    sys.path.insert(0, str(Path(file).parent))
    spec = importlib.util.spec_from_file_location("assay_recipe", file)
    if spec is None or spec.loader is None:
        raise JobError(f"{file} is not a Python file", remedy="Give file.py:function")
    module = importlib.util.module_from_spec(spec)
    sys.modules["assay_recipe"] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise JobError(f"the recipe has no function {name!r}", remedy="Give file.py:function")
    made: Callable[..., Any] = function
    return made


def build(reference: str, seed: int, task: dict[str, Any] | None = None) -> Any:
    """Return the recipe's unfitted estimator, built with ``seed``, ``columns``, ``categorical`` as far as it takes them."""
    import inspect

    function = load_recipe(reference)
    _seed(seed)
    offered = {"seed": seed, **{k: (task or {}).get(k, []) for k in ("columns", "categorical")}}
    taken = inspect.signature(function).parameters
    estimator = function(**{name: value for name, value in offered.items() if name in taken})
    if not hasattr(estimator, "fit") or not hasattr(estimator, "predict_proba"):
        raise JobError(
            f"the recipe returned a {type(estimator).__name__}", remedy="Return a classifier with fit and predict_proba"
        )
    return estimator


def _seed(seed: int) -> None:
    """Seed what a recipe without a seed of its own draws from. Private estimators draw from the operating system."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - scikit-learn's estimators draw from it when random_state is None
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def _fit(task: dict[str, Any], output: Path) -> dict[str, object]:
    import joblib

    x, y = _arrays(task["data"], "x", "y")
    estimator = build(task["recipe"], task["seed"], task)
    _check_private(estimator)
    model = estimator.fit(x, y)
    joblib.dump(model, output / "model.joblib")
    kind = type(model)
    made: dict[str, object] = {
        "estimator": f"{kind.__module__}.{kind.__qualname__}", "rows": len(x), "width": int(x.shape[1]),
    }  # fmt: skip
    if claimed := _claimed(model):
        # What the estimator claims of itself is the recipe's word, not ours.
        made["privacy"] = claimed
    return made


def _private() -> bool:
    """Return whether the recipe has loaded anything of ours that trains privately."""
    return "assay.training.private" in {name.rpartition(".")[0] for name in sys.modules}


def _check_private(estimator: Any) -> None:
    """Raise Refused for a private estimator when what comes before it learns from the rows."""
    if _private():
        from assay.training.private.scaling import private_part

        private_part(estimator)


def _claimed(model: Any) -> Mapping[str, object]:
    """Return the privacy statement of a fitted model, {} when it makes none."""
    if not _private():
        return {}
    from assay.training.private.audit_model import statement

    return statement(model)


def _audit(task: dict[str, Any], output: Path) -> dict[str, object]:
    """Train the recipe's private estimator once more, with canaries, and return what that shows; keep no model."""
    from assay.training.private.audit_model import audit

    del output  # only the verdict leaves
    x, y = _arrays(task["data"], "x", "y")
    return audit(build(task["recipe"], task["seed"], task), x, y, seed=task["seed"]).to_json()


def _refit(task: dict[str, Any], output: Path) -> dict[str, object]:
    """Fit one model on each set of rows and write the probabilities that it gives to the queries."""
    import numpy as np

    from assay.models.refit import Spread, fit_all
    from assay.training.variants import varied

    x, queries, rows, labels, ends = _arrays(task["data"], "x", "queries", "rows", "labels", "ends")
    starts = [0, *ends[:-1]]
    sets = [(rows[a:b], labels[a:b]) for a, b in zip(starts, ends, strict=True)]
    seeds = [(task["seed"] + number) % 2**31 for number in range(len(sets))]

    def make(number: int) -> Any:
        return varied(build(task["recipe"], seeds[number], task), task.get("variant", {}))

    # The fits release the interpreter for most of their time: threads share the rows.
    jobs = min(len(sets), os.cpu_count() or 1)
    answers = fit_all(
        make, sets, x, queries, classes=task["classes"], seeds=seeds, fewest=task.get("fewest"), spread=Spread(jobs)
    )
    np.save(output / "probabilities.npy", answers)
    return {"models": len(answers)}


def _call(task: dict[str, Any], output: Path) -> object:
    """Call ``module:function(arguments, output)`` of Assay itself, as conversion does.

    Where the arguments name a recipe, it is loaded first: the model may be of a class of it.
    """
    if recipe := task["arguments"].get("recipe"):
        load_recipe(recipe)
    module, _, name = task["function"].partition(":")
    return getattr(importlib.import_module(module), name)(task["arguments"], output)


_TASKS: dict[str, Callable[[dict[str, Any], Path], object]] = {
    "fit": _fit,
    "audit": _audit,
    "refit": _refit,
    "call": _call,
}


def _arrays(path: str, *names: str) -> tuple[Any, ...]:
    import numpy as np

    with np.load(path, allow_pickle=False) as held:
        return tuple(held[name] for name in names)


def limit_resources() -> None:
    """Hold this process to the limits in its environment, before anything of the user's is loaded."""
    seconds, memory, size = (int(v) for v in os.environ["ASSAY_LIMITS"].split(","))
    cores = os.cpu_count() or 1
    for kind, value in (
        (resource.RLIMIT_CPU, seconds * cores), (resource.RLIMIT_AS, memory << 20),
        (resource.RLIMIT_FSIZE, size << 20), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(kind, (value, value))
    processes = int(os.environ.get("ASSAY_PROCESSES", "0"))
    if processes:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))


def _explain(error: BaseException, task: dict[str, Any]) -> str:
    """Return one line: what the recipe did, of which kind, and at which of its lines."""
    file = str(task.get("recipe", "")).rpartition(":")[0]
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if file and f.filename == file]
    place = f" at {Path(file).name}:{own[-1].lineno}" if own else ""
    number = error.errno if isinstance(error, OSError) else None
    touched_socket = any(
        "socket" in f.filename or "socket" in (f.line or "") or "urlopen" in (f.line or "") for f in frames
    )
    if touched_socket or number in _UNREACHABLE:
        what = "the recipe tried to reach the network"
    elif number in _DENIED and isinstance(error, OSError):
        what = f"the recipe tried to write outside its folder ({error.filename})"
    else:
        what = "the recipe failed"
    return " ".join(f"{what}{place}: {type(error).__name__}: {error}".split())[:500]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
