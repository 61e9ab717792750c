from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from assay.contract.contract import Contract, Kind, Mutable, Role
from assay.contract.encode import decode, encode, labels
from assay.core.errors import AssayError, ContractError, DataError

N = 60


def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "customer_id": [f"c{i}" for i in range(N)],
        "amount": np.r_[np.nan, rng.normal(size=N - 1)],
        "count": np.arange(N) % 7,
        "whole": (np.arange(N) % 11).astype(float),
        "sex": np.where(np.arange(N) % 2, "f", "m"),
        "flag": np.arange(N) % 3 == 0,
        "bit": np.arange(N) % 2,
        "same": 4,
        "day": pd.date_range("2026-01-01", periods=N),
        "split": np.where(np.arange(N) % 4, "train", "test"),
        "y": np.where(np.arange(N) % 5, "good", "bad"),
    })  # fmt: skip


def test_each_column_is_described():
    contract = Contract.infer(frame(), "y")
    column = contract.column
    assert contract.target.classes == ("bad", "good")
    assert contract.target.positive == "bad"
    assert column("customer_id").role is Role.ID
    assert column("customer_id").unique
    assert column("amount").kind is Kind.NUMBER
    assert 0 < column("amount").max_null < 0.1
    assert column("count").kind is Kind.INTEGER
    assert (column("count").low, column("count").high, column("count").step) == (0, 6, 1)
    assert column("whole").kind is Kind.INTEGER
    assert column("sex").sensitive
    assert column("sex").slice
    assert column("sex").mutable is Mutable.NO
    assert column("sex").categories == ("f", "m")
    assert column("flag").kind is column("bit").kind is Kind.BOOLEAN
    assert column("same").constant
    assert column("day").role is Role.TIME
    assert column("split").role is Role.IGNORE
    assert column("amount").scale == pytest.approx(frame()["amount"].std(ddof=0))


def test_every_kind_of_table_gives_the_same_contract(tmp_path):
    f = frame()
    wanted = Contract.infer(f, "y")
    f.to_csv(tmp_path / "t.csv", index=False)
    f.to_parquet(tmp_path / "t.parquet", index=False)
    polars = pl.DataFrame({c: f[c].to_list() for c in f.columns if c != "amount"} | {"amount": f["amount"].to_numpy()})
    arrays = {c: f[c].to_numpy() for c in f.columns}
    categories = f.assign(sex=f["sex"].astype("category"))
    for table in (
        str(tmp_path / "t.csv"),
        tmp_path / "t.parquet",
        polars.select(f.columns),
        pa.Table.from_pandas(f),
        arrays,
        categories,
    ):
        got = Contract.infer(table, "y")
        for a, b in zip(got.columns, wanted.columns, strict=True):
            assert (a.name, a.kind, a.role, a.categories) == (b.name, b.kind, b.role, b.categories)
            assert a.scale == pytest.approx(b.scale)
        assert got.target == wanted.target
        assert np.allclose(encode(wanted, table), encode(wanted, f), equal_nan=True)
        assert (labels(wanted, table) == labels(wanted, f)).all()


def test_encode_and_decode_go_there_and_back():
    contract = Contract.infer(frame(), "y")
    x = encode(contract, frame())
    assert x.shape == (N, contract.width)
    assert np.array_equal(encode(contract, decode(contract, x)), x, equal_nan=True)
    unseen = encode(contract, frame().assign(sex="x"))
    assert (unseen[:, [f.name for f in contract.features].index("sex")] == -1).all()


def test_arrays_and_images_have_contracts():
    y = np.arange(20) % 3
    images = Contract.infer(np.zeros((20, 4, 4), np.uint8), "digit", labels=y)
    assert images.tensor.shape == (4, 4)
    assert (images.tensor.low, images.tensor.high) == (0, 255)
    assert Contract.infer(np.random.default_rng(0).normal(size=(20, 3)), "y", labels=y).width == 3


@pytest.mark.parametrize(
    ("change", "target", "says"),
    [
        ({}, "Y_", "Did you mean y?"),
        ({"y": None}, "y", "missing in 60 row"),
        ({"y": 1}, "y", "one value only"),
        ({"y": np.linspace(0, 1, N)}, "y", "too many for classes"),
        ({"amount": [[1]] * N}, "y", "holds values of type"),
    ],
)
def test_what_cannot_be_described_is_refused(change, target, says):
    with pytest.raises((ContractError, DataError)) as caught:
        Contract.infer(frame().assign(**change), target)
    assert says in str(caught.value)


@pytest.mark.parametrize("table", [pd.DataFrame(), 3, {"a": []}, {"y": [0, 1]}, "nowhere.csv", {"a": [1, 2], "y": [1]}])
def test_no_table_is_refused(table):
    with pytest.raises(AssayError) as caught:
        Contract.infer(table, "y")
    assert "\n" not in str(caught.value)


def test_bad_values_are_named_by_column_and_row():
    contract = Contract.infer(frame(), "y")
    texts = frame()["count"].astype(object).tolist()
    texts[3] = "seven"
    with pytest.raises(DataError, match=r"count: row 3: 'seven' is not a number"):
        encode(contract, frame().assign(count=texts))
    with pytest.raises(DataError, match="lacks 1 column"):
        encode(contract, frame().drop(columns=["flag"]))
    with pytest.raises(DataError, match="is no class"):
        labels(contract, frame().assign(y="ugly"))
    with pytest.raises(DataError):
        decode(contract, np.zeros((2, 99)))
