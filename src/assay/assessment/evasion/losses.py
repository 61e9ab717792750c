"""What gradient attacks climb: functions of the logits, each with its derivative by them in closed form.

A loss takes the white box, logits (k, classes), the true classes and the classes wanted as rows of zeros with a one
(k, classes), the latter None where any other class will do; it returns its value (k, 1), which is large where the
attack succeeds, and the derivative (k, classes). Everything is an array of the model's own library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from assay.models.white_box import WhiteBox

_TINY = 1e-12
Loss: TypeAlias = "Callable[[WhiteBox, Any, Any, Any], tuple[Any, Any]]"


def cross_entropy(white: WhiteBox, logits: Any, truth: Any, wanted: Any = None) -> tuple[Any, Any]:
    """Return the cross-entropy of the true class, or the log-probability of the class wanted."""
    xp = white.xp
    chosen = truth if wanted is None else wanted
    top = xp.amax(logits, axis=1, keepdims=True)
    raised = xp.exp(logits - top)
    total = raised.sum(axis=1, keepdims=True)
    surprise = top + xp.log(total) - (logits * chosen).sum(axis=1, keepdims=True)
    slope = raised / total - chosen
    return (surprise, slope) if wanted is None else (-surprise, -slope)


def margin(white: WhiteBox, logits: Any, truth: Any, wanted: Any = None) -> tuple[Any, Any]:
    """Return the highest other logit (or the one wanted) less the true one."""
    gain = best_other(white, logits, truth) - truth if wanted is None else wanted - truth
    return (gain * logits).sum(axis=1, keepdims=True), gain


def lead(white: WhiteBox, logits: Any, truth: Any, wanted: Any = None) -> tuple[Any, Any]:
    """Return the margin by which the label is what the attacker wants; targeted, over the highest of all others."""
    if wanted is None:
        return margin(white, logits, truth)
    gain = wanted - best_other(white, logits, wanted)
    return (gain * logits).sum(axis=1, keepdims=True), gain


def logits_ratio(white: WhiteBox, logits: Any, truth: Any, wanted: Any = None) -> tuple[Any, Any]:
    """Return the difference of logits ratio: the margin over the spread of the highest logits, blind to their scale.

    Croce & Hein 2020 (AutoAttack), equations 6 and 7: the spread is from the first to the third logit, targeted to
    the mean of the third and fourth. With three classes the third alone, with two the margin itself is used.
    """
    xp = white.xp
    above, gain = margin(white, logits, truth, wanted)
    if white.classes < 3:
        return above, gain
    order = xp.argsort(-logits, axis=1)
    low = white.hot(order[:, 2])
    if wanted is not None and white.classes > 3:
        low = 0.5 * (low + white.hot(order[:, 3]))
    spread = white.hot(order[:, 0]) - low
    size = (spread * logits).sum(axis=1, keepdims=True) + _TINY
    ratio = above / size
    return ratio, (gain - ratio * spread) / size


def best_other(white: WhiteBox, logits: Any, chosen: Any) -> Any:
    """Return the highest class other than the one chosen, as rows of zeros with a one, (k, classes)."""
    xp = white.xp
    return white.hot(xp.argmax(xp.where(chosen > 0, float("-inf"), logits), axis=1))
