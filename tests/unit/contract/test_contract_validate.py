from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from assay.contract.contract import Contract, Feature, Kind, Relation, Role, Target, Tensor
from assay.contract.encode import encode
from assay.contract.rows import violations
from assay.contract.validate import check
from assay.core.errors import AssayError, DataError
from assay.core.evidence import Evidence

# ibis still calls a method that newer DuckDB releases deprecate
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

CONTRACT = Contract(
    Target("y", ("0", "1")),
    (
        Feature("a", Kind.NUMBER, low=0, high=10),
        Feature("k", Kind.INTEGER, max_null=0.5),
        Feature("c", Kind.CATEGORY, categories=("r", "g")),
        Feature("b", Kind.BOOLEAN),
        Feature("u", Kind.INTEGER, Role.ID, unique=True),
        Feature("when", Kind.DATE, Role.TIME),
    ),
    relations=(Relation({"a": 1.0, "k": 1.0}, 12.0, name="sum"),),
    max_age_days=30,
)
GOOD = pd.DataFrame({
    "a": [1.0, 2.0, 3.0, 4.0], "k": [1, 2, 3, 4], "c": ["r", "g", "r", "g"], "b": [True, False, True, True],
    "u": [1, 2, 3, 4], "when": pd.to_datetime(["2026-01-01"] * 4), "y": [0, 1, 0, 1],
})  # fmt: skip


def clock():
    return dt.datetime(2026, 1, 10, tzinfo=dt.UTC)


def rules(batch, **options):
    return {f.rule for f in check(batch, CONTRACT, clock=clock, **options).findings}


def test_a_good_batch_is_clean_and_leaves_no_quarantine(tmp_path):
    evidence = check(GOOD, CONTRACT, clock=clock, quarantine=tmp_path / "q.parquet")
    assert evidence.clean()
    assert not evidence.findings
    assert evidence.measure("bad_rows").estimate == 0
    assert not (tmp_path / "q.parquet").exists()
    assert Evidence.from_json(evidence.to_json()) == evidence


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"a": [11, 2, 3, 4]}, "out-of-range"),
        ({"a": ["1", "2", "x", "4"]}, "wrong-type"),
        ({"a": pd.to_datetime(["2026-01-01"] * 4)}, "wrong-type"),
        ({"a": [1, 2, np.inf, 4]}, "wrong-type"),
        ({"a": [1, 2, None, 4]}, "too-many-nulls"),
        ({"k": [1, 2, 2.5, 4]}, "not-integer"),
        ({"k": [None, None, None, 1]}, "too-many-nulls"),
        ({"k": [1, 2, 3, 99]}, "relation"),
        ({"c": ["r", "g", "r", "blue"]}, "unseen-category"),
        ({"b": ["true", "false", "maybe", "1"]}, "wrong-type"),
        ({"u": [1, 2, 2, 4]}, "duplicate-id"),
        ({"y": [0, 1, 0, 2]}, "unknown-class"),
        ({"y": [0, 1, 0, None]}, "target-missing"),
        ({"when": pd.to_datetime(["2025-01-01"] * 4)}, "stale"),
        ({"when": ["2026-01-01", "soon", "2026-01-01", "2026-01-01"]}, "wrong-type"),
        ({"new": 1}, "unknown-column"),
    ],
)
def test_each_rule_is_found_in_memory_and_in_files(change, rule, tmp_path):
    bad = GOOD.assign(**change)
    assert rules(bad) == {rule}
    bad.to_csv(tmp_path / "b.csv", index=False)
    assert rules(tmp_path / "b.csv") == {rule}
    bad.to_parquet(tmp_path / "b.parquet")
    assert rules(str(tmp_path / "b.parquet")) == {rule}


def test_a_missing_column_is_not_checked():
    evidence = check(GOOD.drop(columns=["a"]), CONTRACT, clock=clock)
    assert not evidence.complete
    assert not evidence.clean()


def test_bad_rows_are_counted_shown_and_quarantined(tmp_path):
    bad = GOOD.assign(a=[1, 99, 3, -1], u=[1, 2, 1, 4])
    evidence = check(bad, CONTRACT, clock=clock, quarantine=tmp_path / "q.parquet", examples=1)
    assert evidence.measure("bad_rows").estimate == 0.75
    message = next(f.message for f in evidence.findings if f.rule == "out-of-range")
    assert "2 of 4 rows" in message
    assert "row 1 ('99')" in message
    kept = pq.read_table(tmp_path / "q.parquet").to_pydict()
    assert kept["row"] == [1, 2, 3]
    assert "duplicate-id u" in kept["reasons"][1]


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n", b"PAR1 truncated", b"PK\x03\x04 excel", b"\x80\x04pickle", b"a\0b", b"\x1f\x8b"]
)
def test_bad_files_are_refused_in_one_line(content, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        check(tmp_path / "t.csv", CONTRACT)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        check(tmp_path / "none.csv", CONTRACT)


def test_an_empty_table_is_refused():
    with pytest.raises(DataError, match="no rows"):
        check(GOOD.iloc[:0], CONTRACT)


def test_images():
    contract = Contract(tensor=Tensor((2, 2)))
    good = np.full((3, 2, 2), 0.5, np.float32)
    assert check(good, contract).clean()
    for bad in (good + 1, good.astype(np.float64), good[:, :1], good * np.nan):
        assert not check(bad, contract).clean()
    with pytest.raises(AssayError):
        check(good[:0], contract)
    assert violations(contract, good).ok.all()
    assert not violations(contract, good * 3).ok.any()


def test_requests_are_judged_row_by_row():
    x = encode(CONTRACT, GOOD)
    assert violations(CONTRACT, x).ok.all()
    for column, value, why in ((0, 11, "outside"), (0, np.nan, "missing"), (0, np.inf, "finite"), (1, 1.5, "whole"), (2, -1, "categories"),
                               (2, 0.5, "whole"), (3, 2, "outside"), (1, 50, "sum")):  # fmt: skip
        bad = x.copy()
        bad[2, column] = value
        report = violations(CONTRACT, bad)
        assert report.ok.tolist() == [True, True, False, True]
        assert why in report.reasons[2][0]
        assert report.reasons[0] == []
    null = x.copy()
    null[0, 1] = np.nan
    assert violations(CONTRACT, null).ok.all()
    assert violations(CONTRACT, x[:, :2]).ok.tolist() == [False] * 4
