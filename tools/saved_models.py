"""Fit and save models with the libraries that are installed, for tools/make_allowlist.py to learn from.

    python tools/saved_models.py FOLDER

It needs nothing of Assay and runs on Python 3.7 and later, so that old releases of the libraries can be asked as well.
Every library that is missing is passed over. ``found.json`` in the folder holds the versions, and the names of the classes
whose objects are inert: a load makes them empty and fills in their attributes, and no code of their own runs.
"""

# ruff: noqa: BLE001, B023 - whatever a release of a library may say, the next model is tried; each function is called at once

from __future__ import annotations

import importlib
import inspect
import io
import json
import pickle
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("sklearn", "numpy", "scipy", "torch", "xgboost", "lightgbm", "catboost", "pandas", "joblib", "pyarrow", "imblearn",
            "category_encoders", "statsmodels", "polars", "mlxtend", "feature_engine", "lifelines", "pygam", "hdbscan", "pmdarima",
            "umap", "pynndescent", "dateutil", "pytz", "assay")  # fmt: skip
# Where classes are looked for, and what lies there that no model holds.
WALKED = ("sklearn", "imblearn", "category_encoders", "statsmodels", "scipy.stats", "scipy.interpolate", "scipy.spatial",
          "scipy.optimize", "mlxtend", "feature_engine", "lifelines", "pygam", "pmdarima", "torch.nn.modules", "torch.optim",
          "torch.distributions", "xgboost.sklearn", "xgboost.callback", "lightgbm.sklearn")  # fmt: skip
LEFT_OUT = ("test", "conftest", "dataset", "_build_utils", "externals", "setup", "plot", "graphics", "sandbox", "__main__",
            "inspection", "_bunch", "iolib", "_repr_html", "utils.deprecation", "_estimator_html", "compat", "tools.web", "x13")  # fmt: skip
HOOKS = {"__setstate__", "__del__", "__setattr__", "__getattr__", "__getattribute__", "__new__", "__hash__", "__setitem__",
         "append", "extend", "add", "__reduce__", "__reduce_ex__", "__call_super__"}  # fmt: skip
# Read by us: their hooks set attributes and nothing else.
READ = {"sklearn.base.BaseEstimator", "torch.nn.modules.module.Module", "torch.optim.optimizer.Optimizer",
        "sklearn.ensemble._base.BaseEnsemble", "torch.nn.modules.rnn.RNNBase", "torch.nn.modules.container.Sequential",
        "torch.nn.modules.container.ModuleList", "torch.nn.modules.container.ModuleDict",
        "torch.nn.modules.container.ParameterList", "torch.nn.modules.container.ParameterDict"}  # fmt: skip


def is_inert(kind: type) -> bool:
    """Return whether objects of a class are made and filled without running code of the class."""
    for base in kind.__mro__[:-1]:
        name = base.__module__ + "." + base.__name__
        if base.__module__ in ("builtins", "collections", "abc", "typing") or name in READ:
            continue
        source = getattr(sys.modules.get(base.__module__), "__file__", "") or ""
        if not source.endswith(".py") or HOOKS & set(vars(base)):
            return False
    return True


def inert_classes() -> dict[str, list[str]]:
    """Return the names of inert classes of the installed libraries, by module."""
    found = {}
    for top in WALKED:
        try:
            package = importlib.import_module(top)
        except Exception:
            continue
        names = [top]
        if hasattr(package, "__path__"):
            names += [m.name for m in pkgutil.walk_packages(package.__path__, top + ".", onerror=lambda _: None)]
        for name in names:
            if any(part in name for part in LEFT_OUT):
                continue
            try:
                module = importlib.import_module(name)
            except BaseException:
                continue
            for kind in vars(module).values():
                if (
                    inspect.isclass(kind)
                    and kind.__module__ == name
                    and "." not in kind.__qualname__
                    and is_inert(kind)
                ):
                    found.setdefault(name, []).append(kind.__name__)
    return {m: sorted(set(names)) for m, names in sorted(found.items())}


def sklearn_models() -> Iterator[Any]:
    """Yield every estimator of scikit-learn, fitted where small data fits it, else as it is made."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression, Ridge

    try:
        from sklearn.utils import all_estimators
    except ImportError:
        from sklearn.utils.testing import all_estimators
    rng = np.random.RandomState(0)
    x = rng.uniform(0.1, 3.0, (24, 4))
    texts = ["good red apple", "bad green pear", "good pear", "red green"] * 6
    tables = [x, np.floor(x), texts, [{"a": 1.0, "b": 2.0}] * 24, x[:, 0]]
    targets = [rng.randint(0, 2, 24), rng.normal(size=24), rng.uniform(0.1, 2, (24, 2)), rng.randint(0, 2, (24, 3))]
    given = [("estimator", LogisticRegression()), ("estimators", [("a", LogisticRegression()), ("b", LogisticRegression())]),
             ("transformer_list", [("a", LogisticRegression())]), ("param_grid", {"C": [1.0, 2.0]}),
             ("param_distributions", {"C": [1.0, 2.0]}), ("transformers", [("a", "passthrough", [0])]),
             ("steps", [("a", LogisticRegression())]), ("dictionary", np.eye(4)), ("base_estimator", LogisticRegression())]  # fmt: skip
    small = [("cv", 2), ("n_estimators", 3), ("max_iter", 20)]
    for name, kind in all_estimators():
        wanted = inspect.signature(kind).parameters
        settings = {k: v for k, v in given if k in wanted and wanted[k].default is inspect.Parameter.empty}
        settings.update((k, v) for k, v in small if k in wanted)
        if "Regress" in name:
            other = {"estimator": Ridge(), "estimators": [("a", Ridge())]}
            settings = {k: other.get(k, v) for k, v in settings.items()}
        fitted = False
        for table in tables:
            for target in targets:
                try:
                    model = kind(**settings).fit(table, target)
                except Exception:
                    continue
                fitted = True
                yield model
                break
        if not fitted:
            try:
                yield kind(**settings)
            except Exception:
                continue


def sklearn_settings() -> Iterator[Any]:
    """Yield models with settings that bring other classes and functions into the file."""
    import numpy as np
    from sklearn import (
        compose,
        ensemble,
        feature_selection,
        gaussian_process,
        linear_model,
        metrics,
        model_selection,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
    )
    from sklearn.gaussian_process import kernels

    rng = np.random.RandomState(0)
    x = rng.uniform(0.1, 3.0, (24, 4))
    label, number = rng.randint(0, 2, 24), rng.uniform(0.1, 2, 24)

    def tried(make: Callable[[], Any]) -> list[Any]:
        try:
            return [make()]
        except Exception:
            return []

    for loss in (
        "squared_error",
        "absolute_error",
        "poisson",
        "gamma",
        "quantile",
        "least_squares",
        "huber",
        "ls",
        "lad",
    ):
        more = {"quantile": 0.5} if loss == "quantile" else {}
        yield from tried(lambda: ensemble.HistGradientBoostingRegressor(loss=loss, max_iter=2, **more).fit(x, number))
        yield from tried(lambda: ensemble.GradientBoostingRegressor(loss=loss, n_estimators=2).fit(x, number))
    for loss in ("deviance", "log_loss", "exponential"):
        yield from tried(lambda: ensemble.GradientBoostingClassifier(loss=loss, n_estimators=2).fit(x, label))
        yield from tried(lambda: ensemble.GradientBoostingClassifier(loss=loss, n_estimators=2).fit(x, [0, 1, 2] * 8))
    for y in (label, [0, 1, 2] * 8):
        yield from tried(lambda: ensemble.HistGradientBoostingClassifier(max_iter=2).fit(x, y))
    for loss in ("hinge", "log", "log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error", "huber",
                 "epsilon_insensitive", "squared_epsilon_insensitive"):  # fmt: skip
        yield from tried(lambda: linear_model.SGDClassifier(loss=loss, max_iter=5, tol=None).fit(x, label))
        yield from tried(lambda: linear_model.SGDRegressor(loss=loss, max_iter=5, tol=None).fit(x, number))
    for metric in ("euclidean", "manhattan", "chebyshev", "minkowski", "canberra", "hamming", "haversine", "seuclidean",
                   "mahalanobis", "braycurtis", "jaccard", "dice", "rogerstanimoto", "russellrao", "sokalsneath"):  # fmt: skip
        for tree in (neighbors.BallTree, neighbors.KDTree):
            yield from tried(lambda: tree(x[:, :2], metric=metric))
        yield from tried(lambda: neighbors.KNeighborsClassifier(2, metric=metric).fit(x, label))
    for kernel in (kernels.RBF(), kernels.Matern(), kernels.RationalQuadratic(), kernels.DotProduct() + kernels.WhiteKernel(),
                   kernels.ConstantKernel() * kernels.RBF(), kernels.RBF() ** 2, kernels.PairwiseKernel(),
                   kernels.ExpSineSquared(), kernels.CompoundKernel([kernels.RBF()])):  # fmt: skip
        yield from tried(
            lambda: gaussian_process.GaussianProcessRegressor(kernel, optimizer=None, alpha=0.1).fit(x, number)
        )
        yield kernel
    for solver in ("adam", "sgd", "lbfgs"):
        yield neural_network.MLPClassifier((3,), solver=solver, max_iter=2).fit(x, label)
    yield svm.SVC().fit(x, label)
    for score in ("f_classif", "f_regression", "chi2", "mutual_info_classif", "mutual_info_regression", "r_regression"):
        yield from tried(lambda: feature_selection.SelectKBest(getattr(feature_selection, score), k=2).fit(x, label))
    for name in ("f1_score", "roc_auc_score", "mean_squared_error", "log_loss", "accuracy_score", "balanced_accuracy_score",
                 "mean_absolute_error", "r2_score", "precision_score", "recall_score", "average_precision_score", "fbeta_score",
                 "matthews_corrcoef", "cohen_kappa_score", "brier_score_loss", "mean_absolute_percentage_error",
                 "explained_variance_score", "median_absolute_error", "mean_squared_log_error", "mean_pinball_loss"):  # fmt: skip
        yield from tried(lambda: metrics.make_scorer(getattr(metrics, name)))
    for name in ("accuracy", "roc_auc", "neg_log_loss", "neg_mean_squared_error", "r2", "f1_macro"):
        search = model_selection.GridSearchCV(linear_model.SGDClassifier(), {"alpha": [1e-3, 1e-2]}, scoring=name, cv=2)
        yield from tried(lambda: search.fit(x, label))
        yield from tried(lambda: metrics.get_scorer(name))
    for split in ("KFold", "StratifiedKFold", "GroupKFold", "TimeSeriesSplit", "ShuffleSplit", "StratifiedShuffleSplit",
                  "RepeatedKFold", "RepeatedStratifiedKFold", "LeaveOneOut", "StratifiedGroupKFold", "PredefinedSplit"):  # fmt: skip
        yield from tried(getattr(model_selection, split, None))
    for func in (np.log1p, np.exp, np.sqrt, np.abs, np.square, np.expm1, np.log, np.mean, np.median, np.sum):
        yield preprocessing.FunctionTransformer(func)
    yield from tried(
        lambda: compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1).fit(
            x, number
        )
    )
    yield from tried(
        lambda: compose.make_column_transformer((preprocessing.OneHotEncoder(), compose.make_column_selector(".*")))
    )
    yield pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()).fit(x, label)


def array_values() -> Iterator[Any]:
    """Yield arrays, scalars, generators and element-wise functions."""
    import numpy as np

    yield [
        np.float64(1),
        np.int32(2),
        np.bool_(True),
        np.str_("a"),
        np.datetime64("2026-01-01"),
        np.void(b"ab"),
        np.complex64(1),
    ]
    yield [
        np.arange(4),
        np.array(["a", None], object),
        np.zeros(2, "i4,f8"),
        np.array(["x"]),
        np.asfortranarray(np.eye(3)),
    ]
    yield [np.ma.masked_array([1, 2], [0, 1]), np.matrix(np.eye(2)), np.rec.array([(1, 2.0)]), np.poly1d([1, 2])]
    yield [np.dtype("f8"), np.dtype("i4,f8"), np.float32, np.int64, np.random.RandomState(0)]
    for name in ("Polynomial", "Chebyshev", "Legendre", "Laguerre", "Hermite", "HermiteE"):
        yield getattr(np.polynomial, name)([1, 2])
    for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
        if hasattr(np.random, name):
            yield np.random.Generator(getattr(np.random, name)(0))
    yield [v for v in vars(np).values() if isinstance(v, np.ufunc)]


def scipy_values() -> Iterator[Any]:
    """Yield sparse matrices, distributions, interpolations, trees and results."""
    import numpy as np
    from scipy import interpolate, optimize, sparse, spatial, stats

    rng = np.random.RandomState(0)
    x, line = rng.normal(size=(20, 2)), np.arange(9.0)
    for form in ("csr", "csc", "coo", "lil", "dok", "dia", "bsr"):
        yield sparse.eye(3, format=form)
        if hasattr(sparse, "eye_array"):
            yield sparse.eye_array(3, format=form)
    for name in sorted(dir(stats)):
        held = getattr(stats, name)
        if isinstance(held, (stats.rv_continuous, stats.rv_discrete)):
            yield held
    yield [stats.norm(), stats.uniform(0, 1), stats.randint(0, 5), stats.gaussian_kde(line + rng.normal(size=9))]
    yield stats.multivariate_normal([0, 0])
    for made in (lambda: interpolate.interp1d([0, 1, 2], [0, 1, 4]), lambda: interpolate.CubicSpline([0, 1, 2], [0, 1, 4]),
                 lambda: interpolate.BSpline([0, 1, 2, 3], [1, 2], 1), lambda: interpolate.UnivariateSpline(line, line),
                 lambda: interpolate.PchipInterpolator([0, 1, 2], [0, 1, 4]), lambda: interpolate.PPoly([[1.0]], [0, 1]),
                 lambda: interpolate.Akima1DInterpolator([0, 1, 2], [0, 1, 4]), lambda: interpolate.RBFInterpolator(x, x[:, 0]),
                 lambda: interpolate.RegularGridInterpolator(([0, 1], [0, 1]), np.eye(2)), lambda: interpolate.LinearNDInterpolator(x, x[:, 0]),
                 lambda: interpolate.NearestNDInterpolator(x, x[:, 0]), lambda: interpolate.InterpolatedUnivariateSpline(line, line),
                 lambda: spatial.cKDTree(x), lambda: spatial.KDTree(x), lambda: spatial.Delaunay(x), lambda: spatial.ConvexHull(x),
                 lambda: spatial.transform.Rotation.from_euler("z", 1), lambda: stats.linregress(line, line + 1),
                 lambda: optimize.minimize(lambda v: (v**2).sum(), [1, 2]), lambda: optimize.LinearConstraint(np.eye(2), 0, 1),
                 lambda: optimize.curve_fit, lambda: optimize.Bounds([0], [1])):  # fmt: skip
        try:
            yield made()
        except Exception:
            continue


def torch_values() -> Iterator[Any]:
    """Yield torch state, tensors of every kind, modules, optimisers and schedulers."""
    import torch
    from torch import nn

    for kind in ("float32", "float64", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64",
                 "complex128", "float8_e4m3fn", "float8_e5m2"):  # fmt: skip
        if hasattr(torch, kind):
            yield {"w": torch.zeros(2, dtype=getattr(torch, kind)), "kind": getattr(torch, kind)}
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.BatchNorm1d(3))
    yield net
    yield [nn.Parameter(torch.ones(2)), torch.Size([1]), torch.device("cpu"), torch.eye(2).to_sparse(), torch.eye(2).to_sparse_csr(),
           torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8),
           torch.zeros(2, device="meta"), torch.nested.nested_tensor([torch.zeros(2)]), torch.Generator().get_state(), torch.strided, torch.contiguous_format]  # fmt: skip
    yield nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
    yield [
        nn.LSTM(4, 4),
        nn.MultiheadAttention(4, 2),
        nn.Embedding(4, 4),
        nn.CrossEntropyLoss(),
        nn.ModuleDict({"a": nn.Tanh()}),
    ]
    yield nn.utils.weight_norm(nn.Linear(2, 2))
    yield torch.ao.quantization.quantize_dynamic(
        nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)), {nn.Linear, nn.LSTM}, dtype=torch.qint8
    )
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad):
        made = kind(net.parameters(), lr=0.1)
        yield made
        yield [torch.optim.lr_scheduler.StepLR(made, 1), torch.optim.lr_scheduler.CosineAnnealingLR(made, 3)]
    yield torch.optim.swa_utils.AveragedModel(net)
    yield torch.utils.data.TensorDataset(torch.zeros(3, 2))
    yield [torch.distributions.Normal(0.0, 1.0), torch.distributions.Categorical(torch.ones(2))]


def torch_files() -> Iterator[Any]:
    """Yield files of TorchScript, whose constants are pickles of their own."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l, self.names, self.table = torch.nn.LSTM(4, 8, 2), ["a", "b"], {"k": 1.5}

        def forward(self, x: Any) -> Any:
            return self.l(x)[0]

    for made in (
        torch.jit.script(Module()),
        torch.jit.script(torch.nn.Conv2d(1, 2, 3)),
        torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)),
    ):
        buffer = io.BytesIO()
        torch.jit.save(made, buffer)
        yield buffer.getvalue()


def boosting_models() -> Iterator[Any]:
    """Yield fitted XGBoost, LightGBM and CatBoost models."""
    import numpy as np

    rng = np.random.RandomState(0)
    x, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    try:
        import xgboost

        for name in ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"):
            yield getattr(xgboost, name)(n_estimators=2).fit(x, y)
        yield xgboost.XGBRanker(n_estimators=2).fit(x, y, group=[20, 20])
        stop = xgboost.XGBClassifier(n_estimators=2, callbacks=[xgboost.callback.EarlyStopping(2)])
        yield stop.fit(x, y, eval_set=[(x, y)], verbose=False)
        yield xgboost.XGBClassifier(n_estimators=2).fit(x, y).get_booster()
    except ImportError:
        pass
    try:
        import lightgbm

        for name in ("LGBMClassifier", "LGBMRegressor"):
            yield getattr(lightgbm, name)(n_estimators=2, verbose=-1).fit(x, y)
        yield lightgbm.LGBMRanker(n_estimators=2, verbose=-1).fit(x, y, group=[20, 20])
        yield lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(x, y).booster_
    except ImportError:
        pass
    try:
        import catboost

        for name in ("CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker", "CatBoost"):
            settings = {"iterations": 2, "verbose": 0, "allow_writing_files": False}
            model = catboost.CatBoost(settings) if name == "CatBoost" else getattr(catboost, name)(**settings)
            yield model.fit(x, y, group_id=np.arange(40) // 20) if "Rank" in name else model.fit(x, y)
    except ImportError:
        pass


def frames() -> Iterator[Any]:
    """Yield pandas tables, indexes, offsets and types."""
    import pandas as pd

    day = pd.to_datetime(["2026-01-01"] * 2)
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"]), "d": day, "e": day.tz_localize("Europe/Berlin"),
                          "f": pd.to_timedelta([1, 2], "D"), "g": pd.period_range("2026-01", periods=2, freq="M")})  # fmt: skip
    yield [table, table["a"], table["b"], table.set_index("b"), table.set_index(["a", "b"])]
    yield [
        pd.Timestamp("2026-01-01", tz="UTC"),
        pd.Timedelta(1),
        pd.NA,
        pd.NaT,
        pd.Interval(0, 1),
        pd.Period("2026-01"),
    ]
    yield [
        pd.RangeIndex(3),
        pd.date_range("2026-01-01", periods=2),
        pd.IntervalIndex.from_breaks([0, 1, 2]),
        pd.Index(["a"]),
    ]
    for kind in ("Int8", "Int64", "UInt8", "boolean", "string", "Float32", "Float64"):
        try:
            yield [
                pd.array([1, 0] if kind != "string" else ["a", "b"], kind),
                pd.array([1, 0] if kind != "string" else ["a", "b"], kind).dtype,
            ]
        except Exception:
            continue
    yield [
        pd.arrays.IntervalArray.from_breaks([0, 1, 2]),
        table["d"].array,
        table["e"].array,
        table["f"].array,
        table["g"].array,
    ]
    for kind in ("string[python]", "string[pyarrow]", "str"):
        try:
            yield [pd.array(["a", "b"], kind), pd.Series(["a"], dtype=kind)]
        except Exception:
            continue
    yield [
        pd.arrays.SparseArray([0, 1]),
        pd.CategoricalDtype(["a"]),
        pd.DatetimeTZDtype(tz="UTC"),
        pd.PeriodDtype("M"),
        pd.IntervalDtype("int64"),
    ]
    yield [
        pd.offsets.MonthEnd(),
        pd.offsets.BusinessDay(),
        pd.offsets.Hour(2),
        pd.offsets.Week(weekday=1),
        pd.DateOffset(days=1),
        pd.offsets.QuarterEnd(),
    ]
    try:
        yield table[["a", "b"]].convert_dtypes(dtype_backend="pyarrow")
    except Exception:
        return


def polars_values() -> Iterator[Any]:
    """Yield polars tables."""
    import polars as pl

    yield [pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}), pl.Series([1.0, 2.0])]


def resampled_models() -> Iterator[Any]:
    """Yield imbalanced-learn's samplers and ensembles."""
    import imblearn.pipeline
    import numpy as np
    from imblearn import combine, ensemble, over_sampling, under_sampling
    from sklearn.linear_model import LogisticRegression

    rng = np.random.RandomState(0)
    x = rng.normal(size=(80, 3))
    y = (x[:, 0] > 0.6).astype(int)
    for room in (over_sampling, under_sampling, combine, ensemble):
        for name in room.__all__:
            try:
                made = getattr(room, name)()
                (made.fit_resample if hasattr(made, "fit_resample") else made.fit)(x, y)
            except Exception:
                continue
            yield made
    yield imblearn.pipeline.make_pipeline(over_sampling.SMOTE(), LogisticRegression()).fit(x, y)


def encoders() -> Iterator[Any]:
    """Yield the encoders of category_encoders."""
    import category_encoders
    import numpy as np
    import pandas as pd

    table = pd.DataFrame({"a": list("xyzx") * 10, "b": list("uuvv") * 10, "n": np.arange(40.0)})
    for name in category_encoders.__all__:
        try:
            yield getattr(category_encoders, name)().fit(table, pd.Series(np.arange(40) % 2))
        except Exception:
            continue


def statistical_models() -> Iterator[Any]:
    """Yield the results of statsmodels."""
    import numpy as np
    import pandas as pd
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    rng = np.random.RandomState(0)
    x, y = rng.normal(size=(60, 3)), rng.randint(0, 2, 60)
    r, k = x[:, 0] + rng.normal(size=60), rng.poisson(2, 60)
    table = pd.DataFrame(x, columns=list("abc")).assign(r=r, k=k, y=y, g=np.arange(60) // 10)
    full = sm.add_constant(x)
    families = sm.families
    made = [lambda: sm.OLS(r, full), lambda: sm.WLS(r, full), lambda: sm.GLS(r, full), lambda: sm.RLM(r, full), lambda: sm.Logit(y, full),
            lambda: sm.Probit(y, full), lambda: sm.MNLogit(np.minimum(k, 2), full), lambda: sm.Poisson(k, full),
            lambda: sm.NegativeBinomial(k, full), lambda: sm.QuantReg(r, full), lambda: smf.ols("r ~ a + C(y)", table),
            lambda: smf.logit("y ~ a", table), lambda: smf.mixedlm("r ~ a", table, groups=table.g), lambda: smf.gee("y ~ a", "g", table),
            lambda: smf.phreg("r ~ a", table.assign(r=abs(table.r))), lambda: sm.tsa.SARIMAX(r, order=(1, 0, 0)),
            lambda: sm.tsa.ARIMA(r, order=(1, 0, 1)), lambda: sm.tsa.ExponentialSmoothing(np.abs(r) + 1, trend="add"),
            lambda: sm.tsa.SimpleExpSmoothing(np.abs(r) + 1), lambda: sm.tsa.VAR(x), lambda: sm.tsa.AutoReg(r, 1),
            lambda: sm.tsa.UnobservedComponents(r, "local level"), lambda: sm.tsa.DynamicFactor(x, k_factors=1, factor_order=1)]  # fmt: skip
    for family in (
        families.Gaussian(),
        families.Binomial(),
        families.Poisson(),
        families.Gamma(),
        families.Tweedie(),
        families.NegativeBinomial(),
    ):
        made.append(  # noqa: PERF401 - one function each, of its own family
            lambda family=family: sm.GLM(y if isinstance(family, families.Binomial) else k + 1, full, family=family)
        )
    for make in made:
        try:
            yield make().fit(disp=0) if "disp" in inspect.signature(make().fit).parameters else make().fit()
        except Exception:
            continue


def further_models() -> Iterator[Any]:
    """Yield models of smaller libraries."""
    import numpy as np
    import pandas as pd

    rng = np.random.RandomState(0)
    x = rng.normal(size=(60, 3))
    y, r = (x[:, 0] > 0).astype(int), np.abs(x[:, 0])
    table = pd.DataFrame(x, columns=list("abc"))
    makers = [lambda: importlib.import_module("pygam").LinearGAM().fit(x, r), lambda: importlib.import_module("pygam").LogisticGAM().fit(x, y),
              lambda: importlib.import_module("hdbscan").HDBSCAN().fit(x), lambda: importlib.import_module("pmdarima").auto_arima(r, max_p=1, max_q=1),
              lambda: importlib.import_module("lifelines").CoxPHFitter().fit(table.assign(t=r + 1, e=y), "t", "e"),
              lambda: importlib.import_module("lifelines").KaplanMeierFitter().fit(r + 1, y),
              lambda: importlib.import_module("lifelines").WeibullFitter().fit(r + 1, y),
              lambda: importlib.import_module("umap").UMAP(n_epochs=5).fit(x)]  # fmt: skip
    for make in makers:
        try:
            yield make()
        except Exception:
            continue
    for package in ("mlxtend.classifier", "mlxtend.regressor", "feature_engine.imputation", "feature_engine.encoding",
                    "feature_engine.discretisation", "feature_engine.outliers", "feature_engine.transformation",
                    "feature_engine.creation", "feature_engine.selection"):  # fmt: skip
        try:
            room = importlib.import_module(package)
        except Exception:
            continue
        for name in getattr(room, "__all__", ()):
            try:
                yield getattr(room, name)().fit(table.assign(k=list("xyz") * 20), pd.Series(y))
            except Exception:
                continue


def own_models() -> Iterator[Any]:
    """Yield what recipes of Assay save: private and robust models, alone and behind what encodes for them."""
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from assay.training.private.crossfit import CrossFitted
    from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
    from assay.training.private.scaling import BoundsEncoder
    from assay.training.private.search import PrivateSearch
    from assay.training.private.trees import DPBoostedTreesClassifier
    from assay.training.robust.adversarial import AdversarialClassifier
    from assay.training.robust.boosted import RobustBoostedTrees
    from assay.training.robust.smoothed import SmoothedClassifier

    rng = np.random.RandomState(0)
    x = rng.uniform(size=(80, 16))
    y = (x[:, 0] > 0.5).astype(int)
    bounds, few = (0.0, 1.0), {"bounds": (0.0, 1.0), "epsilon": 3.0, "steps": 5}
    for kind in ("flat", "per_layer", "adaptive"):
        yield DPLogisticRegression(clip_kind=kind, **few).fit(x, y)
        yield DPMLPClassifier(hidden=(8,), clip_kind=kind, **few).fit(x, y)
    linear = DPLogisticRegression(image=(4, 4), unit_rows=True, features=20, classes=[0, 1], rows=80, **few)
    yield linear.fit(x, y)
    yield make_pipeline(BoundsEncoder(bounds), DPLogisticRegression(**few)).fit(x, y)
    yield DPBoostedTreesClassifier(bounds=bounds, trees=5).fit(x, y)
    yield PrivateSearch(DPLogisticRegression(bounds=bounds, steps=5), [{"learning_rate": 0.1}, {}]).fit(x, y)
    yield CrossFitted(RandomForestClassifier(5)).fit(x, y)
    yield CrossFitted(LogisticRegression()).fit(x, y)
    yield AdversarialClassifier(radius=0.1, epochs=1).fit(x, y)
    yield RobustBoostedTrees().fit(x, y)
    yield SmoothedClassifier(LogisticRegression()).fit(x, y)


MAKERS = (sklearn_models, sklearn_settings, array_values, scipy_values, torch_values, boosting_models, frames, polars_values,
          resampled_models, encoders, statistical_models, further_models, own_models)  # fmt: skip


def saved(value: Any) -> Iterator[bytes]:
    """Yield a value under every protocol, and as joblib, torch and skops write it."""
    # Modules of torch with packed weights end the process under protocol 0.
    lowest = (2,) if type(value).__module__.startswith("torch") else (0, 2)
    for protocol in (*lowest, 4, pickle.HIGHEST_PROTOCOL):
        try:
            yield pickle.dumps(value, protocol)
        except Exception:
            break
    try:
        import joblib

        buffer = io.BytesIO()
        joblib.dump(value, buffer)
        yield buffer.getvalue()
    except Exception:
        pass
    if type(value).__module__.startswith(("torch", "builtins")) and "torch" in sys.modules:
        import torch

        for new in (True, False):
            buffer = io.BytesIO()
            try:
                torch.save(value, buffer, _use_new_zipfile_serialization=new)
            except Exception:
                return
            yield buffer.getvalue()


def written() -> Iterator[Any]:
    """Yield the bytes of every saved model."""
    for maker in MAKERS:
        values = maker()
        while True:
            try:
                value = next(values)
            except StopIteration:
                break
            except Exception as error:
                print(maker.__name__, repr(error)[:150], file=sys.stderr)
                break
            yield from saved(value)
    try:
        yield from torch_files()
    except Exception as error:
        print(repr(error)[:150], file=sys.stderr)


def main(folder: Path) -> None:
    """Write all files, each content once, and what was found."""
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, data in enumerate(dict.fromkeys(written()), 1):
        (folder / f"{count:05}.bin").write_bytes(data)
    versions = {}
    for name in PACKAGES:
        module = sys.modules.get(name)
        if module is not None:
            versions[name] = str(getattr(module, "__version__", "1"))
    found = {"python": sys.version.split()[0], "versions": versions, "inert": inert_classes(), "files": count}
    (folder / "found.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"{count} files; {versions}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
