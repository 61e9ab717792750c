"""Write src/assay/artifacts/policies/*.json from models that were really fitted and saved.

    python tools/saved_models.py FOLDER          # in each environment to learn from, see there
    python tools/make_allowlist.py src/assay/artifacts/policies FOLDER...

What the saved files import and call is recorded by Assay's own pickle machine, which runs nothing. Three kinds of names are
listed, each with its reason: those found in saved files, in the ways in which these use them; classes whose objects a load
makes empty and fills with attributes, as new objects only; and names given below, which other versions write. What is listed
already stays. python.json and dangerous.json are written by hand.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.artifacts.pickle.arrays import skip_array
from assay.artifacts.pickle.machine import Machine
from assay.artifacts.pickle.policy import Rating, builtin_policy
from assay.artifacts.pickle.values import Call, Global
from assay.core.files import write_text

USES = ("reference", "new", "call")
FRAMEWORKS = {
    "sklearn": "scikit-learn", "numpy": "numpy", "scipy": "scipy", "torch": "torch", "xgboost": "xgboost", "lightgbm": "lightgbm",
    "pandas": "pandas", "joblib": "joblib", "pyarrow": "pyarrow", "imblearn": "imbalanced-learn", "catboost": "catboost",
    "category_encoders": "category_encoders", "statsmodels": "statsmodels", "polars": "polars", "mlxtend": "mlxtend",
    "feature_engine": "feature-engine", "lifelines": "lifelines", "pygam": "pygam", "hdbscan": "hdbscan", "pmdarima": "pmdarima",
    "dateutil": "dateutil", "pytz": "pytz", "assay": "Assay",
}  # fmt: skip
FOUND, INERT = "found in saved {} models", "classes of {} whose objects a load makes empty and fills with attributes"
GIVEN = "written by other versions of {}, or computes numbers only"
GUARDS = {
    ("torch.storage", "_load_from_bytes"): "nested", ("torch._utils", "_rebuild_from_type_v2"): "factory",
    ("torch._tensor", "_rebuild_from_type_v2"): "factory" }  # fmt: skip
# numpy, before and after the move of 2.0; scalars and generators as other versions write them.
CALLS = {
    "numpy._core.multiarray": ["_reconstruct", "scalar"], "numpy._core.numeric": ["_frombuffer"],
    "numpy": ["dtype"], "numpy.random._pickle": ["__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"],
    "numpy.random": ["__RandomState_ctor"], "numpy.random.mtrand": ["RandomState"], "numpy.random._generator": ["Generator"],
    "numpy.random.bit_generator": ["__pyx_unpickle_SeedSequence"], "numpy.ma.core": ["_mareconstruct"],
    "numpy.random._mt19937": ["MT19937"], "numpy.random._pcg64": ["PCG64", "PCG64DXSM"],
    "numpy.random._philox": ["Philox"], "numpy.random._sfc64": ["SFC64"], "numpy.rec": ["recarray"],
    "torch._utils": ["_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter",
                     "_rebuild_parameter_with_state", "_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor",
                     "_rebuild_device_tensor_from_numpy", "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor"],
    "torch": ["Size", "device", "Tensor"], "torch.serialization": ["_get_layout"], "torch.storage": ["_load_from_bytes"],
    "torch._tensor": ["_rebuild_from_type_v2"], "torch.nn.parameter": ["Parameter", "Buffer", "UninitializedParameter"],
    "torch.jit._pickle": ["build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id",
                          "restore_type_tag"],
}  # fmt: skip
NUMBERS = """sum mean std var min max median prod cumsum cumprod round clip around average percentile quantile nanmean nanmedian nansum
nanstd nanvar nanmax nanmin nan_to_num where ravel reshape asarray array zeros ones log1p argmax argmin argsort diff ptp count_nonzero
unique searchsorted digitize interp linalg.norm""".split()
FUNCTIONS = """relu gelu silu leaky_relu elu selu softplus tanh sigmoid softmax log_softmax hardtanh relu6 mish celu logsigmoid hardswish
cross_entropy mse_loss l1_loss nll_loss binary_cross_entropy binary_cross_entropy_with_logits smooth_l1_loss huber_loss""".split()
# Not for a policy, however they come about: code of tests and of tools.
LEFT_OUT = ("sklearn.datasets", "sklearn.utils._testing", "sklearn.utils.testing", "sklearn.conftest", "numpy.testing")


@dataclass(slots=True)
class Names:
    """Names by (module, name): how each is used, and why it is listed."""

    uses: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, module: str, name: str, use: str, reason: str) -> None:
        """Note one use; the first reason given stays."""
        self.uses[module, name].add(use)
        self.reasons.setdefault((module, name), reason)


def pickles(data: bytes) -> Iterator[bytes]:
    """Yield the pickles of a file: those that are stacked in it, or those of a torch archive."""
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    yield archive.read(name)
        return
    yield data


def record(data: bytes, names: Names) -> None:
    """Note how each name in one file is used."""
    position = 0
    while position < len(data):
        trace = Machine(data, position, on_build=lambda m, t, s: skip_array(m, t, s, [])).run()
        if trace.broken and position:
            return
        if trace.broken:
            print("broken:", trace.broken, file=sys.stderr)
        for name in trace.globals:
            names.add(name.module, name.name, "reference", FOUND)
        for call in trace.calls:
            record_call(call, names)
        if trace.end <= position:
            return
        position = trace.end


def record_call(call: Call, names: Names) -> None:
    """Note what a call calls, and of which class it makes an object."""
    if not isinstance(call.func, Global):
        return
    names.add(call.func.module, call.func.name, "new" if call.kind.startswith("NEWOBJ") else "call", FOUND)
    helper = call.func.name in {"_reconstructor", "__newobj__", "__newobj_ex__"}
    if helper and isinstance(call.args, tuple) and isinstance(call.args[0], Global):
        names.add(call.args[0].module, call.args[0].name, "new", FOUND)


def given(names: Names) -> None:
    """Note the names that are given above, and types of torch that no small sample holds."""
    import numpy as np
    import torch

    for module, calls in CALLS.items():
        for name in calls:
            names.add(module, name, "call", GIVEN)
    for name, value in vars(np).items():
        if isinstance(value, np.ufunc) or (isinstance(value, type) and issubclass(value, np.generic)):
            names.add("numpy", name, "reference", GIVEN)
    names.add("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper", "new", GIVEN)
    for name in NUMBERS:
        names.add("numpy", name, "reference", GIVEN)
    for name in FUNCTIONS:
        names.add("torch.nn.functional", name, "reference", GIVEN)
        names.add("torch._C._nn", name, "reference", GIVEN)
    for name in dir(torch):
        if name.endswith("Storage") or isinstance(
            getattr(torch, name), torch.dtype | torch.layout | torch.memory_format | torch.qscheme
        ):
            names.add("torch", name, "reference", GIVEN)
    names.add("torch.storage", "UntypedStorage", "reference", GIVEN)


def guard_of(module: str, name: str) -> str:
    """Return the guard of a name: scipy's distributions and statsmodels' tables run text of their state as code."""
    if module.startswith("scipy.stats") and name.endswith("_gen"):
        return "template"
    if module == "statsmodels.base.data":
        return "formula"
    return GUARDS.get((module, name), "")


def listed(file: Path, names: Names) -> tuple[list[str], str]:
    """Take up what a policy lists already; return the versions it was made from, and its framework."""
    if not file.exists():
        return [], ""
    held = json.loads(file.read_text("utf-8"))
    for row in held["allow"]:
        for use in USES:
            for name in row.get(use, ()):
                if (row["module"], name) not in names.uses:
                    names.reasons[row["module"], name] = row["reason"]
                names.uses[row["module"], name].add(use)
    return str(held["version"]).split(", "), str(held["framework"])


def rows(top: str, names: Names) -> list[dict[str, Any]]:
    """Return the rows of one framework, one a module, reason and guard."""
    policy = builtin_policy()
    grouped: dict[tuple[str, str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (module, name), uses in sorted(names.uses.items()):
        if module.partition(".")[0] != top or module.startswith(LEFT_OUT):
            continue
        if policy.names.get((module, name)) and policy.judge(module, name).rating is Rating.DANGEROUS:
            print("refused:", module, name, file=sys.stderr)
            continue
        use = max(uses, key=USES.index)
        reason = names.reasons[module, name].format(FRAMEWORKS[top])
        for spelling in sorted({module, module.replace("numpy._core", "numpy.core")}):
            if name not in grouped[spelling, reason, guard_of(module, name)][use]:
                grouped[spelling, reason, guard_of(module, name)][use].append(name)
    return [
        {"module": module, "reason": reason, **({"guard": guard} if guard else {}), **dict(uses)}
        for (module, reason, guard), uses in sorted(grouped.items())
    ]


def main() -> None:
    """Trace all files and write one policy a framework."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", type=Path)
    parser.add_argument("folders", type=Path, nargs="+", help="what saved_models.py wrote")
    options = parser.parse_args()
    names = Names()
    versions: dict[str, list[str]] = defaultdict(list)
    count = 0
    for folder in options.folders:
        found = json.loads((folder / "found.json").read_text("utf-8"))
        for top, version in found["versions"].items():
            versions[top].append(version)
        for file in sorted(folder.glob("*.bin")):
            for data in pickles(file.read_bytes()):
                record(data, names)
            count += 1
        for module, kinds in found["inert"].items():
            for name in kinds:
                names.add(module, name, "new", INERT)
    given(names)
    for top, framework in FRAMEWORKS.items():
        file = options.policies / f"{top}.json"
        before, _ = listed(file, names)
        made = rows(top, names)
        if made:
            known = sorted({*before, *versions[top]} - {""})
            record_ = {
                "framework": framework,
                "version": ", ".join(known),
                "made_by": "tools/make_allowlist.py",
                "allow": made,
            }
            write_text(file, json.dumps(record_, indent=1) + "\n")
    others = sorted({f"{m}.{n}" for m, n in names.uses if m.partition(".")[0] not in FRAMEWORKS})
    print(f"{count} saved files; names of no framework, for python.json: {', '.join(others)}")


if __name__ == "__main__":
    main()
