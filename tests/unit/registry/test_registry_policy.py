"""Policies: what a file may say, and the one line that refuses everything else."""

from __future__ import annotations

import tracemalloc

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.canonical import canonical_bytes, parse
from assay.core.errors import AssayError, InputError
from assay.core.finding import Severity
from assay.registry.policy import DEFAULT_POLICY, Policy, Rule

RULE = "measures: [{{measure: quality.auc, {}}}]"
# Each alias stands for ten of the one before: written out, this is 10 ** 9 values.
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
)
BAD = [
    ("", "should be a record"),
    ("just words", "should be a record"),
    ("- a list", "should be a record"),
    ("measures: [", "not valid YAML"),
    ("measures: !!python/object:os.system x", "not allowed"),
    ("require: [!!bool x]", "not valid YAML"),
    ("require: [!!int '']", "not valid YAML"),
    ("require: [!!timestamp x]", "not valid YAML"),
    ("require: [2001-99-99]", "not valid YAML"),
    ("[" * 5000, "not valid YAML"),
    ("{}", "asks for nothing"),
    ("approvals: {needed: 2}", "asks for nothing"),
    ("measures: []\nrequire: []", "asks for nothing"),
    ("require: [scan]\nthresholds: []", "'thresholds'"),
    ("require: [scan]\nrequire: [quality]", "'require' is repeated"),
    (RULE.format("at_least: 0.9, at_least: 0.1"), "'at_least' is repeated"),
    ("measures: {measure: a, at_least: 1}", "measures and require"),
    ("require: scan", "measures and require"),
    ("require: [1]", "require: 1 is no name"),
    ("require: ['  ']", "require: "),
    ("require: [[scan]]", "require: "),
    ("require: [{control: scan}]", "a control by itself"),
    ("require: [{control: scan, optional: perhaps}]", "a control by itself"),
    ("require: [{control: 3, optional: true}]", "require: "),
    ("require: [{control: scan, optional: true, why: x}]", "'why' in require"),
    ('require: ["\\uD800"]', "require: "),
    ("measures: [quality.auc]", "measures[0]"),
    ("measures: [{at_least: 1}]", "measures[0].measure"),
    ("measures: [{measure: '', at_least: 1}]", "measures[0].measure"),
    ("measures: [{measure: [a], at_least: 1}]", "measures[0].measure"),
    ("measures: [{measure: quality.auc}]", "quality.auc has no threshold"),
    (RULE.format("atleast: 0.5"), "'atleast'"),
    (RULE.format("at_least: high"), "measures[0].at_least"),
    (RULE.format("at_least: true"), "measures[0].at_least"),
    (RULE.format("at_least: .nan"), "measures[0].at_least"),
    (RULE.format("at_most: .inf"), "measures[0].at_most"),
    (RULE.format("at_most: 1" + "0" * 400), "measures[0].at_most"),
    (RULE.format("at_least: 0.9, at_most: 0.1"), "quality.auc cannot be at least 0.9 and at most 0.1"),
    (RULE.format("at_least: 1, on_uncertain: pass"), "measures[0]: on_uncertain"),
    (RULE.format("at_least: 1, on_uncertain: [person]"), "measures[0]: on_uncertain"),
    (RULE.format("at_least: 1, optional: maybe"), "measures[0]: optional"),
    (RULE.format("at_least: 1, optional: 1"), "measures[0]: optional"),
    (RULE.format("at_least: 1, why: [a, b]"), "measures[0]: why"),
    ("require: [scan]\nfindings: high", "findings should be a record"),
    ("require: [scan]\nfindings: {fail_at: high}", "'fail_at' in findings"),
    ("require: [scan]\nfindings: {fail_on: awful}", "findings.fail_on"),
    ("require: [scan]\nfindings: {fail_on: [high]}", "findings.fail_on"),
    ("require: [scan]\nevidence: {max_age_days: 0}", "evidence.max_age_days"),
    ("require: [scan]\nevidence: {max_age_days: 1.5}", "evidence.max_age_days"),
    ("require: [scan]\nevidence: {max_age_days: 99999999999}", "evidence.max_age_days"),
    ("require: [scan]\nevidence: {age: 1}", "'age' in evidence"),
    ("require: [scan]\napprovals: {needed: 0}", "approvals.needed"),
    ("require: [scan]\napprovals: {needed: -1}", "approvals.needed"),
    ("require: [scan]\napprovals: {needed: true}", "approvals.needed"),
    ("require: [scan]\napprovals: {needed: two}", "approvals.needed"),
    ("require: [scan]\napprovals: {needed: 1000000000000000000000}", "approvals.needed"),
    ("require: [scan]\napprovals: {people: 1}", "'people' in approvals"),
    (f"{BOMB}\nrequire: [*a8]", "too many"),
]  # fmt: skip

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def rules(draw):
    low, high = draw(st.tuples(st.none() | numbers, st.none() | numbers).filter(lambda p: p != (None, None)))
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
    words = draw(st.text(st.characters(exclude_categories=["Cs"])))
    return Rule(draw(names), low, high, draw(st.sampled_from(["person", "fail"])), draw(st.booleans()), words)


policies = st.builds(
    Policy, st.lists(rules(), max_size=4).map(tuple), st.lists(names, max_size=3).map(tuple),
    st.sampled_from(list(Severity)), st.integers(1, 36_500), st.integers(1, 1_000),
    st.lists(names, max_size=2).map(tuple),
)  # fmt: skip


@pytest.mark.parametrize(("text", "named"), BAD, ids=[f"{i}-{named}" for i, (_, named) in enumerate(BAD)])
def test_a_bad_policy_is_refused_in_one_line_with_file_and_key(tmp_path, text, named):
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        Policy.read(path)
    line = refused.value.line()
    assert str(path) in line
    assert named in line
    assert "\n" not in line
    assert len(line) < len(str(path)) + 400


@pytest.mark.parametrize("data", [b"\xff\xfe", b"require: [\xe9]", b"#" * ((1 << 20) + 1)])
def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path, data):
    path = tmp_path / "policy.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"policy\.yaml"):
        Policy.read(path)


def test_no_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            Policy.read(path)


def test_a_bomb_of_aliases_costs_little_memory():
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            Policy.from_yaml(f"{BOMB}\nrequire: [*a8]")
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=150, deadline=None)
@given(
    st.text()
    | st.lists(st.sampled_from([*"[]{}:,-&*!?|>'\"#% \n\t", "a", "1", "measures", "!!int", "!!set", "<<", "~"])).map(
        "".join
    )
)
def test_any_text_is_a_policy_or_is_refused(text):
    try:
        Policy.from_yaml(text, "file").digest()
    except InputError as error:
        refusal = error.line()
    else:
        refusal = ""
    assert "\n" not in refusal


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["measure", "at_least", "x"]), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["measures", "require", "fail_on", "max_age_days", "approvals"]), plain))
def test_any_record_is_a_policy_or_is_refused(record):
    try:
        policy = Policy.from_json(record)
    except AssayError:
        return
    policy.digest()


@pytest.mark.parametrize(
    "change", [{"measures": None}, {"require": "scan"}, {"fail_on": None}, {"max_age_days": 0}, {"approvals": None}]
)
def test_a_damaged_record_is_refused(change):
    record = Policy((Rule("a", 1.0),)).to_json()
    with pytest.raises(InputError):
        Policy.from_json({**record, **change})


@settings(max_examples=100, deadline=None)
@given(policies)
def test_records_survive_the_round_trip(policy):
    assert Policy.from_json(policy.to_json()) == policy
    again = Policy.from_json(parse(canonical_bytes(policy.to_json())))
    assert again == policy
    assert again.digest() == policy.digest()


@settings(max_examples=60, deadline=None)
@given(policies.filter(lambda p: p.rules or p.require or p.complete))
def test_yaml_says_what_the_record_says(policy):
    record = {
        "measures": [r.to_json() for r in policy.rules],
        "require": [*policy.require, *({"control": c, "optional": True} for c in policy.complete)],
        "findings": {"fail_on": policy.fail_on.value},
        "evidence": {"max_age_days": policy.max_age_days},
        "approvals": {"needed": policy.approvals},
    }
    assert Policy.from_yaml(yaml.safe_dump(record)) == policy


def test_the_default_policy_is_one():
    policy = Policy.from_yaml(DEFAULT_POLICY)
    assert (policy.fail_on, policy.max_age_days, policy.approvals) == (Severity.HIGH, 90, 1)
    assert {"scan", "evasion", "membership"} <= set(policy.require)
    assert all(rule.threshold for rule in policy.rules)
    assert Policy.from_json(policy.to_json()) == policy


def test_defaults_and_the_digest():
    policy = Policy.from_yaml("require: [scan]")
    assert policy == Policy((), ("scan",), Severity.HIGH, 90, 1)
    assert policy.digest() == Policy.from_yaml("# a comment\napprovals: {needed: 1}\nrequire: [scan]").digest()
    assert policy.digest() != Policy.from_yaml("require: [scan]\napprovals: {needed: 2}").digest()


def test_patterns_and_thresholds_in_words():
    rule = Rule("membership.tpr@*", at_least=0.1, at_most=0.2)
    assert rule.matches("membership.tpr@fpr0.001,rmia")
    assert not rule.matches("membership.auc@rmia")
    assert not rule.matches("Membership.tpr@x")
    assert rule.threshold == "at least 0.1 and at most 0.2"
