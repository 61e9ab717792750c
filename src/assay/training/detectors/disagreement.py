"""How little other models agree with the answer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.settings import Within, setting
from assay.models.predictor import Predictor, predictor
from assay.training.detectors.base import Detector, Scorer, held_setting, rate_setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.training.detectors.base import Array, Embedding, Labels


@dataclass(frozen=True, slots=True)
class Disagreement(Detector, name="disagreement"):
    """One less the mean share that small networks, each fitted on other rows, give to the model's answer.

    Lakshminarayanan et al. 2017 use an ensemble's spread for inputs unlike the training data.
    """

    rate: float = rate_setting()
    held: float = held_setting()
    members: int = setting(5, Within(2, None), "Networks.")
    width: int = setting(64, Within(1, None), "Hidden units of each.")
    rounds: int = setting(40, Within(1, None), "Most passes of each over its rows.")

    def learn(
        self, model: Predictor, x: Array, y: Labels, embedding: Embedding | None, generator: np.random.Generator
    ) -> Scorer:
        """Return the disagreement of networks fitted on bootstrap samples of the clean rows and labels."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        del embedding
        flat = x.reshape(len(x), -1)
        members = []
        for _ in range(self.members):
            rows = generator.integers(0, len(flat), len(flat))
            net = MLPClassifier((self.width,), max_iter=self.rounds, random_state=int(generator.integers(2**31)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                fitted = make_pipeline(StandardScaler(), net).fit(flat[rows], y[rows])
            members.append((predictor(fitted), np.asarray(fitted.classes_, dtype=np.intp)))
        return _Spread(model.limited(None), members)


class _Spread(Scorer):
    def __init__(self, model: Predictor, members: list[tuple[Predictor, Labels]]) -> None:
        self._model, self._members = model, members

    def score(self, x: NDArray[Any]) -> Array:
        labels = self._model.labels(x)
        flat, place = np.asarray(x, dtype=np.float64).reshape(len(x), -1), np.arange(len(x))
        agreed = np.zeros(len(x))
        for member, classes in self._members:
            shares = np.zeros((len(x), max(self._model.classes, int(classes.max()) + 1)))
            shares[:, classes] = member.probabilities(flat)
            agreed += shares[place, labels]
        spread: Array = 1.0 - agreed / len(self._members)
        return spread
