"""Exact tree distances: equal to full enumeration on small ensembles, never contradicted by random search on larger ones."""

from __future__ import annotations

from itertools import product

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from assay.assessment.certificates import tree_search
from assay.assessment.certificates.tree_exact import TreeExact
from assay.assessment.certificates.tree_grid import Edges
from assay.assessment.certificates.tree_relax import relaxed
from assay.assessment.certificates.tree_view import View
from assay.contract.contract import Contract, Feature, Kind, Mutable, Relation, Target
from assay.contract.region import Region
from assay.core.errors import SettingError, UnsupportedError
from assay.models.predictor import predictor
from assay.models.tree_leaves import Leaves
from assay.models.trees import WithTrees, read_trees

N = 300
CONTRACT = Contract(
    target=Target("y", ("0", "1", "2")),
    columns=(
        Feature("a", Kind.NUMBER, low=-4, high=4, scale=2.0),
        Feature("up", Kind.NUMBER, low=-4, high=4, mutable=Mutable.UP),
        Feature("count", Kind.INTEGER, low=0, high=9, step=2),
        Feature("code", Kind.CATEGORY, categories=("x", "y", "z", "w")),
        Feature("fixed", Kind.NUMBER, low=-4, high=4, mutable=Mutable.NO),
    ),
)
REGION = Region.of(CONTRACT)
FREE = Region.box(np.full(5, -6.0), np.full(5, 12.0))


def table(seed, holes=0.0):
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [
            rng.normal(size=(N, 2)).clip(-4, 4),
            rng.integers(0, 10, N),
            rng.integers(0, 4, N),
            rng.normal(size=N).clip(-4, 4),
        ]
    )
    score = x[:, 0] * x[:, 1] + 0.3 * x[:, 2] + (x[:, 3] == 1) - x[:, 4] + rng.normal(size=N) * 0.3
    x[rng.random(x.shape) < holes] = np.nan
    return x, (score > 1.2).astype(int), np.digitize(score, np.quantile(score, [0.4, 0.7]))


SMALL = {
    "tree": lambda s: DecisionTreeClassifier(max_depth=4, random_state=s),
    "forest": lambda s: RandomForestClassifier(4, max_depth=3, random_state=s),
    "pure": lambda s: RandomForestClassifier(3, random_state=s),
    "extra": lambda s: ExtraTreesClassifier(4, max_depth=4, random_state=s),
    "boosting": lambda s: GradientBoostingClassifier(n_estimators=3, max_depth=3, random_state=s),
    "xgboost": lambda s: xgb.XGBClassifier(n_estimators=5, max_depth=3, random_state=s, n_jobs=1),
    "xgboost sets": lambda s: xgb.XGBClassifier(
        n_estimators=5, max_depth=3, feature_types=list("qqqcq"), enable_categorical=True, max_cat_to_onehot=1, n_jobs=1
    ),
    "lightgbm": lambda s: lgb.LGBMClassifier(n_estimators=5, num_leaves=7, verbose=-1, n_jobs=1),
    "lightgbm zero": lambda s: lgb.LGBMClassifier(
        n_estimators=5, num_leaves=7, zero_as_missing=True, verbose=-1, n_jobs=1
    ),
}


def by_enumeration(model, trees, x0, label, region, norm):
    """The distance by asking the real model about the nearest feasible value of every cell of every feature."""
    grid = Edges.of(Leaves.of(trees)).grid(x0, region)
    options = []
    for f in range(len(x0)):
        cells = np.arange(grid.start[f], grid.start[f + 1])
        cells = cells[np.isfinite(grid.far[cells])]
        options.append([x0[f] if grid.far[c] == 0 else grid.point[c] for c in cells])
    rows = np.array(list(product(*options)))
    assert len(rows) < 400_000
    wrong = rows[model.labels(rows) != label]
    if not len(wrong):
        return np.inf
    assert region.contains(wrong, np.repeat(x0[None], len(wrong), axis=0)).all()
    return float(region.distance(wrong, np.repeat(x0[None], len(wrong), axis=0), norm).min())


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", SMALL)
def test_distances_are_those_of_full_enumeration(kind, classes):
    holes = 0.1 if kind not in {"boosting", "xgboost sets"} else 0.0
    x, two, three = table(1, holes)
    y = two if classes == 2 else three
    few = 50 if kind == "pure" else N
    model = SMALL[kind](0).fit(x[:few], y[:few])
    asked, trees = predictor(model), read_trees(model)
    said = asked.labels(x[:6])
    for norm, region in (("linf", FREE), ("linf", REGION), ("l1", REGION), ("l2", REGION)):
        result = TreeExact(norm=norm, seconds=60.0)(asked, x[:6], said, region)
        wanted = [by_enumeration(asked, trees, r, c, region, norm) for r, c in zip(x[:6], said, strict=True)]
        assert result.lower == pytest.approx(wanted, rel=1e-9)
        assert result.exact.all()
        assert (asked.labels(result.x_flip) != said)[np.isfinite(result.upper)].all()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", SMALL)
def test_relaxed_from_the_first_step_on_they_are_the_same(kind, classes, monkeypatch):
    monkeypatch.setattr(tree_search, "_HARD", 0)
    monkeypatch.setattr(tree_search, "_MANY", 2)
    test_distances_are_those_of_full_enumeration(kind, classes)


def test_the_relaxation_bounds_every_row_and_is_near_to_the_best():
    x, y, _ = table(11)
    model = ExtraTreesClassifier(40, max_depth=5, random_state=0).fit(x, y)
    trees = read_trees(model)
    leaves = Leaves.of(trees)
    edges = Edges.of(leaves)
    view = View.of(leaves, edges, FREE, x[0], "linf")
    own = int(model.predict(x[:1])[0])
    value, base = trees.margin(trees.value[leaves.node][view.leaf], own, 1 - own)
    rng = np.random.default_rng(0)
    for radius in (0.5, 1.5, 4.0):
        pieces, space, _ = view.within(edges, leaves.tree[view.leaf], value, base, radius)
        easing = relaxed(pieces)
        assert base + np.maximum.reduceat(pieces.value, pieces.begin).sum() >= easing.bound - 1e-6
        rows = np.clip(x[0] + rng.uniform(-radius, radius, (4000, 5)), -6, 12)
        sums = trees.scores(rows)
        assert (sums[:, 1 - own] - sums[:, own] <= easing.bound).all()
        # A row in a piece, or on one side of a cut, is bounded by what is left of the bound there.
        low, high = easing.box(pieces, easing.bound)
        assert (low <= high).all() and (space.distance(low[None], high[None], np.ones((1, 0), bool)) <= radius).all()
        assert (easing.loss >= -1e-9).all()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["forest", "xgboost", "lightgbm", "boosting"]))
def test_nothing_flips_within_the_radius(seed, kind):
    x, y, _ = table(seed)
    model = {
        "forest": RandomForestClassifier(30, max_depth=5, random_state=0),
        "xgboost": xgb.XGBClassifier(n_estimators=30, max_depth=4, n_jobs=1),
        "lightgbm": lgb.LGBMClassifier(n_estimators=30, num_leaves=12, verbose=-1, n_jobs=1),
        "boosting": GradientBoostingClassifier(n_estimators=30, random_state=0),
    }[kind].fit(x, y)
    asked, rng = predictor(model), np.random.default_rng(seed)
    said = asked.labels(x[:5])
    result = TreeExact(seconds=1.0)(asked, x[:5], said, FREE)
    fast = TreeExact(seconds=0)(asked, x[:5], said, FREE)
    assert (fast.lower <= result.lower * (1 + 1e-12)).all()
    cuts = read_trees(model)
    for row, label, radius in zip(x[:5], said, result.lower, strict=True):
        near = row + rng.uniform(-1, 1, (3000, 5)) * radius * 0.999999
        # Corners of the ball and values right beside the cuts are where flips hide.
        near[:1500] = row + np.sign(rng.uniform(-1, 1, (1500, 5))) * radius * 0.999999
        node = rng.choice(np.flatnonzero(cuts.feature >= 0), 3000)
        edge = np.where(rng.random(3000) < 0.5, cuts.cut[node], np.nextafter(cuts.cut[node], np.inf))
        close = np.abs(edge - row[cuts.feature[node]]) < radius
        near[np.flatnonzero(close), cuts.feature[node][close]] = edge[close]
        near = near[((near > -6) & (near < 12)).all(axis=1)]
        assert (asked.labels(near) == label).all()


def test_the_intercept_counts():
    x, y, _ = table(3)
    low = xgb.XGBClassifier(n_estimators=20, max_depth=3, base_score=0.02, n_jobs=1).fit(x, y)
    high = xgb.XGBClassifier(n_estimators=20, max_depth=3, base_score=0.9, n_jobs=1).fit(x, y)
    swapped = WithTrees(predictor(low), read_trees(high))
    said = predictor(low).labels(x[:40])
    assert TreeExact(seconds=10)(predictor(low), x[:40], said, FREE).exact.all()
    with pytest.raises(UnsupportedError):
        TreeExact()(swapped, x[:40], said, FREE)


def test_a_single_precision_threshold_is_met_to_the_last_bit():
    x = np.array([[0.1], [0.2], [0.3], [0.7], [0.8], [0.9]])
    for model in (
        DecisionTreeClassifier(),
        xgb.XGBClassifier(n_estimators=4, max_depth=1, min_child_weight=0, n_jobs=1),
    ):
        asked = predictor(model.fit(x, np.array([0, 0, 0, 1, 1, 1])))
        result = TreeExact()(asked, x, asked.labels(x))
        inside = np.where(x < result.x_flip, np.nextafter(result.x_flip, -9), np.nextafter(result.x_flip, 9))
        assert result.exact.all()
        assert (asked.labels(result.x_flip) != asked.labels(x)).all()
        assert (asked.labels(inside) == asked.labels(x)).all()


def test_what_is_missing_stays_missing():
    x, y, _ = table(4, holes=0.3)
    asked = predictor(xgb.XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1).fit(x, y))
    result = TreeExact()(asked, x[:30], asked.labels(x[:30]), REGION)
    assert np.array_equal(np.isnan(result.x_flip), np.isnan(x[:30]))
    assert result.exact.mean() > 0.9


def test_directions_steps_and_locked_values_hold_and_make_flips_dearer():
    x, y, _ = table(5)
    asked = predictor(xgb.XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1).fit(x, y))
    said = asked.labels(x[:30])
    bound = TreeExact()(asked, x[:30], said, REGION)
    wide = Region.box(np.full(5, -np.inf), np.full(5, np.inf), scale=REGION.scale)
    free = TreeExact()(asked, x[:30], said, wide)
    assert REGION.contains(bound.x_flip, x[:30]).all()
    assert (bound.x_flip[:, 4] == x[:30, 4]).all()
    assert (bound.x_flip[:, 1] >= x[:30, 1]).all()
    # A changed category counts one, however far apart its codes are.
    same = bound.x_flip[:, 3] == x[:30, 3]
    assert (bound.lower[same] >= free.lower[same] - 1e-12).all()


def test_relations_leave_the_bound_and_only_allowed_flips():
    related = Contract(CONTRACT.target, CONTRACT.columns, relations=(Relation({"a": 1.0, "up": 1.0}, 0.5),))
    region = Region.of(related)
    x, y, _ = table(6)
    asked = predictor(xgb.XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1).fit(x, y))
    said = asked.labels(x[:20])
    tied, loose = (TreeExact(seconds=2.0)(asked, x[:20], said, r) for r in (region, REGION))
    assert region.contains(tied.x_flip, x[:20]).all()
    assert (tied.lower > 0).all()
    assert (tied.upper >= loose.upper - 1e-12).all()


def test_time_that_is_spent_leaves_a_sound_bound():
    x, y, _ = table(7)
    asked = predictor(RandomForestClassifier(60, max_depth=7, random_state=0).fit(x, y))
    said = asked.labels(x[:6])
    short, long = (TreeExact(seconds=s)(asked, x[:6], said, FREE) for s in (0.02, 0.5))
    assert (short.lower > 0).all()
    assert (short.lower <= long.upper).all()


def test_a_model_that_cannot_change_its_mind_is_certified_everywhere():
    x, y, _ = table(8)
    asked = predictor(DecisionTreeClassifier(max_depth=1).fit(x[:, :1], np.zeros(N, dtype=int) + (x[:, 0] > 9)))
    assert asked.classes == 1
    locked = Region.box(x[0], x[0])
    result = TreeExact()(predictor(DecisionTreeClassifier(max_depth=3).fit(x, y)), x[:1], y[:1] * 0 + 1, locked)
    assert not result.right[0] or np.isinf(result.lower[0])


def test_other_models_and_settings_are_refused():
    x, y, _ = table(9)
    with pytest.raises(UnsupportedError):
        TreeExact()(predictor(LogisticRegression().fit(x, y)), x[:2], y[:2])
    with pytest.raises(UnsupportedError):
        TreeExact()(predictor(lambda rows: rows[:, 0] > 0, classes=2), np.ones((2, 1)), np.ones(2, dtype=int))
    with pytest.raises(SettingError):
        TreeExact(norm="l0")
    with pytest.raises(SettingError):
        TreeExact(seconds=-1.0)
