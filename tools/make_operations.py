"""Write the names of TensorFlow's own operations, for the reader of SavedModels: ``python tools/make_operations.py``.

Needs tensorflow, which nothing else here does; the list is committed, so that scanning needs none.
"""

from __future__ import annotations

import json
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src" / "assay" / "artifacts" / "formats" / "tensorflow-operations.json"


def main() -> None:
    """Write the list."""
    import tensorflow as tf

    names = sorted(name for name in dir(tf.raw_ops) if not name.startswith("_"))
    # Of the graph itself; no function makes them.
    names += ["Placeholder", "_Arg", "_Retval", "_Send", "_Recv", "_HostSend", "_HostRecv"]
    record = {
        "framework": "tensorflow",
        "version": tf.__version__,
        "reason": "operations that TensorFlow registers itself; those that reach the host are named in the reader",
        "operations": sorted(set(names)),
    }
    TARGET.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
