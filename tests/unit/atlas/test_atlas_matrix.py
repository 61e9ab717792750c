"""ATLAS as data: what the shipped part holds, layers, and refusal of files that are no release."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from assay.atlas.data import ATLAS
from assay.atlas.load import load, parse
from assay.atlas.matrix import Atlas, Mitigation, Tactic, Technique
from assay.atlas.navigator import Mark, layer, marks
from assay.atlas.threats import THREATS, mitigations, threat, threats_of, unmitigated
from assay.core.digest import Digest
from assay.core.errors import DataError, FormatError, SettingError
from assay.core.evidence import Evidence, NotChecked, Subject

SUBJECT = Subject("model", Digest.parse("sha256:" + "0" * 64))


def evidence(control, techniques, *, complete=True):
    missing = () if complete else (NotChecked("rows", "no labels"),)
    made = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return Evidence(control, (SUBJECT,), made, techniques=techniques, not_checked=missing)


def release(**changes):
    matrix = {
        "tactics": [{"id": "AML.TA0001", "name": "AI Attack Staging"}],
        "techniques": [
            {"id": "AML.T0043", "name": "Craft", "tactics": ["AML.TA0001"], "maturity": "realized"},
            {"id": "AML.T0043.001", "name": "Black-Box", "subtechnique-of": "AML.T0043"},
        ],
        "mitigations": [
            {
                "id": "AML.M0002",
                "name": "Obfuscate",
                "ml-lifecycle": ["Deployment", {"Training": "upstream slip"}],
                "techniques": [{"id": "AML.T0043.001"}, {"id": "AML.T0043.001"}, {"id": "AML.T9999"}],
            }
        ],
    }
    return yaml.safe_dump({"version": "9.9", "matrices": [{**matrix, **changes}]}).encode()


def test_the_shipped_part_has_all_tactics_and_the_mitigations_of_classical_models():
    assert (ATLAS.version, len(ATLAS.tactics), len(ATLAS.mitigations)) == ("5.6.0", 16, 23)
    assert all(ATLAS.tactics_of(technique.id) for technique in ATLAS.techniques)
    assert not any("LLM" in t.name or "RAG" in t.name or "Agent" in t.name for t in ATLAS.techniques)


def test_a_part_has_the_tactics_of_its_parent():
    assert [t.slug for t in ATLAS.tactics_of("AML.T0043.001")] == ["ai-attack-staging"]
    assert [t.id for t in ATLAS.parts_of("AML.T0024")] == ["AML.T0024.000", "AML.T0024.001", "AML.T0024.002"]


def test_atlas_links_three_mitigations_to_membership_inference_and_none_to_masquerading():
    assert [m.id for m in ATLAS.mitigations_of("AML.T0024.000")] == ["AML.M0002", "AML.M0004", "AML.M0024"]
    assert ATLAS.mitigations_of("AML.T0074") == ()
    assert "AML.T0074" in {t.id for t in unmitigated(threat("supply-chain"))}


def test_every_threat_refers_to_techniques_that_exist():
    for found in THREATS:
        assert all(ATLAS.technique(key).name for key in found.techniques)
        assert mitigations(found)
    assert [t.name for t in threats_of("AML.T0020")] == ["poisoning"]
    assert threats_of("AML.T9999") == ()


@pytest.mark.parametrize("ask", [ATLAS.technique, ATLAS.tactic, ATLAS.mitigation, ATLAS.mitigations_of, threat])
def test_an_unknown_id_is_refused_with_a_remedy(ask):
    with pytest.raises(SettingError) as caught:
        ask("AML.X1")
    assert caught.value.remedy


def test_every_technique_named_by_a_control_that_speaks_to_models_is_known():
    for key in ("AML.T0011.000", "AML.T0018.002", "AML.T0010.003", "AML.T0015", "AML.T0020", "AML.T0025"):
        assert key in ATLAS


def test_a_layer_opens_parents_and_enters_each_tactic():
    made = layer(marks([evidence("a", ("AML.T0043.001", "AML.T0015"))]), name="run")
    rows = made["techniques"]
    assert {"techniqueID": "AML.T0043", "tactic": "ai-attack-staging", "showSubtechniques": True} in rows
    assert len([r for r in rows if r["techniqueID"] == "AML.T0015"]) == 3
    part = next(r for r in rows if r["techniqueID"] == "AML.T0043.001")
    assert "tactic" not in part
    assert part["score"] == 100
    assert json.loads(json.dumps(made)) == made


def test_what_was_not_checked_lowers_the_score():
    both = marks([evidence("a", ("AML.T0015",)), evidence("b", ("AML.T0015",), complete=False)])
    assert both == {"AML.T0015": Mark(50, "a, b")}
    assert marks([evidence("b", ("AML.T0015",), complete=False)])["AML.T0015"].score == 0


def test_a_layer_refuses_an_unknown_technique():
    with pytest.raises(SettingError, match=r"AML\.T9999"):
        layer({"AML.T9999": Mark(1)})


@pytest.mark.parametrize("score", [-1, 101, 50.5, True])
def test_a_score_outside_0_to_100_is_refused(score):
    with pytest.raises(SettingError):
        Mark(score)


def test_a_release_is_read_with_its_known_slips(tmp_path):
    path = tmp_path / "ATLAS.yaml"
    path.write_bytes(release())
    atlas = load(path)
    assert atlas.version == "9.9"
    assert atlas.mitigation("AML.M0002").techniques == ("AML.T0043.001",)
    assert atlas.technique("AML.T0043.001").parent == "AML.T0043"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\xfa",
        b"[1, 2]",
        b"version: '1'\nmatrices: []",
        b"a: &x [1]\nb: *x",
        b"!!python/object/apply:os.system ['true']",
        b"[" * 5000,
        release(techniques={"id": "AML.T0001"}),
        release(techniques=[{"id": "T1", "name": "n", "tactics": ["AML.TA0001"]}]),
        release(techniques=[{"id": "AML.T0001", "name": "n", "tactics": ["AML.TA9999"]}]),
        release(techniques=[{"id": "AML.T0001.000", "name": "n"}]),
        release(techniques=[{"id": "AML.T0001", "tactics": ["AML.TA0001"]}]),
        release(tactics=[{"id": "AML.TA0001", "name": "n"}, {"id": "AML.TA0001", "name": "n"}]),
    ],
)
def test_what_is_no_release_is_refused(content):
    with pytest.raises(FormatError):
        parse(content)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError):
        load(tmp_path / "none.yaml")


def test_a_mitigation_of_nothing_is_refused():
    with pytest.raises(FormatError, match=r"AML\.M0001"):
        Atlas(
            "1",
            (Tactic("AML.TA0001", "a"),),
            (Technique("AML.T0001", "t", ("AML.TA0001",), "feasible"),),
            (Mitigation("AML.M0001", "m", ("AML.T0002",)),),
        )


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_in_one_line(content):
    with pytest.raises(FormatError) as caught:
        parse(content, where="x")
    assert "\n" not in caught.value.line()
