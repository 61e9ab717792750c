"""Safe conversion: a scikit-learn model to ONNX, compared with the original on real rows.

``convert_sklearn`` opens a pickle and therefore runs inside the sandbox only; the training room's worker
calls it there by name. What comes out holds no code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.core.errors import DataError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXACT = 1e-6
TOOLS = (("exact", "float64"), ("skl2onnx", "float32"), ("skl2onnx", "float64"))
# Estimators that hold a network write their graph themselves, by a method ``onnx_bytes``.
_OWN = (("own", "float32"),)


def convert_sklearn(arguments: Mapping[str, Any], output: Path) -> dict[str, object]:
    """Write ``model.onnx`` into ``output`` and return how far it is from the original.

    arguments: ``model`` (a .joblib file) and ``rows`` (an .npy file of float64 rows (n, d)). The graph takes one
    tensor ``input`` (n, d) and gives ``label`` and ``probabilities``. Our own exact form in double precision comes
    first; estimators it does not know go through skl2onnx, in float and then in double, and the closest is kept.
    Raises UnsupportedError for a model that has no ONNX form.
    """
    import joblib

    try:
        model = joblib.load(arguments["model"])
    except ModuleNotFoundError as error:
        raise UnsupportedError(
            f"the model is of a class in the module {error.name}, which is not there",
            remedy="Install that module; a class of the recipe itself is known to `assay run` alone",
        ) from error
    return convert_estimator(model, read_rows(arguments["rows"]), output)


def read_rows(path: str, *, any_shape: bool = False) -> NDArray[np.float64]:
    """Return the rows (n, d), or (n, ...) of any shape, on which a conversion is compared. Raises DataError for none."""
    import numpy as np

    rows: NDArray[np.float64] = np.load(path, allow_pickle=False)
    if len(rows) == 0 or (rows.ndim != 2 and not any_shape):
        raise DataError("conversion needs real rows to compare on", remedy="Give a table with rows")
    return rows


def convert_estimator(
    model: Any, rows: NDArray[np.float64], output: Path, *, tools: Sequence[tuple[str, str]] = TOOLS
) -> dict[str, object]:
    """Write the closest ONNX form of a fitted classifier; return how far it is on the rows (n, d), and what was tried.

    tools: (name, dtype) in the order to try. Raises UnsupportedError when none gives a graph, or it is no classifier.
    """
    if not hasattr(model, "predict_proba"):
        raise UnsupportedError(
            f"a {type(model).__name__} gives no probabilities, and only classifiers become ONNX",
            remedy="Use --to skops",
        )
    wanted, labels = model.predict_proba(rows), model.predict(rows)
    tried: list[str] = []
    best: tuple[bytes, dict[str, object]] | None = None
    for tool, dtype in _OWN if hasattr(model, "onnx_bytes") else tools:
        try:
            graph = _graph(model, rows[:1].astype(dtype), tool)
            parity = _parity(graph, rows.astype(dtype), wanted, labels)
        except _faults() as error:
            tried.append(f"{tool} {dtype}: {' '.join(str(error).split())[:200]}")
            continue
        tried.append(f"{tool} {dtype} differs by {parity['max_difference']:.2g}")
        if best is None or parity["max_difference"] < float(str(best[1]["max_difference"])):
            best = graph, {"tool": tool, "dtype": dtype, **parity}
        if parity["max_difference"] <= EXACT:
            break
    if best is None:
        raise UnsupportedError(
            f"a {type(model).__name__} cannot be converted to ONNX ({'; '.join(tried)})",
            remedy="Use logistic regression, trees, forests or gradient boosting, with imputing, scaling and encoding, "
            "or give the class a method onnx_bytes()",
        )
    (output / "model.onnx").write_bytes(best[0])
    return {**best[1], "tried": tried, "dropped": []}


def _faults() -> tuple[type[Exception], ...]:
    """Return what converting and running a graph may raise; onnxruntime has errors of its own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidGraph", "InvalidArgument", "NotImplemented", "RuntimeException")
    own = tuple(getattr(state, name) for name in names)
    return (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, KeyError, ImportError, *own)


def _graph(model: Any, row: NDArray[np.floating], tool: str) -> bytes:
    if tool == "own":
        own: bytes = model.onnx_bytes()
        return own
    if tool == "exact":
        from assay.artifacts.onnx_graph import exact_graph

        return exact_graph(model, row.shape[1])
    from skl2onnx import to_onnx

    # zipmap: probabilities as one tensor, not as a list of records.
    made: bytes = to_onnx(model, row, options={"zipmap": False}, name="assay").SerializeToString()
    return made


def _parity(
    graph: bytes, rows: NDArray[np.floating], wanted: NDArray[np.float64], labels: NDArray[Any]
) -> dict[str, float]:
    import numpy as np
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session: Any = ort.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    name: str = session.get_inputs()[0].name
    run: Callable[..., list[Any]] = session.run
    answers = run(None, {name: rows})
    same = np.asarray(answers[0]).astype(str) == np.asarray(labels).astype(str)
    return parity(np.asarray(answers[-1]), wanted, same)


def parity(got: NDArray[Any], wanted: NDArray[Any], same: NDArray[np.bool_]) -> dict[str, float]:
    """Return how far two answers (n, ...) are apart, and the share of rows with the same label. same: (n,), per row.

    What is not a number on both sides is equal, on one side as far as can be. Raises ValueError when the shapes
    differ, or when the distance cannot be stated as a number.
    """
    import numpy as np

    if got.shape != wanted.shape:
        raise ValueError(f"the answers have the shape {got.shape}, not {wanted.shape}")
    one, other = got.astype(np.float64), wanted.astype(np.float64)
    equal = (one == other) | (np.isnan(one) & np.isnan(other))
    # Infinity less infinity is no number, and is not used where both are the same.
    with np.errstate(invalid="ignore"):
        difference = np.where(equal, 0.0, np.abs(one - other))
    if not np.isfinite(difference).all():
        raise ValueError("one of the answers is no finite number where the other is another")
    return {
        "rows": float(len(wanted)),
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "label_agreement": float(same.mean()),
    }
