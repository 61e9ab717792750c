"""Tables for people, in plain text: columns that fit the width, long cells folded, nothing that steers a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from unicodedata import combining, east_asian_width

_GAP = 2
_NARROWEST = 12


def render(
    headings: Sequence[str], rows: Sequence[Sequence[str]], width: int, styles: Mapping[str, str] | None = None
) -> str:
    """Return headings and rows as lines of at most ``width`` columns, where the first column leaves room for that.

    The first column names things and is never folded; another in which no row says anything is left out.
    styles: word -> colour, for cells that are just that word; None for text without any escape sequence.
    """
    # The caller's file names and messages may come from an attacker: no cell may hold a control character.
    told = [i for i in range(len(headings)) if i == 0 or not rows or any(row[i] for row in rows)]
    cells = [[printable(row[i]) for i in told] for row in (headings, *rows)]
    widths = _fitted([max(columns_of(row[i]) for row in cells) for i in range(len(told))], width)
    lines = []
    for number, row in enumerate(cells):
        folded = [[cell] if i == 0 else _fold(cell, widths[i]) for i, cell in enumerate(row)]
        for part in range(max(map(len, folded), default=0)):
            shown = [
                _cell(f[part] if part < len(f) else "", w, number == 0, styles)
                for f, w in zip(folded, widths, strict=True)
            ]
            lines.append((" " * _GAP).join(shown).rstrip())
    return "\n".join(lines)


def printable(text: str) -> str:
    """Return text on which a terminal does nothing but show it: control and direction characters are written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in {"W", "F"} else 1 for c in text)


def _fitted(wanted: list[int], width: int) -> list[int]:
    """Return the widths of the columns: the widest of those that may be folded give way until all fit."""
    widths = list(wanted)
    over = sum(widths) + _GAP * (len(widths) - 1) - width
    while over > 0:
        rank = sorted(range(1, len(widths)), key=lambda i: -widths[i])
        if not rank or widths[rank[0]] <= _NARROWEST:
            break
        second = max(widths[rank[1]] if len(rank) > 1 else 0, _NARROWEST)
        cut = min(over, max(1, widths[rank[0]] - second))
        widths[rank[0]] -= cut
        over -= cut
    return widths


def _fold(text: str, width: int) -> list[str]:
    """Return a text in pieces of at most ``width`` columns, between words where there are any."""
    lines, line, used = [], "", 0
    for word in text.split(" "):
        for piece in _pieces(word, width):
            size = columns_of(piece)
            if line and used + 1 + size > width:
                lines.append(line)
                line, used = piece, size
            else:
                line, used = (f"{line} {piece}", used + 1 + size) if line else (piece, size)
    return [*lines, line]


def _pieces(word: str, width: int) -> list[str]:
    if columns_of(word) <= width:
        return [word]
    pieces = [""]
    for character in word:
        if columns_of(pieces[-1]) + columns_of(character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def _cell(text: str, width: int, heading: bool, styles: Mapping[str, str] | None) -> str:
    padded = text + " " * (width - columns_of(text))
    if styles is None or not text:
        return padded
    if heading:
        return f"\x1b[1m{padded}\x1b[0m"
    colour = styles.get(text)
    return f"\x1b[{_COLOURS[colour]}m{padded}\x1b[0m" if colour else padded


_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36}

__all__ = ["columns_of", "printable", "render"]
