"""The law suite of attacks: what every evasion and membership attack, ours or a plugin's, has to hold.

Give a class whose settings all have defaults, or an attack with settings of your own::

    check_attack(HopSkipJump)
    check_attack(HopSkipJump(max_queries=100))
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.evasion.base import EvasionAttack
from assay.assessment.membership.base import Exposure, MembershipAttack
from assay.contract.contract import Contract, Feature, Kind, Mutable, Target
from assay.contract.region import Region
from assay.core.canonical import canonical_bytes, parse
from assay.core.clock import stream
from assay.core.errors import BudgetError, DataError, SettingError
from assay.core.settings import settings_of
from assay.models.function import Function
from assay.models.white_box import NumpyWhiteBox, WhiteBox

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from assay.models.predictor import Array

    Labels = NDArray[np.intp]

Attack = EvasionAttack | MembershipAttack
_BOX = (1.0, -0.5, 2.0, 0.25)
_SCALE = (1.0, 2.0, 0.5, 4.0)
_TABLE = Contract(
    Target("y", ("no", "yes")),
    (
        Feature("free", Kind.NUMBER, low=-10, high=10, scale=2.0),
        Feature("grows", Kind.NUMBER, low=-10, high=10, mutable=Mutable.UP),
        Feature("count", Kind.INTEGER, low=0, high=50),
        Feature("colour", Kind.CATEGORY, categories=("red", "green", "blue")),
        Feature("row", Kind.NUMBER, low=0, high=1e6, mutable=Mutable.NO),
    ),
)


class Threshold(Function):
    """A model whose boundary is known: class 1 where ``x @ weights > 0``; with weights of zero it is constant.

    asked: how often it was asked about each value of the last column. shapes: of the samples it was asked about.
    """

    differentiable: ClassVar[bool] = True

    def __init__(self, weights: Iterable[float]) -> None:
        super().__init__(self._answer, 2)
        self.weights = np.array(list(weights))
        self.asked: Counter[float] = Counter()
        self.shapes: set[tuple[int, ...]] = set()

    def _answer(self, x: Array) -> Array:
        self.see(x)
        share: Array = 0.5 * (1.0 + np.tanh(0.5 * (x.reshape(len(x), -1) @ self.weights)))
        return np.stack([1.0 - share, share], axis=1)

    def see(self, x: Array) -> None:
        """Take down what is asked: the shape of samples x (n, ...) and their last values."""
        self.shapes.add(x.shape[1:])
        self.asked.update(x.reshape(len(x), -1)[:, -1].tolist())

    def white_box(self) -> WhiteBox:
        """Return the model from inside: what is asked there is seen by ``asked`` and ``shapes`` as well."""
        return _Inside(self)


class _Inside(NumpyWhiteBox):
    def __init__(self, model: Threshold) -> None:
        super().__init__(model)
        self._model = model

    def _logits(self, x: Array) -> Array:
        self._model.see(x)
        half: Array = 0.5 * (x.reshape(len(x), -1) @ self._model.weights)
        return np.stack([-half, half], axis=1)

    def _pull(self, x: Array, weigh: Callable[[Array], Array]) -> tuple[Array, Array]:
        logits = self._logits(x)
        pull = weigh(logits)
        slope = 0.5 * (pull[:, 1] - pull[:, 0])[:, None] * self._model.weights
        return logits, slope.reshape(x.shape)


def check_attack(attack: type[Attack] | Attack, *, seed: int = 0) -> None:
    """Raise AssertionError that names the law an attack breaks, and by how much.

    Laws of all: settings are JSON, declared and checked; the same seed gives the same bytes; inputs are not changed;
    a planted truth is found, and nothing where there is nothing. Of evasion: budgets are hard, results feasible, within
    the radius and never closer than the exact distance; targets are reached. Of membership: who is a member does not
    enter the score.
    """
    made: Callable[[], Attack] = attack if isinstance(attack, type) else lambda: attack
    part = made()
    check_settings(part)
    if isinstance(part, EvasionAttack):
        for law in EVASION_LAWS:
            law(part, seed)
    else:
        for rule in MEMBERSHIP_LAWS:
            rule(part, seed)


def check_settings(part: Attack) -> None:
    """Every setting is declared, survives JSON, and is refused outside its range."""
    names = _fields(part)
    values = {name: getattr(part, name) for name in names}
    _law(parse(canonical_bytes(values)) == values, part, "settings survive JSON", values)
    declared = settings_of(type(part)) if names else {}
    _law(set(declared) == set(names), part, "every setting is declared", sorted(set(names) - set(declared)))
    remade: Callable[..., Attack] = type(part)
    for name, setting in declared.items():
        for value in setting.constraint.invalid():
            try:
                remade(**{**values, name: value})
            except SettingError:
                continue
            _law(False, part, "settings out of range are refused", f"{name}={value!r}")


def check_planted_distance(part: EvasionAttack, seed: int) -> None:
    """Every row of a half-space within the attack's radius is turned, really, and never closer than its exact distance.

    Without a radius all rows are to be turned; with one, rows lie from a fifth of it up to twice it away.
    """
    model, region = Threshold(_BOX), Region.box([-40.0] * 4, [40.0] * 4, scale=_SCALE)
    x = stream(seed, "testing", "box").normal(size=(8, 4)) * _SCALE
    if part.radius is not None and part.norm != "l0":
        x *= (part.radius * np.linspace(0.2, 2.0, len(x)) / _exact(model, x, region, part.norm))[:, None]
    exact = _exact(model, x, region, part.norm)
    y = model.labels(x)
    found = part(model, x, y, region, seed=seed)
    _law(found.success | ~_within(part, exact, 0.9), part, "a planted flip is found")
    _law(~found.success | _within(part, exact, 1 + 1e-9), part, "nothing counts beyond the radius")
    _law((model.labels(found.x_adv) != y)[found.success], part, "what is returned is really wrong")
    _law(found.distance >= exact - 1e-9, part, "no distance is below the exact one", (exact - found.distance).max())
    gap = np.abs(found.distance - region.distance(found.x_adv, x, part.norm))[found.success]
    _law(gap <= 1e-9, part, "the distance is that of the returned row", gap.max(initial=0.0))


def check_targets(part: EvasionAttack, seed: int) -> None:
    """Samples are taken for the classes wanted, or the attack says that it cannot be aimed; bad targets are refused."""
    model, x, y, region = _table(seed)
    far = _far(part)
    found = far(model, x, y, region, targets=1 - y, seed=seed)
    _law(found.success, part, "a planted target is reached")
    _law(model.labels(found.x_adv) == 1 - y, part, "what is returned has the target's label")
    for wrong in (y, y[:-1], 1 - y + 2):
        try:
            far(model, x, y, region, targets=wrong, seed=seed)
        except DataError:
            continue
        _law(False, part, "targets that name no other class are refused", wrong.tolist())


def check_constant_model(part: EvasionAttack, seed: int) -> None:
    """A model that never changes its answer is never evaded, and rows come back as they were."""
    _, x, y, region = _table(seed)
    found = part(Threshold(np.zeros(5)), x, np.zeros_like(y), region, seed=seed)
    _law(~found.success, part, "a constant model is not evaded")
    _law(np.isinf(found.distance), part, "without success the distance is infinite", found.distance.min())
    _law(found.x_adv == x, part, "rows without success come back as they were")


def check_same_seed(part: EvasionAttack, seed: int) -> None:
    """The same seed gives the same bytes, and samples and labels are not changed."""
    _, x, y, region = _table(seed)
    kept = x.tobytes(), y.tobytes()
    first, second = (part(_table(seed)[0], x, y, region, seed=seed) for _ in range(2))
    names = [f.name for f in dataclasses.fields(first)]
    differ = [
        name
        for name in names
        if np.asarray(getattr(first, name)).tobytes() != np.asarray(getattr(second, name)).tobytes()
    ]
    _law(not differ, part, "the same seed gives the same bytes", differ)
    _law((x.tobytes(), y.tobytes()) == kept, part, "inputs are not changed")


def check_sample_budget(part: EvasionAttack, seed: int) -> None:
    """No sample is asked about more often than ``max_queries``, and the reported count is the true one."""
    model, x, y, region = _table(seed)
    found = part(model, x, y, region, seed=seed)
    seen = np.array([model.asked[row] for row in x[:, -1].tolist()])
    _law(seen <= part.max_queries, part, "a sample's budget is hard", f"{seen.max()} of {part.max_queries}")
    _law(seen == found.queries, part, "queries are counted", np.abs(seen - found.queries).max())
    _law(model.queries == seen.sum(), part, "every row asked is a sample's", model.queries - seen.sum())


def check_model_budget(part: EvasionAttack, seed: int) -> None:
    """A model whose own budget ends stops the attack with BudgetError, unpassed."""
    model, x, y, region = _table(seed)
    limited = model.limited(len(x) + 1)
    try:
        part(limited, x, y, region, seed=seed)
    except BudgetError:
        asked = sum(model.asked.values())
        _law(asked <= len(x) + 1, part, "a model's budget is hard", f"{asked} of {len(x) + 1}")
    else:
        _law(False, part, "a model's spent budget raises BudgetError", f"{limited.queries} rows asked")


def check_feasible(part: EvasionAttack, seed: int) -> None:
    """Results can be reached: what is fixed stays, directions hold, integers and categories stay valid."""
    model, x, y, region = _table(seed)
    made = part(model, x, y, region, seed=seed).x_adv
    _law(made[:, 4] == x[:, 4], part, "immutable values stay", np.abs(made - x)[:, 4].max())
    _law(made[:, 1] >= x[:, 1], part, "directions are kept", (x - made)[:, 1].max())
    _law(made[:, 2:4] % 1 == 0, part, "integers and categories stay whole", (made[:, 2:4] % 1).max())
    _law(region.contains(made, x), part, "results lie in the region")


def check_already_wrong(part: EvasionAttack, seed: int) -> None:
    """Rows that the model gets wrong by itself are asked about once and left alone."""
    model, x, y, region = _table(seed)
    wrong = np.arange(len(x)) // 2 % 2 == 0
    found = part(model, x, np.where(wrong, 1 - y, y), region, seed=seed)
    _law(found.already_wrong == wrong, part, "rows already wrong are told")
    _law(~found.success[wrong], part, "rows already wrong are no success")
    _law(found.x_adv[wrong] == x[wrong], part, "rows already wrong are not changed")
    _law(found.queries[wrong] == 1, part, "rows already wrong cost one query", found.queries[wrong].max())


def check_images(part: EvasionAttack, seed: int) -> None:
    """Images (n, h, w) are asked about, and come back, in their shape."""
    images, model = stream(seed, "testing", "images").uniform(-1, 1, (4, 3, 5)), Threshold(np.ones(15))
    region = Region.box([-1.0] * 15, [1.0] * 15)
    found = part(model, images, model.labels(images), region, seed=seed)
    _law(found.x_adv.shape == images.shape, part, "images keep their shape", found.x_adv.shape)
    _law(model.shapes == {(3, 5)}, part, "the model sees images in their shape", model.shapes)
    model.shapes.clear()
    part(model, images.reshape(4, 15), model.labels(images.reshape(4, 15)), region, seed=seed)
    _law(model.shapes == {(15,)}, part, "the model is left as it was, and takes flat rows after images", model.shapes)


def check_one_row(part: EvasionAttack, seed: int) -> None:
    """One row alone, with no other to start from, is turned."""
    model, x, y, region = _table(seed)
    found = _far(part)(model, x[:1], y[:1], region, seed=seed)
    _law(found.success, part, "one row alone is turned")


def check_empty_batch(part: EvasionAttack, seed: int) -> None:
    """An empty batch gives an empty result and asks nothing."""
    model, x, y, region = _table(seed)
    found = part(model, x[:0], y[:0], region, seed=seed)
    shapes = tuple(getattr(found, name).shape for name in ("x_adv", "success", "queries", "distance"))
    _law(shapes == ((0, 5), (0,), (0,), (0,)), part, "an empty batch gives an empty result", shapes)
    _law(model.queries == 0, part, "an empty batch asks nothing", model.queries)


def check_no_leak(part: MembershipAttack, seed: int) -> None:
    """Answers that say nothing of membership give chance: an AUC of 0.5 within twice its interval."""
    area = part(planted_exposure(0.0, seed=seed), seed=seed).measures[0]
    reach = area.high - area.low
    _law(abs(area.estimate - 0.5) <= reach, part, "no leak gives chance", f"AUC {area.estimate:.3f}, reach {reach:.3f}")


def check_planted_leak(part: MembershipAttack, seed: int) -> None:
    """Answers that are surer of members give them away: the interval of the AUC lies above 0.5."""
    area = part(planted_exposure(0.3, seed=seed), seed=seed).measures[0]
    _law(area.low > 0.5, part, "a planted leak is found", f"AUC {area.estimate:.3f}, from {area.low:.3f}")


def check_same_scores(part: MembershipAttack, seed: int) -> None:
    """The same seed gives the same finite scores, one a row; answers are not changed; measures are JSON."""
    exposure = planted_exposure(0.3, seed=seed)
    given = [v for f in dataclasses.fields(exposure) if (v := getattr(exposure, f.name)) is not None]
    kept = [v.tobytes() for v in given]
    first, second = (part(exposure, seed=seed) for _ in range(2))
    after = [v.tobytes() for v in given]
    _law([a == b for a, b in zip(kept, after, strict=True)], part, "inputs are not changed")
    _law(first.scores.shape == exposure.labels.shape, part, "there is one score a row", first.scores.shape)
    _law(np.isfinite(first.scores), part, "scores are finite")
    _law(first.scores.tobytes() == second.scores.tobytes(), part, "the same seed gives the same bytes")
    canonical_bytes([measure.to_json() for measure in first.measures])


def check_blind(part: MembershipAttack, seed: int) -> None:
    """Who is a member does not enter the score: it is what the attack is asked."""
    exposure = planted_exposure(0.3, seed=seed)
    gap = np.abs(part.score(exposure) - part.score(dataclasses.replace(exposure, member=~exposure.member)))
    _law(gap == 0, part, "the score does not use membership", gap.max())


def check_few_rows(part: MembershipAttack, seed: int) -> None:
    """Two rows, and rows without anything but answers, get finite scores, or are refused with DataError."""
    full = planted_exposure(0.3, seed=seed)
    for few in (planted_exposure(0.3, 2, seed=seed), Exposure(full.answers, full.labels, full.member)):
        try:
            found = part(few, seed=seed)
        except DataError:
            continue
        _law(found.scores.shape == few.labels.shape, part, "every row is judged", found.scores.shape)
        _law(np.isfinite(found.scores), part, "scores are finite")


def planted_exposure(leak: float, n: int = 600, *, shadows: int = 8, seed: int = 0) -> Exposure:
    """Return answers of models that give rows they were fitted on ``leak`` more confidence; 0: no leak at all."""
    rng = stream(seed, "testing", "membership")
    member, half = np.arange(n) % 2 == 0, np.arange(n) // 2 % 2 == np.arange(n) % 2
    seen = np.stack([half if i % 2 else ~half for i in range(shadows)])
    noise = rng.normal(0, 0.05, (shadows + 1, n))
    usual = rng.uniform(0.2, 0.6, n)
    sure = np.clip(usual + leak * np.vstack([member, seen]) + noise, 0.01, 0.99)
    labels = rng.integers(0, 2, n).astype(np.intp)
    answers = np.where(labels[:, None] == np.arange(2), sure[..., None], 1.0 - sure[..., None])
    public = ~member & (np.arange(n) // 2 % 2 == 0)
    rows, far = rng.normal(size=(n, 3)), np.maximum(sure[0] - 0.5, 0.0)
    around = np.clip(usual + rng.normal(0, 0.05, (shadows + 1, 2, 4, n)), 0.01, 0.99)
    return Exposure(answers[0], labels, member, answers[1:], seen, rows, public, far, around[0], around[1:])


EVASION_LAWS: tuple[Callable[[EvasionAttack, int], None], ...] = (
    check_planted_distance, check_constant_model, check_same_seed, check_sample_budget, check_model_budget,
    check_feasible, check_already_wrong, check_images, check_one_row, check_empty_batch, check_targets,
)  # fmt: skip
MEMBERSHIP_LAWS: tuple[Callable[[MembershipAttack, int], None], ...] = (
    check_no_leak, check_planted_leak, check_same_scores, check_blind, check_few_rows,
)  # fmt: skip


def _table(seed: int, n: int = 8) -> tuple[Threshold, Array, Labels, Region]:
    """Return a model that tells rows apart by their last value, rows on both sides of it, labels and the region."""
    rng, place = stream(seed, "testing", "attacks"), np.arange(n)
    x = np.column_stack([rng.normal(size=(n, 2)), rng.integers(0, 9, n), rng.integers(0, 3, n), place])
    x[:, 0] = np.where(place % 2, 2.0, -2.0) - 0.5 * x[:, 1] - 0.1 * x[:, 2]
    return Threshold((1.0, 0.5, 0.1, 0.0, 0.0)), x, (place % 2).astype(np.intp), Region.of(_TABLE)


def _exact(model: Threshold, x: Array, region: Region, norm: str) -> Array:
    """Return the distance of each row to the boundary, (n,): as far as its wide box never ends it."""
    pull, away = np.abs(model.weights * region.scale), np.abs(x.reshape(len(x), -1) @ model.weights)
    if norm == "l0":
        away, pull = np.sign(away), np.ones(1)
    exact: Array = away / {"l2": np.sqrt((pull**2).sum()), "linf": pull.sum(), "l1": pull.max(), "l0": 1.0}[norm]
    return exact


def _within(part: EvasionAttack, exact: Array, share: float) -> NDArray[np.bool_]:
    if part.radius is None:
        return np.ones(len(exact), dtype=bool)
    inside: NDArray[np.bool_] = exact <= part.radius * (share if part.norm != "l0" else 1.0)
    return inside


def _fields(part: Attack) -> list[str]:
    """Return the names of an attack's fields, class variables not among them; none for one that is no dataclass."""
    return [f.name for f in dataclasses.fields(part)] if hasattr(part, "__dataclass_fields__") else []  # type: ignore[arg-type]


def _far(part: EvasionAttack) -> EvasionAttack:
    """Return the attack with a radius that is never the reason to find nothing."""
    if part.radius is None:
        return part
    remake: Callable[..., EvasionAttack] = type(part)
    return remake(**{**{name: getattr(part, name) for name in _fields(part)}, "radius": 10.0})


def _law(holds: ArrayLike, part: Attack, law: str, by: object = None) -> None:
    flags = np.atleast_1d(np.asarray(holds, dtype=bool))
    if not flags.all():
        much = f"{(~flags).sum()} of {flags.size} not" + (f", by {by}" if by is not None else "")
        raise AssertionError(f"the attack {part.name or type(part).__name__!r} breaks a law: {law} ({much})")
