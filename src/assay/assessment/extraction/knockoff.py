"""Knockoff: a network fitted to the answers on rows at hand, asked where answers have been worth most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.extraction.base import ANSWERS, SHOWN, ExtractionAttack, Purse
from assay.assessment.extraction.surrogates import perceptron
from assay.assessment.extraction.thief import owned
from assay.assessment.rising import Rising
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.extraction.base import Copy
    from assay.contract.region import Region

    Array = NDArray[np.float64]

_RATE = 0.5


@dataclass(frozen=True, slots=True)
class Knockoff(
    ExtractionAttack, name="knockoff", techniques=("AML.T0024.002",), mitigations=("AML.M0002", "AML.M0004")
):
    """Fit a network to the model's answers on the attacker's own rows, at random or where a bandit leads.

    Orekondy, Schiele & Fritz 2019. The adaptive strategy learns which groups of rows (by k-means here, for tables have no
    class tree) earn most: the model is sure, answers vary, and the copy is still wrong (their section 4.2).
    """

    budgets: tuple[int, ...] = setting((100, 300, 1000), Rising(1, 10_000_000, whole=True), "Numbers of rows asked.")
    answers: str = setting("probabilities", ANSWERS, "What the thief sees of each answer.")
    strategy: str = setting("random", OneOf(("random", "adaptive")), "How rows are chosen.")
    groups: int = setting(10, Within(2, 1000), "Groups of rows among which the adaptive strategy chooses.")

    @property
    def threat_model(self) -> str:
        """What the attacker knows and may do, in words."""
        return f"black box; has unlabelled rows of its own; {SHOWN[self.answers]}; does not know the kind of model"

    def explore(self, purse: Purse, pool: Array, region: Region, generator: np.random.Generator) -> None:
        """Ask at random, or group by group as rewards come in."""
        rows = owned(pool, region, purse.limit, generator)
        if self.strategy == "random" or len(rows) < 2 * self.groups:
            purse.ask(rows)
            return
        self._adapt(purse, rows, generator)

    def _adapt(self, purse: Purse, rows: Array, generator: np.random.Generator) -> None:
        from sklearn.cluster import KMeans

        scaled = np.nan_to_num(rows - np.nanmean(rows, axis=0)) / np.maximum(np.nanstd(rows, axis=0), 1e-12)
        kind = KMeans(self.groups, n_init=1, random_state=int(generator.integers(2**31))).fit_predict(scaled)
        free, liking, usual = np.ones(len(rows), dtype=bool), np.zeros(self.groups), 0.0
        count = max(10, purse.limit // 20)
        while purse.left and free.any():
            open_groups = np.flatnonzero(np.bincount(kind[free], minlength=self.groups) > 0)
            odds = np.exp(liking[open_groups] - liking[open_groups].max())
            group = open_groups[generator.choice(len(open_groups), p=odds / odds.sum())]
            chosen = generator.permutation(np.flatnonzero(free & (kind == group)))[:count]
            x, seen = purse.transcript()
            guess = perceptron(x, seen, int(generator.integers(2**31)))(rows[chosen]) if len(x) > 1 else None
            answers = purse.ask(rows[chosen])
            if len(answers) < len(chosen):
                return
            free[chosen] = False
            got = ~np.isnan(answers).any(axis=1)
            reward = _reward(answers[got], guess[got] if guess is not None else None) if got.any() else 0.0
            usual += _RATE * (reward - usual)
            liking[group] += _RATE * (reward - usual)

    def copy(self, x: Array, answers: Array, notes: list[object], *, seed: int) -> Copy:  # noqa: ARG002
        """Return the network fitted to the answers."""
        return perceptron(x, answers, seed)


def _reward(answers: Array, guess: Array | None) -> float:
    """Return certainty, plus diversity, plus the copy's cross-entropy, each about within [0, 1]."""
    top = np.sort(answers, axis=1)
    certainty = float((top[:, -1] - top[:, -2]).mean())
    diversity = 1.0 - float((answers.mean(axis=0) ** 2).sum())
    if guess is None:
        return certainty + diversity
    loss = -(answers * np.log(np.clip(guess, 1e-6, 1.0))).sum(axis=1).mean()
    return certainty + diversity + float(min(1.0, loss))
