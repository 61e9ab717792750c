"""Fixed features of small pictures: how strong edges of each direction are in overlapping windows.

Private training has a budget of noise for every weight, so that features in which the classes are already apart are
worth most where epsilon is small (Tramer & Boneh 2021). These learn nothing: each row's depend on that row alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

DIRECTIONS = 8
# How narrowly a direction is looked at: half as strong at half the angle to the next.
SHARPNESS = 8
# Weights of a window of four values, which comes every two.
WINDOW = np.array([0.25, 0.75, 0.75, 0.25])
TINY = 1e-9
_BLOCK = 1 << 22


def widths_of(image: tuple[int, int]) -> int:
    """Return how many features a picture of (height, width) has."""
    return DIRECTIONS * (image[0] // 2) * (image[1] // 2)


def turns() -> Array:
    """Return the directions as unit vectors (right, down), (DIRECTIONS, 2)."""
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def edges(x: Array, image: tuple[int, int]) -> Array:
    """Return the features (n, ``widths_of(image)``) of pictures (n, height * width) of one channel.

    Gradients by central differences, shared out to directions, summed over windows; of the sums the square root. After
    Dalal & Triggs 2005 (histograms of oriented gradients).
    """
    size = max(1, _BLOCK // (DIRECTIONS * x.shape[1]))
    parts = [_edges(x[start : start + size].reshape(-1, *image)) for start in range(0, len(x), size)]
    return np.concatenate(parts) if parts else np.empty((0, widths_of(image)))


def _edges(pictures: Array) -> Array:
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    slope = np.stack([padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]], axis=1)
    strength = np.sqrt(np.square(slope).sum(axis=1, keepdims=True))
    along = np.einsum("kc,nchw->nkhw", turns(), slope) / np.maximum(strength, TINY)
    maps = np.maximum(along, 0.0) ** SHARPNESS * strength
    down, right = (_windows(length) for length in pictures.shape[1:])
    sums: Array = np.einsum("nkhw,gh,vw->nkgv", maps, down, right, optimize=True)
    return np.sqrt(sums).reshape(len(pictures), -1)


def _windows(length: int) -> Array:
    """Return the weights (length // 2, length) of the windows along one side."""
    made = np.zeros((length // 2, length + 2))
    for number, row in enumerate(made):
        row[2 * number : 2 * number + 4] = WINDOW
    return made[:, 1:-1]
