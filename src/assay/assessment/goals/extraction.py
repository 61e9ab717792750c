"""Extraction: how good a copy of the model do its answers buy, by what they show, and for how many questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.exhibits import Listing
from assay.assessment.extraction.base import POLICIES, ExtractionAttack
from assay.assessment.extraction.equation import EquationSolving
from assay.assessment.extraction.knockoff import Knockoff
from assay.assessment.extraction.thief import Thief
from assay.assessment.goals.base import Goal, Seen
from assay.core.clock import stream
from assay.core.discovery import discover
from assay.core.errors import DataError
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.models.accounts import Accounts
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.case import Case
    from assay.assessment.extraction.base import ExtractionResult

    Array = NDArray[np.float64]
    Rows = NDArray[np.intp]

_FEWEST = 40
_ENOUGH = 0.95
_DOMINATED = 0.9


class Extraction(Goal, name="extraction", techniques=("AML.T0024.002", "AML.T0005.001")):
    """Fidelity and AUC of thieves' copies against the number of queries, by output policy, on rows that neither has seen."""

    order: ClassVar[int] = 40
    group: ClassVar[str] = "privacy"

    def look(self, case: Case) -> Seen:
        """Return what thieves reach who own half of the test rows; copies are judged on the other half."""
        n = len(case.x_test)
        if n < _FEWEST:
            raise DataError(f"{n} test rows are too few to split between thief and judge", remedy=f"Give {_FEWEST}")
        order = stream(case.seed, "extraction", "split").permutation(n)
        own, judged = order[: n // 2], order[n // 2 :]
        # Asked once for all thieves: an endpoint may charge for it.
        said = case.predictor.limited(None).probabilities(case.x_test[judged])
        results = {
            attack.title: _steal(case, attack, own, judged, said)
            for attack in _attacks(case.profile.name, case.profile.thief_queries)
        }
        thief = results["thief"]
        floor, *_ = thief.measures
        measures = [floor, *(m for r in results.values() for m in r.measures if m.name != floor.name)]
        curves = [thief.curve, _by_policy(results, floor.estimate)]
        if isinstance(case.predictor, Accounts) and len(case.predictor) > 1:
            more, drawn = _by_accounts(case, case.predictor, own, judged, said)
            measures += more
            curves.append(drawn)
        return Seen(
            (*measures, *_queries_to(results, floor.estimate)), tuple(curves), _meaningless(floor),
            parameters={
                "budgets": list(case.profile.thief_queries), "own_rows": len(own), "judged_on": len(judged),
                "attacks": sorted(results),
            },
            exhibits=(_listing(results, floor),),
        )  # fmt: skip


def _attacks(profile: str, budgets: tuple[int, ...]) -> list[ExtractionAttack]:
    """Return the thieves of a profile: the quick ones try each output policy once, the others every attack under each."""
    if profile == "quick":
        policies = [Knockoff(budgets=budgets, answers=policy) for policy in POLICIES]
        return [Thief(budgets=budgets), EquationSolving(budgets=budgets), *policies]
    return [
        kind(budgets=budgets, answers=policy)  # type: ignore[call-arg]
        for kind in discover(ExtractionAttack).values()
        for policy in POLICIES
    ]


def _steal(
    case: Case,
    attack: ExtractionAttack,
    own: Rows,
    judged: Rows,
    said: Array,
    predictor: Accounts | None = None,
) -> ExtractionResult:
    target = predictor or case.predictor.limited(None)
    x, y = case.x_test, case.y_test
    return attack(target, x[own], x[judged], y[judged], case.region, seed=case.seed, said=said)


def _queries_to(results: dict[str, ExtractionResult], floor: float) -> list[Measure]:
    """Return how many answers a copy needs for a fidelity of 95 %, by attack, or how many did not buy it.

    The former lies between the budget that is not enough and that which is.
    """
    found = []
    for title, result in results.items():
        if not result.queries.size:
            continue
        last = float(result.queries[-1])
        name, below, most = f"extraction.queries_not_enough_for_{_ENOUGH:g}@{title}", last, last
        enough = np.flatnonzero(result.fidelity >= _ENOUGH)
        if enough.size:
            place = int(enough[0])
            name, most = f"extraction.queries_to_{_ENOUGH:g}@{title}", float(result.queries[place])
            below = float(result.queries[place - 1]) if place else 0.0
        found.append(
            Measure(
                name, most, below, most, int(last), unit="queries", method="budgets tried",
                threat_model=result.measures[0].threat_model, queries=int(most),
                void="a copy that never asks reaches it" if floor >= _ENOUGH else "",
            )
        )  # fmt: skip
    return found


def _listing(results: dict[str, ExtractionResult], floor: Measure) -> Listing:
    """Return how good each copy is by the answers that it cost, and how many of them 95 % cost."""
    budgets = sorted({int(q) for r in results.values() for q in r.queries})
    rows = []
    for title, result in results.items():
        share = {int(q): f"{f:.1%}" for q, f in zip(result.queries, result.fidelity, strict=True)}
        enough = [int(q) for q, f in zip(result.queries, result.fidelity, strict=True) if f >= _ENOUGH]
        last = f"more than {max(share):,}" if share else "no answer"
        seen = next((p for p in POLICIES if title.endswith(f"_{p}")), POLICIES[0])
        rows.append(
            (
                title.removesuffix(f"_{seen}"),
                seen,
                *(share.get(q, "") for q in budgets),
                f"{enough[0]:,}" if enough else last,
            )
        )
    heads = ("thief", "answers show", *(f"{q:,} answers" for q in budgets), "answers to 95 %")
    return Listing(
        "extraction", "What a copy costs", heads, tuple(rows),
        f"Share of answers that are the model's own. A copy that always gives the most common answer has {floor.estimate:.1%}.",
    )  # fmt: skip


def _accounts_to(ladder: list[int], heights: list[float], like: Measure) -> Measure:
    enough = [place for place, share in enumerate(heights) if share >= _ENOUGH]
    name, below, most = f"extraction.accounts_not_enough_for_{_ENOUGH:g}@knockoff", ladder[-1], ladder[-1]
    if enough:
        name, most = f"extraction.accounts_to_{_ENOUGH:g}@knockoff", ladder[enough[0]]
        below = ladder[enough[0] - 1] if enough[0] else 0
    return Measure(
        name, most, below, most, ladder[-1], unit="accounts", method="numbers of accounts tried",
        threat_model=like.threat_model, seed=like.seed,
    )  # fmt: skip


def _meaningless(floor: Measure) -> tuple[Finding, ...]:
    if floor.estimate < _DOMINATED:
        return ()
    why = f"one class is {floor.estimate:.1%} of the model's answers, so that a copy that never looks is as faithful"
    remedy = "Judge copies by AUC and by their share of the model's AUC instead"
    return (Finding("extraction-fidelity-meaningless", Severity.LOW, why, "model", remedy),)


def _by_policy(results: dict[str, ExtractionResult], floor: float) -> Curve:
    series = [
        Series(title.replace("_", ", "), r.queries.astype(np.float64), r.fidelity)
        for title, r in results.items()
        if r.queries.size
    ]
    if series:
        series.append(Series("always the most common answer", series[0].x, np.full(len(series[0].x), floor)))
    return Curve(
        "extraction", "Extraction by attack and by what answers show", "queries answered", "share of equal answers",
        tuple(series), log_x=True,
        caption="Full probabilities where nothing is added to a name; else rounded to two decimals, the top class with its "
        "probability (top1), or labels.",
    )  # fmt: skip


def _by_accounts(
    case: Case,
    accounts: Accounts,
    own: Rows,
    judged: Rows,
    said: Array,
) -> tuple[list[Measure], Curve]:
    """Return the fidelity that 1, 2, 4, ... accounts reach together, and how many of them reach 95 %, or do not."""
    ladder = sorted({2**i for i in range(len(accounts).bit_length()) if 2**i < len(accounts)} | {len(accounts)})
    attack = Knockoff(budgets=case.profile.thief_queries[-1:])
    measures, heights, bounds = [], [], []
    for count in ladder:
        result = _steal(case, attack, own, judged, said, accounts.first(count))
        share = float(result.fidelity[-1]) if result.fidelity.size else 0.0
        got = int(result.queries[-1]) if result.queries.size else 0
        low, high = clopper_pearson(round(share * len(judged)), len(judged))
        heights.append(share)
        bounds.append((low, high))
        measures.append(
            Measure(
                f"extraction.fidelity@accounts{count},knockoff", share, low, high, len(judged),
                threat_model=f"{attack.threat_model}; {count} accounts, each used until it is refused", seed=case.seed,
                queries=got,
            )
        )  # fmt: skip
    measures.append(_accounts_to(ladder, heights, measures[0]))
    low_side, high_side = np.array(bounds).T
    line = Series("fidelity", np.array(ladder, dtype=np.float64), np.array(heights), low_side, high_side)
    return measures, Curve(
        "extraction", "Extraction by accounts", "accounts", "share of equal answers", (line,), log_x=True,
        caption="How good a copy so many accounts buy together, each used until the endpoint refuses it.",
    )  # fmt: skip
