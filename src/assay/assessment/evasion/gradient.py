"""What attacks by gradients share: where they walk, in which units, how they ask, and what counts as found.

They walk in displacements of scaled units, in arrays of the model's own library and on its device. What looks like
success there is confirmed by one more query through ``Oracle.wrong``: the predictor as everyone else sees it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.norms import into_ball, length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.losses import Loss

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]
    Flags = NDArray[np.bool_]

# Displacements stay this share of the radius inside, so that rounding to the model's type does not leave the ball.
_INSIDE = 1e-5
# When the shortest row found does not hold up, it is taken this much further out.
_FURTHER = (1e-4, 1e-3, 1e-2)
# Queries that a memory of the shortest row keeps for its confirmation.
SPARE = 1 + len(_FURTHER)
# Shares of a displacement tried where a grid or a relation leads out of the ball.
_BACK = (0.9, 0.75, 0.5, 0.25)


class Ground:
    """The samples ``live`` (k,) of an oracle, and displacements (k, d) from them: ``(row - x0) / scale``.

    A sample may stand at several positions, to walk several ways at once.
    low, high (k, d): bounds of displacements, ``low <= 0 <= high``, the radius included for Linf.
    truth, wanted (k, classes): labels and targets as rows of zeros with a one; wanted is None without targets.
    """

    def __init__(self, oracle: Oracle, live: Index, generator: np.random.Generator) -> None:
        self.oracle, self.live, self.norm = oracle, live, oracle.norm
        self.white = oracle.white_box()
        self.xp = self.white.xp
        self.noise = self.white.noise(int(generator.integers(2**63)))
        self.radius = oracle.radius * (1 - _INSIDE) if oracle.norm in {"l1", "l2"} else oracle.radius
        region, x0 = oracle.region, oracle.x0[live]
        low, high = region.low(x0), region.high(x0)
        if oracle.norm == "linf" and math.isfinite(oracle.radius):
            low = np.maximum(low, x0 - oracle.radius * region.scale)
            high = np.minimum(high, x0 + oracle.radius * region.scale)
        self._row_low, self._row_high = low, high
        still = ~(low < high)
        tensor = self.white.tensor
        self.x0, self._least, self._most = tensor(x0), tensor(low), tensor(high)
        self.scale = tensor(np.broadcast_to(region.scale, x0.shape)[:1].copy())
        self.low = tensor(np.where(still, 0.0, (low - x0) / region.scale))
        self.high = tensor(np.where(still, 0.0, (high - x0) / region.scale))
        self.free = self.low < self.high
        self._plain = not len(region.bounds) and not (region.step > 0).any()
        self.truth = self.white.hot(oracle.y[live])
        self.wanted = None if oracle.targets is None else self.white.hot(oracle.targets[live])
        self._goal = self.white.index(oracle.y[live] if oracle.targets is None else oracle.targets[live])
        self._all = np.arange(len(live))
        self._asked: tuple[Index, Any] | None = None

    def there(self, at: Index) -> Any:
        """Return positions as indices on the model's device; the same array, asked again, is not copied again."""
        if at is self._all:
            return slice(None)
        if self._asked is None or self._asked[0] is not at:
            self._asked = (at, self.white.index(at))
        return self._asked[1]

    def box(self, at: Index) -> tuple[Any, Any]:
        """Return the least and most displacements of positions, (m, d) each."""
        there = self.there(at)
        return self.low[there], self.high[there]

    def nothing(self) -> Any:
        """Return displacements of zero, (k, d)."""
        return self.xp.zeros_like(self.x0)

    def everyone(self) -> Index:
        """Return the positions of all samples, (k,)."""
        return self._all

    def payable(self, at: Index, *, spare: int = 1) -> Index:
        """Return which positions may ask once more, all of a sample at once, and keep ``spare`` queries to confirm."""
        owner = self.live[at]
        asking = np.bincount(owner, minlength=len(self.oracle.spent))[owner]
        paying: Flags = self.oracle.left[owner] >= asking + spare
        return at if paying.all() else at[paying]

    def rows(self, delta: Any, at: Index) -> Any:
        """Return feasible rows (m, d) at displacements from the samples at positions ``at`` (m,)."""
        there = self.there(at)
        made = self.xp.clip(self.x0[there] + delta * self.scale, self._least[there], self._most[there])
        return made if self._plain else self.white.tensor(self._projected(self.white.array(made), at))

    def _projected(self, rows: Array, at: Index) -> Array:
        """Return rows on the grids and relations of the region; where these lead out of the ball, taken back."""
        region, x0 = self.oracle.region, self.oracle.x0[self.live[at]]
        out = region.project(rows, x0)
        for share in _BACK:
            far = np.flatnonzero(region.distance(out, x0, self.norm) > self.oracle.radius)
            if not len(far):
                break
            out[far] = region.project(x0[far] + share * (rows[far] - x0[far]), x0[far])
        return out

    def displaced(self, rows: Any, at: Index) -> Any:
        """Return the displacements (m, d) of rows; missing values have none."""
        moved = (rows - self.x0[self.there(at)]) / self.scale
        return self.xp.where(moved == moved, moved, self.xp.zeros_like(moved))

    def bounded(self, delta: Any, at: Index, radius: Any = None) -> Any:
        """Return displacements drawn into the box and the ball of ``radius``, that of the attack by default."""
        reach = self.radius if radius is None else radius
        low, high = self.box(at)
        if isinstance(reach, float) and math.isinf(reach):
            return self.xp.clip(delta, low, high)
        return into_ball(self.xp, delta, self.norm, reach, low, high)

    def climb(self, delta: Any, at: Index, loss: Loss) -> tuple[Any, Any, Flags]:
        """Return a loss (m, 1) at displacements, its gradient by them (m, d), and where the attack succeeds, (m,)."""
        return self.climb_rows(self.rows(delta, at), at, loss)

    def climb_rows(self, rows: Any, at: Index, loss: Loss) -> tuple[Any, Any, Flags]:
        """Return what ``climb`` does, for rows that were made by ``rows``."""
        there = self.there(at)
        aim = None if self.wanted is None else self.wanted[there]
        values = []

        def weigh(logits: Any) -> Any:
            value, slope = loss(self.white, logits, self.truth[there], aim)
            values.append(value)
            return slope

        logits, slope = self.oracle.pull(self.white, rows, self.live[at], weigh)
        slope = self.xp.where(self.free[there], slope * self.scale, self.xp.zeros_like(slope))
        return values[0], slope, self.reached(logits, at)

    def reached(self, logits: Any, at: Index) -> Flags:
        """Return for which logits the label is what the attacker wants, (m,)."""
        label = self.xp.argmax(logits, axis=1)
        goal = self._goal[self.there(at)]
        flags: Flags = self.white.array(label != goal if self.oracle.targets is None else label == goal)
        return flags

    def confirm(self, rows: Any, at: Index) -> Flags:
        """Ask the predictor itself about rows (m, d), each once, and return for which samples there is success, (m,)."""
        if not len(at):
            return np.zeros(0, dtype=bool)
        owner = self.live[at]
        # Rounded to the model's type, a bound of the region may have moved; the row that counts lies within.
        exact = np.clip(self.white.array(rows), self._row_low[at], self._row_high[at])
        wrong: Flags = self.oracle.wrong(self.oracle.region.project(exact, self.oracle.x0[owner]), owner)
        held: Flags = wrong & np.isfinite(self.oracle.distance[owner])
        return held

    def part(self, at: Index) -> Ground:
        """Return the ground of the positions ``at`` alone, any of them as often as it is named."""
        other = object.__new__(Ground)
        other.__dict__.update(self.__dict__)
        for name in ("live", "x0", "low", "high", "free", "truth", "_least", "_most", "_row_low", "_row_high", "_goal"):
            setattr(other, name, getattr(self, name)[at])
        other.wanted = None if self.wanted is None else self.wanted[at]
        other._all = np.arange(len(at))
        return other

    def aimed(self, wanted: Index) -> Ground:
        """Return a ground on which each sample stands at t positions: wanted (k, t) are the classes they aim at."""
        other = self.part(np.repeat(self.everyone(), wanted.shape[1]))
        other.wanted = self.white.hot(wanted.reshape(-1).copy())
        return other

    def paying(self, at: Index, *state: Any, spare: int = SPARE) -> tuple[Any, ...]:
        """Return positions that may ask once more, and of each array (m, ...) what belongs to them."""
        left = self.payable(at, spare=spare)
        if len(left) == len(at):
            return at, *state
        stay = np.isin(at, left)
        return at[stay], *(part[stay] for part in state)

    def shortest(self) -> Shortest:
        """Return a memory of the shortest displacement found for each sample."""
        return Shortest(self)


class Shortest:
    """Remembers the shortest wrong row of each sample that was seen on a ground; confirmed at the end."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.delta = ground.nothing()
        self.length = ground.xp.full_like(ground.x0[:, :1], math.inf)

    def see(self, rows: Any, at: Index, reached: Flags) -> Any:
        """Take note of rows (m, d) that succeed; return the length of all displacements, (m, 1)."""
        ground = self._ground
        moved = ground.displaced(rows, at)
        far = length(ground.xp, moved, ground.norm)
        there = ground.there(at)
        better = ground.white.index(reached)[:, None] & (far < self.length[there])
        self.delta[there] = ground.xp.where(better, moved, self.delta[there])
        self.length[there] = ground.xp.where(better, far, self.length[there])
        return far

    def confirm(self) -> None:
        """Have the shortest row of each sample confirmed; those that do not hold up are tried a little further out."""
        ground = self._ground
        far = ground.white.array(self.length)[:, 0]
        order = np.argsort(far, kind="stable")
        at = order[np.unique(ground.live[order], return_index=True)[1]]
        at = at[np.isfinite(far[at])]
        for further in (0.0, *_FURTHER):
            at = at[ground.oracle.left[ground.live[at]] > 0]
            if not len(at):
                return
            at = at[~ground.confirm(ground.rows(self.delta[ground.there(at)] * (1 + further), at), at)]


class GradientAttack(EvasionAttack):
    """An attack that knows the model's weights. An author writes ``walk``; the samples come in blocks of a batch."""

    __slots__ = ()

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:  # noqa: ARG002
        """Walk from the samples ``live``, as many at once as the predictor takes in one batch."""
        size = oracle.white_box().batch or len(live)
        for start in range(0, len(live), size):
            self.walk(Ground(oracle, live[start : start + size], generator))

    @abstractmethod
    def walk(self, ground: Ground) -> None:
        """Search from the samples of the ground, and confirm what is found."""


def confirmed(ground: Ground, rows: Any, at: Index, reached: Flags) -> Flags:
    """Confirm the rows (m, d) that seem to succeed, one a sample; return which positions are done, (m,)."""
    hits = np.flatnonzero(reached)
    if not len(hits):
        return np.zeros(len(at), dtype=bool)
    hits = hits[np.unique(ground.live[at[hits]], return_index=True)[1]]
    held = ground.live[at[hits]][ground.confirm(rows[hits], at[hits])]
    done: Flags = np.isin(ground.live[at], held)
    return done
