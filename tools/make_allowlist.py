"""Write src/assay/artifacts/policies/*.json from models that are really fitted, saved and traced.

Run it in an environment with scikit-learn, torch, xgboost, lightgbm, pandas and scipy::

    python tools/make_allowlist.py src/assay/artifacts/policies

Every estimator of scikit-learn that fits small data is saved with protocols 2 to 5 and with joblib;
what the saved files import and call is recorded by Assay's own pickle machine, which runs nothing.
python.json and dangerous.json are written by hand.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import pickle
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.artifacts.pickle.arrays import skip_array
from assay.artifacts.pickle.machine import Machine
from assay.artifacts.pickle.policy import Rating, builtin_policy
from assay.artifacts.pickle.values import Call, Global
from assay.core.files import write_text

USES = ("reference", "new", "call")
FRAMEWORKS = {"sklearn": "scikit-learn", "numpy": "numpy", "scipy": "scipy", "torch": "torch", "xgboost": "xgboost",
              "lightgbm": "lightgbm", "pandas": "pandas", "joblib": "joblib", "pyarrow": "pyarrow"}  # fmt: skip
GUARDS = {
    ("torch.storage", "_load_from_bytes"): "nested",
    ("torch._utils", "_rebuild_from_type_v2"): "factory",
    ("torch._tensor", "_rebuild_from_type_v2"): "factory",
}
# numpy, before and after the move of 2.0; scalars and generators as other versions write them.
NUMPY_CALLS = {
    "numpy._core.multiarray": ["_reconstruct", "scalar"], "numpy._core.numeric": ["_frombuffer"],
    "numpy": ["dtype"], "numpy.random._pickle": ["__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"],
    "numpy.random.bit_generator": ["__pyx_unpickle_SeedSequence"], "numpy.ma.core": ["_mareconstruct"],
    "numpy.random._mt19937": ["MT19937"], "numpy.random._pcg64": ["PCG64", "PCG64DXSM"],
    "numpy.random._philox": ["Philox"], "numpy.random._sfc64": ["SFC64"], "numpy.polynomial.polynomial": ["Polynomial"],
    "numpy.rec": ["recarray"],
}  # fmt: skip
TORCH_CALLS = {
    "torch._utils": ["_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter",
                     "_rebuild_parameter_with_state", "_rebuild_qtensor", "_rebuild_sparse_tensor",
                     "_rebuild_device_tensor_from_numpy", "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor"],
    "torch": ["Size", "device", "Tensor"], "torch.serialization": ["_get_layout"], "torch.storage": ["_load_from_bytes"],
    "torch._tensor": ["_rebuild_from_type_v2"], "torch.nn.parameter": ["Parameter", "Buffer"],
}  # fmt: skip


def payloads() -> Iterator[tuple[bytes, str]]:
    """Yield saved bytes and what they are."""
    for maker in (sklearn_models, array_values, torch_values, boosting_models, frames):
        for value, what in maker():
            yield from saved(value, what)


def saved(value: Any, what: str) -> Iterator[tuple[bytes, str]]:
    """Yield a value under every protocol and as joblib writes it."""
    import joblib

    for protocol in (2, 3, 4, 5):
        try:
            yield pickle.dumps(value, protocol), what
        except (TypeError, pickle.PicklingError, AttributeError):
            return
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    yield buffer.getvalue(), what


def sklearn_models() -> Iterator[tuple[Any, str]]:
    """Yield every estimator of scikit-learn, fitted where small data fits it, else unfitted."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.utils import all_estimators

    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 3.0, (24, 4))
    counts = np.floor(x)
    targets = [rng.integers(0, 2, 24), rng.normal(size=24), rng.uniform(0.1, 2, (24, 2)), rng.integers(0, 2, (24, 3))]
    texts = ["good red apple", "bad green pear", "good pear", "red green"] * 6
    tables: list[Any] = [x, counts, texts, [{"a": 1.0, "b": 2.0}] * 24, x[:, 0]]
    for name, kind in all_estimators():
        wanted = inspect.signature(kind).parameters
        settings: dict[str, Any] = {}
        for key, value in (("estimator", LogisticRegression()), ("estimators", [("a", LogisticRegression()), ("b", LogisticRegression())]),
                           ("transformer_list", [("a", LogisticRegression())]), ("param_grid", {"C": [1.0, 2.0]}),
                           ("param_distributions", {"C": [1.0, 2.0]}), ("cv", 2), ("n_estimators", 3), ("max_iter", 20),
                           ("transformers", [("a", "passthrough", [0])]), ("steps", [("a", LogisticRegression())]),
                           ("dictionary", np.eye(4)), ("base_estimator", LogisticRegression())):  # fmt: skip
            if key in wanted and (
                wanted[key].default is inspect.Parameter.empty or key in {"cv", "n_estimators", "max_iter"}
            ):
                settings[key] = value
        if "Regress" in name:
            settings = {
                k: (Ridge() if k == "estimator" else [("a", Ridge())] if k == "estimators" else v)
                for k, v in settings.items()
            }
        for table in tables:
            for target in targets:
                try:
                    model = kind(**settings).fit(table, target)
                except Exception:  # noqa: BLE001 - whatever a combination of data and model may say
                    continue
                yield model, f"fitted {name}"
                break
    yield from sklearn_variants(x, targets)


def sklearn_variants(x: Any, targets: list[Any]) -> Iterator[tuple[Any, str]]:
    """Yield models with settings that bring other classes into the file."""
    from sklearn import (
        ensemble,
        gaussian_process,
        linear_model,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )
    from sklearn.gaussian_process import kernels
    from sklearn.metrics import make_scorer, mean_squared_error

    label, number = targets[0], abs(targets[1]) + 0.1
    for loss in ("squared_error", "absolute_error", "poisson", "gamma", "quantile"):
        options = {"quantile": 0.5} if loss == "quantile" else {}
        yield ensemble.HistGradientBoostingRegressor(loss=loss, max_iter=2, **options).fit(x, number), loss
    for loss in ("squared_error", "absolute_error", "huber", "quantile"):
        yield ensemble.GradientBoostingRegressor(loss=loss, n_estimators=2).fit(x, number), loss
    for loss in ("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron"):
        yield linear_model.SGDClassifier(loss=loss, max_iter=5, tol=None).fit(x, label), loss
    for loss in ("squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive"):
        yield linear_model.SGDRegressor(loss=loss, max_iter=5, tol=None).fit(x, number), loss
    for metric in ("euclidean", "manhattan", "chebyshev", "minkowski", "canberra", "hamming"):
        for algorithm in ("ball_tree", "kd_tree", "brute"):
            try:
                yield neighbors.KNeighborsClassifier(2, metric=metric, algorithm=algorithm).fit(x, label), metric
            except ValueError:
                continue
    for kernel in (kernels.RBF(), kernels.Matern(), kernels.RationalQuadratic(), kernels.DotProduct() + kernels.WhiteKernel(),
                   kernels.ConstantKernel() * kernels.RBF(), kernels.RBF() ** 2, kernels.PairwiseKernel()):  # fmt: skip
        yield gaussian_process.GaussianProcessRegressor(kernel, optimizer=None, alpha=0.1).fit(x, number), "kernel"
    for solver in ("adam", "sgd", "lbfgs"):
        yield neural_network.MLPClassifier((3,), solver=solver, max_iter=2).fit(x, label), solver
    yield ensemble.HistGradientBoostingClassifier(max_iter=2).fit(x, targets[0]), "classes"
    yield ensemble.HistGradientBoostingClassifier(max_iter=2).fit(x, [0, 1, 2] * 8), "classes"
    yield ensemble.GradientBoostingClassifier(n_estimators=2, loss="exponential").fit(x, label), "exponential"
    yield svm.SVC(probability=False).fit(x, label), "svc"
    yield tree.DecisionTreeClassifier(max_depth=2).fit(x, label.astype(str)), "text labels"
    yield (
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()).fit(x, label),
        "pipeline",
    )
    yield make_scorer(mean_squared_error), "scorer"


def array_values() -> Iterator[tuple[Any, str]]:
    """Yield arrays, scalars, generators and sparse matrices."""
    import numpy as np
    from scipy import interpolate, sparse, stats

    yield [np.float64(1), np.int32(2), np.bool_(True), np.str_("a"), np.datetime64("2026-01-01")], "scalars"
    yield (
        [
            np.arange(4),
            np.array(["a", None], object),
            np.zeros(2, "i4,f8"),
            np.array(["x"]),
            np.asfortranarray(np.eye(3)),
        ],
        "arrays",
    )
    yield [np.ma.masked_array([1, 2], [0, 1]), np.matrix(np.eye(2)), np.rec.array([(1, 2.0)])], "array kinds"
    yield [np.dtype("f8"), np.dtype("i4,f8"), np.float32, np.int64], "types"
    yield [np.random.default_rng(0), np.random.RandomState(0)], "generators"
    yield (
        [
            np.random.Generator(g(0))
            for g in (np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM)
        ],
        "generators",
    )
    for form in ("csr", "csc", "coo", "lil", "dok", "dia", "bsr"):
        yield [sparse.eye(3, format=form), sparse.eye_array(3, format=form)], form
    yield [stats.norm(), stats.uniform(0, 1), stats.randint(0, 5), stats.loguniform(1, 2)], "distributions"
    yield [interpolate.interp1d([0, 1, 2], [0, 1, 4]), interpolate.BSpline([0, 1, 2, 3], [1, 2], 1)], "interpolation"


def torch_values() -> Iterator[tuple[Any, str]]:
    """Yield torch state, tensors of every kind and modules."""
    import torch

    for kind in (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int8,
        torch.int64,
        torch.bool,
        torch.complex64,
    ):
        yield {"w": torch.zeros(2, dtype=kind), "kind": kind}, "tensor"
    yield torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.BatchNorm1d(3)), "module"
    yield [torch.nn.Parameter(torch.ones(2)), torch.Size([1]), torch.device("cpu"), torch.eye(2).to_sparse()], "values"


def boosting_models() -> Iterator[tuple[Any, str]]:
    """Yield fitted XGBoost and LightGBM models."""
    import lightgbm
    import numpy as np
    import xgboost

    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    for kind in (xgboost.XGBClassifier, xgboost.XGBRegressor, xgboost.XGBRFClassifier, xgboost.XGBRFRegressor):
        yield kind(n_estimators=2).fit(x, y), "xgboost"
    yield xgboost.XGBClassifier(n_estimators=2).fit(x, y).get_booster(), "booster"
    for made in (lightgbm.LGBMClassifier, lightgbm.LGBMRegressor):
        yield made(n_estimators=2, verbose=-1).fit(x, y), "lightgbm"
    yield lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(x, y).booster_, "booster"


def frames() -> Iterator[tuple[Any, str]]:
    """Yield pandas tables, indexes and types."""
    import pandas as pd

    table = pd.DataFrame(
        {"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"]), "d": pd.to_datetime(["2026-01-01"] * 2)}
    )
    yield [table, table["a"], table["b"], table.set_index("b"), table.set_index(["a", "b"])], "frame"
    yield (
        [pd.Timestamp("2026-01-01", tz="UTC"), pd.Timedelta(1), pd.NA, pd.NaT, pd.Interval(0, 1), pd.Period("2026-01")],
        "scalars",
    )
    yield [pd.RangeIndex(3), pd.date_range("2026-01-01", periods=2), pd.IntervalIndex.from_breaks([0, 1, 2])], "indexes"
    yield (
        [
            pd.array([1, None], "Int64"),
            pd.array([True, None], "boolean"),
            pd.array(["a"], "string"),
            pd.array([1.0], "Float64"),
        ],
        "arrays",
    )
    yield [pd.array([1, 2], pd.SparseDtype("int")), pd.CategoricalDtype(["a"]), pd.StringDtype()], "types"


def record(data: bytes, what: str, found: dict[tuple[str, str], set[str]]) -> None:
    """Note how each name in one saved file is used."""
    trace = Machine(data, on_build=lambda m, t, s: skip_array(m, t, s, [])).run()
    if trace.broken:
        print("broken:", what, trace.broken, file=sys.stderr)
    for name in trace.globals:
        found[name.module, name.name].add("reference")
    for call in trace.calls:
        if isinstance(call.func, Global):
            use = "new" if call.kind.startswith("NEWOBJ") else "call"
            found[call.func.module, call.func.name].add(use)
            if (
                call.func.name in {"_reconstructor", "__newobj__"}
                and isinstance(call.args, tuple)
                and isinstance(call.args[0], Global)
            ):
                found[call.args[0].module, call.args[0].name].add("new")
        elif not isinstance(call.func, Call):
            print("computed call", call.at, file=sys.stderr)


def public_classes(found: dict[tuple[str, str], set[str]]) -> None:
    """Add classes of the same kind that the sample could not fit, as new objects only."""
    import torch
    from sklearn.gaussian_process import kernels
    from sklearn.utils import all_estimators

    for _, kind in all_estimators():
        found[kind.__module__, kind.__name__].add("new")
    for module in {m for m in sys.modules if m.startswith("torch.nn.modules.")}:
        for name, kind in vars(importlib.import_module(module)).items():
            if inspect.isclass(kind) and issubclass(kind, torch.nn.Module) and kind.__module__ == module:
                found[module, name].add("new")
    for name, kind in vars(kernels).items():
        if inspect.isclass(kind) and kind.__module__ == kernels.__name__:
            found[kernels.__name__, name].add("new")
    for name in dir(torch):
        if name.endswith("Storage") or isinstance(getattr(torch, name), torch.dtype):
            found["torch", name].add("reference")
    found["torch.storage", "UntypedStorage"].add("reference")
    for module, names in {**NUMPY_CALLS, **TORCH_CALLS}.items():
        for name in names:
            found[module, name].add("call")


def rows(top: str, found: dict[tuple[str, str], set[str]]) -> list[dict[str, Any]]:
    """Return the rows of one framework, one a module and guard."""
    denied = builtin_policy()
    grouped: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (module, name), uses in sorted(found.items()):
        if module.partition(".")[0] != top or module.startswith("sklearn.datasets"):
            continue
        if denied.names.get((module, name)) and denied.judge(module, name).rating is Rating.DANGEROUS:
            print("refused:", module, name, file=sys.stderr)
            continue
        use = max(uses, key=USES.index)
        spellings = {module, module.replace("numpy._core", "numpy.core")}
        for spelling in spellings:
            grouped[spelling, GUARDS.get((module, name), "")][use].append(name)
    return [
        {
            "module": module,
            "reason": f"found in saved {FRAMEWORKS[top]} models",
            **({"guard": guard} if guard else {}),
            **dict(uses),
        }
        for (module, guard), uses in sorted(grouped.items())
    ]


def main(folder: Path) -> None:
    """Trace all models and write one file a framework."""
    warnings.simplefilter("ignore")
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    total, kinds = 0, set()
    for data, what in payloads():
        record(data, what, found)
        total += 1
        kinds.add(what)
    public_classes(found)
    for top, framework in FRAMEWORKS.items():
        version = importlib.import_module(top).__version__
        out = {
            "framework": framework,
            "version": version,
            "made_by": "tools/make_allowlist.py",
            "allow": rows(top, found),
        }
        write_text(folder / f"{top}.json", json.dumps(out, indent=1) + "\n")
    others = sorted({f"{m}.{n}" for m, n in found if m.partition(".")[0] not in FRAMEWORKS})
    print(f"{total} saved files of {len(kinds)} kinds; names of no framework, for python.json: {', '.join(others)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
