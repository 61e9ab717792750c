"""The matrix of side effects: what a defence does elsewhere shows, and what cannot be measured is said."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

from assay.contract.contract import Contract, Feature, Kind, Target
from assay.contract.region import Region
from assay.core.errors import DataError
from assay.flows.side_effects import COLUMNS, SideEffects, side_effects
from assay.models.function import Function
from assay.models.screened import Refusing

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
X, Y = make_classification(400, 5, n_informative=3, n_redundant=0, flip_y=0.2, random_state=0)
X = X.clip(-5, 5)
TRAIN, TEST = (X[:200], Y[:200]), (X[200:], Y[200:])
FEATURES = tuple(Feature(f"x{i}", Kind.NUMBER, low=-5.0, high=5.0, scale=1.0, slice=i == 4) for i in range(5))
CONTRACT = Contract(Target("y", ("no", "yes")), FEATURES)
FOREST = RandomForestClassifier(20, random_state=0)


def _matrix(**more: object) -> SideEffects:
    model = RandomForestClassifier(20, random_state=0).fit(*TRAIN)
    return side_effects(
        model, train=TRAIN, test=TEST, region=Region.of(CONTRACT), contract=CONTRACT, rows=30, queries=100, **more
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def matrix() -> SideEffects:
    return _matrix(estimator=FOREST, only=("labels only", "ensemble", "cross-fitted", "robust trees", "private"))


def test_every_defence_meets_every_risk(matrix: SideEffects) -> None:
    named = [row.name for row in matrix.rows]
    assert named[0] == "as it is"
    assert named.index("plain trees") < named.index("robust trees")
    for row in matrix.rows:
        assert set(row.measures) == set(COLUMNS), row.missing
    assert all(len(line) == len(matrix.heads) for line in matrix.table())


def test_labels_only_hides_members_and_not_the_boundary(matrix: SideEffects) -> None:
    row = next(r for r in matrix.rows if r.name == "labels only")
    assert "membership" in row.better()
    assert row.differences["accuracy"].estimate == 0.0
    assert abs(row.differences["evasion"].estimate) <= 0.1


def test_what_gets_worse_is_a_finding_beside_what_gets_better(matrix: SideEffects) -> None:
    private = next(r for r in matrix.rows if r.name == "private")
    found = {f.location: f.message for f in matrix.evidence(clock=lambda: NOW).findings}
    assert "membership" in private.better()
    for row in matrix.rows:
        assert (row.name in found) == bool(row.worse())


def test_pictures_and_tables_of_it_hold_all_rows(matrix: SideEffects) -> None:
    assert len(matrix.listing().rows) == len(matrix.curve().series) == len(matrix.rows)


def test_the_same_seed_gives_the_same_matrix() -> None:
    first, second = (_matrix(only=("labels only",)).evidence(clock=lambda: NOW).to_json() for _ in range(2))
    assert first == second


def test_poisoning_of_a_model_that_cannot_be_fitted_again_is_not_checked() -> None:
    evidence = _matrix(only=("labels only",)).evidence(clock=lambda: NOW)
    assert [n.what for n in evidence.not_checked] == ["side_effects.poisoning@as it is"]


def test_images_go_through_every_transform() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((80, 1, 8, 8))
    y = (x.mean(axis=(1, 2, 3)) > 0.5).astype(int)

    def bright(rows: np.ndarray) -> np.ndarray:
        share = 1 / (1 + np.exp(-60 * (rows.reshape(len(rows), -1).mean(axis=1) - 0.5)))
        return np.stack([1 - share, share], axis=1)

    found = side_effects(
        Function(bright, 2), train=(x[:40], y[:40]), test=(x[40:], y[40:]), region=Region.box(np.zeros(64), np.ones(64)),
        only=("median", "noise", "bit_depth", "smoothed net"), rows=10, queries=60,
    )  # fmt: skip
    assert [r.name for r in found.rows] == ["as it is", "bit_depth", "median", "noise", "plain net", "smoothed net"]
    assert not any(r.why for r in found.rows)
    assert all("extraction" in r.measures for r in found.rows)


def test_detectors_and_votes_under_noise_are_rows_of_the_matrix() -> None:
    found = _matrix(estimator=FOREST, only=("detector mahalanobis", "detector squeezing", "smoothed", "smoothed net"))
    rows = {row.name: row for row in found.rows}
    assert list(rows) == [
        "as it is", "detector mahalanobis", "detector squeezing", "smoothed", "plain net", "smoothed net",
    ]  # fmt: skip
    for name in ("smoothed", "smoothed net"):
        assert set(rows[name].measures) == set(COLUMNS), rows[name].missing
    for name in ("detector mahalanobis", "detector squeezing"):
        # Whom it refuses it does not answer: that costs accuracy, and it has no place in a ranking.
        assert set(COLUMNS) - set(rows[name].measures) == {"auc"}
        assert rows[name].differences["accuracy"].estimate <= 0.0
        assert rows[name].differences["evasion"].low < 1.0


def test_what_a_detector_refuses_is_no_success_of_the_attacker() -> None:
    class Everything:
        threshold, spread = 0.0, 1.0

        def score(self, x: np.ndarray) -> np.ndarray:
            return np.ones(len(x))

    model = Refusing(Function(lambda x: np.tile([0.3, 0.7], (len(x), 1)), 2), Everything())
    assert model.classes == 3
    assert (model.probabilities(X[:4]) == [0.0, 0.0, 1.0]).all()
    assert (model.facing(1).labels(X[:4]) == 1).all()
    assert (model.facing(0).labels(X[:4]) == 0).all()


def test_rows_without_labels_are_refused() -> None:
    with pytest.raises(DataError):
        side_effects(Function(lambda x: x[:, 0] > 0, 2), train=(X, Y[:3]), test=TEST, region=Region.of(CONTRACT))
