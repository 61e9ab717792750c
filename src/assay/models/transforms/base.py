"""What every input transformation shares: it says how it is applied, and how an attacker goes back through it.

A transformation that breaks the gradient (rounding, a median) hides the slope from an attacker who does not know
it, and from nobody else: ``pull`` is what such an attacker puts in its place (backward pass differentiable
approximation, Athalye, Carlini & Wagner 2018).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.core.discovery import Control
from assay.core.errors import DataError
from assay.core.settings import check_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class Transform(Control, package="assay.models.transforms"):
    """A change made to every input before the model sees it. Subclasses are frozen dataclasses.

    random: two applications to one input differ. images: it needs samples of two or three axes.
    """

    __slots__ = ()
    random: ClassVar[bool] = False
    images: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_settings(self)

    @abstractmethod
    def apply(self, x: Array, generator: np.random.Generator) -> Array:
        """Return the transformed samples, shape of x (n, ...); x is left as it is."""

    def pull(self, x: Array, slope: Array) -> Array:
        """Return the slope before the transformation, from that behind it, both shape of x; here: the same."""
        del x
        return slope


def planes(x: Array) -> Array:
    """Return images as (n, channels, height, width), a view of x where it can be.

    (n, h, w) has one channel; (n, c, h, w) and (n, h, w, c) are told apart by the smaller end. Raises DataError.
    """
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4:
        return x if x.shape[1] <= x.shape[3] else np.moveaxis(x, 3, 1)
    raise DataError(f"samples of shape {x.shape[1:]} are no images", remedy="Give (n, h, w) or (n, c, h, w)")


def unplaned(images: Array, like: Array) -> Array:
    """Return ``planes`` undone: images (n, c, h, w) in the shape of ``like``."""
    if like.ndim == 3:
        return images[:, 0]
    return images if like.shape[1] <= like.shape[3] else np.moveaxis(images, 1, 3)
