"""Numbers and the names of measures, as people read them."""

from __future__ import annotations

from assay.core.measure import Measure

_WORDS = {"auc": "AUC", "tpr": "true positive rate", "fpr": "false positive rate", "psi": "PSI", "ks": "KS"}
_GOALS = ("quality", "evasion", "membership", "extraction", "poisoning")


def number(value: float) -> str:
    """Return a number with as many digits as help: counts whole, shares to three decimals, small ones to two digits."""
    size = abs(value)
    if value == int(value) and (size >= 2 or value == 0):
        return f"{value:,.0f}" if size < 1e15 else f"{value:.3g}"
    if size >= 1000:
        return f"{value:,.0f}" if size < 1e15 else f"{value:.3g}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.01:
        return f"{value:.3f}"
    return f"{value:.1e}" if size < 1e-4 else f"{value:.2g}"


def interval(measure: Measure) -> str:
    """Return the bounds of a measure; empty for an exact count."""
    if measure.low == measure.high:
        return ""
    return f"{number(measure.low)} – {number(measure.high)}"


def confidence(measure: Measure) -> str:
    """Return the coverage as in ``95 %``, with a space that does not break."""
    return f"{100 * measure.confidence:g}\u00a0%"


def label(measure: Measure) -> str:
    """Return what a measure is called before ``@``, in words: ``membership.tpr@..`` is "True positive rate"."""
    name = measure.name.partition("@")[0]
    goal, _, rest = name.partition(".")
    words = (rest if rest and goal in _GOALS else name).replace(".", " ").replace("_", " ").split()
    text = " ".join(_WORDS.get(word, word) for word in words) or measure.name
    return text[:1].upper() + text[1:]


def topic(measure: Measure) -> str:
    """Return the label with the goal in front where the goal says what is meant: "Membership AUC"."""
    goal = measure.name.partition("@")[0].partition(".")[0]
    text = label(measure)
    if goal in _GOALS[1:]:
        return f"{goal.capitalize()} {text if text.startswith('AUC') else text[:1].lower() + text[1:]}"
    return text


def terms(measure: Measure) -> str:
    """Return the parameters in a measure's name, after ``@``: ``fpr0.001, rmia``."""
    return ", ".join(measure.name.partition("@")[2].split(","))
