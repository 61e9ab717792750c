"""Path finding: the leaves of a decision tree give themselves away by their answers, and lines find their walls."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from assay.assessment.extraction.base import ANSWERS, SHOWN, ExtractionAttack, Purse
from assay.assessment.extraction.surrogates import forest
from assay.assessment.extraction.thief import owned
from assay.assessment.rising import Rising
from assay.contract.draw import drawn
from assay.core.settings import Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.extraction.base import Copy
    from assay.contract.region import Region

    Array = NDArray[np.float64]

_STARTS = 20
_TRIED = 100
_BESIDE = 0.1
_REACH = 10.0
_SAME = 1e-9
_BLOCK_VALUES = 4_000_000


class Leaf(NamedTuple):
    """A box in which the model gives one answer: low < x <= high (d,), and the answer (c,)."""

    low: Array
    high: Array
    answer: Array


@dataclass(frozen=True, slots=True)
class PathFinding(
    ExtractionAttack, name="path_finding", techniques=("AML.T0024.002",), mitigations=("AML.M0002", "AML.M0004")
):
    """Find the box of each leaf by halving along every column, then step over its walls into the next leaf.

    Tramer, Zhang, Juels, Reiter & Ristenpart 2016, section 4.2 (algorithm 1, bottom up). Exact for one tree whose leaves
    answer differently. Boxes are then tried on rows at hand, and one that an answer contradicts is dropped for what a
    forest learns from all answers; so trees with many equal leaves, forests and boosted trees are copied too.
    """

    budgets: tuple[int, ...] = setting((100, 300, 1000), Rising(1, 10_000_000, whole=True), "Numbers of rows asked.")
    answers: str = setting("probabilities", ANSWERS, "What the thief sees of each answer.")
    precision: float = setting(1e-3, Within(1e-9, 0.5), "Width at which a wall is known, as a share of the range.")

    @property
    def threat_model(self) -> str:
        """What the attacker knows and may do, in words."""
        return f"black box; knows the ranges; {SHOWN[self.answers]}; guesses that the model is a tree; asks any row it likes"

    def explore(self, purse: Purse, pool: Array, region: Region, generator: np.random.Generator) -> None:
        """Walk from leaf to leaf until the budget ends, or no wall is left to step over and rows surprise no more."""
        count = max(_STARTS, purse.limit)
        rows = owned(pool, region, count, generator) if len(pool) else drawn(region, count, _REACH, generator)
        low, high = _ends(region, pool if len(pool) else rows)
        whole = region.whole | region.category
        leaves: list[Leaf] = []
        starts, rows = rows[:_STARTS], rows[_STARTS:]
        while purse.left and len(starts):
            self._walk(purse, starts, leaves, (low, high), whole)
            tried, rows = np.nan_to_num(rows[:_TRIED]), rows[_TRIED:]
            wrong = _wrong(leaves, tried, purse.ask(tried))
            leaves = [leaf for leaf, bad in zip(leaves, wrong[1], strict=True) if not bad]
            starts = tried[: len(wrong[0])][wrong[0]]

    def _walk(
        self, purse: Purse, starts: Array, leaves: list[Leaf], ends: tuple[Array, Array], whole: NDArray[np.bool_]
    ) -> None:
        """Find the leaf of each start, and of what lies beyond its walls, as far as none of ``leaves`` holds it."""
        queue = deque(np.nan_to_num(starts))
        while queue and purse.left:
            point = queue.popleft()
            if any(((point > leaf.low) & (point <= leaf.high)).all() for leaf in leaves):
                continue
            found = self._leaf(purse, point, *ends, whole)
            if found is None:
                continue
            leaves.append(found[0])
            purse.notes.append((purse.answered, found[0]))
            queue.extend(found[1])

    def _leaf(
        self, purse: Purse, point: Array, low: Array, high: Array, whole: NDArray[np.bool_]
    ) -> tuple[Leaf, list[Array]] | None:
        """Return the leaf around a point, and points beyond its walls; None when it cannot be known.

        The budget ends, or a guard refuses the point. Where a guard refuses, the leaf ends.
        """
        d = len(point)
        ends = np.concatenate([low, high])
        column = np.tile(np.arange(d), 2)
        far = np.tile(point, (2 * d, 1))
        far[np.arange(2 * d), column] = ends
        answers = purse.ask(np.vstack([point, far]))
        if len(answers) < 2 * d + 1 or np.isnan(answers[0]).any():
            return None
        answer = answers[0]
        walls = np.flatnonzero(~(np.abs(answers[1:] - answer).max(axis=1) <= _SAME))
        inside, outside = np.tile(point, 2)[walls], ends[walls]
        gap = np.where(whole[column[walls]], 1.0, self.precision * (high - low)[column[walls]])
        while (wide := np.flatnonzero(np.abs(outside - inside) > gap * (1 + 1e-9))).size:
            middle = (inside[wide] + outside[wide]) / 2.0
            middle = np.where(whole[column[walls[wide]]], np.floor(middle), middle)
            rows = np.tile(point, (len(wide), 1))
            rows[np.arange(len(wide)), column[walls[wide]]] = middle
            seen = purse.ask(rows)
            if len(seen) < len(wide):
                return None
            same = np.abs(seen - answer).max(axis=1) <= _SAME
            inside[wide] = np.where(same, middle, inside[wide])
            outside[wide] = np.where(same, outside[wide], middle)
        box_low, box_high = np.full(d, -np.inf), np.full(d, np.inf)
        beyond = []
        for wall, near, away in zip(walls, inside, outside, strict=True):
            (box_low if wall < d else box_high)[column[wall]] = (near + away) / 2.0
            step = point.copy()
            step[column[wall]] = away
            beyond.append(step)
        return Leaf(box_low, box_high, answer), beyond

    def copy(self, x: Array, answers: Array, notes: list[object], *, seed: int) -> Copy:
        """Return the boxes that no answer contradicts; other rows get a forest's answer, fitted to all that was asked."""
        found = [note for note in notes if isinstance(note, Leaf)]
        boxes = [leaf for leaf, bad in zip(found, _wrong(found, x, answers)[1], strict=True) if not bad]
        rest = forest(x, answers, seed)
        if not boxes:
            return rest
        low, high = np.stack([b.low for b in boxes]), np.stack([b.high for b in boxes])
        said = np.stack([b.answer for b in boxes])

        def copied(rows: Array) -> Array:
            out = rest(rows)
            size = max(1, _BLOCK_VALUES // low.size)
            for start in range(0, len(rows), size):
                part = np.nan_to_num(rows[start : start + size])[:, None]
                held: NDArray[np.bool_] = np.all((part > low) & (part <= high), axis=2)
                hit = np.flatnonzero(held.any(axis=1))
                out[start + hit] = said[held[hit].argmax(axis=1)]
            return out

        return copied


def _wrong(leaves: list[Leaf], rows: Array, answers: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows (m, d) with answers (m, c) no leaf foretells, (m,), and which leaves answers contradict, (k,).

    Rows that were refused, whose answers are NaN, contradict nothing.
    """
    rows = rows[: len(answers)]
    known: NDArray[np.bool_] = ~np.any(np.isnan(answers), axis=1)
    wrong = np.zeros(len(leaves), dtype=bool)
    told = ~known
    for i, leaf in enumerate(leaves):
        inside: NDArray[np.bool_] = known & np.all((rows > leaf.low) & (rows <= leaf.high), axis=1)
        same = np.abs(answers - leaf.answer).max(axis=1) <= _SAME
        told |= inside & same
        # A wall is known to a width only, so that a row beside it may be taken for one of the next leaf.
        wrong[i] = (inside & ~same).sum() > _BESIDE * inside.sum()
    surprises: NDArray[np.bool_] = ~told
    return surprises, wrong


def _ends(region: Region, rows: Array) -> tuple[Array, Array]:
    """Return the least and greatest values to try, (d,): the region's, or a little beyond the rows where it is open."""
    reach = np.nanmax(rows, axis=0) - np.nanmin(rows, axis=0) + region.scale
    low = np.where(np.isfinite(region.base_low), region.base_low, np.nanmin(rows, axis=0) - reach)
    high = np.where(np.isfinite(region.base_high), region.base_high, np.nanmax(rows, axis=0) + reach)
    return low, high
