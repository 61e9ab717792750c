"""Pictures and tables survive a file, and stand in the report as they are."""

from __future__ import annotations

import base64
import io
import re
from datetime import datetime, timezone

import numpy as np
import pytest
from matplotlib.image import imread

from assay.assessment.exhibits import Gallery, Listing, exhibit
from assay.assessment.report.content import Report
from assay.assessment.report.html import page
from assay.assessment.report.pictures import png
from assay.core.canonical import canonical_bytes, parse
from assay.core.errors import FormatError

WHEN = datetime(2026, 1, 31, tzinfo=timezone.utc)


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 3)])
def test_a_picture_is_a_png_that_others_read(shape):
    image = np.random.default_rng(0).uniform(size=shape)
    assert np.abs(imread(io.BytesIO(png(image)), format="png") - image).max() <= 0.5 / 255 + 1e-6


def test_values_beyond_the_range_and_missing_ones_are_held():
    assert png(np.array([[np.nan, -5.0, 9.0]])) == png(np.array([[0.0, 0.0, 1.0]]))


def test_exhibits_survive_a_file():
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 3)) / 255.0
    for item in (
        Gallery("inversion", "t", images, ("a", "b"), 2, "c"),
        Listing("evasion", "t", ("x", "y"), (("1", "2"),)),
    ):
        again = exhibit(parse(canonical_bytes(item.to_json())))
        assert again.to_json() == item.to_json()
    with pytest.raises(FormatError):
        exhibit({"kind": "sculpture"})


def test_the_report_shows_them_under_their_goal_and_escapes_their_words():
    shown = (
        Gallery("inversion", "Faces", np.ones((1, 2, 2)), ("<b>class 1</b>",)),
        Listing("evasion", "Changes", ("from", "to"), (("<script>", "2"),)),
    )
    text = page(Report("t", "", None, WHEN, exhibits=shown))
    assert "<script>" not in text
    assert "<b>class" not in text
    assert text.index('id="evasion"') < text.index("&lt;script&gt;") < text.index('id="inversion"')
    assert base64.b64decode(re.search(r"base64,([^\"]+)\"", text)[1]) == png(np.ones((2, 2)))
