"""Auto-PGD: gradient ascent that chooses its own step size by whether the loss still rises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.assessment.evasion.gradient import Ground, confirmed
from assay.assessment.evasion.norms import length, steepest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.losses import Loss

    Index = NDArray[np.intp]

_MOMENTUM = 0.75
_RISES = 0.75
# Radii of the three rounds of L1, and the share of steps of each.
_L1_ROUNDS = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))


@dataclass(slots=True)
class _State:
    """Of each of m samples: where it is, was and was best, (m, d), and what decides on its step, (m, 1)."""

    here: Any
    before: Any
    slope: Any
    top: Any
    top_slope: Any
    value: Any
    top_value: Any
    stride: Any
    rises: Any
    checked: Any
    halved: Any

    def keep(self, stay: NDArray[np.bool_]) -> None:
        """Drop the samples that do not stay."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[stay])


def auto_pgd(ground: Ground, at: Index, loss: Loss, steps: int) -> Index:
    """Climb ``loss`` from one random start for ``steps`` steps; return the positions that are still right.

    Finished samples are dropped.
    Croce & Hein 2020 (AutoAttack), algorithm 1; L1: Croce & Hein 2021 (Mind the box), with their three radii.
    """
    if ground.norm != "l1":
        return _rounds(ground, at, ground.bounded(edge_start(ground, at), at), loss, steps)
    start = ground.bounded(edge_start(ground, at), at, ground.radius)
    for factor, share in _L1_ROUNDS:
        round_steps = max(1, round(share * steps))
        start = ground.bounded(start, at, factor * ground.radius)
        last = factor == 1.0
        at, start = _sparse(ground, at, start, loss, round_steps, factor * ground.radius, seek=last)
    return at


def edge_start(ground: Ground, at: Index) -> Any:
    """Return random displacements whose length is the radius, (m, d)."""
    xp, shape = ground.xp, tuple(ground.x0[at].shape)
    drawn = 2 * ground.noise.uniform(*shape) - 1 if ground.norm == "linf" else ground.noise.normal(*shape)
    return ground.radius * drawn / xp.clip(length(xp, drawn, ground.norm), 1e-12, None)


def _rounds(ground: Ground, at: Index, start: Any, loss: Loss, steps: int) -> Index:
    """Climb in L2 or Linf: steps with momentum, halved and taken back to the best where the loss no longer rises."""
    at, state, lost = _begin(ground, at, start, loss)
    gap, shorter, least = max(1, int(0.22 * steps)), max(1, int(0.03 * steps)), max(1, int(0.06 * steps))
    since = 0
    for turn in range(steps):
        at, gone = _payable(ground, at, state)
        lost.append(gone)
        if not len(at):
            break
        inertia = _MOMENTUM if turn else 1.0
        aim = state.here + state.stride * steepest(ground.xp, state.slope, ground.norm)
        aim = ground.bounded(aim, at)
        new = state.here + inertia * (aim - state.here) + (1 - inertia) * (state.here - state.before)
        new = ground.bounded(new, at)
        at = _advance(ground, at, state, new, loss)
        since += 1
        if since == gap and len(at):
            _check(ground, state, gap)
            since, gap = 0, max(gap - shorter, least)
    return np.concatenate([*lost, at])


def _begin(
    ground: Ground, at: Index, start: Any, loss: Loss, *, seek: bool = True
) -> tuple[Index, _State, list[Index]]:
    """Ask about the start and return what is still right, its state, and a list of those that cannot pay (none)."""
    paying = ground.payable(at)
    lost = [at[~np.isin(at, paying)]]
    stay = np.isin(at, paying)
    at, start = at[stay], start[stay]
    state = _State(*(start,) * 5, *(start[:, :1],) * 6)
    if not len(at):
        return at, state, lost
    rows = ground.rows(start, at)
    value, slope, reached = ground.climb_rows(rows, at, loss)
    done = confirmed(ground, rows, at, reached & seek)
    xp = ground.xp
    zero = xp.zeros_like(value)
    state = _State(
        here=start, before=start, slope=slope, top=start, top_slope=slope, value=value, top_value=value,
        stride=zero + 2 * ground.radius, rises=zero, checked=value, halved=zero + 1,
    )  # fmt: skip
    state.keep(~done)
    return at[~done], state, lost


def _payable(ground: Ground, at: Index, state: _State) -> tuple[Index, Index]:
    """Return the positions that may still ask, and those that may not; the state keeps the former."""
    paying = ground.payable(at)
    if len(paying) == len(at):
        return at, at[:0]
    stay = np.isin(at, paying)
    state.keep(stay)
    return at[stay], at[~stay]


def _advance(ground: Ground, at: Index, state: _State, new: Any, loss: Loss, *, seek: bool = True) -> Index:
    """Move to the new displacements, confirm what succeeds and drop it; return the positions that are left."""
    xp = ground.xp
    rows = ground.rows(new, at)
    value, slope, reached = ground.climb_rows(rows, at, loss)
    state.rises = state.rises + xp.where(value > state.value, 1.0, 0.0)
    better = value > state.top_value
    state.before, state.here, state.slope, state.value = state.here, new, slope, value
    state.top = xp.where(better, new, state.top)
    state.top_slope = xp.where(better, slope, state.top_slope)
    state.top_value = xp.where(better, value, state.top_value)
    if seek and reached.any():
        done = confirmed(ground, rows, at, reached)
        if done.any():
            state.keep(~done)
            at = at[~done]
    return at


def _check(ground: Ground, state: _State, gap: int) -> None:
    """Halve the step where it rose in too few of ``gap`` steps, or neither it nor the best has changed, and go back."""
    xp = ground.xp
    rarely = state.rises < _RISES * gap
    stuck = (state.halved == 0) & (state.checked >= state.top_value)
    cut = rarely | stuck
    state.stride = xp.where(cut, state.stride / 2, state.stride)
    state.here = xp.where(cut, state.top, state.here)
    state.slope = xp.where(cut, state.top_slope, state.slope)
    state.value = xp.where(cut, state.top_value, state.value)
    state.halved = xp.where(cut, 1.0, 0.0)
    state.checked = state.top_value
    state.rises = xp.zeros_like(state.rises)


def _sparse(
    ground: Ground, at: Index, start: Any, loss: Loss, steps: int, radius: float, *, seek: bool
) -> tuple[Index, Any]:
    """Climb in L1 by steps that move a share of the values, which adapts; return who is left, and where it was best."""
    xp, d = ground.xp, start.shape[1]
    at, state, lost = _begin(ground, at, start, loss, seek=seek)
    zero = xp.zeros_like(state.value)
    share, before, stride = zero + 0.2, zero + d, zero + radius
    gap = max(1, int(0.04 * steps))
    for turn in range(steps):
        kept = at
        at, gone = _payable(ground, at, state)
        if len(at) < len(kept):
            stay = np.isin(kept, at)
            lost.append(gone)
            share, before, stride = share[stay], before[stay], stride[stay]
        if not len(at):
            break
        new = state.here + stride * steepest(xp, state.slope, "l1", share=share)
        new = ground.bounded(new, at, radius)
        kept = at
        at = _advance(ground, at, state, new, loss, seek=seek)
        stay = np.isin(kept, at)
        share, before, stride = share[stay], before[stay], stride[stay]
        if (turn + 1) % gap == 0 and len(at):
            now = length(xp, state.top, "l0")
            sparser = now < 0.95 * before
            share = xp.clip(now / d / 1.5, 1.0 / d, 1.0)
            stride = xp.where(sparser, radius + 0 * stride, xp.clip(stride / 1.5, radius / 10, radius))
            state.here = xp.where(sparser, state.top, state.here)
            state.slope = xp.where(sparser, state.top_slope, state.slope)
            before = now
    left = np.concatenate([*lost, at])
    whole = ground.nothing()
    whole[at] = state.top
    return left, whole[left]
