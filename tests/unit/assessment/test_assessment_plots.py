"""Series of a plot can be told apart, and a point carries its interval."""

from __future__ import annotations

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.report.html import _figure
from assay.assessment.report.plots import draw, swatch


def points(count, *, bounds=True):
    side = [np.array([0.2]), np.array([0.4])] if bounds else []
    return Curve(
        "membership", "t", "x", "y", tuple(Series(str(n), np.array([n]), np.array([0.3]), *side) for n in range(count))
    )


def test_many_series_look_different():
    assert len({swatch(n) for n in range(36)}) == 36


def test_a_point_has_a_bar_and_no_line():
    plain, barred = draw(points(1, bounds=False), "k"), draw(points(1), "k")
    assert len(barred) > len(plain)
    assert "M1 6h28" not in _figure(points(3), "k")
