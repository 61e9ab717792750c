"""How little other models agree with the answer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.settings import Within, setting
from assay.training.detectors.base import Detector, Scorer, held_setting, rate_setting
from assay.training.detectors.embeddings import Standardised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor
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

        embed: Embedding = embedding or Standardised(x)
        features = embed(x)
        members = []
        for _ in range(self.members):
            rows = generator.integers(0, len(features), len(features))
            net = MLPClassifier((self.width,), max_iter=self.rounds, random_state=int(generator.integers(2**31)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                members.append(_Member.of(net.fit(features[rows], y[rows]), model.classes))
        return _Spread(model.limited(None), embed, members)


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    """A network of one hidden layer, as arrays: inward (f, width), outward (width, classes)."""

    inward: Array
    bias: Array
    outward: Array
    level: Array

    @classmethod
    def of(cls, net: Any, classes: int) -> _Member:
        """Return a fitted MLPClassifier with one logit for each of the model's classes; unseen ones are never voted for."""
        first, last = net.coefs_
        shift, level = net.intercepts_
        if last.shape[1] == 1:
            last, level = np.hstack([np.zeros_like(last), last]), np.append(0.0, level)
        seen = np.asarray(net.classes_, dtype=np.intp)
        outward, levels = np.zeros((len(last), classes)), np.full(classes, -1e9)
        outward[:, seen], levels[seen] = last, level
        return cls(first, shift, outward, levels)

    def share(self, features: Array, labels: Labels) -> tuple[Array, Array]:
        """Return the share (n,) given to labels (n,), and its slope by the features (n, f)."""
        hidden = features @ self.inward + self.bias
        logits = np.maximum(hidden, 0.0) @ self.outward + self.level
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = raised / raised.sum(axis=1, keepdims=True)
        place = np.arange(len(features))
        mine = shares[place, labels]
        pulled = -shares * mine[:, None]
        pulled[place, labels] += mine
        return mine, ((pulled @ self.outward.T) * (hidden > 0)) @ self.inward.T


class _Spread(Scorer):
    def __init__(self, model: Predictor, embed: Embedding, members: list[_Member]) -> None:
        self._model, self._embed, self._members = model, embed, members

    def score(self, x: NDArray[Any]) -> Array:
        return self._both(x)[0]

    def slope(self, x: NDArray[Any]) -> Array:
        """Return the slope where the model's own answer stays the same."""
        return self._embed.pull(x, self._both(x)[1])

    def _both(self, x: NDArray[Any]) -> tuple[Array, Array]:
        labels, features = self._model.labels(x), self._embed(x)
        each = [member.share(features, labels) for member in self._members]
        score: Array = 1.0 - np.mean([mine for mine, _ in each], axis=0)
        slope: Array = -np.mean([back for _, back in each], axis=0)
        return score, slope
