"""Accepted findings: for these bytes, these rules, until that day; nothing else gets through by it."""

import dataclasses
import json
import pickle
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.artifacts.baseline import LONGEST, Acceptance, Baseline
from assay.artifacts.report import FileVerdict
from assay.artifacts.sarif import scan_sarif
from assay.artifacts.scan import scan_paths
from assay.core.digest import digest_file
from assay.core.errors import AssayError, FormatError, SettingError
from assay.core.sarif import sarif_log

TODAY = date(2026, 11, 24)
HOSTILE = b"cos\nsystem\n(Vtrue\ntR."


@pytest.fixture
def hostile(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(HOSTILE)
    return path


def scanned(*paths):
    report = scan_paths(paths)
    return report, {f.path: digest_file(f.path) for f in report.files if f.verdict is not FileVerdict.CLEAN}


def accepted(path, until=TODAY + timedelta(30)):
    return Baseline().accepting(*scanned(path), reason="known", by="grace", until=until, today=TODAY)


def test_what_is_accepted_keeps_its_verdict_and_no_longer_fails(hostile, tmp_path):
    accepted(hostile).write(tmp_path / "b.json")
    judged = Baseline.read(tmp_path / "b.json").judge(*scanned(hostile), TODAY)
    assert judged.report.verdict is FileVerdict.MALICIOUS
    assert judged.open_verdict is FileVerdict.CLEAN
    assert judged.to_json()["files"][0]["accepted"][0]["by"] == "grace"
    results = scan_sarif(judged.report, judged.accepted)["runs"][0]["results"]
    assert all(r["suppressions"][0]["status"] == "accepted" for r in results)
    assert sarif_log([])["version"] == "2.1.0"


def test_it_ends(hostile):
    baseline = accepted(hostile)
    late = baseline.judge(*scanned(hostile), TODAY + timedelta(31))
    assert late.open_verdict is FileVerdict.MALICIOUS
    assert "ran out on 2026-12-24" in late.notes[0]


def test_other_bytes_are_not_accepted(hostile):
    baseline = accepted(hostile)
    hostile.write_bytes(HOSTILE.replace(b"true", b"fals"))
    judged = baseline.judge(*scanned(hostile), TODAY)
    assert judged.open_verdict is FileVerdict.MALICIOUS
    assert "matches nothing" in judged.notes[0]


def test_another_rule_in_the_same_file_is_not_accepted(hostile):
    rows = [dataclasses.replace(a, rule="pickle-other") for a in accepted(hostile).acceptances]
    assert Baseline(rows).judge(*scanned(hostile), TODAY).open_verdict is FileVerdict.MALICIOUS


def test_a_second_file_still_fails(hostile, tmp_path):
    other = tmp_path / "n.pkl"
    other.write_bytes(HOSTILE + b"#")
    assert accepted(hostile).judge(*scanned(hostile, other), TODAY).open_verdict is not FileVerdict.CLEAN


def test_an_unreadable_file_is_accepted_by_what_it_is(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"\x7fELF" + bytes(60))
    assert accepted(path).judge(*scanned(path), TODAY).open_verdict is FileVerdict.CLEAN


@pytest.mark.parametrize("days", [-1, LONGEST.days + 1])
def test_an_end_in_the_past_or_too_far_is_refused(hostile, days):
    with pytest.raises(SettingError, match="ends within 366 days"):
        accepted(hostile, TODAY + timedelta(days))


def test_an_end_too_far_in_the_file_does_not_count(hostile):
    rows = [dataclasses.replace(a, until=date(2099, 1, 1)) for a in accepted(hostile).acceptances]
    judged = Baseline(rows).judge(*scanned(hostile), TODAY)
    assert judged.open_verdict is FileVerdict.MALICIOUS
    assert "longer than 366 days" in judged.notes[0]


@pytest.mark.parametrize("field", ["rule", "digest", "path", "reason", "by", "until"])
def test_every_field_is_needed(hostile, field, tmp_path):
    row = accepted(hostile).acceptances[0].to_json()
    for bad in ({**row, field: " "}, {k: v for k, v in row.items() if k != field}, {**row, field: 3}):
        with pytest.raises(FormatError):
            Acceptance.from_json(bad)
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"form": "assay-baseline/1", "accepted": [{**row, "until": "soon"}]}))
    with pytest.raises(FormatError, match=r"accepted\[0\]"):
        Baseline.read(path)


def test_a_clean_file_needs_nothing(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    assert Baseline().judge(*scanned(path), TODAY).open_verdict is FileVerdict.CLEAN


@given(st.binary(max_size=200))
def test_any_bytes_are_a_baseline_or_one_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("b") / "b.json"
    path.write_bytes(data)
    with pytest.raises(AssayError):
        Baseline.read(path)
