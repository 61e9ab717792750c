"""The evasion goal: which rungs a model gets, what they add up to, and what a reader is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from assay.assessment.assessment import Assessment, assess
from assay.assessment.case import Case, Profile, profile_of
from assay.assessment.evasion_ladder import climb, rungs_of
from assay.assessment.exhibits import Gallery, Listing
from assay.assessment.goals.evasion import Evasion
from assay.contract.contract import Contract, Feature, Kind, Mutable, Target, Tensor
from assay.contract.region import Region
from assay.models.function import Function
from assay.models.predictor import Predictor, predictor

FEATURES = (
    *(Feature(f"x{i}", Kind.NUMBER, low=-4.0, high=4.0, scale=1.0) for i in range(3)),
    Feature("group", Kind.CATEGORY, categories=("a", "b"), slice=True, mutable=Mutable.NO),
)
CONTRACT = Contract(Target("y", ("no", "yes")), FEATURES)


def _rows(n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (n, 4))
    x[:, 3] = rng.integers(0, 2, n)
    # Rows of group b lie close to the boundary, those of group a do not.
    x[:, 0] = np.where(x[:, 3] == 1, x[:, 0] / 10, x[:, 0] + np.sign(x[:, 0]))
    return x.clip(-4, 4), (x[:, 0] > 0).astype(int)


def _case(model: Any, *, profile: str = "quick", contract: Contract | None = CONTRACT) -> Case:
    x, y = _rows()
    target = model if isinstance(model, Predictor) else predictor(model)
    return Case(target, x, y, x, y, Region.of(contract or CONTRACT), profile_of(profile), contract=contract)


def _assessed(model: Any) -> Assessment:
    x, y = _rows()
    return assess(model, train=(x, y), test=(x, y), contract=CONTRACT, goals=["robustness"])


def _names(case: Case) -> list[str]:
    return [rung.attack.name for rung in rungs_of(case)]


def test_rungs_follow_what_the_model_offers() -> None:
    linear, tree = (m.fit(*_rows()) for m in (LogisticRegression(), DecisionTreeClassifier(max_depth=3)))
    assert _names(_case(tree)) == ["hopskipjump", "beam"]
    assert _names(_case(tree, profile="standard")) == ["hopskipjump", "beam", "genetic", "square"]
    assert _names(_case(linear, profile="standard"))[-2:] == ["capgd", "pgd"]
    assert "autoattack" in _names(_case(linear, profile="deep"))


@pytest.fixture(scope="module")
def tree() -> Assessment:
    return _assessed(DecisionTreeClassifier(max_depth=3, random_state=0).fit(*_rows()))


def test_all_rungs_together_are_no_weaker_than_any(tree: Assessment) -> None:
    for far in ("l2_0.5", "any"):
        named = [m for m in tree.measures if m.name.startswith(f"robust_accuracy@{far},") and "group" not in m.name]
        together = next(m for m in named if "ladder_quick" in m.name)
        assert len(named) == 3
        assert all(together.estimate <= m.estimate for m in named)


def test_certified_and_attacked_accuracy_bracket_the_truth(tree: Assessment) -> None:
    certified = tree.measure("certified_accuracy@l2_0.5,tree_exact")
    attacked = tree.measure("robust_accuracy@l2_0.5,ladder_quick")
    assert certified is not None
    assert attacked is not None
    assert certified.low <= attacked.high


def test_names_that_policies_use_stay(tree: Assessment) -> None:
    for far in ("l2_0.1", "l2_0.25", "l2_0.5", "l2_1", "any"):
        assert tree.measure(f"robust_accuracy@{far},hopskipjump_1000") is not None


def test_the_slice_near_the_boundary_is_named(tree: Assessment) -> None:
    (finding,) = [f for f in tree.evidence[0].findings if f.rule == "evasion-slice"]
    assert finding.location == "group=b"
    assert tree.measure("robust_accuracy_slice@l2_0.5,ladder_quick,group=b") is not None


def test_the_strength_of_the_ladder_travels_with_the_evidence(tree: Assessment) -> None:
    held = tree.evidence[0].parameters or {}
    ladder = held["ladder"]
    assert isinstance(ladder, list)
    assert all(rung["misses"] and rung["knows"] for rung in ladder)
    assert "standard" in str(held["a_deeper_profile_adds"])


def test_the_cheapest_evasions_are_told_in_words(tree: Assessment) -> None:
    cheapest, ladder = tree.exhibits
    assert isinstance(cheapest, Listing)
    assert isinstance(ladder, Listing)
    costs = [float(row[3]) for row in cheapest.rows]
    assert costs == sorted(costs)
    assert "`x0` from" in cheapest.rows[0][2]
    assert len({row[0] for row in cheapest.rows}) == len(cheapest.rows)


def test_images_are_shown_before_and_after() -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(0.2, 0.8, (40, 1, 4, 4))
    y = (x.mean(axis=(1, 2, 3)) > 0.5).astype(int)

    def bright(rows: np.ndarray) -> np.ndarray:
        share = 1 / (1 + np.exp(-40 * (rows.reshape(len(rows), -1).mean(axis=1) - 0.5)))
        return np.stack([1 - share, share], axis=1)

    contract = Contract(Target("y", ("dark", "bright")), tensor=Tensor((1, 4, 4), "float64", 0.0, 1.0))
    found = assess(Function(bright, 2), train=(x, y), test=(x, y), contract=contract, goals=["evasion"])
    gallery = next(e for e in found.exhibits if isinstance(e, Gallery))
    assert gallery.images.shape[1:] == (4, 4)
    assert len(gallery.images) == len(gallery.names) == 12
    assert 0 <= gallery.images.min() <= gallery.images.max() <= 1


def test_a_rung_that_breaks_is_said() -> None:
    def scoreless(rows: np.ndarray) -> np.ndarray:
        scoreless.asked += 1  # type: ignore[attr-defined]
        if scoreless.asked > 3:  # type: ignore[attr-defined]
            return np.ones((len(rows), 3))
        return np.stack([rows[:, 0] <= 0, rows[:, 0] > 0], axis=1).astype(float)

    scoreless.asked = 0  # type: ignore[attr-defined]
    small = Profile("quick", 20, 200, 2, 100, 100, (10,), (0.0,))
    x, y = _rows()
    case = Case(Function(scoreless, 2), x, y, x, y, Region.of(CONTRACT), small, contract=CONTRACT)
    climbed = climb(case, np.arange(20))
    assert [n.what for n in climbed.missing] == ["evasion.hopskipjump", "evasion.beam"]


def test_nothing_changeable_is_not_checked() -> None:
    fixed = Contract(CONTRACT.target, tuple(f for f in (CONTRACT.with_column(f"x{i}", mutable=Mutable.NO).features[i] for i in range(3))))  # fmt: skip
    x, y = _rows()
    found = assess(Function(lambda r: (r[:, 0] > 0).astype(int), 2), train=(x[:, :3], y), test=(x[:, :3], y), contract=fixed, goals=["evasion"])  # fmt: skip
    assert [n.what for n in found.evidence[0].not_checked] == [Evasion.name]


def test_a_torch_module_meets_every_rung_and_the_masking_alarm() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[-2.0] * 16, [2.0] * 16]))
        net[1].bias.copy_(torch.tensor([16.0, -16.0]))
    x = np.random.default_rng(2).uniform(0.2, 0.8, (60, 1, 4, 4))
    y = (x.mean(axis=(1, 2, 3)) > 0.5).astype(int)
    region = Region.box(np.zeros(16), np.ones(16))
    small = Profile("deep", 12, 200, 2, 100, 100, (10,), (0.0,))
    seen = Evasion().look(Case(predictor(net, classes=2), x, y, x, y, region, small))
    ladder = seen.parameters["ladder"]
    assert isinstance(ladder, list)
    assert [rung["attack"] for rung in ladder] == ["hopskipjump", "square", "pgd", "autoattack"]
    assert not seen.not_checked
    assert not [f for f in seen.findings if f.rule.startswith("gradient-masking")]
    named = {m.name: m.estimate for m in seen.measures}
    assert named["robust_accuracy@linf_0.1,autoattack_7200"] <= named["robust_accuracy@linf_0.1,pgd_260"]
