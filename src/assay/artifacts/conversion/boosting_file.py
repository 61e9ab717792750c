"""Native XGBoost and LightGBM files to ONNX, exact in the trees and compared on real rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.artifacts.convert import convert_estimator, read_rows
from assay.core.errors import UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def convert_boosting_file(arguments: Mapping[str, Any], output: Path) -> dict[str, object]:
    """Write ``model.onnx`` into ``output`` and return how far it is from the file's own predictions.

    arguments: ``model`` (a native file), ``kind`` ("xgboost" or "lightgbm"), ``rows`` (an .npy file (n, d)). Labels are
    0, 1, ...: native files do not keep the names of classes. Raises UnsupportedError for a form that has no exact one.
    """
    rows = read_rows(arguments["rows"])
    read = _xgboost if arguments["kind"] == "xgboost" else _lightgbm
    return convert_estimator(read(str(arguments["model"])), rows, output, tools=(("exact", "float64"),))


@dataclass
class _BoostingFile:
    """A booster as an estimator: what conversion and comparison need of it, no more."""

    native: Any
    classes_: NDArray[np.intp]

    def predict_proba(self, rows: Array) -> Array:
        """Return the probabilities (n, k) that the library itself computes."""
        raise NotImplementedError

    def predict(self, rows: Array) -> NDArray[np.intp]:
        """Return the labels (n,)."""
        labels: NDArray[np.intp] = self.classes_[self.predict_proba(rows).argmax(axis=1)]
        return labels


class XgboostFile(_BoostingFile):
    """An XGBoost booster from a file; known to the exact conversion by this name."""

    def predict_proba(self, rows: Array) -> Array:
        """Return the probabilities (n, k), of the best iteration where training recorded one."""
        import xgboost

        best = self.native.attr("best_iteration")
        rounds = (0, int(best) + 1 if best is not None else 0)
        return _columns(self.native.predict(xgboost.DMatrix(rows), iteration_range=rounds))


class LightgbmFile(_BoostingFile):
    """A LightGBM booster from a file; known to the exact conversion by this name."""

    def predict_proba(self, rows: Array) -> Array:
        """Return the probabilities (n, k)."""
        return _columns(self.native.predict(rows))


def _columns(answer: Any) -> Array:
    import numpy as np

    found = np.asarray(answer, dtype=np.float64)
    return np.column_stack([1 - found, found]) if found.ndim == 1 else found


def _xgboost(path: str) -> XgboostFile:
    import json

    import numpy as np
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(path)
    except xgboost.core.XGBoostError as error:
        raise UnsupportedError(f"XGBoost cannot read it ({str(error).splitlines()[0][:200]})", where=path) from error
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    if learner["objective"]["name"] == "multi:softmax":
        # The same trees; only this one gives probabilities.
        booster.set_param({"objective": "multi:softprob"})
    count = max(2, int(learner["learner_model_param"]["num_class"]))
    return XgboostFile(booster, np.arange(count))


def _lightgbm(path: str) -> LightgbmFile:
    import lightgbm
    import numpy as np

    try:
        booster = lightgbm.Booster(model_file=path)
    except lightgbm.basic.LightGBMError as error:
        raise UnsupportedError(f"LightGBM cannot read it ({str(error).splitlines()[0][:200]})", where=path) from error
    return LightgbmFile(booster, np.arange(max(2, booster.num_model_per_iteration())))
