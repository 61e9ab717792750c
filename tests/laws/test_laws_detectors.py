"""The laws of detectors hold for every detector that is discovered, and each law sees the detector that breaks it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from assay.core.discovery import discover
from assay.core.errors import VerificationError
from assay.core.settings import Within, setting
from assay.testing import detectors
from assay.testing.detectors import DETECTOR_LAWS, check_detector
from assay.training.detectors.base import Detector, Scorer, held_setting, rate_setting

KINDS = discover(Detector)


def test_there_are_detectors_to_check():
    assert set(KINDS) >= {"disagreement", "knn", "lid", "mahalanobis", "squeezing"}


@pytest.mark.parametrize("law", DETECTOR_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", KINDS)
def test_detector_laws(name, law):
    law(KINDS[name], 0)


class Middle(Scorer):
    def __init__(self, centre):
        self.centre = centre

    def score(self, x):
        return np.abs(np.asarray(x).reshape(len(x), -1) - self.centre).sum(axis=1)


@dataclass(frozen=True, slots=True)
class Honest(Detector):
    rate: float = rate_setting()
    held: float = held_setting()

    def learn(self, model, x, y, embedding, generator):
        return Middle(x.reshape(len(x), -1).mean(axis=0))


class Coin(Honest):
    def learn(self, model, x, y, embedding, generator):
        class Random(Scorer):
            def score(self, x):
                return np.random.default_rng().random(len(x))

        return Random()


class Batch(Honest):
    def learn(self, model, x, y, embedding, generator):
        class Relative(Scorer):
            def score(self, x):
                return Middle(np.mean(x)).score(x) - Middle(np.mean(x)).score(x).mean()

        return Relative()


class Reversed(Honest):
    def learn(self, model, x, y, embedding, generator):
        inner = Honest.learn(self, model, x, y, embedding, generator)

        class Backward(Scorer):
            def score(self, x):
                return -inner.score(x)

        return Backward()


class Memory(Honest):
    def learn(self, model, x, y, embedding, generator):
        # A score that grows with every question: calibrated on the first, exceeded by the rest.
        class Growing(Scorer):
            asked = 0

            def score(self, x):
                self.asked += 1
                return Middle(0).score(x) + 100.0 * self.asked

        return Growing()


class Vandal(Honest):
    def learn(self, model, x, y, embedding, generator):
        class Writer(Scorer):
            def score(self, x):
                scores = Middle(0).score(x)
                x += 1e-3
                return scores

        return Writer()


@dataclass(frozen=True, slots=True)
class Unchecked(Honest):
    extra: int = setting(1, Within(0, None), "More.")

    def __post_init__(self):
        pass


@pytest.mark.parametrize("law", DETECTOR_LAWS, ids=lambda law: law.__name__)
def test_an_honest_detector_holds_the_laws(law):
    law(Honest, 0)


@pytest.mark.parametrize(
    ("kind", "law", "says"),
    [
        (Coin, detectors.check_same_seed, "the same bytes"), (Batch, detectors.check_same_seed, "judged alone"),
        (Reversed, detectors.check_far_inputs, "scores no lower"), (Memory, detectors.check_false_alarms, "false-alarm rate holds"),
        (Vandal, detectors.check_same_seed, "not changed"), (Unchecked, detectors.check_settings, "is refused"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_a_detector_that_breaks_a_law_is_seen(kind, law, says):
    with pytest.raises(VerificationError, match=says):
        law(kind, 0)


def test_the_whole_suite_passes_at_another_seed():
    check_detector(KINDS["mahalanobis"], seed=1)


def test_the_stated_interval_is_that_of_the_calibration():
    model, x, y, _ = detectors.planted()
    fitted = Honest(rate=0.1, held=0.4).fit(model, x, y)
    assert fitted.calibration == 360
    assert fitted.rank == 325
    stated = fitted.false_alarms()
    assert stated.estimate == pytest.approx(36 / 361)
    assert stated.low < 0.1 < stated.high
    assert replace(fitted, calibration=36, rank=33).false_alarms().high > stated.high
