"""Private prediction: an ensemble over parts of the data answers by noisy votes, and every answer is charged.

A row lies in one part and moves one vote, so the votes of a query change by at most sqrt(2) in length, whatever the
models are (Papernot et al. 2018, GNMax; the accounting here does not look at the votes). The models themselves are not
private and must stay where they are: only the noisy answers may leave.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from assay.core.errors import BudgetError, DataError, SettingError
from assay.stats.privacy.accountant import epsilon, upper_epsilon
from assay.stats.privacy.events import SampledGaussian
from assay.training.private.claim import STATEMENT_TYPE
from assay.training.private.estimators import seed_of
from assay.training.private.ledger import Ledger
from assay.training.private.noise import FROM_SEED, Noise

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PrivateVotes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose predictions, not whose model, are (epsilon, delta)-differentially private.

    base: the estimator of each part; parts: how many; sigma: noise on each vote count, in votes; epsilon, delta: the
    budget for all answers ever given; ledger: the file that keeps it (None: in memory of the fitted object, for trials).
    groups at ``fit``: rows of one person, who then lies in one part and is protected as a whole.
    """

    def __init__(
        self,
        base: Any = None,
        parts: int = 100,
        sigma: float = 20.0,
        *,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        ledger: str | Path | None = None,
        classes: Any = None,
        random_state: Any = None,
    ) -> None:
        self.base = base
        self.parts = parts
        self.sigma = sigma
        self.epsilon = epsilon
        self.delta = delta
        self.ledger = ledger
        self.classes = classes
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train one model a part. Which part a row is in depends on its own bytes, or its group's, alone."""
        if self.parts < 2 or not self.sigma > 0:
            raise SettingError("votes need 2 parts or more and sigma above 0")
        x, y = validate_data(self, X, y, dtype=np.float64)
        self.classes_ = np.unique(y if self.classes is None else np.asarray(self.classes))
        if len(self.classes_) < 2:
            raise DataError("votes need two classes or more", remedy="Declare them in `classes`")
        keys = x if groups is None else np.asarray(groups)
        if len(keys) != len(x):
            raise DataError(f"{len(x)} rows but {len(keys)} groups")
        part = np.array([part_of(key, self.parts) for key in keys])
        codes = np.clip(np.searchsorted(self.classes_, y), 0, len(self.classes_) - 1)
        if not np.array_equal(self.classes_[codes], y):
            raise DataError("a label is none of the declared classes", remedy="Declare every class in `classes`")
        self.teachers_ = [self.teach(x[part == p], codes[part == p]) for p in range(self.parts)]
        self._noise = Noise(None if self.random_state is None else seed_of(self.random_state))
        self._unit = "row" if groups is None else "group"
        if self.ledger is None:
            self._spent = 0
        return self

    def teach(self, x: NDArray[np.float64], codes: NDArray[np.intp]) -> Any:
        """Return a model of one part; the class itself, as a number, where the part has one class or no row."""
        if len(np.unique(codes)) < 2:
            return int(codes[0]) if len(codes) else 0
        return clone(default_base() if self.base is None else self.base).fit(x, codes)

    def votes(self, X: Any) -> NDArray[np.float64]:
        """Return the noisy votes (n, k) for rows X (n, d), having charged n answers.

        Raises BudgetError, giving no answer, when the budget does not reach for all of them.
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        self._charge(len(x))
        counts = np.zeros((len(x), len(self.classes_)))
        for teacher in self.teachers_:
            counts[np.arange(len(x)), votes_of(teacher, x)] += 1
        return counts + self.sigma * self._noise.normal(*counts.shape)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class with most noisy votes of each row X (n, d), having charged n answers; raises as ``votes``."""
        return np.asarray(self.classes_[self.votes(X).argmax(axis=1)])

    def privacy_statement(self) -> dict[str, object]:
        """Return what was promised and what is spent, as plain JSON."""
        check_is_fitted(self)
        spent, answers = self._account()
        return {
            "type": STATEMENT_TYPE, "mechanism": "noisy votes of models on disjoint parts (Gaussian)",
            "neighbours": f"one {self._unit} added or removed", "protects": "the answers; the models must stay inside",
            "epsilon": {"low": spent[0], "high": spent[1], "budget": self.epsilon}, "delta": self.delta,
            "sigma": self.sigma, "parts": self.parts, "answers": answers, "noise_entropy": self._noise.entropy,
            "holds": self._noise.entropy != FROM_SEED,
            "assumptions": ["queries and the names of the classes are public", "noise is taken to be real-valued"],
        }  # fmt: skip

    def _charge(self, answers: int) -> None:
        multiplier = self.sigma / 2**0.5
        if self.ledger is not None:
            Ledger(Path(self.ledger), self.epsilon, self.delta).charge(multiplier, answers)
            return
        after = upper_epsilon([(SampledGaussian(multiplier), self._spent + answers)], self.delta)
        if after > self.epsilon:
            raise BudgetError(
                f"{answers} more answers would spend epsilon {after:.4g} of {self.epsilon:g}", remedy="Ask for fewer"
            )
        self._spent += answers

    def _account(self) -> tuple[tuple[float, float], int]:
        if self.ledger is not None:
            held = Ledger(Path(self.ledger), self.epsilon, self.delta)
            found = held.spent()
            return (found.low, found.high), held.answers()
        if not self._spent:
            return (0.0, 0.0), 0
        found = epsilon([(SampledGaussian(self.sigma / 2**0.5), self._spent)], self.delta)
        return (found.low, found.high), self._spent


def default_base() -> Any:
    """Return the estimator of a part when none is given."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=200)


def part_of(key: Any, parts: int) -> int:
    """Return the part that a row (d,), or a group's name, belongs to: a function of it alone."""
    data = key.tobytes() if isinstance(key, np.ndarray) else str(key).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") % parts


def votes_of(teacher: Any, x: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the position of the class that one part's model votes for on each row x (n, d)."""
    return np.full(len(x), teacher) if isinstance(teacher, int) else np.asarray(teacher.predict(x), np.intp)
