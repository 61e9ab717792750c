"""How far two spellings lie apart, and whether they look alike."""

from __future__ import annotations

import unicodedata

_KEYS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_GLYPHS = str.maketrans(
    "аеорсухіјѕԁһԛԝкмтвнαοροντικιυχ", "aeopcyxijsdhqwkmtbhaopovtikiux"
)  # fmt: skip
_LIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "3": "e", "8": "b", "q": "g", "2": "z", "4": "a"})


def distance(a: str, b: str, limit: int = 2) -> int:
    """Return the Damerau-Levenshtein distance (optimal string alignment), ``limit + 1`` when it is larger."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before, last = last, row
    return min(last[-1], limit + 1)


def slip(name: str, target: str) -> str:
    """Return in words how a name at distance 1 differs from its target."""
    if len(name) != len(target):
        return "a letter is missing" if len(name) < len(target) else "a letter is added"
    pairs = [(a, b) for a, b in zip(name, target, strict=True) if a != b]
    if len(pairs) == 2:
        return "two letters are swapped"
    return "a letter is replaced by the key beside it" if pairs[0][0] in _beside(pairs[0][1]) else "a letter differs"


def _beside(key: str) -> str:
    for row, line in enumerate(_KEYS):
        if (at := line.find(key)) >= 0:
            around = "".join(other[max(at - 1, 0) : at + 2] for other in _KEYS[max(row - 1, 0) : row + 2])
            return around.replace(key, "")
    return ""


def skeleton(name: str) -> str:
    """Return a form that names made of letters of the same look share."""
    plain = unicodedata.normalize("NFKC", name).lower().translate(_GLYPHS)
    return plain.replace("rn", "m").replace("vv", "w").replace("cl", "d").translate(_LIKE)
