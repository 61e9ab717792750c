"""HTML that cannot be broken out of: text is escaped unless it was made here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

_LONGEST = 4_000
_MOST_ROWS = 500
# Control characters break pages; bidirectional controls make a text read as something that it is not.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


class Html(str):
    """Markup that is safe to put on a page as it is."""

    __slots__ = ()


Content = str | Iterable[str]


def clean(text: str) -> str:
    """Return the text without characters that cannot be shown or that reorder it, cut at 4,000 characters."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
    return _UNSEEN.sub("\ufffd", cut)


def safe(content: Content) -> Html:
    """Return content as markup: ``Html`` as it is, any other text escaped, several one after the other."""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return Html(escape(clean(content), quote=True))
    return Html("".join(safe(part) for part in content))


def tag(name: str, content: Content = "", **attributes: str) -> Html:
    """Return an element. attributes: ``class_`` and ``data_label`` lose or turn their underscore; "" leaves one out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(value)}"' for key, value in attributes.items() if value
    )
    return Html(f"<{name}{given}>{safe(content)}</{name}>")


def table(heads: Sequence[str], rows: Sequence[Sequence[Content]], *, kind: str = "", numeric: str = "") -> Html:
    """Return a table whose rows turn into cards on a narrow screen. numeric: heads of columns of numbers, by comma."""
    right = {name for name in numeric.split(",") if name}
    classes = ["num" if name in right else "" for name in heads]
    top = tag("tr", [tag("th", name, scope="col", class_=c) for name, c in zip(heads, classes, strict=True)])
    body = [
        tag("tr", [tag("td", cell, data_label=h, class_=c) for cell, h, c in zip(row, heads, classes, strict=True)])
        for row in rows[:_MOST_ROWS]
    ]
    more = len(rows) - _MOST_ROWS
    rest = tag("p", f"{more:,} more rows are not shown.", class_="note") if more > 0 else ""
    whole = tag("table", [tag("thead", top), tag("tbody", body)], class_=f"stack {kind}".strip())
    return Html(whole + rest)
