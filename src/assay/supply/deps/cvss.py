"""The base score of a CVSS 3.0 or 3.1 vector (FIRST, CVSS v3.1 specification, section 7.1)."""

from __future__ import annotations

from collections.abc import Mapping

_EXPLOIT: Mapping[str, Mapping[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}
_IMPACT = {"N": 0.0, "L": 0.22, "H": 0.56}


def base_score(vector: str) -> float | None:
    """Return the base score of a vector, 0 to 10; None when it is no CVSS 3 vector or not whole."""
    head, _, rest = vector.strip().partition("/")
    if head not in {"CVSS:3.0", "CVSS:3.1"}:
        return None
    held = dict(part.partition(":")[::2] for part in rest.split("/"))
    try:
        scope = held["S"]
        exploit = 8.22 * _PRIVILEGES[scope][held["PR"]]
        for key, values in _EXPLOIT.items():
            exploit *= values[held[key]]
        kept = 1.0
        for key in "CIA":
            kept *= 1 - _IMPACT[held[key]]
    except KeyError:
        return None
    lost = 1 - kept
    if scope == "U":
        impact = 6.42 * lost
        return _round_up(min(impact + exploit, 10)) if impact > 0 else 0.0
    impact = 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15
    return _round_up(min(1.08 * (impact + exploit), 10)) if impact > 0 else 0.0


def _round_up(score: float) -> float:
    """Return the smallest tenth that is not below a score, free of floating-point dust (Appendix A)."""
    whole = round(score * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (whole // 10_000 + 1) / 10
