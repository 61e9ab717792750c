"""Exhibits in a report: pictures as PNG inside the page, and tables of words."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.exhibits import Exhibit, Gallery, Listing
from assay.assessment.report.markup import Html, safe, table, tag

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR = 0, 2


def show(item: Exhibit) -> Html:
    """Return an exhibit as a figure."""
    words = [tag("h3", item.title), tag("p", item.caption) if item.caption else ""]
    inner = _pictures(item) if isinstance(item, Gallery) else _words(item)
    return tag("figure", [tag("figcaption", words), inner], class_="exhibit")


def png(image: NDArray[np.float64]) -> bytes:
    """Return an image (h, w) or (h, w, 3) of values in [0, 1] as a PNG file of 8 bits a channel (ISO/IEC 15948)."""
    levels = np.clip(np.rint(np.nan_to_num(image) * 255.0), 0, 255).astype(np.uint8)
    height, width = levels.shape[:2]
    kind = _COLOUR if levels.ndim == 3 else _GREY
    lines = np.concatenate([np.zeros((height, 1), np.uint8), levels.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return (
        _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _pictures(gallery: Gallery) -> Html:
    cells = []
    for image, name in zip(gallery.images, gallery.names, strict=True):
        source = base64.b64encode(png(image)).decode("ascii")
        drawn = Html(f'<img src="data:image/png;base64,{source}" alt="{safe(name)}">')
        cells.append(tag("li", [drawn, tag("span", name)]))
    return tag("ul", cells, class_="gallery", style=f"grid-template-columns: repeat({max(1, gallery.columns)}, 1fr)")


def _words(listing: Listing) -> Html:
    return table(listing.heads, [list(row) for row in listing.rows], kind="listing")
