"""Curves as inline SVG that takes the page's colours and is the same bytes for the same curve."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from assay.assessment.report.markup import Html, clean, safe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.assessment.curves import Curve, Series

    Array = NDArray[np.float64]

COLOURS = 6
_SIZE = (5.4, 3.5)
_GRID = 1_000
_MOST_POINTS = 4_000
_FEW = 24
_LARGEST = 1e12
_SMALLEST = 1e-6
_LABEL = 70
# Drawn in colours that nothing else uses, each of which becomes a variable of the page's style.
_INK, _AXIS, _LINES = "#010107", "#010108", "#010109"
_DRAWN = tuple(f"#0101{n:02x}" for n in range(0x10, 0x10 + COLOURS))
_VARIABLES = {_INK: "--muted", _AXIS: "--rule-strong", _LINES: "--rule"} | {
    colour: f"--s{n}" for n, colour in enumerate(_DRAWN)
}
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.2, 1.6)), (0, (7, 2, 1.5, 2)), (0, (3, 1.2)), (0, (9, 3)))
_SWATCH_DASHES = ("", "6 2.5", "1.5 2", "8 2.5 2 2.5", "4 1.6", "10 3.5")
_MARKERS = "osD^vP"
_SWATCHES = (
    '<circle cx="15" cy="6" r="3.2"/>',
    '<path d="M12 3h6v6h-6z"/>',
    '<path d="M15 2l4 4-4 4-4-4z"/>',
    '<path d="M15 2l4 7h-8z"/>',
    '<path d="M15 10l4-7h-8z"/>',
    '<path d="M13.7 2h2.6v2.7H19v2.6h-2.7V10h-2.6V7.3H11V4.7h2.7z"/>',
)


def draw(curve: Curve, key: str) -> Html:
    """Return the curve as an ``<svg>`` whose ids start with ``key``; empty when it has no point that can be drawn.

    Points that are not finite are left out. On a logarithmic axis, values at or below zero lie on its lower end.
    """
    lines = [_points(series, curve) for series in curve.series]
    if not any(len(line[0]) for line in lines):
        return Html("")
    import matplotlib as mpl

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "assay", "text.parse_math": False, "path.simplify": True}
    # Labels may hold characters that the measuring font lacks; the reader's font draws them.
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _inline(_render(curve, lines), curve, key)


def swatch(position: int, *, line: bool = True) -> Html:
    """Return the sample of a series for the legend: its colour and marker, and its dashes where it is a line."""
    n, shape = _look(position)
    dashes = f' stroke-dasharray="{_SWATCH_DASHES[shape]}"' if _SWATCH_DASHES[shape] else ""
    drawn = f'<path d="M1 6h28" fill="none" stroke="currentColor" stroke-width="2"{dashes}/>' if line else ""
    return Html(
        f'<svg class="swatch" viewBox="0 0 30 12" aria-hidden="true" style="color:var(--s{n})">{drawn}'
        f'<g fill="currentColor">{_SWATCHES[shape]}</g></svg>'
    )


def _look(position: int) -> tuple[int, int]:
    """Return the number of a series' colour, and of its dashes and marker; 36 series look different."""
    return position % COLOURS, (position + position // COLOURS) % COLOURS


def _points(series: Series, curve: Curve) -> tuple[Array, Array, Array, Array]:
    """Return x, y, low and high of the points that can be drawn; bounds are NaN where there are none."""
    import numpy as np

    x, y = np.ravel(series.x).astype(np.float64), np.ravel(series.y).astype(np.float64)
    m = min(len(x), len(y))
    ends = []
    for bound in (series.low, series.high):
        given = np.full(0, np.nan) if bound is None else np.ravel(bound).astype(np.float64)[:m]
        ends.append(np.concatenate([given, np.full(m - len(given), np.nan)]))
    low, high = (np.where(_drawable(ends[0]) & _drawable(ends[1]), end, np.nan) for end in ends)
    kept = _drawable(x[:m]) & _drawable(y[:m])
    x, y, low, high = (v[:m][kept] for v in (x, y, low, high))
    return _thinned((x, y, low, high), curve)


def _drawable(values: Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    import numpy as np

    inside: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.isfinite(values) & (np.abs(values) < _LARGEST)
    return inside


def _thinned(line: tuple[Array, Array, Array, Array], curve: Curve) -> tuple[Array, Array, Array, Array]:
    """Return the line without points that fall on the place of the point before, and at most 4,000 of them."""
    import numpy as np

    if len(line[0]) < 2 * _FEW:
        return line
    places = np.stack([_places(line[0], log=curve.log_x), *(_places(v, log=curve.log_y) for v in line[1:])])
    changed = np.r_[True, (np.diff(places, axis=1) != 0).any(axis=0)]
    changed[-1] = True
    kept = np.flatnonzero(changed)
    if len(kept) > _MOST_POINTS:
        kept = kept[np.linspace(0, len(kept) - 1, _MOST_POINTS).astype(np.intp)]
    x, y, low, high = (v[kept] for v in line)
    return x, y, low, high


def _places(values: Array, *, log: bool) -> NDArray[np.intp]:
    import numpy as np

    seen = np.log10(np.maximum(values, _SMALLEST)) if log else values
    seen = np.nan_to_num(seen, nan=0.0)
    reach = float(np.ptp(seen)) or 1.0
    places: NDArray[np.intp] = ((seen - seen.min()) / reach * _GRID).astype(np.intp)
    return places


def _floor(lines: list[tuple[Array, Array, Array, Array]], axis: int) -> float:
    """Return the power of ten at or below the smallest positive value on an axis, not below 1e-6."""
    import numpy as np

    values = np.concatenate([line[axis] for line in lines])
    positive = values[values > 0]
    smallest = float(positive.min()) if len(positive) else 0.1
    return float(10.0 ** np.floor(np.log10(max(smallest, _SMALLEST)) + 1e-9))


def _render(curve: Curve, lines: list[tuple[Array, Array, Array, Array]]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    floors = [_floor(lines, 0), _floor(lines, 1)]
    if curve.diagonal and curve.log_x and curve.log_y:
        floors[1] = min(floors)
    # Few lines first lie on top: what is named first matters most.
    for n in reversed(range(len(lines))):
        if len(lines[n][0]):
            _line(axes, curve, lines[n], n, floors)
    _scales(axes, curve, lines, floors)
    _dress(axes, curve)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return out.getvalue()


def _line(axes: Any, curve: Curve, line: tuple[Array, Array, Array, Array], n: int, floors: list[float]) -> None:
    import numpy as np

    x = np.maximum(line[0], floors[0]) if curve.log_x else line[0]
    y, low, high = (np.maximum(v, floors[1]) if curve.log_y else v for v in line[1:])
    tint, shape = _look(n)
    colour, style, mark = _DRAWN[tint], _DASHES[shape], _MARKERS[shape]
    if len(x) == 1:
        axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.6, zorder=2 - 0.01 * n)
    elif np.isfinite(low).any():
        axes.fill_between(
            x, low, high, where=np.isfinite(low), color=colour, alpha=0.14, linewidth=0, zorder=2 - 0.01 * n
        )
    few = len(x) <= _FEW
    axes.plot(
        x, y, color=colour, linestyle=style, linewidth=1.8, marker=mark, markersize=4.5, markeredgewidth=0,
        markevery=1 if few else max(1, len(x) // 7), zorder=3 - 0.01 * n, solid_capstyle="round",
    )  # fmt: skip


def _scales(axes: Any, curve: Curve, lines: list[tuple[Array, Array, Array, Array]], floors: list[float]) -> None:
    import numpy as np

    x, y = (np.concatenate([line[axis] for line in lines]) for axis in (0, 1))
    square = curve.diagonal and all(v.min() >= 0 and v.max() <= 1 for v in (x, y))
    axes.margins(x=0.03, y=0.08)
    if curve.log_x:
        axes.set_xscale("log")
    if curve.log_y:
        axes.set_yscale("log")
    if square:
        axes.set_xlim(floors[0] if curve.log_x else -0.02, 1.15 if curve.log_x else 1.02)
        axes.set_ylim(floors[1] if curve.log_y else -0.02, 1.3 if curve.log_y else 1.02)
    elif not curve.log_y and y.min() >= 0 and y.max() <= 1:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -0.02), min(high, 1.02))
    if curve.diagonal:
        ends = _diagonal(curve, x, y, floors, square=square)
        axes.plot(ends, ends, color=_INK, linewidth=1.0, linestyle=(0, (3, 3)), zorder=1.5)


def _diagonal(curve: Curve, x: Array, y: Array, floors: list[float], *, square: bool) -> list[float]:
    """Return where the line y = x starts and ends on these axes."""
    if square:
        return [max(floors) if curve.log_x and curve.log_y else floors[0] if curve.log_x else 0.0, 1.0]
    low = max(floors) if curve.log_x and curve.log_y else min(float(x.min()), float(y.min()))
    return [low, min(float(x.max()), float(y.max()))]


def _dress(axes: Any, curve: Curve) -> None:
    """Set axes, ticks and labels: a light grid, no frame, the name of y above the axis where it is read level."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_AXIS)
    axes.spines["bottom"].set_linewidth(0.8)
    axes.grid(visible=True, axis="y", color=_LINES, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="both", which="major", colors=_INK, labelsize=9, length=0, pad=5)
    axes.tick_params(axis="x", which="major", length=3, width=0.8)
    axes.tick_params(axis="both", which="minor", length=0)
    for axis, log in ((axes.xaxis, curve.log_x), (axes.yaxis, curve.log_y)):
        axis.set_major_locator(LogLocator(numticks=7) if log else MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(_tick))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(_short(curve.x_label), color=_INK, fontsize=9, labelpad=6, loc="right")
    axes.set_title(_short(curve.y_label), color=_INK, fontsize=9, pad=8, loc="left")


def _tick(value: float, _: int) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{round(value, 12):g}".replace("-", "−")


def _short(text: str) -> str:
    words = " ".join(clean(text).split())
    return words if len(words) <= _LABEL else f"{words[: _LABEL - 1]}…"


_TAG = re.compile(r"<[^<>]+>")
_NAMED = re.compile(r'(\bid="|url\(#|href="#)')
_COLOUR = re.compile("|".join(map(re.escape, _VARIABLES)))
_FONT = re.compile(r"font-family: [^;\"]*;?|font: (\d+(?:\.\d+)?)px [^;\"]*")
_GROUP = re.compile(r'(<g) id="[^"]*"')


def _inline(document: str, curve: Curve, key: str) -> Html:
    """Return the ``<svg>`` of a document as part of a page: its ids unique, its colours the page's, no links out."""
    inner = document[document.index("<svg") :]
    inner = inner[inner.index(">") + 1 : inner.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", inner, flags=re.DOTALL)
    inner = _TAG.sub(lambda found: _restyled(found[0], key), inner)
    inner = re.sub(r">\s+<", "><", inner)
    width, height = (72 * side for side in _SIZE)
    name = safe(". ".join(part.rstrip(".") for part in (curve.title, curve.caption) if part) or "Plot")
    box = f'viewBox="0 0 {width:g} {height:g}"'
    return Html(f'<svg class="plot" {box} role="img" aria-label="{name}">{inner.strip()}</svg>')


def _restyled(element: str, key: str) -> str:
    element = _GROUP.sub(r"\1", element).replace("xlink:href", "href")
    element = _NAMED.sub(rf"\g<1>{key}-", element)
    element = _FONT.sub(lambda found: f"font-size: {found[1]}px" if found[1] else "", element)
    return " ".join(_COLOUR.sub(lambda found: f"var({_VARIABLES[found[0]]})", element).split())
