from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from assay.contract.contract import Contract, Feature, Kind, Mutable
from assay.contract.encode import encode
from assay.contract.region import Region
from assay.contract.relations import Condition, Implication, OneHot, Relation
from assay.contract.rows import violations
from assay.contract.validate import check
from assay.core.errors import ContractError

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

COLUMNS = (
    Feature("late", Kind.INTEGER, low=0, high=20, scale=3.0, max_null=1.0),
    Feature("days", Kind.INTEGER, low=0, high=20, scale=3.0, step=2),
    Feature("total", Kind.INTEGER, low=0, high=40, scale=5.0),
    Feature("rate", Kind.NUMBER, low=-2, high=3, mutable=Mutable.UP, max_null=1.0),
    Feature("rent", Kind.BOOLEAN),
    Feature("own", Kind.BOOLEAN),
    Feature("other", Kind.BOOLEAN, mutable=Mutable.DOWN),
    Feature("colour", Kind.CATEGORY, categories=("r", "g", "b"), max_null=1.0),
    Feature("school", Kind.CATEGORY, categories=("none", "low", "high"), ordered=True, scale=0.5),
)
IMPLICATIONS = (
    Implication((Condition("late", above=0),), (Condition("days", least=1),), "late"),
    Implication((Condition("rent", one_of=("true",)),), (Condition("colour", one_of=("r", "g")),)),
    Implication((Condition("days", most=2), Condition("colour", one_of=("b",))), (Condition("rate", below=1.0),)),
    Implication((Condition("school", least=1),), (Condition("late", most=4, one_of=("0", "2", "4")),)),
)
RELATIONS = (
    Relation({"late": 1, "days": 1, "total": -1}, 0, equal=True, name="sum"),
    Relation({"rate": 2.0, "days": -1.0}, 1.0, when=(Condition("colour", one_of=("g",)),)),
)
GROUP = (OneHot(("rent", "own", "other"), name="home"),)
CONTRACT = Contract(columns=COLUMNS, relations=RELATIONS, implications=IMPLICATIONS, one_hot=GROUP)
values = st.integers(-2, 22).map(float) | st.floats(-3, 4) | st.just(float("nan"))


def blocks(n: int = 4):
    return hnp.arrays(np.float64, (n, len(COLUMNS)), elements=values)


def one(**changed):
    row = {"late": 1, "days": 2, "total": 3, "rate": 0.5, "rent": 1, "own": 0, "other": 0, "colour": 0, "school": 0}
    return np.array([list({**row, **changed}.values())], dtype=float)


@st.composite
def contracts(draw):
    return Contract(
        columns=COLUMNS,
        relations=draw(st.sampled_from([(), RELATIONS[:1], RELATIONS])),
        implications=tuple(draw(st.lists(st.sampled_from(IMPLICATIONS), unique=True))),
        one_hot=draw(st.sampled_from([(), GROUP, (OneHot(("own", "rent"), optional=True),)])),
    )


@settings(max_examples=200, deadline=None)
@given(contracts(), blocks(), blocks())
def test_projection_is_contained_and_idempotent(contract, x, x0):
    region = Region.of(contract)
    assert region.contains(x0, x0).all()
    kept = x.copy()
    once = region.project(x, x0)
    assert np.array_equal(kept, x, equal_nan=True)
    assert region.contains(once, x0).all()
    assert np.array_equal(region.project(once, x0), once, equal_nan=True)
    around = region.project_around(np.stack([x, once], axis=1), x0)
    assert np.array_equal(around[:, 0], once, equal_nan=True)
    assert np.array_equal(around[:, 1], once, equal_nan=True)


@settings(max_examples=100, deadline=None)
@given(contracts(), blocks(8), st.integers(0, 99))
def test_from_valid_rows_only_valid_rows_are_reached(contract, x, seed):
    region = Region.of(contract)
    start = region.project(np.nan_to_num(x), np.repeat(one(), 8, axis=0))
    assert violations(contract, start).ok.all()
    assert violations(contract, region.project(x, start)).ok.all()
    assert violations(contract, region.sample(start, np.random.default_rng(seed))).ok.all()


@settings(max_examples=50, deadline=None)
@given(contracts())
def test_round_trips(contract):
    assert Contract.from_yaml(contract.to_yaml()) == contract
    assert Contract.from_json(contract.to_json()).digest() == contract.digest()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"days": 0, "total": 1}, "late"),
        ({"colour": 2}, "if rent is true, colour is r or g"),
        ({"own": 1}, "home"),
        ({"rent": 0}, "home"),
        ({"total": 4}, "sum"),
        ({"rate": 2.5, "colour": 1}, "if colour is g, 2 rate + -1 days <= 1"),
        ({"late": 3, "days": 2, "total": 5, "school": 2}, "if school >= 1, late <= 4 and late is 0 or 2 or 4"),
    ],
)
def test_rows_and_batches_that_break_a_rule_are_told_so_alike(changed, says):
    bad = np.concatenate([one(), one(**changed)])
    found = violations(CONTRACT, bad)
    assert found.ok.tolist() == [True, False]
    assert says in found.reasons[1][0]
    from assay.contract.encode import decode

    assert np.array_equal(encode(CONTRACT, decode(CONTRACT, bad)), bad)
    findings = check(decode(CONTRACT, bad), CONTRACT).findings
    assert [f.rule for f in findings] == ["relation"]
    assert says in findings[0].location or says in findings[0].message


@settings(max_examples=25, deadline=None)
@given(blocks(6))
def test_batches_and_requests_are_judged_alike(x):
    from assay.contract.encode import decode

    region = Region.of(Contract(columns=COLUMNS))
    rows = region.project(x, np.repeat(one(), 6, axis=0))
    rows = np.where(np.isnan(x) & (np.array([f.max_null for f in COLUMNS]) > 0), np.nan, rows)
    evidence = check(decode(CONTRACT, rows), CONTRACT)
    assert round(evidence.measure("bad_rows").estimate * 6) == (~violations(CONTRACT, rows).ok).sum()


def test_words_for_true_in_a_text_column_are_read():
    contract = Contract(
        columns=(Feature("a", Kind.BOOLEAN), Feature("b", Kind.DATE)),
        implications=(Implication((Condition("a", one_of=("yes",)),), (Condition("b", above=10.0),)),),
    )
    frame = pd.DataFrame({"a": ["yes", "no", "TRUE"], "b": ["1970-01-02", "1970-01-02", "1970-02-01"]})
    assert check(frame, contract).measure("bad_rows").estimate == pytest.approx(1 / 3)


def test_a_consequence_is_made_rather_than_the_change_undone():
    region = Region.of(CONTRACT)
    out = region.project(one(late=0, days=0, total=0) + one() * 0, one(late=0, days=0, total=0))
    start = one(late=0, days=0, total=0)
    out = region.project(one(late=3, days=0, total=0), start)
    assert out[0, :3].tolist() == [3, 2, 5]


def test_the_largest_proposal_of_a_group_wins_where_it_can_be_reached():
    region = Region.of(CONTRACT)
    out = region.project(one(rent=0.3, own=0.4, other=0.9), one())
    assert out[0, 4:7].tolist() == [0, 1, 0]  # `other` can only fall
    assert region.project(one(rent=1, own=1), one())[0, 4:7].tolist() == [0, 1, 0]


def test_a_row_that_breaks_a_rule_itself_may_keep_breaking_it():
    region = Region.of(CONTRACT)
    broken = one(days=0, total=1)
    moved = broken.copy()
    moved[0, 3] = 1.5
    assert region.contains(moved, broken)[0]
    assert not region.contains(broken, one())[0]


def test_steps_between_ordered_categories_count():
    region = Region.of(CONTRACT)
    assert region.distance(one(school=2), one(), "l1")[0] == 4.0
    assert region.distance(one(colour=2), one(), "l1")[0] == 1.0
    assert region.distance(one(school=2, late=0), one(), "l0")[0] == 2.0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Condition("a"), "tests nothing"),
        (lambda: Condition("a", above=3, below=3), "no value"),
        (lambda: Condition("a", least=float("nan")), "not finite"),
        (lambda: Implication((), (Condition("a", most=1),)), "when and then"),
        (lambda: OneHot(("a",)), "two or more"),
        (lambda: Relation({}, 1.0), "finite"),
        (lambda: Feature("a", Kind.NUMBER, ordered=True), "only a category"),
        (lambda: Contract(columns=COLUMNS, one_hot=(OneHot(("colour", "rent")),)), "0 and 1"),
        (lambda: Contract(columns=COLUMNS, one_hot=(*GROUP, OneHot(("rent", "own")))), "two one-hot"),
        (lambda: Contract(columns=COLUMNS, one_hot=(OneHot(("rent", "none")),)), "no feature"),
        (lambda: _implied("colour", "violet"), "no category"),
        (lambda: _implied("days", "soon"), "no number"),
        (lambda: _implied("days", "inf"), "not finite"),
    ],
)
def test_what_does_not_hold_together_is_refused(make, says):
    with pytest.raises(ContractError, match=says):
        make()


def _implied(column, text):
    return Contract(
        columns=COLUMNS,
        implications=(Implication((Condition(column, one_of=(text,)),), (Condition("rate", most=1),)),),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("implications: [{when: [{column: a, above: 0}]}]", "then missing"),
        ("implications: [{when: [{column: a, abov: 0}], then: [{column: a, most: 1}]}]", "Did you mean above"),
        ("implications: [{when: [{column: z, above: 0}], then: [{column: a, most: 1}]}]", "no feature"),
        ("one_hot: [{columns: [a, a]}]", "two or more different"),
        ("relations: [{weights: {a: 1}, bound: 2, when: [{above: 2}]}]", "column missing"),
    ],
)
def test_bad_yaml_is_refused_with_its_line(text, says):
    with pytest.raises(ContractError, match=says) as caught:
        Contract.from_yaml(f"columns: [{{name: a, kind: number}}]\n{text}", where="c.yaml")
    assert "c.yaml" in str(caught.value)
