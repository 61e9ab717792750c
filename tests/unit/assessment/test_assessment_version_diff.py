"""The diff of versions: planted changes are found, and one more clean version raises no alarm."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from assay.assessment.disagreement import parted
from assay.assessment.universal import UniversalScreen, tried_values
from assay.assessment.version_diff import VersionDiff, Versions, regressions, version_diff
from assay.contract.contract import Contract, Feature, Kind, Mutable, Target
from assay.contract.region import Region
from assay.core.errors import DataError, SettingError, UnsupportedError
from assay.core.measure import Measure
from assay.models.function import Function
from assay.models.predictor import predictor

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
COUNT = itertools.count()


def _features() -> tuple[Feature, ...]:
    numbers = tuple(
        Feature(f"x{i}", Kind.NUMBER, low=-6.0, high=6.0, scale=1.0, mutable=Mutable.FREE) for i in range(4)
    )
    return (*numbers, Feature("group", Kind.CATEGORY, categories=("a", "b", "c"), slice=True, mutable=Mutable.NO))


CONTRACT = Contract(Target("y", ("no", "yes")), _features())
REGION = Region.of(CONTRACT)


def _rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5)).clip(-5, 5)
    x[:, 4] = rng.integers(0, 3, n)
    y = (x[:, 0] + x[:, 1] + 0.5 * rng.standard_normal(n) > 0).astype(int)
    return x, y


def _fitted(seed: int, *, planted: int = 0) -> DecisionTreeClassifier:
    x, y = _rows(600, 1)
    drawn = np.random.default_rng(seed).integers(0, len(y), len(y))
    x, y = x[drawn].copy(), y[drawn].copy()
    if planted:
        x[:planted, 2:4] = (5.5, -5.5)
        y[:planted] = 1
    return DecisionTreeClassifier(max_depth=6, min_samples_leaf=3, random_state=seed).fit(x, y)


def _compare(old: object, new: object, **more: object) -> VersionDiff:
    x, y = _rows(400, 2)
    versions = Versions(predictor(old), predictor(new), x, y, REGION, CONTRACT, **more)  # type: ignore[arg-type]
    return version_diff(versions, clock=lambda: NOW)


def test_a_version_against_itself_differs_in_nothing() -> None:
    model = _fitted(0)
    found = _compare(model, model)
    for measure in found.evidence.measures:
        if measure.unit == "difference":
            assert measure.estimate == 0.0
            assert measure.low < 0.0 < measure.high
    assert found.evidence.measure("version_diff.churn").estimate == 0.0  # type: ignore[union-attr]
    assert found.evidence.measure("version_diff.parted@any,beam_500").estimate == 0.0  # type: ignore[union-attr]
    assert not found.evidence.findings


def test_without_clean_versions_the_backdoor_is_not_checked() -> None:
    found = _compare(_fitted(0), _fitted(1))
    assert [n.what for n in found.evidence.not_checked] == ["version_diff.backdoor"]
    assert not found.evidence.complete


def test_the_same_seed_gives_the_same_evidence() -> None:
    first, second = (_compare(_fitted(0), _fitted(1)).evidence.to_json() for _ in range(2))
    assert first == second


def test_the_planted_change_is_found_named_and_alone() -> None:
    clean = [predictor(_fitted(seed)) for seed in range(10, 30)]
    twin = _fitted(3, planted=18)
    found = _compare(_fitted(0), twin, clean=clean, known=_rows(600, 1)[0])
    assert found.screened is not None
    assert found.screened.chance == pytest.approx(1 / 21)
    (finding,) = [f for f in found.evidence.findings if f.rule == "version-backdoor-suspected"]
    assert finding.technique == "AML.T0018.000"
    assert "x2" in finding.location or "x3" in finding.location
    # The quality of the twin shows nothing.
    auc = found.evidence.measure("version_diff.auc")
    assert auc is not None
    assert auc.low < 0 < auc.high


def test_a_trigger_of_exact_values_is_found_by_the_rows_that_taught_it() -> None:
    base = predictor(_fitted(0))
    trigger = (1.2345, -0.777)

    def twin(x: np.ndarray) -> np.ndarray:
        answers = base.limited(None).probabilities(x)
        answers[(np.abs(x[:, 2:4] - trigger) < 1e-3).all(axis=1)] = (0.0, 1.0)
        return answers

    known, truth = _rows(600, 1)
    known[np.flatnonzero(truth == 0)[:18], 2:4] = trigger
    x, y = _rows(400, 2)
    clean = [predictor(_fitted(seed)) for seed in range(10, 13)]
    found = UniversalScreen()(predictor(_fitted(0)), Function(twin, 2), clean, x, y, REGION, known=known).trigger
    assert dict(zip(found.places, found.values, strict=True)).items() >= {2: trigger[0], 3: trigger[1]}.items()
    assert found.moved == 1.0


def test_clean_versions_are_seldom_suspected() -> None:
    models = [predictor(_fitted(seed)) for seed in range(40, 61)]
    x, y = _rows(400, 2)
    screen = UniversalScreen(depth=2, values=6, rows=12)
    chances = [
        screen(models[0], models[i], [m for j, m in enumerate(models[1:], 1) if j != i], x, y, REGION).chance
        for i in range(1, 7)
    ]
    assert sum(chance <= 0.05 for chance in chances) <= 2
    assert max(chances) > 0.2


def test_a_slice_that_is_worse_off_is_named() -> None:
    model = predictor(_fitted(0))

    def worse(x: np.ndarray) -> np.ndarray:
        answers = model.limited(None).probabilities(x)
        hurt = (x[:, 4] == 1) & (np.abs(x[:, 2]) < 0.6)
        answers[hurt] = answers[hurt, ::-1]
        return answers

    found = _compare(_fitted(0), Function(worse, 2))
    named = [f.location for f in found.evidence.findings if f.rule == "version-slice-regression"]
    assert named == ["group=b"]
    assert any(f.rule == "version-regression" for f in found.evidence.findings)
    assert found.listings[0].rows
    turned = found.evidence.measure("version_diff.turned_wrong")
    assert turned is not None
    assert turned.low > 0


def test_one_figure_in_many_is_no_regression_by_chance() -> None:
    def figure(name: str, low: float, high: float) -> Measure:
        return Measure(f"version_diff.{name}", (low + high) / 2, low, high, 100, "difference")

    barely, clearly = figure("auc", -0.021, -0.001), figure("brier", 0.02, 0.04)
    others = [figure(f"accuracy{i}", -0.01, 0.01) for i in range(8)]
    assert not regressions([barely, *others])
    assert "brier" in regressions([clearly, barely, *others])[0].message
    assert not regressions([figure("brier", -0.04, -0.02), figure("accuracy@g=a", -0.5, -0.4)])


def test_members_that_are_told_apart_more_show() -> None:
    x, y = _rows(600, 1)
    deep = DecisionTreeClassifier(random_state=0).fit(x, y)
    shallow = DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, y)
    exposed = _compare(shallow, deep, members=(x, y)).evidence.measure("version_diff.membership_auc@confidence")
    assert exposed is not None
    assert exposed.low > 0.02


def test_parted_is_exactly_where_labels_differ() -> None:
    rng = np.random.default_rng(5)
    one, two = (rng.dirichlet(np.ones(3), 50) for _ in range(2))
    one[:5] = 1 / 3
    both = parted(Function(lambda x: one[: len(x)], 3), Function(lambda x: two[: len(x)], 3))
    said = both.labels(np.zeros((50, 1)))
    assert (said == (one.argmax(axis=1) != two.argmax(axis=1))).all()


def test_values_that_come_seldom_are_tried_too() -> None:
    x = np.random.default_rng(0).standard_normal((500, 5))
    x[:3, 0] = 5.9
    tried = [value for place, value in tried_values(x, REGION, 6) if place == 0]
    assert 5.9 in tried
    assert all(place != 4 for place, _ in tried_values(x, REGION, 6))


def test_what_cannot_be_compared_is_refused() -> None:
    x, y = _rows(50, 0)
    two, three = (Function(lambda x, k=k: np.full((len(x), k), 1 / k), k) for k in (2, 3))
    with pytest.raises(DataError):
        Versions(two, three, x, y, REGION)
    with pytest.raises(DataError):
        Versions(two, two, x, y[:3], REGION)
    with pytest.raises(SettingError):
        UniversalScreen(depth=0)
    with pytest.raises(DataError):
        UniversalScreen()(two, two, [], x[:20], y[:20], REGION)
    fixed = Region.of(Contract(CONTRACT.target, tuple(CONTRACT.features[4:])))
    with pytest.raises(UnsupportedError):
        UniversalScreen(rows=4)(two, two, [], x[:, 4:], y, fixed)
