"""Per-row gradients as an auditor needs them: their lengths, weighted sums, products with a vector and with each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]


class Gradients(ABC):
    """Gradients of n rows in parts, one a layer, that are clipped each by itself or all together."""

    @abstractmethod
    def squares(self) -> Array:
        """Return the squared lengths (parts, n)."""

    @abstractmethod
    def sums(self, weights: Array) -> Array:
        """Return weighted sums (w, p) for weights (parts or 1, w, n)."""

    @abstractmethod
    def dots(self, vector: Array, weights: Array) -> Array:
        """Return the products (n,) of weighted gradients and a vector (p,), for weights (parts or 1, n)."""

    @abstractmethod
    def overlaps(self, weights: Array) -> Array:
        """Return the products (n, n) of weighted gradients with each other, for weights (parts or 1, n)."""


@dataclass(frozen=True, slots=True)
class Whole(Gradients):
    """Gradients (n, p) written out, in parts of the given lengths."""

    rows: Array
    lengths: Sequence[int]

    def squares(self) -> Array:
        """Return the squared lengths (parts, n)."""
        return np.stack([np.einsum("ij,ij->i", part, part) for part in self._parts()])

    def sums(self, weights: Array) -> Array:
        """Return weighted sums (w, p)."""
        return np.concatenate([w @ part for w, part in _each(weights, self._parts())], axis=1)

    def dots(self, vector: Array, weights: Array) -> Array:
        """Return the products (n,) with a vector."""
        pieces = np.split(vector, np.cumsum(self.lengths)[:-1])
        found = [w * (part @ piece) for (w, part), piece in zip(_each(weights, self._parts()), pieces, strict=True)]
        return np.asarray(np.sum(found, axis=0))

    def overlaps(self, weights: Array) -> Array:
        """Return the products (n, n) with each other."""
        return np.asarray(
            np.sum([np.outer(w, w) * (part @ part.T) for w, part in _each(weights, self._parts())], axis=0)
        )

    def _parts(self) -> list[Array]:
        return np.split(self.rows, np.cumsum(self.lengths)[:-1], axis=1)


@dataclass(frozen=True, slots=True)
class Outer(Gradients):
    """Gradients of dense layers, outer products of what comes back (n, out) and what went in (n, in), never written out."""

    pairs: Sequence[tuple[Array, Array]]

    def squares(self) -> Array:
        """Return the squared lengths (parts, n): the length of an outer product is the product of lengths."""
        return np.stack([np.einsum("ij,ij->i", b, b) * np.einsum("ij,ij->i", a, a) for b, a in self.pairs])

    def sums(self, weights: Array) -> Array:
        """Return weighted sums (w, p)."""
        found = [
            np.stack([((one[:, None] * b).T @ a).ravel() for one in w]) for w, (b, a) in _each(weights, self.pairs)
        ]
        return np.concatenate(found, axis=1)

    def dots(self, vector: Array, weights: Array) -> Array:
        """Return the products (n,) with a vector."""
        total, start = np.zeros(len(self.pairs[0][0])), 0
        for w, (b, a) in _each(weights, self.pairs):
            piece = vector[start : start + b.shape[1] * a.shape[1]].reshape(b.shape[1], a.shape[1])
            total += w * np.einsum("ij,ij->i", b @ piece, a)
            start += piece.size
        return total

    def overlaps(self, weights: Array) -> Array:
        """Return the products (n, n) with each other."""
        found = [np.outer(w, w) * (b @ b.T) * (a @ a.T) for w, (b, a) in _each(weights, self.pairs)]
        return np.asarray(np.sum(found, axis=0))


def _each(weights: Array, parts: Sequence[Any]) -> list[tuple[Array, Any]]:
    """Pair weights with parts; one weight serves all."""
    return [(weights[number % len(weights)], part) for number, part in enumerate(parts)]
