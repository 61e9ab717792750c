"""The case: one model with its rows, region and budgets, as every goal of an assessment sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.core.clock import stream
from assay.core.errors import SettingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.contract.contract import Contract
    from assay.contract.region import Region
    from assay.models.predictor import Predictor
    from assay.models.refit import Refit

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Profile:
    """How hard to attack. evasion_rows: samples attacked; evasion_queries: budget of each.

    shadows: reference models of membership inference; audit_rows: most members, and most others, that are audited;
    fit_rows: most rows that a refit is given; thief_queries: budgets of extraction; flip_shares: of poisoning.
    """

    name: str
    evasion_rows: int
    evasion_queries: int
    shadows: int
    audit_rows: int
    fit_rows: int
    thief_queries: tuple[int, ...]
    flip_shares: tuple[float, ...]


PROFILES = {
    p.name: p
    for p in (
        Profile("quick", 200, 1_000, 8, 4_000, 12_000, (100, 300, 1_000), (0.0, 0.05, 0.1, 0.2)),
        Profile("standard", 500, 3_000, 16, 10_000, 40_000, (100, 300, 1_000, 3_000), (0.0, 0.02, 0.05, 0.1, 0.2)),
        Profile(
            "deep", 1_000, 10_000, 64, 50_000, 200_000, (100, 300, 1_000, 3_000, 10_000),
            (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3),
        ),
    )
}  # fmt: skip


def profile_of(name: str) -> Profile:
    """Return the profile of that name. Raises SettingError."""
    if name not in PROFILES:
        raise SettingError(f"there is no profile {name!r}", remedy=f"Use {', '.join(PROFILES)}")
    return PROFILES[name]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What is attacked. x_train (n, ...), y_train (n,): rows that it was trained on; x_test, y_test: that it was not.

    region: what an attacker may send. refit: fits the recipe again (None: nobody can). Rows are in model space.
    contract: what the columns mean; it names the sensitive attributes and the slices (None: not known).
    """

    predictor: Predictor
    x_train: Array
    y_train: Labels
    x_test: Array
    y_test: Labels
    region: Region
    profile: Profile
    refit: Refit | None = None
    seed: int = 0
    contract: Contract | None = None

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.predictor.classes

    def draw(self, n: int, most: int, *purpose: str) -> NDArray[np.intp]:
        """Return at most ``most`` of the positions 0..n-1, drawn without replacement for a purpose, sorted."""
        import numpy as np

        if n <= most:
            return np.arange(n)
        return np.sort(stream(self.seed, *purpose).permutation(n)[:most])
