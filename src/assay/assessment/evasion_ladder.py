"""The ladder of attacks that an assessment climbs: which rungs suit a model, how strong each is, and what it could miss.

A rung is a search; that it finds nothing says that this search found nothing. So every rung names what it cannot see,
and the ladder's own figure counts a row as robust only where no rung turned it. What is certified bounds from below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.certificates.tree_exact import TreeExact
from assay.assessment.evasion.autoattack import AutoAttack
from assay.assessment.evasion.beam import Beam
from assay.assessment.evasion.capgd import CAPGD
from assay.assessment.evasion.genetic import Genetic
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.evasion.pgd import PGD
from assay.assessment.evasion.square import Square
from assay.core.errors import AssayError, UnsupportedError
from assay.core.evidence import NotChecked
from assay.models.trees import read_trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.case import Case
    from assay.assessment.certificates.base import CertificateResult
    from assay.assessment.evasion.base import AttackResult, EvasionAttack

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Index = NDArray[np.intp]

# Radius of the Linf balls, in scaled units: of the range of a pixel, of the spread of a column.
RADIUS = 0.1
_SQUARE = {"quick": 0, "standard": 1_000, "deep": 5_000}
_SHARE = {"quick": 5, "standard": 3, "deep": 2}
_FEWEST = 60
# Seconds of exact search a row, and rows, of each profile: trees can take any time.
_EXACT = {"quick": (0.0, 40), "standard": (0.5, 100), "deep": (5.0, 200)}


@dataclass(frozen=True, slots=True)
class Rung:
    """One attack of the ladder. knows: what the attacker sees; misses: what its failure does not show."""

    attack: EvasionAttack
    knows: str
    misses: str

    @property
    def title(self) -> str:
        """The attack with its budget, as measures name it: ``hopskipjump_1000``."""
        return f"{self.attack.name}_{self.attack.max_queries}"

    def to_json(self) -> dict[str, object]:
        """Return the rung as plain data."""
        ball = {} if self.attack.radius is None else {"radius": self.attack.radius}
        return {
            "attack": self.attack.name, "norm": self.attack.norm, "queries_per_row": self.attack.max_queries,
            "knows": self.knows, "misses": self.misses, **ball,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Climb:
    """What the ladder came to on k rows. results: by rung; certificate: of the first rows, where trees can be read.

    missing: rungs that could not be climbed. left: strength that a deeper profile would add, in words.
    """

    rows: Index
    rungs: tuple[Rung, ...]
    results: tuple[AttackResult, ...]
    certificate: CertificateResult | None
    missing: tuple[NotChecked, ...]
    left: str

    def robust(self, region_distance: Callable[[AttackResult], Array], far: float) -> Flags:
        """Return which rows no rung turned within ``far`` by the given distance, (k,)."""
        flags = np.ones(len(self.rows), dtype=bool)
        for result in self.results:
            flags &= ~result.already_wrong & ~(result.success & (region_distance(result) <= far))
        return flags


_LABELS = "labels only"
_SCORES = "probabilities"
_WEIGHTS = "the weights"
_LEFT = {
    "quick": "more queries, and for standard: genetic, square, gradient and exact rungs where the model has them",
    "standard": "AutoAttack and larger budgets (deep); an attack made for this very model",
    "deep": "an attack made for this very model",
}


def rungs_of(case: Case) -> tuple[Rung, ...]:
    """Return the rungs that the profile and the model allow, weakest knowledge first."""
    profile, table = case.profile.name, is_table(case)
    most = case.profile.evasion_queries
    feasible = max(_FEWEST, most // _SHARE[profile])
    found = [
        Rung(
            HopSkipJump(max_queries=most),
            _LABELS,
            "nearer rows across another part of the boundary; budgets beyond its own",
        )
    ]
    if table:
        found.append(
            Rung(Beam(max_queries=feasible, norm="l2"), _SCORES, "changes of many columns that help only together")
        )
    if profile != "quick":
        if table:
            found.append(
                Rung(Genetic(max_queries=feasible, norm="l2"), _SCORES, "rows far from those that it breeds from")
            )
        found.append(
            Rung(
                Square(max_queries=_SQUARE[profile], radius=RADIUS),
                _SCORES,
                "changes other than to the ball's edge in blocks",
            )
        )
        found += _gradient_rungs(case, table=table, deep=profile == "deep")
    return tuple(found)


def is_table(case: Case) -> bool:
    """Return whether samples are rows of columns, not images or other tensors."""
    return case.x_test.ndim == 2 and (case.contract is None or case.contract.tensor is None)


def differentiable(case: Case) -> bool:
    """Return whether the model gives gradients."""
    try:
        case.predictor.white_box()
    except UnsupportedError:
        return False
    return True


def _gradient_rungs(case: Case, *, table: bool, deep: bool) -> list[Rung]:
    if not differentiable(case):
        return []
    found: list[Rung] = []
    if table:
        found.append(
            Rung(CAPGD(max_queries=800 if deep else 400), _WEIGHTS, "what lies behind flat or misleading gradients")
        )
    if not case.region.bound:
        pgd = PGD(radius=RADIUS, steps=40, restarts=5 if deep else 2, max_queries=260 if deep else 110)
        found.append(Rung(pgd, _WEIGHTS, "what lies behind masked gradients; other norms than Linf"))
        if deep:
            found.append(
                Rung(
                    AutoAttack(radius=RADIUS),
                    _WEIGHTS,
                    "attacks that know a defence; 2 to 3 points on the best defences",
                )
            )
    return found


def climb(case: Case, rows: Index) -> Climb:
    """Climb the ladder on the test rows at ``rows``; a rung that breaks is said, not skipped in silence."""
    x, y = case.x_test[rows], case.y_test[rows]
    done, results, missing = [], [], []
    for rung in rungs_of(case):
        name = f"evasion.{rung.attack.name}"
        try:
            result = rung.attack(case.predictor.limited(None), x, y, case.region, seed=case.seed)
        except AssayError as error:
            missing.append(NotChecked(name, error.message, error.remedy))
            continue
        results.append(result)
        done.append(rung)
        if result.stopped:
            most = rung.attack.max_queries * int((~result.already_wrong).sum())
            why = (
                f"{result.stopped}, after {int(result.queries.sum()):,} of at most {most:,} queries: more may find more"
            )
            missing.append(
                NotChecked(name, why, "Give --patience more seconds, or several keys, or raise the key's rate")
            )
    certificate = _certified(case, rows)
    return Climb(rows, tuple(done), tuple(results), certificate, tuple(missing), _LEFT[case.profile.name])


def _certified(case: Case, rows: Index) -> CertificateResult | None:
    """Return what is certain of the first rows, None for a model that is no ensemble of trees, or none that can be read."""
    if not is_table(case):
        return None
    seconds, most = _EXACT[case.profile.name]
    try:
        read_trees(case.predictor)
        chosen = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
        attack = TreeExact(norm="l2", seconds=seconds)
        return attack(
            case.predictor.limited(None), case.x_test[chosen], case.y_test[chosen], case.region, seed=case.seed
        )
    except (UnsupportedError, AssayError):
        return None


__all__ = ["RADIUS", "Climb", "Rung", "climb", "differentiable", "is_table", "rungs_of"]
