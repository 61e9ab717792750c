"""Balls, steepest directions and planes in L0, L1, L2 and Linf, for displacements (k, d) of numpy or torch.

Every function takes the library ``xp`` first and uses only names that numpy and torch share.
"""

from __future__ import annotations

from typing import Any

_TINY = 1e-12
_HALVINGS = 30


def length(xp: Any, delta: Any, norm: str) -> Any:
    """Return the length of each displacement, (k, 1)."""
    if norm == "linf":
        return xp.amax(xp.abs(delta), axis=1, keepdims=True)
    if norm == "l2":
        return xp.sqrt((delta * delta).sum(axis=1, keepdims=True))
    if norm == "l1":
        return xp.abs(delta).sum(axis=1, keepdims=True)
    return xp.where(delta != 0, xp.ones_like(delta), xp.zeros_like(delta)).sum(axis=1, keepdims=True)


def unit(xp: Any, delta: Any, norm: str = "l2") -> Any:
    """Return displacements of length 1 in the same directions; zero stays zero."""
    return delta / xp.clip(length(xp, delta, norm), _TINY, None)


def dual(xp: Any, slope: Any, norm: str) -> Any:
    """Return by how much a unit of ``norm`` can change a function of this slope, (k, 1): the dual norm."""
    return length(xp, slope, {"linf": "l1", "l2": "l2", "l1": "linf", "l0": "linf"}[norm])


def steepest(xp: Any, slope: Any, norm: str, *, share: Any = None) -> Any:
    """Return the displacement of length 1 that gains most along ``slope`` (k, d).

    L1 spreads over the values whose slope is steepest, a ``share`` (k or 1, 1) of them (None: one value).
    """
    if norm == "linf":
        return xp.sign(slope)
    if norm in {"l2", "l0"}:
        return unit(xp, slope)
    size, d = xp.abs(slope), slope.shape[1]
    if share is None:
        least = xp.amax(size, axis=1, keepdims=True)
    else:
        falling = -sort(xp, -size)
        # One place a row: torch gathers no further than the places go.
        place = xp.clip(xp.floor(share * d) - 1, 0, d - 1) + xp.zeros_like(size[:, :1])
        least = gather(xp, falling, whole(xp, place))
    return unit(xp, xp.where(size >= xp.clip(least, _TINY, None), xp.sign(slope), xp.zeros_like(slope)), "l1")


def farthest(xp: Any, slope: Any, norm: str, radius: float, low: Any, high: Any) -> Any:
    """Return the displacement within ``radius`` and the box that gains most along ``slope``, (k, d); L2: clipped."""
    if norm != "l1":
        return into_ball(xp, radius * steepest(xp, slope, norm), norm, radius, low, high)
    order = xp.argsort(-xp.abs(slope), axis=1)
    most = gather(xp, xp.where(slope > 0, high, -low), order)
    before = xp.cumsum(most, axis=1) - most
    before = xp.where(before == before, before, xp.full_like(before, float("inf")))
    filled = xp.minimum(xp.clip(radius - before, 0, None), most)
    return xp.sign(slope) * gather(xp, filled, xp.argsort(order, axis=1))


def into_ball(xp: Any, delta: Any, norm: str, radius: Any, low: Any, high: Any) -> Any:
    """Return displacements within ``radius`` (a number, or (k, 1)) and the box ``low <= 0 <= high``, (k, d).

    L1 and Linf: the nearest. L2: drawn in, then clipped. L0: the ``radius`` values that the box lets change most stay.
    """
    if norm == "linf":
        return xp.clip(xp.clip(delta, low, high), -radius, radius)
    if norm == "l2":
        inside = xp.clip(radius / xp.clip(length(xp, delta, "l2"), _TINY, None), None, 1.0)
        return xp.clip(delta * inside, low, high)
    if norm == "l1":
        return _into_l1(xp, delta, radius, low, high)
    boxed, d = xp.clip(delta, low, high), delta.shape[1]
    size = xp.abs(boxed)
    rank = xp.argsort(xp.argsort(-size, axis=1), axis=1)
    return xp.where((rank < xp.clip(xp.zeros_like(size[:, :1]) + radius, 0, d)), boxed, xp.zeros_like(boxed))


def _into_l1(xp: Any, delta: Any, radius: Any, low: Any, high: Any) -> Any:
    """Return the nearest displacements in the L1 ball and the box: all shrink by one threshold, found by halving."""
    boxed = xp.clip(delta, low, high)
    outside = length(xp, boxed, "l1") > radius
    if not bool(outside.any()):
        return boxed
    size, sign = xp.abs(delta), xp.sign(delta)
    above = xp.where(outside, xp.amax(size, axis=1, keepdims=True), xp.zeros_like(size[:, :1]))
    below = xp.zeros_like(above)
    room = xp.where(delta > 0, high, -low)
    for _ in range(_HALVINGS):
        middle = 0.5 * (above + below)
        fits = xp.minimum(xp.clip(size - middle, 0, None), room).sum(axis=1, keepdims=True) <= radius
        above, below = xp.where(fits, middle, above), xp.where(fits, below, middle)
    return sign * xp.minimum(xp.clip(size - above, 0, None), room)


def onto_plane(xp: Any, slope: Any, needed: Any, norm: str, low: Any, high: Any) -> Any:
    """Return the shortest displacement in the box by which ``slope @ displacement`` falls by ``needed`` (k, 1) >= 0.

    low <= 0 <= high: the box, (k, d). Where the box ends before, everything goes as far as it can.
    Croce & Hein 2020 (FAB), section 3; L0 counts as L1, which changes the fewest values that suffice.
    """
    room = xp.where(slope > 0, -low, high)
    weight = xp.abs(slope)
    room = xp.where(weight > 0, room, xp.zeros_like(room))
    if norm == "linf":
        size = xp.minimum(_level(xp, weight, room, needed), room)
    elif norm == "l2":
        far = room / xp.clip(weight, _TINY, None)
        size = xp.minimum(_level(xp, weight * weight, far, needed), far) * weight
    else:
        order = xp.argsort(-weight, axis=1)
        heavy, most = gather(xp, weight, order), gather(xp, room, order)
        gain = xp.where(heavy > 0, heavy * most, xp.zeros_like(most))
        before = xp.cumsum(gain, axis=1) - gain
        before = xp.where(before != before, xp.full_like(before, float("inf")), before)
        filled = xp.minimum(xp.clip((needed - before) / xp.clip(heavy, _TINY, None), 0, None), most)
        size = gather(xp, filled, xp.argsort(order, axis=1))
    return -xp.sign(slope) * xp.where(weight > 0, size, xp.zeros_like(size))


def _level(xp: Any, weight: Any, limit: Any, needed: Any) -> Any:
    """Return t (k, 1) with ``sum(weight * min(t, limit)) == needed``, or the largest limit where none reaches it."""
    order = xp.argsort(limit, axis=1)
    limit, weight = gather(xp, limit, order), gather(xp, weight, order)
    begun = xp.cumsum(weight, axis=1)
    rest = xp.clip(begun[:, -1:] - begun, 0, None)
    full = xp.where(weight > 0, weight * limit, xp.zeros_like(limit))
    reached = xp.cumsum(full, axis=1) + xp.where(rest > 0, rest * limit, xp.zeros_like(limit))
    place = whole(xp, (reached < needed).sum(axis=1, keepdims=True))
    zero = xp.zeros_like(needed)
    last = limit.shape[1]
    earlier = xp.clip(place - 1, 0, None)
    ends = xp.where(place > 0, gather(xp, limit, earlier), zero)
    had = xp.where(place > 0, gather(xp, reached, earlier), zero)
    left = xp.where(place > 0, gather(xp, rest, earlier), begun[:, -1:])
    within = ends + (needed - had) / xp.clip(left, _TINY, None)
    return xp.where(place >= last, limit[:, -1:], within)


def sort(xp: Any, values: Any) -> Any:
    """Return each row of values (k, d) in rising order."""
    return gather(xp, values, xp.argsort(values, axis=1))


def gather(xp: Any, values: Any, places: Any) -> Any:
    """Return ``values[i, places[i, j]]`` for each i, j."""
    return (
        xp.take_along_axis(values, places, axis=1) if hasattr(xp, "take_along_axis") else xp.gather(values, 1, places)
    )


def whole(xp: Any, values: Any) -> Any:
    """Return numbers as indices."""
    return values.astype(xp.int64) if hasattr(values, "astype") else values.to(xp.int64)
