"""Champion against challenger: what changes when a new version takes the place of the old one.

Both answer the same rows, so that every difference is paired: its interval is far shorter than that of two figures side
by side. Where average figures agree, answers may still change (churn), a group may be worse off (slices), and some
input may part the two (disagreement); ``assay.assessment.universal`` looks for the change that a backdoor would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.case import profile_of
from assay.assessment.disagreement import disagreement
from assay.assessment.exhibits import Listing
from assay.assessment.paired_quality import paired_area, paired_quality
from assay.assessment.slices import slices_of
from assay.assessment.universal import UniversalScreen
from assay.core.clock import Clock, stream, system_clock
from assay.core.errors import AssayError, DataError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.stats.intervals import clopper_pearson
from assay.stats.paired import holm, paired_difference, sign_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.universal import Screened
    from assay.contract.contract import Contract
    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Labels = NDArray[np.intp]

CONTROL = "version_diff"
_ALPHA = 0.05
_Z = 1.959963984540054
_LOWER_IS_BETTER = ("brier", "calibration_error", "membership_auc@confidence")
_LEAST = 20
# Of rows that one change turns in the new version only: below it, a change is no use to whoever planted it.
_USEFUL = 0.1
_THREAT = "none: rows as they come"


@dataclass(frozen=True, slots=True, eq=False)
class VersionDiff:
    """What parts two versions. evidence: of control ``version_diff``, about both; listings: tables for a report.

    screened: the outcome of the backdoor screen, None where it could not be made.
    """

    evidence: Evidence
    listings: tuple[Listing, ...]
    screened: Screened | None


@dataclass(frozen=True, slots=True, eq=False)
class Versions:
    """The two versions with what they are held against. x (n, d), y (n,): rows that neither was fitted on.

    clean: versions fitted as the new one, on trusted rows. known (m, d): rows that the new one was fitted on.
    members: rows (x, y) that both were fitted on.
    """

    old: Predictor
    new: Predictor
    x: Array
    y: Labels
    region: Region
    contract: Contract | None = None
    clean: Sequence[Predictor] = ()
    known: Array | None = None
    members: tuple[Array, Labels] | None = None

    def __post_init__(self) -> None:
        if self.old.classes != self.new.classes:
            raise DataError(f"one version knows {self.old.classes} classes and the other {self.new.classes}")
        if len(self.x) != len(self.y) or not len(self.y):
            raise DataError(f"{len(self.x)} rows and {len(self.y)} labels cannot be compared on")


def version_diff(
    versions: Versions,
    *,
    subjects: tuple[Subject, ...] = (),
    profile: str = "quick",
    seed: int = 0,
    clock: Clock = system_clock,
) -> VersionDiff:
    """Return the differences of the new version from the old one, new less old, each with its paired interval.

    Measures ``version_diff.X``: of quality (``paired_quality``), robust accuracy under one attack and seed, exposure
    of members; ``churn`` and its directions; accuracy by slice; what an attack reaches that looks for disagreement;
    the lift of the most striking change that holds for the new version only, with its p-value.
    Findings: ``version-regression``, ``version-slice-regression`` (Holm over slices), ``version-backdoor-suspected``.
    Without ``clean`` the screen's lift is shown and its p-value is not checked. Raises DataError, SettingError.
    """
    chosen = profile_of(profile)
    before, after = (v.limited(None).probabilities(versions.x) for v in (versions.old, versions.new))
    measures = [*paired_quality(before, after, versions.y, seed=seed)]
    findings: list[Finding] = []
    labels = before.argmax(axis=1), after.argmax(axis=1)
    measures += churn(*labels, versions.y)
    sliced, worse = slice_regressions(versions, *labels)
    measures += sliced
    findings += worse
    missing: list[NotChecked] = []
    listings: list[Listing] = []
    if versions.members is not None:
        measures.append(_membership(versions, after, before, seed))
    rows = np.sort(stream(seed, CONTROL).permutation(len(versions.y))[: chosen.evasion_rows])
    try:
        found, listing = disagreement(versions, rows, queries=chosen.evasion_queries, seed=seed)
        measures += found
        listings += [listing] if listing is not None else []
    except AssayError as error:
        missing.append(NotChecked("version_diff.disagreement", error.message, error.remedy))
    findings += regressions(measures)
    screened = _screen(versions, seed, measures, findings, missing)
    if screened is not None:
        listings.append(_striking(screened, versions.contract))
    evidence = Evidence(
        CONTROL, subjects, clock(), ("AML.T0018", "AML.T0020", "AML.T0015"), tuple(measures), tuple(findings),
        tuple(missing), {
            "profile": profile, "seed": str(seed), "rows": len(versions.y), "slices": len(sliced),
            "clean_versions": len(versions.clean),
        },
    )  # fmt: skip
    return VersionDiff(evidence, tuple(listings), screened)


def churn(old: Labels, new: Labels, y: Labels) -> list[Measure]:
    """Return the share of rows whose label changes, in all and by direction, and of those that turn wrong or right."""
    flags = {"churn": old != new}
    for a, b in sorted(set(zip(old[old != new].tolist(), new[old != new].tolist(), strict=True))):
        flags[f"churn@{a}to{b}"] = (old == a) & (new == b)
    flags["turned_wrong"] = (old == y) & (new != y)
    flags["turned_right"] = (old != y) & (new == y)
    return [
        Measure(f"version_diff.{name}", float(f.mean()), *clopper_pearson(int(f.sum()), len(f)), len(f), threat_model=_THREAT)
        for name, f in flags.items()
    ]  # fmt: skip


def slice_regressions(versions: Versions, old: Labels, new: Labels) -> tuple[list[Measure], list[Finding]]:
    """Return the difference of accuracy in each slice of the contract, and the slices that are worse off.

    A slice is worse off where more rows turned wrong than right, beyond chance at 5 % over all slices (Holm 1979).
    """
    parts = slices_of(versions.contract, versions.x, least=_LEAST)
    before, after = old == versions.y, new == versions.y
    counts = {
        name: (int((after & ~before & held).sum()), int((before & ~after & held).sum()), int(held.sum()))
        for name, held in parts.items()
    }
    measures = [_difference(f"accuracy@{name}", gained, lost, n, _THREAT) for name, (gained, lost, n) in counts.items()]
    chances = holm([sign_test(lost, gained) for gained, lost, _ in counts.values()])
    findings = [
        Finding(
            "version-slice-regression", Severity.MEDIUM,
            f"accuracy falls by {(lost - gained) / n:.1%}: {lost} rows of {n} turned wrong and {gained} right "
            f"(p = {chance:.2g}, all {len(counts)} slices counted)",
            name, "Find out which training rows of this group changed, or keep the old version for it", "AML.T0020",
        )
        for (name, (gained, lost, n)), chance in zip(counts.items(), chances, strict=True)
        if chance <= _ALPHA
    ]  # fmt: skip
    return measures, findings


def regressions(measures: Sequence[Measure]) -> list[Finding]:
    """Return the differences that are worse beyond chance at 5 % over all of them (Holm), slices apart.

    The chance of each is read off its interval as if it were normal, from the end that lies towards no difference.
    """
    judged = [m for m in measures if m.unit == "difference" and "=" not in m.name]
    signs = [-1.0 if m.name.partition(".")[2] in _LOWER_IS_BETTER else 1.0 for m in judged]
    chances = [_chance(sign * m.estimate, m.high - m.estimate if sign > 0 else m.estimate - m.low)
               for sign, m in zip(signs, judged, strict=True)]  # fmt: skip
    return [
        Finding(
            "version-regression", Severity.MEDIUM,
            f"{m.name.partition('.')[2]} changes by {m.estimate:+.3g}, 95 % interval {m.low:+.3g} to {m.high:+.3g} "
            f"(p = {chance:.2g}, all {len(judged)} figures counted)",
            "model", "Keep the old version, or say why the new one is worth it",
        )
        for m, chance in zip(judged, holm(chances), strict=True)
        if chance <= _ALPHA
    ]  # fmt: skip


def _chance(gain: float, reach: float) -> float:
    """Return the chance of so low a gain, or a lower one, where there is none; reach: from the estimate to the end of 95 %."""
    from scipy.special import ndtr

    if reach <= 0:
        return float(gain >= 0)
    return float(ndtr(_Z * gain / reach))


def _difference(name: str, gained: int, lost: int, n: int, threat: str) -> Measure:
    low, high = paired_difference(gained, lost, n)
    return Measure(
        f"version_diff.{name}", (gained - lost) / n, low, high, n, "difference", method="tango", threat_model=threat,
    )  # fmt: skip


def _membership(versions: Versions, after: Array, before: Array, seed: int) -> Measure:
    """Return how much more the new version tells of members, as the difference of an attacker's AUC."""
    assert versions.members is not None
    x, y = versions.members
    member = np.concatenate([np.ones(len(y), dtype=np.intp), np.zeros(len(versions.y), dtype=np.intp)])
    scores = []
    for model, outside in ((versions.old, before), (versions.new, after)):
        inside = model.limited(None).probabilities(x)
        scores.append(np.concatenate([inside[np.arange(len(y)), y], outside[np.arange(len(versions.y)), versions.y]]))
    return paired_area(
        "membership_auc@confidence", scores[0], scores[1], member, seed=seed,
        threat="sees probabilities and knows the true label",
    )  # fmt: skip


def _screen(
    versions: Versions, seed: int, measures: list[Measure], findings: list[Finding], missing: list[NotChecked]
) -> Screened | None:
    """Add what the backdoor screen says; what it could not say goes to ``missing``."""
    if versions.contract is not None and versions.contract.tensor is not None:
        missing.append(NotChecked("version_diff.backdoor", "the screen sets columns, and a tensor has none"))
        return None
    try:
        screened = UniversalScreen()(
            versions.old.limited(None), versions.new.limited(None), [c.limited(None) for c in versions.clean],
            versions.x, versions.y, versions.region, known=versions.known, seed=seed,
        )  # fmt: skip
    except AssayError as error:
        missing.append(NotChecked("version_diff.backdoor", error.message, error.remedy))
        return None
    trigger, n = screened.trigger, len(screened.trigger.flags)
    only = trigger.flags & ~trigger.kept
    low, high = clopper_pearson(int(only.sum()), n)
    threat = "changes the same few columns of any row, within the feasible region"
    share = float(only.mean())
    measures.append(Measure("version_diff.one_change_turns", share, low, high, n, threat_model=threat, seed=seed))
    k = len(screened.clean)
    if k * _ALPHA < 1 - _ALPHA:
        why = f"{k} clean versions cannot show anything at {_ALPHA:.0%}"
        missing.append(NotChecked("version_diff.backdoor", why, "Give 19 or more: --recipe and --clean 20"))
        return screened
    chance = screened.chance
    measures.append(
        Measure("version_diff.backdoor_p", chance, chance, chance, k, "chance", method="exact rank", threat_model=threat, seed=seed)
    )  # fmt: skip
    if chance <= _ALPHA and low > _USEFUL:
        findings.append(_suspicion(versions, screened, share))
    return screened


def _suspicion(versions: Versions, screened: Screened, share: float) -> Finding:
    trigger = screened.trigger
    text = (
        f"{words_of(screened, versions.contract)}: {share:.0%} of other rows become class {trigger.target} in the new "
        f"version and not in the old one; in the other versions {trigger.rest:.0%} are in that class then (p = "
        f"{screened.chance:.2g}, lift {trigger.lift:.2f} against at most {max(screened.clean):.2f} in clean versions)"
    )
    columns = ", ".join(_names(trigger.places, versions.contract))
    remedy = "Quarantine the new training rows that have these values, refit without them, and compare again"
    return Finding("version-backdoor-suspected", Severity.HIGH, text, columns, remedy, "AML.T0018.000")


def _striking(screened: Screened, contract: Contract | None) -> Listing:
    """Return the most striking change as a line, with what it is held against."""
    trigger, clean = screened.trigger, screened.clean
    most = f"{max(clean):.2f}" if clean else "no clean version given"
    shares = (f"{trigger.moved:.0%}", f"{trigger.rest:.0%}", f"{trigger.lift:.2f}")
    row = (words_of(screened, contract), str(trigger.target), *shares, most)
    heads = ("change", "to class", "in the new version", "in the others", "lift", "most in clean ones")
    return Listing(
        "poisoning", "The one change that sets the new version apart most", heads, (row,),
        "Some change always does. It is a sign of a backdoor where its lift exceeds that of nearly all clean versions.",
    )  # fmt: skip


def words_of(screened: Screened, contract: Contract | None) -> str:
    """Return the change in words: ``set `a` to 3 and `b` to 0``."""
    trigger = screened.trigger
    parts = [
        f"`{name}` to {_value(contract, place, value)}"
        for name, place, value in zip(_names(trigger.places, contract), trigger.places, trigger.values, strict=True)
    ]
    return "set " + (parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}")


def _names(places: Sequence[int], contract: Contract | None) -> list[str]:
    return [f"column {p}" if contract is None else contract.features[p].name for p in places]


def _value(contract: Contract | None, place: int, value: float) -> str:
    categories = () if contract is None else contract.features[place].categories
    return str(categories[int(value)]) if 0 <= value < len(categories) else f"{value:.6g}"


__all__ = [
    "CONTROL",
    "VersionDiff",
    "Versions",
    "churn",
    "regressions",
    "slice_regressions",
    "version_diff",
    "words_of",
]
