"""Scikit-learn models to skops archives: for what has no ONNX form. No code in them, but names of types to agree to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.artifacts.convert import parity, read_rows
from assay.core.errors import UnsupportedError


def convert_to_skops(arguments: Mapping[str, Any], output: Path) -> dict[str, object]:
    """Write ``model.skops`` into ``output``; return how far its answers are from the model's, and the types it needs.

    arguments: ``model`` (a .joblib file), ``rows`` (an .npy file (n, d)). ``trusted`` lists the types that a loader has
    to agree to; they are code of installed packages. Raises UnsupportedError for a model that skops does not take.
    """
    import joblib
    import numpy as np
    import skops
    from skops.io import dump, get_untrusted_types, load

    rows = read_rows(arguments["rows"])
    model = joblib.load(arguments["model"])
    target = output / "model.skops"
    if not hasattr(model, "predict"):
        raise UnsupportedError(
            f"a {type(model).__name__} has no skops form: it predicts nothing", where=str(arguments["model"])
        )
    try:
        dump(model, target)
        needed = sorted(get_untrusted_types(file=target))
        back = load(target, trusted=needed)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        why = (str(error).splitlines() or [""])[0][:200]
        raise UnsupportedError(f"a {type(model).__name__} has no skops form ({why})") from error
    ask = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    wanted, got = (np.asarray(getattr(m, ask)(rows)) for m in (model, back))
    same = np.asarray(model.predict(rows)).astype(str) == np.asarray(back.predict(rows)).astype(str)
    if not np.issubdtype(wanted.dtype, np.number):
        wanted, got = np.zeros(len(rows)), np.asarray(got != wanted, float)
    try:
        measured = parity(got, wanted, same.reshape(len(rows), -1).all(axis=1))
    except ValueError as error:
        raise UnsupportedError(f"the copy does not answer as the model does: {error}") from error
    return {
        "tool": "skops", "dtype": str(wanted.dtype), **measured, "dropped": [], "trusted": needed,
        "versions": {"skops": str(skops.__version__)},
    }  # fmt: skip
