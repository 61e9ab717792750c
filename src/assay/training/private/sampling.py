"""Poisson samples: in every step each row is in with chance ``rate``, by itself. The proof knows no other sampler.

Shuffled epochs, fixed batch sizes, weighted rows and rows drawn with replacement have other guarantees, and calling
them by the rate of Poisson sampling gives an epsilon that is not true.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from assay.core.errors import Refused, SettingError
from assay.training.private.noise import Noise

if TYPE_CHECKING:
    from numpy.typing import NDArray


def poisson_batches(noise: Noise, rows: int, rate: float, steps: int) -> Iterator[NDArray[np.intp]]:
    """Yield, for each of ``steps``, the ascending positions of the rows that are in; it may be none.

    The coins of all rows and steps are one long row of coins; drawing the gaps between heads is the same thing as
    throwing each, and costs what is in the sample instead of what is in the table.
    """
    if not 0 < rate <= 1:
        raise SettingError(f"the sample rate cannot be {rate}", remedy="Give a number in (0, 1]")
    if rate == 1:
        yield from (np.arange(rows) for _ in range(steps))
        return
    position, heads = -1, np.empty(0, np.int64)
    for step in range(steps):
        start, end = step * rows, (step + 1) * rows
        while not len(heads) or heads[-1] < end:
            more = position + np.cumsum(noise.gaps(rate, max(64, int(rate * rows * min(steps - step, 64) * 1.1))))
            position = int(more[-1])
            heads = np.concatenate([heads, more])
        cut = int(np.searchsorted(heads, end))
        yield (heads[:cut] - start).astype(np.intp)
        heads = heads[cut:]


def refuse_other_sampler(sampler: object) -> None:
    """Refuse a sampler or loader of another library, naming what it does instead and the remedy. Always raises Refused."""
    kind = type(sampler).__name__
    said = next((text for key, text in _OTHERS.items() if key in kind.lower()), "is not known to be Poisson sampling")
    raise Refused(
        f"{kind} {said}: epsilon would not be what the accountant says",
        reason="sampler-not-poisson",
        remedy="Give the rows themselves and a sample_rate; each step then draws its own Poisson sample",
    )


_OTHERS = {
    "weighted": "gives rows different chances, so that the largest counts, not the mean",
    "random": "shuffles into batches of one size",
    "sequential": "takes every row once in each epoch",
    "distributed": "splits rows into fixed shares",
    "loader": "cuts an epoch into batches of one size",
    "batch": "makes batches of one size",
}
