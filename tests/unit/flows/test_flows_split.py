"""The first split: equal rows and equal groups stay on one side, time goes forward, mistakes are refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import DataError
from assay.flows.split import split_table


def table(rows: int = 200, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "a": rng.integers(0, 12, rows),
            "b": rng.integers(0, 3, rows),
            "person": rng.integers(0, 40, rows),
            "y": rng.integers(0, 2, rows),
        }
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_equal_rows_stay_on_one_side(seed):
    train, test, _ = split_table(table(seed=seed).select(["a", "b", "y"]), target="y", seed=seed)
    pairs = [set(zip(part["a"].to_pylist(), part["b"].to_pylist(), strict=True)) for part in (train, test)]
    assert not pairs[0] & pairs[1]


def test_groups_stay_on_one_side():
    train, test, how = split_table(table(), target="y", group="person")
    assert not set(train["person"].to_pylist()) & set(test["person"].to_pylist())
    assert "person" in how


def test_time_goes_forward():
    train, test, _ = split_table(table().append_column("t", pa.array(range(200))), target="y", time="t")
    assert max(train["t"].to_pylist()) < min(test["t"].to_pylist())


def test_obeys_a_split_column():
    words = ["train"] * 150 + ["test"] * 50
    train, test, _ = split_table(table().append_column("split", pa.array(words)), target="y")
    assert (train.num_rows, test.num_rows) == (150, 50)
    assert "split" not in train.column_names


def test_the_same_seed_gives_the_same_split():
    first, second = (split_table(table(), target="y", seed=3) for _ in range(2))
    assert first[1].equals(second[1])


def test_refuses_an_unknown_group():
    with pytest.raises(DataError, match="no such column"):
        split_table(table(), target="y", group="patient")


def test_refuses_a_tiny_table():
    with pytest.raises(DataError, match="too few"):
        split_table(table(rows=10), target="y")


def test_refuses_one_sided_split():
    with pytest.raises(DataError, match="one side"):
        split_table(table().append_column("g", pa.array([1] * 200)), target="y", group="g")
