"""Trees that are read answer as the models do: on random rows, on the edges of splits, and with values missing."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from assay.core.errors import DataError, FormatError, UnsupportedError
from assay.models.predictor import predictor
from assay.models.tree_leaves import Leaves
from assay.models.trees import WithTrees, check_agreement, pieces_of, probes_near, read_trees, single_cut

RNG = np.random.default_rng(0)
X = np.column_stack([RNG.normal(size=(400, 4)), RNG.integers(0, 6, 400), RNG.integers(0, 3, 400)])
X[:, 3] = np.where(RNG.random(400) < 0.5, 0.0, X[:, 3])
HOLES = np.where(RNG.random(X.shape) < 0.08, np.nan, X)
SCORE = X[:, 0] + 0.5 * X[:, 1] * X[:, 2] + 1.5 * (X[:, 4] == 2) - (X[:, 4] == 4) + X[:, 3]
LABELS = {2: (SCORE > 0).astype(int), 4: np.digitize(SCORE, np.quantile(SCORE, [0.25, 0.5, 0.75]))}
SMALL = {"n_estimators": 8, "max_depth": 4}
FEW = {"n_estimators": 8, "num_leaves": 12, "verbose": -1, "n_jobs": 1}
MODELS = {
    "tree": lambda: DecisionTreeClassifier(max_depth=5, random_state=0),
    "forest": lambda: RandomForestClassifier(**SMALL, random_state=0),
    "pure forest": lambda: RandomForestClassifier(6, random_state=0),
    "extra": lambda: ExtraTreesClassifier(**SMALL, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=6, random_state=0),
    "boosting from zero": lambda: GradientBoostingClassifier(n_estimators=6, init="zero", random_state=0),
    "xgboost": lambda: xgb.XGBClassifier(**SMALL, n_jobs=1),
    "xgboost base": lambda: xgb.XGBClassifier(**SMALL, base_score=0.3, n_jobs=1),
    "xgboost dart": lambda: xgb.XGBClassifier(**SMALL, booster="dart", rate_drop=0.4, n_jobs=1),
    "xgboost forest": lambda: xgb.XGBRFClassifier(**SMALL, n_jobs=1),
    "xgboost vector": lambda: xgb.XGBClassifier(**SMALL, multi_strategy="multi_output_tree", n_jobs=1),
    "xgboost sets": lambda: xgb.XGBClassifier(
        **SMALL, feature_types=list("qqqqcc"), enable_categorical=True, max_cat_to_onehot=2, n_jobs=1
    ),
    "lightgbm": lambda: lgb.LGBMClassifier(**FEW),
    "lightgbm zero": lambda: lgb.LGBMClassifier(**FEW, zero_as_missing=True),
    "lightgbm none": lambda: lgb.LGBMClassifier(**FEW, use_missing=False),
    "lightgbm forest": lambda: lgb.LGBMClassifier(**FEW, boosting_type="rf", bagging_freq=1, bagging_fraction=0.6),
}
NO_HOLES = ("boosting", "boosting from zero")


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("kind", MODELS)
def test_labels_agree_with_the_model(kind, classes):
    for rows in (X,) if kind in NO_HOLES else (X, HOLES):
        model = MODELS[kind]().fit(rows, LABELS[classes])
        trees = read_trees(model)
        probes = np.concatenate([probes_near(trees, rows, rows=1500), X[:, RNG.permutation(6)]])
        probes[:, 4:] = np.where(RNG.random((len(probes), 2)) < 0.5, np.rint(np.abs(probes[:, 4:])), probes[:, 4:])
        if rows is HOLES:
            probes[RNG.random(probes.shape) < 0.05] = np.nan
        assert np.array_equal(trees.labels(probes), predictor(model).labels(probes))
        assert trees.classes == classes


def test_categories_of_lightgbm_go_by_their_integer_part():
    model = lgb.LGBMClassifier(**FEW, min_data_per_group=5, cat_smooth=1).fit(X, LABELS[2], categorical_feature=[4, 5])
    trees = read_trees(model)
    assert trees.pieces
    rows = np.repeat(X[:20], 12, axis=0)
    rows[:, 4] = np.tile([-3, -1, -0.5, 0, 0.5, 1, 1.5, np.nextafter(2, 0), 2, 5.5, 9, np.nan], 20)
    assert np.array_equal(trees.labels(rows), predictor(model).labels(rows))


def test_early_stopping_leaves_later_trees_out():
    model = xgb.XGBClassifier(n_estimators=40, early_stopping_rounds=2, n_jobs=1)
    model.fit(X[:200], LABELS[2][:200], eval_set=[(X[200:], RNG.permutation(LABELS[2][200:]))], verbose=False)
    assert read_trees(model).trees == model.best_iteration + 1 < model.get_booster().num_boosted_rounds()


@given(st.floats(width=64, allow_nan=False, allow_infinity=False), st.booleans())
def test_a_single_cut_is_the_last_double_on_its_side(threshold, strict):
    def goes_left(value):
        with np.errstate(over="ignore"):
            single = float(np.float32(value))
        return single < threshold if strict else single <= threshold

    cut = float(single_cut(threshold, strict=strict))
    if np.isfinite(cut):
        assert goes_left(cut)
        assert not goes_left(np.nextafter(cut, np.inf))


@given(st.sets(st.integers(0, 40), min_size=1), st.floats(-50, 50))
def test_pieces_hold_the_integer_part(wanted, value):
    cuts, side = pieces_of(sorted(wanted))
    assert (np.diff(cuts) > 0).all()
    assert bool(side[np.searchsorted(cuts, value, side="left")]) == (value > -1 and int(value) in wanted)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["lightgbm zero", "xgboost sets", "tree", "xgboost"]))
def test_every_row_lies_in_the_leaves_that_it_reaches(seed, kind):
    trees = read_trees(MODELS[kind]().fit(HOLES, LABELS[2]))
    leaves, rows = Leaves.of(trees), probes_near(trees, HOLES, rows=20, seed=seed)
    for row, reached in zip(rows, trees.leaf_of(rows), strict=True):
        fits = np.ones(len(leaves.node), dtype=bool)
        for f, value in enumerate(row):
            if np.isnan(value):
                fits &= leaves.missing[:, f]
                continue
            cell = np.searchsorted(leaves.cuts[f], value, side="left")
            fits &= (leaves.low[:, f] <= cell) & (cell <= leaves.high[:, f])
            if f in leaves.sets:
                fits &= leaves.sets[f][:, cell]
        assert leaves.node[fits].tolist() == reached.tolist()


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression().fit(X, LABELS[2]),
        GradientBoostingClassifier(n_estimators=2, init=DummyClassifier()).fit(X, LABELS[2]),
        HistGradientBoostingClassifier(max_iter=2).fit(X, LABELS[2]),
        xgb.XGBClassifier(booster="gblinear", n_estimators=2).fit(X, LABELS[2]),
        xgb.XGBClassifier(missing=0.0, n_estimators=2).fit(X, LABELS[2]),
        lgb.LGBMClassifier(n_estimators=2, verbose=-1, linear_tree=True).fit(X, LABELS[2]),
        RandomForestClassifier(2).fit(X, np.column_stack([LABELS[2], LABELS[2]])),
        lambda x: x[:, 0] > 0,
    ],
    ids=lambda m: type(m).__name__,
)
def test_what_has_no_exact_form_is_refused(model):
    with pytest.raises(UnsupportedError):
        read_trees(model)


def test_trees_of_another_model_are_found_out():
    model = MODELS["xgboost"]().fit(X, LABELS[2])
    other = read_trees(xgb.XGBClassifier(**SMALL, base_score=0.8, n_jobs=1).fit(X, LABELS[2]))
    check_agreement(read_trees(model), predictor(model), X)
    with pytest.raises(UnsupportedError, match="otherwise than the model"):
        check_agreement(other, predictor(model), X)
    assert read_trees(WithTrees(predictor(model), other)) is other


ONNX = {
    "forest float": ("skl2onnx", np.float32, lambda: RandomForestClassifier(5, max_depth=4, random_state=0)),
    "boosting float": ("skl2onnx", np.float32, lambda: GradientBoostingClassifier(n_estimators=4, random_state=0)),
    "forest double": ("skl2onnx", np.float64, lambda: RandomForestClassifier(5, max_depth=4, random_state=0)),
    "histogram": ("exact", np.float64, lambda: HistGradientBoostingClassifier(max_iter=5)),
    "histogram sets": (
        "exact",
        np.float64,
        lambda: HistGradientBoostingClassifier(max_iter=5, categorical_features=[4, 5], min_samples_leaf=5),
    ),
    "forest": ("exact", np.float64, lambda: RandomForestClassifier(5, max_depth=4, random_state=0)),
    "boosting": ("exact", np.float64, lambda: GradientBoostingClassifier(n_estimators=4, random_state=0)),
    "xgboost": ("exact", np.float64, lambda: xgb.XGBClassifier(**SMALL, n_jobs=1)),
    "lightgbm": ("exact", np.float64, lambda: lgb.LGBMClassifier(**FEW)),
}


def graph_of(kind, y):
    from skl2onnx import to_onnx

    from assay.artifacts.onnx_graph import exact_graph

    tool, dtype, make = ONNX[kind]
    model = make().fit(X, y)
    if tool == "exact":
        return model, exact_graph(model, 6)
    return model, to_onnx(model, X[:1].astype(dtype), options={"zipmap": False}).SerializeToString()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("kind", ONNX)
def test_graphs_of_trees_agree_with_their_runtime(kind, classes, tmp_path):
    _, graph = graph_of(kind, LABELS[classes])
    path = tmp_path / "model.onnx"
    path.write_bytes(graph)
    asked = predictor(path, classes=classes)
    trees = read_trees(asked)
    probes = probes_near(trees, X, rows=1500)
    check_agreement(trees, asked, X)
    assert (trees.labels(probes) == asked.labels(probes)).mean() > 0.999


def test_a_histogram_model_takes_the_trees_of_its_graph():
    model, graph = graph_of("histogram", LABELS[2])
    joined = WithTrees(predictor(model), read_trees(graph))
    check_agreement(joined.trees, joined, X)


def test_graphs_of_other_things_are_refused(tmp_path):
    from skl2onnx import to_onnx
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = to_onnx(LogisticRegression().fit(X, LABELS[2]), X[:1]).SerializeToString()
    scaled = make_pipeline(StandardScaler(), RandomForestClassifier(2, max_depth=2)).fit(X, LABELS[2])
    for graph in (linear, to_onnx(scaled, X[:1].astype(np.float32)).SerializeToString()):
        with pytest.raises(UnsupportedError):
            read_trees(graph)
    with pytest.raises(FormatError):
        read_trees(b"\x0f\xff not a graph")
    with pytest.raises(DataError):
        read_trees(tmp_path / "none.onnx")
