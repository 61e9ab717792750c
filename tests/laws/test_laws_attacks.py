"""The laws of attacks hold for every attack that is discovered, and each law sees the attack that breaks it."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from assay.assessment.evasion.base import EvasionAttack
from assay.assessment.membership.base import MembershipAttack
from assay.contract.region import Region
from assay.core.discovery import discover
from assay.core.errors import BudgetError
from assay.core.settings import OneOf, Within, setting, settings_of
from assay.testing import attacks
from assay.testing.attacks import EVASION_LAWS, MEMBERSHIP_LAWS, Threshold, check_attack, planted_exposure

EVASION = discover(EvasionAttack)
MEMBERSHIP = discover(MembershipAttack)
# Settings with which attacks of many queries show the same laws in less time.
LIGHT = {
    "autoattack": {"square_queries": 100, "steps": 40},
    "carlini_wagner": {"steps": 60, "rate": 0.1},
    "ead": {"steps": 60, "rate": 0.1},
}


def light(name):
    """Return the attack of that name, with settings that are quick."""
    return EVASION[name](**LIGHT.get(name, {}))


def test_there_are_attacks_to_check():
    assert EVASION
    assert MEMBERSHIP


@pytest.mark.parametrize("law", EVASION_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", EVASION)
def test_evasion_laws(name, law):
    law(light(name), 0)


@pytest.mark.parametrize("law", MEMBERSHIP_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", MEMBERSHIP)
def test_membership_laws(name, law):
    law(MEMBERSHIP[name](), 0)


@pytest.mark.parametrize("attack", [*EVASION.values(), *MEMBERSHIP.values()], ids=lambda attack: attack.name)
def test_the_whole_suite_passes_at_another_seed(attack):
    check_attack(light(attack.name) if issubclass(attack, EvasionAttack) else attack, seed=1)


@pytest.mark.parametrize("norm", ["l0", "l1", "l2", "linf"])
def test_an_attack_with_settings_of_its_own_is_checked(norm):
    for name, kind in EVASION.items():
        if settings_of(kind)["norm"].constraint.admits(norm):
            attacks.check_planted_distance(dataclasses.replace(light(name), norm=norm), 3)


# ---- attacks that break one law each: classes without a name are not discovered ------------------------------------


@dataclass(frozen=True, slots=True)
class Honest(EvasionAttack):
    max_queries: int = setting(60, Within(10, None), "Hard budget.")
    norm: str = setting("l2", OneOf(("l2", "linf")), "Distance.")

    def search(self, oracle, live, first, generator):
        for _ in range(40):
            oracle.wrong(oracle.region.sample(oracle.x0[live], generator), live)


class Blindfolded(Honest):
    def search(self, oracle, live, first, generator):
        oracle.wrong(oracle.x0[live], live)


class Boaster(Honest):
    def search(self, oracle, live, first, generator):
        Honest.search(self, oracle, live, first, generator)
        oracle.distance[live] *= 0.001


class Liar(Honest):
    def search(self, oracle, live, first, generator):
        oracle.distance[live] = 1.0


class Forgetful(Honest):
    def search(self, oracle, live, first, generator):
        Honest.search(self, oracle, live, first, np.random.default_rng())


class Smuggler(Honest):
    def search(self, oracle, live, first, generator):
        Honest.search(self, oracle, live, first, generator)
        oracle._predictor.labels(np.repeat(oracle.x0[live], 100, axis=0).reshape(oracle._shape))


class Swallower(Honest):
    def search(self, oracle, live, first, generator):
        try:
            Honest.search(self, oracle, live, first, generator)
        except BudgetError:
            return


class Unbounded(Honest):
    def search(self, oracle, live, first, generator):
        for _ in range(40):
            oracle.wrong(oracle.x0[live] + 4 * generator.normal(size=oracle.x0[live].shape), live)


class Meddler(Honest):
    def search(self, oracle, live, first, generator):
        everyone = np.arange(len(oracle.x0))
        for _ in range(40):
            oracle.wrong(oracle.region.sample(oracle.x0, generator), everyone)


class Flat(Honest):
    def search(self, oracle, live, first, generator):
        oracle._shape = (-1, oracle.x0.shape[1])
        Honest.search(self, oracle, live, first, generator)


class Borrower(Honest):
    def search(self, oracle, live, first, generator):
        for other in range(len(oracle.x0)):
            rows = oracle.region.project(np.repeat(oracle.x0[other : other + 1], len(live), axis=0), oracle.x0[live])
            oracle.wrong(rows, live)


@pytest.mark.parametrize("law", EVASION_LAWS, ids=lambda law: law.__name__)
def test_an_honest_random_search_holds_the_laws(law):
    law(Honest(), 0)


@pytest.mark.parametrize(
    ("attack", "law", "says"),
    [
        (Blindfolded, attacks.check_planted_distance, "a planted flip is found"),
        (Boaster, attacks.check_planted_distance, "no distance is below the exact one"),
        (Liar, attacks.check_planted_distance, "really wrong"),
        (Liar, attacks.check_constant_model, "a constant model is not evaded"),
        (Forgetful, attacks.check_same_seed, "the same seed gives the same bytes"),
        (Smuggler, attacks.check_sample_budget, "a sample's budget is hard"),
        (Swallower, attacks.check_model_budget, "raises BudgetError"),
        (Unbounded, attacks.check_feasible, "immutable values stay"),
        (Meddler, attacks.check_already_wrong, "rows already wrong"),
        (Flat, attacks.check_images, "the model sees images in their shape"),
        (Borrower, attacks.check_one_row, "one row alone is turned"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_attack_that_breaks_a_law_is_seen(attack, law, says):
    with pytest.raises(AssertionError, match=says):
        law(attack(), 0)


@dataclass(frozen=True, slots=True)
class Undeclared(Honest):
    extra: int = 3


@dataclass(frozen=True, slots=True)
class Unchecked(Honest):
    def __post_init__(self):
        pass


@pytest.mark.parametrize(("attack", "says"), [(Undeclared, r"declared.*extra"), (Unchecked, "max_queries=9")])
def test_settings_that_are_not_data_are_seen(attack, says):
    with pytest.raises(AssertionError, match=says):
        check_attack(attack)


class Sure(MembershipAttack):
    def score(self, exposure):
        return exposure.confidence()


class Cheat(MembershipAttack):
    def score(self, exposure):
        return exposure.member.astype(float)


class Coin(MembershipAttack):
    tosses = itertools.count()

    def score(self, exposure):
        return np.random.default_rng(next(self.tosses)).random(len(exposure.labels))


class Vandal(MembershipAttack):
    def score(self, exposure):
        exposure.answers[0] = 0.5
        return exposure.confidence()


class Undecided(MembershipAttack):
    def score(self, exposure):
        return np.where(np.arange(len(exposure.labels)) == 1, np.nan, exposure.confidence())


@pytest.mark.parametrize(
    ("attack", "law", "says"),
    [
        (Cheat, attacks.check_no_leak, "no leak gives chance"),
        (Cheat, attacks.check_blind, "does not use membership"),
        (Coin, attacks.check_planted_leak, "a planted leak is found"),
        (Coin, attacks.check_same_scores, "the same bytes"),
        (Vandal, attacks.check_same_scores, "inputs are not changed"),
        (Undecided, attacks.check_same_scores, "scores are finite"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_membership_attack_that_breaks_a_law_is_seen(attack, law, says):
    with pytest.raises(AssertionError, match=says):
        law(attack(), 0)


def test_the_laws_of_membership_hold_for_a_bare_class():
    check_attack(Sure)


# ---- the planted truths themselves ---------------------------------------------------------------------------------


def test_the_gradient_of_the_planted_model_is_right():
    model = Threshold((1.0, -0.5, 2.0))
    x, y, step = np.array([[0.2, -0.3, 0.1]]), np.array([1]), 1e-6

    def loss(rows):
        return -np.log(model.probabilities(rows)[:, 1])

    made = [(loss(x + step * row) - loss(x - step * row))[0] / (2 * step) for row in np.eye(3)]
    assert np.allclose(model.gradient(x, y)[0], made, atol=1e-6)


def test_the_exact_distance_of_the_planted_model_is_right():
    model, region = Threshold((3.0, -4.0)), Region.box([-9, -9], [9, 9])
    x = np.array([[1.0, -0.5]])  # 5 from the boundary in weight, 1 in distance
    nearest = x - 1.0 * np.array([[0.6, -0.8]])
    assert region.distance(nearest, x) == pytest.approx(1.0)
    assert model.labels(nearest + 1e-9 * x) != model.labels(nearest - 1e-9 * x)


def test_members_and_reference_models_of_the_planted_exposure_are_balanced_and_independent():
    made = planted_exposure(0.3, 600)
    assert made.member.mean() == 0.5
    assert (made.seen.sum(axis=0) * 2 == len(made.seen)).all()
    assert made.seen[:, made.member].mean(axis=1) == pytest.approx(0.5)
    assert dataclasses.replace(made).answers.sum(axis=1) == pytest.approx(1.0)
