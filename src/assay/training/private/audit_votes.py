"""The audit of private votes: canaries, the parts that models really saw, the ledger, and the noise of each answer.

The models of an audit are thrown away. For the lower bound they are asked to the end of their budget; the noise is
watched on further answers, which the audit grants itself, since a small budget shows too few numbers.
"""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier

from assay.core.clock import stream
from assay.core.errors import BudgetError, DataError, SettingError
from assay.stats.privacy.accountant import upper_epsilon
from assay.stats.privacy.audit import lower_of_scores, normal_p
from assay.stats.privacy.events import SampledGaussian
from assay.training.private.audit import Audited, coins
from assay.training.private.audit_noise import Remainders
from assay.training.private.votes import PrivateVotes, default_base, part_of, votes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_CALLS = 8
_MOST_ANSWERS = 400
_WATCHED = 256
# The accountant knows no composition of Gaussians with less noise than this.
_LEAST = 0.02
_DRAWS = 4000


def audit(
    estimator: PrivateVotes, X: Any, y: Any, groups: Any = None, *, canaries: int = 200, seed: int = 0,
    confidence: float = 0.95,
) -> Audited:  # fmt: skip
    """Train a fresh copy of ``estimator`` on (X, y) and canaries, ask it, and return what that shows about its claim.

    Canaries are rows of X moved by a hair, with a wrong label, at most one in a part; groups: as at ``fit``. Checked
    beside: each row (or group) is in one part, which hangs on it alone; answers are charged before a model is asked, and
    refused beyond the budget; the noise is as claimed. seed: of canaries and coins. Raises SettingError for fewer than
    two canaries, DataError without rows or a second class, and when the budget does not reach for one answer.
    """
    names = np.unique(y if estimator.classes is None else estimator.classes)
    if not len(X) or len(names) < 2:
        raise DataError("an audit needs rows, and two classes or more", remedy="Declare every class in `classes`")
    plain = clone(estimator).set_params(random_state=None, classes=names, base=estimator.base or default_base())
    answers = _most_answers(plain)
    trial = _trial(plain, np.asarray(X, np.float64), np.asarray(y), groups, min(canaries, plain.parts), seed)
    seen = _Seen()
    with tempfile.TemporaryDirectory(prefix="assay-audit-") as folder:
        trained = clone(plain).set_params(base=_Watched(plain.base, seen), ledger=_ledger(plain, folder, "asked"))
        trained.fit(*trial.table(trial.included))
        parted = trial.parted(seen.parts) and _stays(plain, trial)
        queries, flips = _questions(plain, trained, trial, answers)
        watch = _Watch(seen, plain.sigma)
        votes = np.concatenate([watch.votes(trained, q) for q in np.array_split(queries, min(_CALLS, answers))])
        claimed = _spent(trained)
        left = int((plain.sigma / _LEAST) ** 2 / 2) - answers
        watched = _CALLS * max(1, min(_WATCHED, left // 3) // _CALLS)
        further = _granting(trained, 2 * watched, _ledger(plain, folder, "further"))
        calls = np.split(np.resize(queries, (watched, queries.shape[1])), _CALLS)
        for query in calls:
            watch.votes(further, query, whole=True)
        answered = watch.answers_p(further, np.concatenate(calls), seed)
        refused = _refuses(_granting(trained, 4, _ledger(plain, folder, "limited")), queries, seen)
    everyone_out = _counts(trained, queries, seen) - flips[trial.included].sum(axis=0)
    scores = _presence(flips / plain.sigma, (votes - everyone_out) / plain.sigma)
    lower, guesses, correct = lower_of_scores(scores, trial.included, plain.delta, confidence)
    checks = {
        "partition": float(parted),
        "charged": float(watch.charged),
        "refused": float(refused),
        "answers": answered,
    }
    return Audited(
        claimed, plain.delta, lower, guesses, correct, len(scores), confidence, watch.p_values() | checks, seed
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Trial:
    """Real rows, then canaries. keys: what puts a row into its part; parts: (m,) of the canaries; included: (m,) coins."""

    x: Array
    y: NDArray[Any]
    groups: NDArray[Any] | None
    parts: NDArray[np.intp]
    included: NDArray[np.bool_]

    def table(self, included: NDArray[np.bool_]) -> tuple[Any, ...]:
        """Return rows, labels and groups of the real rows and of the canaries that are in."""
        real = len(self.x) - len(self.included)
        take = np.concatenate([np.arange(real), real + np.flatnonzero(included)])
        return self.x[take], self.y[take], None if self.groups is None else self.groups[take]

    def of_part(self, part: int, parts: int, included: NDArray[np.bool_]) -> tuple[Array, NDArray[Any]]:
        """Return rows and labels of one part."""
        x, y, groups = self.table(included)
        here = np.array([part_of(key, parts) == part for key in (x if groups is None else groups)])
        return x[here], y[here]

    def parted(self, seen: list[Counter[bytes]]) -> bool:
        """Return whether no row was seen more often than it is there, and no row or group by two models."""
        x, _, groups = self.table(self.included)
        there = Counter(row.tobytes() for row in x)
        total: Counter[bytes] = sum(seen, Counter())
        owners: dict[bytes, set[object]] = {}
        for row, owner in zip(x, (row.tobytes() for row in x) if groups is None else groups, strict=True):
            owners.setdefault(row.tobytes(), set()).add(owner)
        parts: dict[object, set[int]] = {}
        for number, rows in enumerate(seen):
            for row in rows:
                # A row that two groups share tells nothing of either.
                if len(owners.get(row, ())) == 1:
                    parts.setdefault(next(iter(owners[row])), set()).add(number)
        return all(total[row] <= there[row] for row in total) and all(len(found) == 1 for found in parts.values())


def _trial(plain: PrivateVotes, x: Array, y: NDArray[Any], groups: Any, canaries: int, seed: int) -> _Trial:
    """Return the table of an audit with up to ``canaries`` canaries, no two in one part."""
    if canaries < 2:
        raise SettingError("an audit needs 2 canaries or more")
    rng, spread = stream(seed, "vote-canaries"), x.std(axis=0) + 1e-9
    taken: dict[int, tuple[Array, Any, str]] = {}
    for number in range(40 * canaries):
        row, name = int(rng.integers(len(x))), f"canary {number}"
        moved = x[row] + 1e-6 * spread * rng.standard_normal(x.shape[1])
        part = part_of(moved if groups is None else name, plain.parts)
        others = plain.classes[plain.classes != y[row]]
        if part not in taken and len(taken) < canaries:
            taken[part] = moved, others[rng.integers(len(others))], name
    rows, labels, names = zip(*taken.values(), strict=True)
    all_groups = None if groups is None else np.concatenate([np.asarray(groups).astype(str), np.array(names)])
    return _Trial(
        np.concatenate([x, np.stack(rows)]), np.concatenate([y, np.array(labels)]), all_groups, np.array(list(taken)),
        coins(len(taken), seed=seed),
    )  # fmt: skip


class _Seen:
    """What the models of an ensemble were shown: rows of each, and what was charged when the first of them was asked."""

    def __init__(self) -> None:
        self.parts: list[Counter[bytes]] = []
        self.charged: int | None = None
        self.look: Callable[[], int] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: all copies of an estimator tell the same audit."""
        return self

    def watch(self, look: Callable[[], int]) -> None:
        """From now on note what ``look`` says when a model is asked."""
        self.charged, self.look = None, look

    def ended(self) -> int | None:
        """Stop watching; return what was charged when a model was first asked, None when none was."""
        self.look = None
        return self.charged

    def asked(self) -> None:
        """Note what is charged by now, once a call."""
        if self.look is not None and self.charged is None:
            self.charged = self.look()


class _Watched(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The estimator ``base``, telling ``seen`` what it is shown."""

    def __init__(self, base: Any, seen: Any) -> None:
        self.base = base
        self.seen = seen

    def fit(self, x: Any, y: Any) -> Self:
        self.seen.parts.append(Counter(row.tobytes() for row in x))
        self.model_ = clone(self.base).fit(x, y)
        return self

    def predict(self, x: Any) -> NDArray[Any]:
        self.seen.asked()
        return np.asarray(self.model_.predict(x))


class _Watch:
    """Asks an ensemble and takes the true counts off its noisy votes."""

    def __init__(self, seen: _Seen, sigma: float) -> None:
        self._seen, self._sigma = seen, sigma
        self._answers: Remainders | None = None
        self._calls: Remainders | None = None
        self.charged = True

    def votes(self, model: PrivateVotes, queries: Array, *, whole: bool = False) -> Array:
        """Return the noisy votes (q, k). whole: the noise of this call is compared with that of other calls of its size."""
        votes = np.asarray(self._charged(model, model.votes, queries))
        counts = _counts(model, queries, self._seen)
        noise = (votes - counts) / self._sigma
        if self._answers is None:
            self._answers = Remainders(noise.shape[1])
        for row, count in zip(noise, counts, strict=True):
            self._answers.add(row, sum=count)
        if whole:
            if self._calls is None:
                self._calls = Remainders(noise.size)
            self._calls.add(noise.ravel())
        return votes

    def answers_p(self, model: PrivateVotes, queries: Array, seed: int) -> float:
        """Return a p-value of how often ``predict`` gives the class with most votes, beside what the noise would do."""
        counts = _counts(model, queries, self._seen)
        given, top = self._charged(model, model.predict, queries), counts.argmax(axis=1)
        rng, chance = stream(seed, "vote-answers"), np.zeros(len(queries))
        for _ in range(_DRAWS):
            chance += (counts + self._sigma * rng.standard_normal(counts.shape)).argmax(axis=1) == top
        chance /= _DRAWS
        gap = float((np.asarray(given == model.classes_[top]) - chance).sum())
        spread = float((chance * (1 - chance)).sum()) ** 0.5
        return normal_p(gap / spread) if spread else float(gap == 0.0)

    def p_values(self) -> dict[str, float]:
        """Return the p-value of each check, those of answers and of calls taken together."""
        assert self._answers is not None
        assert self._calls is not None
        found, calls = self._answers.p_values(), self._calls.p_values()
        return {name: min(1.0, 2 * min(p, calls[name])) if name in calls else p for name, p in found.items()}

    def _charged(self, model: PrivateVotes, how: Callable[[Array], Any], queries: Array) -> NDArray[Any]:
        """Return the answers, having noted whether all were charged before a model was asked, at the right price."""
        before = _answered(model)
        self._seen.watch(lambda: _answered(model))
        given: NDArray[Any] = np.asarray(how(queries))
        after, early = _answered(model), self._seen.ended()
        due = before + len(queries)
        price = upper_epsilon(_gaussian(model.sigma, due), model.delta)
        self.charged &= after == due and (early is None or early >= due) and _spent(model) >= price * (1 - 1e-6)
        return given


def _questions(plain: PrivateVotes, trained: PrivateVotes, trial: _Trial, answers: int) -> tuple[Array, Array]:
    """Return queries (answers, d), and by how much each canary moves their votes when it is in, (m, answers, k)."""
    pool = trial.x[len(trial.x) - len(trial.included) :]
    moves = np.zeros((len(trial.included), len(pool), len(trained.classes_)))
    for number, part in enumerate(trial.parts):
        other = trial.included.copy()
        other[number] = ~other[number]
        x, labels = trial.of_part(int(part), plain.parts, other)
        there = np.eye(len(trained.classes_))[votes_of(trained.teachers_[part], pool)]
        changed = np.eye(len(trained.classes_))[
            votes_of(plain.teach(x, np.searchsorted(trained.classes_, labels)), pool)
        ]
        moves[number] = there - changed if trial.included[number] else changed - there
    telling = np.argsort(-np.abs(moves).sum(axis=(0, 2)), kind="stable")
    telling = telling[: max(1, int((np.abs(moves).sum(axis=(0, 2)) > 0).sum()))]
    chosen = np.resize(telling, answers)
    return pool[chosen], moves[:, chosen]


def _stays(plain: PrivateVotes, trial: _Trial) -> bool:
    """Return whether taking one row, or group, away changes what one model sees and no other."""
    shown = []
    x, y, groups = trial.table(trial.included)
    gone = len(x) // 2
    less = np.arange(len(x)) != gone if groups is None else groups != groups[gone]
    for rows in (np.ones(len(x), bool), less):
        seen = _Seen()
        dummy = clone(plain).set_params(base=_Watched(DummyClassifier(), seen), ledger=None)
        dummy.fit(x[rows], y[rows], groups=None if groups is None else groups[rows])
        shown.append(Counter(frozenset(part.items()) for part in seen.parts))
    lost, new = shown[0] - shown[1], shown[1] - shown[0]
    return lost.total() <= 1 and new.total() <= 1


def _refuses(limited: PrivateVotes, queries: Array, seen: _Seen) -> bool:
    """Return whether an ensemble with a budget for four answers gives four and not a fifth."""
    limited.votes(np.resize(queries, (4, queries.shape[1])))
    before = _answered(limited)
    seen.watch(lambda: 0)
    try:
        limited.votes(queries[:1])
    except BudgetError:
        return seen.ended() is None and _answered(limited) == before
    seen.ended()
    return False


def _granting(trained: PrivateVotes, answers: int, ledger: Path | None) -> PrivateVotes:
    """Return the ensemble, its noise stream too, with a budget for ``answers`` more."""
    further = copy.copy(trained)
    further.set_params(ledger=ledger)
    further.set_params(epsilon=upper_epsilon(_gaussian(trained.sigma, _answered(further) + answers), trained.delta))
    return further


def _ledger(plain: PrivateVotes, folder: str, name: str) -> Path | None:
    return None if plain.ledger is None else Path(folder) / f"{name}.json"


def _counts(model: PrivateVotes, queries: Array, seen: _Seen) -> Array:
    """Return the true votes (q, k), asked past the ledger."""
    seen.ended()
    counts: Array = np.sum(
        [np.eye(len(model.classes_))[votes_of(teacher, queries)] for teacher in model.teachers_], axis=0
    )
    return counts


def _presence(moves: Array, rest: Array) -> Array:
    """Return each canary's presence less a half, by least squares with the coins' own variance as prior."""
    own = moves.reshape(len(moves), -1)
    return np.linalg.solve(own @ own.T + 4 * np.eye(len(own)), own @ (rest.ravel() - own.sum(axis=0) / 2))


def _most_answers(plain: PrivateVotes) -> int:
    """Return how many answers the budget reaches for, 400 at most."""

    def fits(answers: int) -> bool:
        return upper_epsilon(_gaussian(plain.sigma, answers), plain.delta) <= plain.epsilon

    if not fits(1):
        raise DataError("the budget does not reach for one answer", remedy="Give more noise, or a larger epsilon")
    low = 1
    while low < _MOST_ANSWERS and fits(min(2 * low, _MOST_ANSWERS)):
        low = min(2 * low, _MOST_ANSWERS)
    high = min(2 * low, _MOST_ANSWERS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _gaussian(sigma: float, answers: int) -> list[tuple[SampledGaussian, int]]:
    return [(SampledGaussian(sigma / 2**0.5), answers)]


def _answered(model: PrivateVotes) -> int:
    answers = model.privacy_statement()["answers"]
    assert isinstance(answers, int)
    return answers


def _spent(model: PrivateVotes) -> float:
    return float(model.privacy_statement()["epsilon"]["high"])  # type: ignore[index]
