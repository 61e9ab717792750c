"""The bill of materials: valid by the official schema, the same bytes for the same bill, refused when it is invalid."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.artifacts.bom.card import Card, Fairness, Metric, limits_of, metrics_of
from assay.artifacts.bom.declared import read_card
from assay.artifacts.bom.difference import diff_boms, read_bom
from assay.artifacts.bom.document import Bom, Dataset, Part, Party, Reference, Tier
from assay.artifacts.bom.licences import is_expression, licence_choices, spdx_id
from assay.artifacts.bom.reading import bom_of
from assay.artifacts.bom.schema import check_bom, faults_of
from assay.core.digest import digest_bytes
from assay.core.errors import DataError, FormatError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
ONE, TWO = (str(digest_bytes(b)) for b in (b"1", b"2"))


def metric(name="quality.auc", estimate=0.8, spread=0.02, where="", **more):
    return Metric(Measure(name, estimate, estimate - spread, estimate + spread, 100, **more), "quality", where)


def bill(**changes):
    model = Part(
        "model", "credit", "machine-learning-model", "3", (ONE,), ("Apache-2.0",), supplier="Risk",
        references=(Reference("digital-signature", "model.sig", (TWO,), "OpenSSF"),), needs=("pypi:a@1",),
        claims={"": Tier.VERIFIED, "hashes": Tier.VERIFIED}, properties={"assay:format": "onnx"},
    )  # fmt: skip
    data = Dataset(
        "data:train", "train.parquet", "train", TWO, "confidential", "loans", ("CC0-1.0",), ("age",),
        (Party("owner", "Data office"), Party("steward", "ada")), {"": Tier.INFERRED, "governance": Tier.DECLARED},
    )  # fmt: skip
    parts = (
        Part("pypi:a@1", "a", "library", "1", purl="pkg:pypi/a@1", licences=("MIT OR Apache-2.0",), needs=("pypi:b@2",),
             references=(Reference("distribution", "pkg:pypi/a@1", (ONE, TWO), "one of these files"),),
             claims={"": Tier.DECLARED}),
        Part("pypi:b@2", "b", "library", "2", (TWO,), ("MIT", "My own terms"), "pkg:pypi/b@2"),
    )  # fmt: skip
    card = Card(
        "supervised", "classification", "gradient boosting", "HistGradientBoostingClassifier",
        ("float64 tensor (n, 3)",), ("probabilities",),
        (metric(), metric("accuracy", where="sex=f", seed=3, threat_model="none"), metric("bad", void="leaks")),
        ("officers",), ("ranking",), ("no companies",), ("slower",), (("age", "not an input"),),
        (Fairness("young", "credit", "refused", "review"),), {"assay:claim:considerations": "declared"},
    )  # fmt: skip
    held = {"model": model, "card": card, "made": NOW, "seed": 1, "datasets": (data,), "parts": parts,
            "ancestors": (Part("ancestor:1", "model.joblib", "machine-learning-model", digests=(TWO,)),),
            "notes": '{"tool":"exact"}', "tool": ("assay", "0.1.0")}  # fmt: skip
    return Bom(**{**held, **changes})


@cache
def validator():
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib[json-validation] is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_7)


def official(record):
    """Return whether the validator of the CycloneDX project takes the document."""
    return validator().validate_str(json.dumps(record)) is None


def test_all_that_a_bill_can_hold_is_valid():
    record = bill().to_json()
    assert list(faults_of(record)) == []
    assert record["specVersion"] == "1.7"
    card = record["metadata"]["component"]["modelCard"]
    assert {m["type"] for m in card["quantitativeAnalysis"]["performanceMetrics"]} == {"quality.auc", "accuracy"}
    assert next(m for m in card["quantitativeAnalysis"]["performanceMetrics"] if m["type"] == "accuracy") == {
        "type": "accuracy", "value": "0.8", "slice": "sex=f",
        "confidenceInterval": {"lowerBound": "0.78", "upperBound": "0.8200000000000001"},
    }  # fmt: skip
    assert record["components"][0]["data"][0]["governance"]["owners"][0]["organization"]["name"] == "Data office"


def test_the_official_validator_takes_it():
    assert official(bill().to_json())


def test_a_void_measure_is_told_and_not_counted():
    told = bill().to_json()["metadata"]["component"]["modelCard"]["properties"]
    assert {"name": "assay:void:bad", "value": "leaks"} in told


def test_the_same_bill_has_the_same_bytes():
    assert bill().to_bytes() == bill().to_bytes()
    shuffled = bill(parts=tuple(reversed(bill().parts)))
    assert shuffled.to_bytes() == bill().to_bytes()


def test_time_changes_no_serial_number_and_content_and_seed_do():
    serial = bill().to_json()["serialNumber"]
    later = bill(made=datetime(2027, 1, 1, tzinfo=timezone.utc)).to_json()
    assert (later["serialNumber"], later["metadata"]["timestamp"]) == (serial, "2027-01-01T00:00:00Z")
    assert bill(seed=2).to_json()["serialNumber"] != serial
    assert bill(notes="{}").to_json()["serialNumber"] != serial


def test_what_was_written_reads_back():
    back = bom_of(bill().to_json())
    assert replace(back, seed=1).to_json() == bill().to_json()
    assert back.model == bill().model
    assert [m for m in back.card.metrics if m.slice] == [bill().card.metrics[1]]


@pytest.mark.parametrize("change", [{"parts": ()}, {"notes": "x", "ancestors": ()}])
def test_parts_that_do_not_fit_together_make_no_bill(change):
    # Without its parts the model needs a component that is nowhere.
    if "parts" in change:
        with pytest.raises(FormatError, match="nowhere"):
            bill(**change).to_json()
    else:
        assert "pedigree" not in bill(**change).to_json()["metadata"]["component"]


def broken(path, value):
    """Return a valid document with one place changed; ``...`` removes it."""
    record = copy.deepcopy(bill().to_json())
    place = record
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return record


MODEL = ("metadata", "component")
CASES = [
    (("bomFormat",), "SPDX"), (("bomFormat",), ...), (("specVersion",), 1.7), (("version",), 0), (("version",), True),
    (("serialNumber",), "urn:uuid:XYZ"), (("serialNumber",), f"urn:uuid:{'0' * 8}-0000-8000-8000-{'0' * 12}\n"),
    (("metadata", "timestamp"), "yesterday"), ((*MODEL, "type"), "model"), ((*MODEL, "name"), ...),
    ((*MODEL, "colour"), "red"), ((*MODEL, "hashes", 0, "alg"), "SHA256"), ((*MODEL, "hashes", 0, "content"), "zz"),
    ((*MODEL, "licenses"), [{"license": {"id": "Apache"}}]), ((*MODEL, "licenses", 0, "license", "name"), "two"),
    ((*MODEL, "modelCard", "modelParameters", "approach", "type"), "guesswork"),
    ((*MODEL, "modelCard", "quantitativeAnalysis", "performanceMetrics", 0, "value"), 0.8),
    ((*MODEL, "modelCard", "quantitativeAnalysis", "performanceMetrics", 0, "unit"), "auc"),
    ((*MODEL, "modelCard", "considerations", "users"), "officers"),
    ((*MODEL, "externalReferences", 0, "type"), "signature"), ((*MODEL, "externalReferences", 0, "url"), ...),
    (("components", 0, "data", 0, "type"), "table"), (("components", 0, "data", 0, "governance", "owners"), {}),
    (("components", 0, "data", 0, "governance", "owners", 0), {}), (("components", 1, "purl"), 3),
    (("components", 1, "properties"), [{"value": "nameless"}]), (("dependencies", 0, "ref"), ...),
    (("dependencies", 0, "dependsOn"), ["pypi:b@2", "pypi:b@2"]), (("compositions", 0, "aggregate"), "all"),
    (("metadata", "lifecycles"), [{"phase": "later"}]), (("components",), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"), CASES, ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else None
)
def test_what_is_not_valid_is_refused(path, value):
    with pytest.raises(FormatError, match="not valid"):
        check_bom(broken(path, value))


@pytest.mark.parametrize(
    ("path", "value"), CASES, ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else None
)
def test_the_official_validator_refuses_the_same(path, value):
    # JSON Schema in Python takes `$` before a last newline, the dialect itself does not.
    assert not official(broken(path, value)) or str(value).endswith("\n")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("components", 1, "bom-ref"), "model", "twice"),
        (("dependencies", 0, "dependsOn"), ["nobody"], "nowhere"),
        ((*MODEL, "modelCard", "modelParameters", "datasets"), [{"ref": "data:gone"}], "nowhere"),
        (("specVersion",), "1.6", "1.7"),
    ],
)
def test_what_the_schema_cannot_say_is_refused_too(path, value, told):
    assert any(told in fault for fault in faults_of(broken(path, value)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_any_json_is_a_bill_or_a_fault(value):
    assert list(faults_of(value))


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


PLACES = [p for p in places(bill().to_json()) if p]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(PLACES), JSON | st.just(...))
def test_a_changed_document_is_judged_as_the_official_validator_does(path, value):
    record = broken(path, value)
    beyond = ("is nowhere in the document", "stands twice")
    ours = not [f for f in faults_of(record) if not f.endswith(beyond) and not f.startswith("$.specVersion: is")]
    if official(record) != ours:
        # The formats of texts are read more strictly here than the library does without its extras.
        assert not ours and all(" is no " in f or "does not have the form" in f for f in faults_of(record))


# ---- licences ------------------------------------------------------------------------------------------------------------


def test_licences_have_their_spdx_form():
    assert licence_choices(["MIT License"]) == [{"license": {"id": "MIT"}}]
    assert licence_choices(["apache-2.0", "Own terms"]) == [
        {"license": {"name": "Own terms"}},
        {"license": {"id": "Apache-2.0"}},
    ]
    assert licence_choices(["MIT OR Apache-2.0"]) == [{"expression": "MIT OR Apache-2.0"}]
    assert spdx_id("Nothing known") == ""


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("MIT AND (Apache-2.0 OR BSD-3-Clause)", True), ("GPL-2.0-or-later WITH Classpath-exception-2.0", True),
     ("LicenseRef-own OR MIT", True), ("MIT AND", False), ("(MIT OR ISC", False), ("MIT or ISC", False),
     ("MIT OR Nobodys", False), ("", False), ("MIT", False), ("MIT ISC OR MIT", False)],
)  # fmt: skip
def test_expressions_are_known_from_prose(text, is_one):
    assert is_expression(text) is is_one


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_any_licence_text_makes_a_valid_bill(names):
    model = replace(bill().model, licences=tuple(names))
    check_bom(bill(model=model).to_json())


# ---- the card ------------------------------------------------------------------------------------------------------------


def evidence(*measures, made=NOW, **more):
    return Evidence("quality", (Subject("m", digest_bytes(b"1")),), made, measures=measures, **more)


def test_measures_find_their_slice_in_their_name_or_their_evidence():
    by_name = Measure("accuracy@sex=f,rows=10", 0.5, 0.4, 0.6, 9)
    whole = Measure("accuracy@linf=0.1", 0.5, 0.4, 0.6, 9)
    found = metrics_of(
        [evidence(by_name, whole), evidence(Measure("auc", 1, 1, 1, 2), parameters={"slice": "age<25"})], ["sex"]
    )
    assert {(m.measure.name, m.slice) for m in found} == {
        ("accuracy@sex=f,rows=10", "sex=f"), ("accuracy@linf=0.1", ""), ("auc", "age<25")}  # fmt: skip


def test_the_newest_measure_of_a_name_counts():
    old, new = Measure("auc", 0.5, 0.5, 0.5, 2), Measure("auc", 0.9, 0.9, 0.9, 2)
    later = datetime(2026, 4, 1, tzinfo=timezone.utc)
    assert [m.measure.estimate for m in metrics_of([evidence(new, made=later), evidence(old)])] == [0.9]


def test_what_speaks_against_a_model_is_a_limitation():
    found = Finding("r", Severity.HIGH, "bad"), Finding("s", Severity.NOTE, "fine")
    told = limits_of([evidence(findings=found, not_checked=(NotChecked("rows", "none given"),))])
    assert told == ("not checked by quality: rows (none given)", "high finding r of quality: bad")


def test_declarations_are_read(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text("licence: MIT\nusers: [ada]\nethics: [{name: age}]\ndata: {train: {owner: me, sensitive: [age]}}\n")
    card = read_card(path)
    assert (card.licence, card.users, card.ethics) == ("MIT", ("ada",), (("age", ""),))
    assert card.data["train"].parties == (Party("owner", "me"),)


@pytest.mark.parametrize(
    "text",
    ["colour: red", "users: ada", "approach: magic", "data: {train: {owner: [me]}}", "data: {train: {boss: me}}",
     "ethics: [age]", "fairness: [{group: {a: b}}]", "- a", "a: [", "data: {1: {}}", "users: [true]", "licence: {a: b}",
     "users: !!python/object/apply:os.system [ls]"],
)  # fmt: skip
def test_declarations_of_another_form_are_refused(tmp_path, text):
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_card(path)
    assert str(path) in caught.value.line()


# ---- differences ---------------------------------------------------------------------------------------------------------


def differences(**changes):
    return {(c.kind, c.severity.value, c.what) for c in diff_boms(bill().to_json(), bill(**changes).to_json()).changes}


def changed_part(number, **changes):
    parts = list(bill().parts)
    parts[number] = replace(parts[number], **changes)
    return tuple(parts)


def test_equal_bills_have_no_difference():
    assert differences() == set()


def test_the_same_version_with_other_bytes_is_high():
    assert differences(parts=changed_part(1, digests=(ONE,))) == {("hash", "high", "pkg:pypi/b")}


def test_fewer_files_of_a_version_are_low():
    less = Reference("distribution", "pkg:pypi/a@1", (ONE,), "one of these files")
    assert differences(parts=changed_part(0, references=(less,))) == {("hash", "low", "pkg:pypi/a")}


def test_another_version_is_low_and_brings_its_bytes():
    found = differences(parts=changed_part(1, version="3", digests=(ONE,), purl="pkg:pypi/b@3"))
    assert found == {("version", "low", "pkg:pypi/b"), ("hash", "note", "pkg:pypi/b")}


def test_parts_and_data_come_and_go():
    model = replace(bill().model, needs=())
    gone = (replace(bill().parts[0], needs=()),)
    assert differences(parts=gone, model=model) == {("removed", "low", "pkg:pypi/b")}
    assert ("removed", "medium", "train.parquet") in differences(datasets=())
    back = diff_boms(bill(datasets=()).to_json(), bill().to_json()).changes
    assert [(c.kind, c.severity.value) for c in back] == [("added", "medium")]


def test_other_data_under_the_same_name_is_medium():
    assert differences(datasets=(replace(bill().datasets[0], digest=ONE),)) == {("dataset", "medium", "train.parquet")}


def test_another_model_a_licence_and_a_fallen_claim_are_seen():
    model = replace(
        bill().model, digests=(TWO,), licences=("MIT",), claims={"": Tier.INFERRED, "hashes": Tier.VERIFIED}
    )
    assert differences(model=model) == {
        ("hash", "medium", "credit"), ("licence", "low", "model"), ("claim", "medium", "model")}  # fmt: skip


@pytest.mark.parametrize(
    ("estimate", "severity", "why"),
    [(0.81, "note", "higher, the intervals overlap"), (0.7, "medium", "lower, the intervals lie apart")],
)
def test_measures_differ_when_their_intervals_lie_apart(estimate, severity, why):
    card = replace(bill().card, metrics=(metric(estimate=estimate), bill().card.metrics[1]))
    (change,) = diff_boms(bill().to_json(), bill(card=card).to_json()).changes
    assert (change.kind, change.severity.value, change.why) == ("metric", severity, why)


def test_a_measure_that_is_gone_is_medium():
    card = replace(bill().card, metrics=bill().card.metrics[1:])
    assert differences(card=card) == {("metric", "medium", "quality.auc")}


def test_fail_on_says_from_where():
    found = diff_boms(bill().to_json(), bill(parts=changed_part(1, version="3", purl="pkg:pypi/b@3")).to_json())
    assert (found.beyond(Severity.LOW), found.beyond(Severity.MEDIUM)) == (True, False)
    assert found.to_json()["summary"] == {"version": 1}


def test_bills_of_others_are_read(tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.4", "version": 1, "components": [
        {"type": "library", "name": "a", "version": "1", "group": "g", "components": [{"type": "library", "name": "c"}]}]}))  # fmt: skip
    assert {c.what for c in diff_boms(read_bom(path), bill().to_json()).changes} >= {"g/a", "c", "pkg:pypi/a"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"bomFormat":"SPDX"}',
        '{"bomFormat":"CycloneDX","specVersion":"9"}',
        '{"bomFormat":"CycloneDX","specVersion":"1.7","x":1}',
    ],
)
def test_what_is_no_bill_is_refused(tmp_path, text):
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(FormatError):
        read_bom(path)
    with pytest.raises(DataError):
        read_bom(tmp_path / "none.json")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["components", "metadata", "x"]), JSON, max_size=3), JSON)
def test_any_document_can_be_compared(one, two):
    diff_boms(one, {"components": [two], "metadata": {"component": two}})
