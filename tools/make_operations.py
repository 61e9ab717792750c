"""Write the names of the operations that TensorFlow and ONNX themselves have: ``python tools/make_operations.py``.

Needs tensorflow or onnx, of which the one that is installed is asked; the lists are committed, so that scanning needs neither.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "src" / "assay" / "artifacts" / "formats"
# Operators of the first versions that runtimes still have, though ONNX itself dropped them.
DROPPED = (
    "Affine",
    "Crop",
    "DynamicSlice",
    "GRUUnit",
    "GivenTensorFill",
    "ImageScaler",
    "ParametricSoftplus",
    "Scale",
    "ScaledTanh",
)
# Of a graph itself; no function of TensorFlow makes them.
GRAPH = ("Placeholder", "_Arg", "_Retval", "_Send", "_Recv", "_HostSend", "_HostRecv")


def tensorflow_operations() -> None:
    """Write TensorFlow's list."""
    import tensorflow as tf

    names = {name for name in dir(tf.raw_ops) if not name.startswith("_")} | set(GRAPH)
    record = {
        "framework": "tensorflow",
        "version": tf.__version__,
        "reason": "operations that TensorFlow registers itself; those that reach the host are named in the reader",
        "operations": sorted(names),
    }
    (FOLDER / "tensorflow-operations.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def onnx_operators() -> None:
    """Write ONNX's list, by domain and over all versions."""
    import onnx

    found: dict[str, set[str]] = {"": set(DROPPED)}
    for schema in onnx.defs.get_all_schemas_with_history():
        found.setdefault(schema.domain, set()).add(schema.name)
    found["ai.onnx"] = found[""]
    record = {
        "framework": "onnx",
        "version": onnx.__version__,
        "reason": "operators that ONNX defines in some version; any other needs a library of its own",
        "operators": {domain: sorted(names) for domain, names in sorted(found.items())},
    }
    (FOLDER / "onnx-operators.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if importlib.util.find_spec("tensorflow"):
        tensorflow_operations()
    if importlib.util.find_spec("onnx"):
        onnx_operators()
