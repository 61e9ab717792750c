"""Models that were really fitted and saved: here by the installed libraries, and in ``data/harmless`` by others."""

import functools
import io
import json
import pickle
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from .case import Case

DATA = Path(__file__).parents[1] / "data"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = (X[:, 0] > 0).astype(int)
R = X[:, 0] * 2 + RNG.normal(size=60)


def sklearn_models() -> Iterator[tuple[str, Any]]:
    from sklearn import (
        cluster,
        compose,
        decomposition,
        discriminant_analysis,
        ensemble,
        feature_selection,
        gaussian_process,
        impute,
        linear_model,
        mixture,
        model_selection,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import make_scorer, mean_squared_error

    few = {"n_estimators": 3, "random_state": 0}
    plain = [linear_model.LogisticRegression(), linear_model.Ridge(), linear_model.LassoCV(cv=2), linear_model.SGDClassifier(), tree.DecisionTreeClassifier(),
             tree.ExtraTreeRegressor(), ensemble.RandomForestClassifier(**few), ensemble.ExtraTreesRegressor(**few), ensemble.GradientBoostingClassifier(**few),
             ensemble.HistGradientBoostingClassifier(max_iter=3), ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=3),
             ensemble.AdaBoostClassifier(**few), ensemble.BaggingRegressor(**few), ensemble.IsolationForest(**few), svm.SVC(), svm.LinearSVC(), svm.OneClassSVM(),
             neighbors.KNeighborsClassifier(algorithm="kd_tree"), neighbors.KNeighborsRegressor(algorithm="ball_tree"), neighbors.LocalOutlierFactor(novelty=True),
             naive_bayes.GaussianNB(), gaussian_process.GaussianProcessRegressor(optimizer=None, alpha=0.1),
             neural_network.MLPRegressor(hidden_layer_sizes=(3,), solver="sgd", max_iter=200, tol=1.0), discriminant_analysis.LinearDiscriminantAnalysis(),
             cluster.KMeans(2, n_init=1), mixture.GaussianMixture(2), decomposition.PCA(2), preprocessing.QuantileTransformer(n_quantiles=9),
             preprocessing.PowerTransformer(), impute.SimpleImputer(), feature_selection.SelectKBest(k=2), CalibratedClassifierCV(linear_model.LogisticRegression(), cv=2)]  # fmt: skip
    for model in plain:
        target = np.abs(R) if "Regressor" in type(model).__name__ else Y
        yield type(model).__name__, model.fit(X, target)
    columns = compose.make_column_transformer(
        (preprocessing.StandardScaler(), [0, 1]), (preprocessing.FunctionTransformer(np.expm1), [2])
    )
    yield "columns", pipeline.make_pipeline(columns, ensemble.RandomForestClassifier(**few)).fit(X, Y)
    yield (
        "text",
        pipeline.make_pipeline(TfidfVectorizer(), linear_model.LogisticRegression()).fit(
            ["good red", "bad green"] * 30, Y
        ),
    )
    scorer = make_scorer(mean_squared_error, greater_is_better=False)
    yield (
        "search",
        model_selection.GridSearchCV(tree.DecisionTreeRegressor(), {"max_depth": [1, 2]}, scoring=scorer, cv=2).fit(
            X, R
        ),
    )
    yield (
        "target",
        compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1).fit(
            X, np.abs(R)
        ),
    )


def sklearn_files() -> Iterator[tuple[str, str, bytes]]:
    import skops.io

    for at, (name, model) in enumerate(sklearn_models()):
        yield "sklearn", f"{name}.pkl", pickle.dumps(model, (2, 4, 5)[at % 3])
        yield "joblib", f"{name}.joblib", dumped(model, (0, 3, ("lzma", 3))[at % 3])
        yield "skops", f"{name}.skops", skops.io.dumps(model)


def dumped(value: object, compress: object = 0) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=compress)
    return buffer.getvalue()


def boosting_files(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    import lightgbm
    import xgboost

    made = {"xgb-classifier": xgboost.XGBClassifier(n_estimators=3), "xgb-regressor": xgboost.XGBRegressor(n_estimators=3, booster="dart"),
            "lgb-classifier": lightgbm.LGBMClassifier(n_estimators=3, verbose=-1), "lgb-regressor": lightgbm.LGBMRegressor(n_estimators=3, verbose=-1)}  # fmt: skip
    for name, model in made.items():
        model.fit(X, Y)
        yield "gbdt", f"{name}.pkl", pickle.dumps(model)
        yield "gbdt", f"{name}.joblib", dumped(model)
    booster = made["xgb-classifier"].get_booster()
    for ending in ("json", "ubj"):
        yield "gbdt", f"xgb.{ending}", bytes(booster.save_raw(ending))
    yield "gbdt", "xgb-settings.json", booster.save_config().encode()
    text = made["lgb-classifier"].booster_
    yield "gbdt", "lgb.txt", text.model_to_string().encode()
    yield "gbdt", "lgb.json", json.dumps(text.dump_model()).encode()
    yield "gbdt", "booster.pkl", pickle.dumps([booster, text])
    text.save_model(folder / "lgb-file.txt")
    yield "gbdt", "lgb-file.txt", (folder / "lgb-file.txt").read_bytes()


def torch_files() -> Iterator[tuple[str, str, bytes]]:
    import torch
    from safetensors.torch import save
    from torch import nn

    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    state, optimizer = net.state_dict(), torch.optim.Adam(net.parameters())
    kinds = [torch.zeros(2, dtype=t) for t in (torch.bfloat16, torch.half, torch.int8, torch.bool, torch.complex64)]
    values = {
        "state.pt": state, "module.pt": net, "tensor.pt": torch.arange(3), "kinds.pt": [*kinds, torch.eye(3).to_sparse(), torch.zeros(2, device="meta")],
        "checkpoint.ckpt": {"epoch": 3, "model": state, "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state(), "loss": 0.5},
        "optimizer.pt": optimizer, "recurrent.pt": nn.LSTM(4, 8, 2), "arrays.pt": [np.zeros(3), np.float64(2)],
        "attention.pt": nn.TransformerEncoderLayer(8, 2, 16),
    }  # fmt: skip
    for name, value in values.items():
        yield "torch", name, saved(value)
    yield "torch", "legacy-state.pt", saved(state, _use_new_zipfile_serialization=False)
    yield "torch", "legacy-module.pt", saved(net, _use_new_zipfile_serialization=False)
    yield "torch", "module.joblib", dumped(net)
    yield "torch", "plain.pkl", pickle.dumps(dict(state))
    yield "torch", "state.safetensors", save(dict(state), {"format": "pt"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(nn.LSTM(4, 8)), buffer)
    yield "torch", "script.pt", buffer.getvalue()


def saved(value: object, **settings: bool) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer, **settings)
    return buffer.getvalue()


def onnx_files() -> Iterator[tuple[str, str, bytes]]:
    import onnx
    from onnx import TensorProto, helper
    from skl2onnx import to_onnx
    from sklearn import ensemble, linear_model, pipeline, preprocessing

    made = {"linear": linear_model.LogisticRegression(), "forest": ensemble.RandomForestRegressor(3),
            "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge())}  # fmt: skip
    for name, model in made.items():
        yield "onnx", f"{name}.onnx", to_onnx(model.fit(X, Y), X[:1].astype(np.float32)).SerializeToString()
    kinds = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", kinds[:1], kinds[1:], [helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])])  # fmt: skip
    model = helper.make_model(graph, producer_name="tests")
    helper.set_model_props(model, {"author": "us", "note": "plain"})
    yield "onnx", "props.onnx", model.SerializeToString()
    buffer = io.BytesIO()
    onnx.save(model, buffer)
    yield "onnx", "saved.onnx", buffer.getvalue()
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    graph = helper.make_graph([helper.make_node("Twice", ["x"], ["y"], domain="local")], "g", kinds[:1], kinds[1:])
    yield "onnx", "function.onnx", helper.make_model(graph, functions=[function], opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]).SerializeToString()  # fmt: skip


def frame_files() -> Iterator[tuple[str, str, bytes]]:
    import pandas as pd

    day = pd.to_datetime(["2026-01-01"] * 2)
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"]), "d": day, "e": day.tz_localize("UTC"), "f": pd.array([1, None], "Int64")})  # fmt: skip
    for name, value in {"frame": table, "series": table.a, "indexed": table.set_index(["a", "b"]), "offsets": [pd.offsets.MonthEnd(), pd.Timestamp("2026-01-01", tz="UTC")]}.items():  # fmt: skip
        yield "pandas", f"{name}.pkl", pickle.dumps(value)
    yield "pandas", "frame.joblib", dumped(table)
    yield "pandas", "frame.json", table[["a", "b"]].to_json().encode()
    yield "pandas", "frame.parquet", table[["a", "b"]].to_parquet()


@functools.cache
def cases() -> list[Case]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [*sklearn_files(), *boosting_files(Path(folder)), *torch_files(), *onnx_files(), *frame_files()]
    stored = sorted((DATA / "harmless").iterdir())
    return [
        *[Case(family, name, name, data) for family, name, data in made],
        *[Case("other-library", f.name, f.name, f.read_bytes()) for f in stored],
        *[Case("keras", f, f, (DATA / f).read_bytes()) for f in ("dense.keras", "lstm.h5")],
    ]
