from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.contract.contract import Contract, Feature, Identifier, Kind, Mutable, Relation, Role, Target, Tensor
from assay.core.canonical import canonical_bytes, parse
from assay.core.errors import ContractError

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
numbers = st.floats(-1e9, 1e9)


@st.composite
def features(draw, name):
    kind = draw(st.sampled_from(Kind))
    low, high = sorted(draw(st.tuples(numbers, numbers)))
    return Feature(
        name,
        kind,
        draw(st.sampled_from(Role)) if name != "a" else Role.FEATURE,
        low=draw(st.none() | st.just(low)),
        high=draw(st.none() | st.just(high)),
        categories=tuple(
            draw(
                st.lists(
                    texts | st.sampled_from(["no", "yes", "1", "null", "1.0"]), min_size=1, max_size=4, unique=True
                )
            )
        )
        if kind is Kind.CATEGORY
        else (),
        max_null=draw(st.floats(0, 1)),
        mutable=draw(st.sampled_from(Mutable)),
        unique=draw(st.booleans()),
        identifier=draw(st.sampled_from(Identifier)),
        scale=draw(st.floats(1e-6, 1e6)),
        description=draw(st.just("") | texts),
        extra=draw(
            st.dictionaries(st.sampled_from(["owner", "x-later"]), st.integers(-9, 9) | texts | st.none(), max_size=2)
        ),
    )


@st.composite
def contracts(draw):
    names = ["a", *draw(st.lists(texts.filter(lambda t: t not in ("a", "t")), max_size=3, unique=True))]
    return Contract(
        Target("t", ("no", "yes"), "yes"),
        tuple(draw(features(n)) for n in names),
        relations=draw(st.just(()) | st.just((Relation({"a": -2.5}, 3.0, name="r"),))),
        max_age_days=draw(st.none() | st.floats(0, 100)),
        extra=draw(st.just({}) | st.just({"owner": ["x", 1]})),
    )


@settings(max_examples=60, deadline=None)
@given(contracts())
def test_round_trips(contract):
    assert Contract.from_yaml(contract.to_yaml()) == contract
    assert Contract.from_json(parse(canonical_bytes(contract.to_json()))) == contract


def test_a_tensor_round_trips():
    contract = Contract(Target("t", ("0", "1")), tensor=Tensor((28, 28), "uint8", 0, 255))
    assert Contract.from_yaml(contract.to_yaml()) == contract


def test_words_are_taken_as_written():
    text = "target: {name: t, classes: [no, yes]}\ncolumns:\n- {name: on, kind: category, categories: [no, 1, 01], mutable: no}"
    contract = Contract.from_yaml(text)
    assert contract.target.classes == ("no", "yes")
    assert contract.columns[0].categories == ("no", "1", "01")
    assert contract.columns[0].mutable is Mutable.NO
    contract = Contract.from_yaml(text.replace("mutable: no", "identifier: no"))
    assert contract.columns[0].identifier is Identifier.NO
    assert (
        Contract.from_yaml(text.replace("mutable: no", "identifier: quasi")).columns[0].identifier is Identifier.QUASI
    )


def test_dates_are_iso_text():
    contract = Contract(columns=(Feature("day", Kind.DATE, low=0, high=20454),))
    assert "2026-01-01" in contract.to_yaml()
    assert Contract.from_yaml("columns:\n- {name: day, kind: date, low: 1970-01-02}").columns[0].low == 1.0


BOMB = "a: &a [1,1,1,1,1,1,1,1]\n" + "".join(
    f"{n}: &{n} [{','.join(['*' + p] * 8)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("columns: [", "c.yaml:1: not valid YAML"),
        (
            "columns:\n- {name: a, kind: number, mutabel: no}",
            "c.yaml:2 columns[0].mutabel: unknown field 'mutabel'. Did you mean mutable?",
        ),
        ("columns:\n- {name: a, kind: numbr}", "c.yaml:2 columns[0].kind"),
        ("columns:\n- name: a\n  kind: number\n  low: high\n", "c.yaml:4 columns[0].low: expected a number"),
        ("columns:\n- name: a\n  kind: number\n  low: .inf\n", "c.yaml:4"),
        ("columns:\n- name: a\n  kind: number\n  low: 3\n  high: 2\n", "c.yaml:2 columns[0]: low 3 is above high 2"),
        ("columns:\n- name: a\n  name: b\n", "c.yaml:3: the key 'name' is repeated"),
        ("columns:\n- kind: number", "name missing"),
        ("contract: 9\ncolumns:\n- {name: a, kind: number}", "version 9"),
        ("x: !!python/object/apply:os.system ['id']", "not allowed"),
        (
            "target: {name: t, classes: [a, b], colour: red}\ncolumns: [{name: a, kind: number}]",
            "unknown field 'colour'",
        ),
        ("relations: [{weights: {b: 1}, bound: 2}]\ncolumns: [{name: a, kind: number}]", "no feature"),
        ("a: &a [*a]", "too many or too deeply nested"),
        ("[" * 3000, "not valid YAML"),
        (BOMB, "too many"),
        ("\x00", "not valid YAML"),
        ("", "expected a record"),
        ("just text", "expected a record"),
    ],
)
def test_bad_contracts_are_refused_in_one_line(text, says):
    with pytest.raises(ContractError) as caught:
        Contract.from_yaml(text, where="c.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_contract_or_a_contract_error(text):
    with pytest.raises(ContractError):
        Contract.from_yaml(text)
