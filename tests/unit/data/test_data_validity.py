from __future__ import annotations

import numpy as np
import pytest

from assay.contract.contract import Contract, Feature, Kind, Role
from assay.core.errors import DataError
from assay.data.leakage import row_keys, single_feature_auc
from assay.data.sources import dataset_digest, read_table
from assay.data.validity import check_validity, voids

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4))
Y = (X[:, 0] + RNG.normal(size=400) > 0).astype(int)
SPLIT = (X[:300], Y[:300], X[300:], Y[300:])


def test_a_fair_split_is_valid():
    evidence = check_validity(*SPLIT)
    assert evidence.clean()
    assert voids(evidence) == ""
    assert 0.7 < evidence.measure("best_single_feature_auc").estimate < 0.95


def copied(column):
    x = np.column_stack([X, column])
    return x[:300], Y[:300], x[300:], Y[300:]


@pytest.mark.parametrize(
    ("split", "rule"),
    [
        (copied(Y), "target-copy"),
        (copied(5 - Y), "target-copy"),
        (copied(np.where(Y, np.arange(400) % 2 * 2.0, 1.0)), "target-copy"),
        (copied(Y + X[:, 1] / 100), "target-copy"),
        (copied(np.where(Y, np.nan, X[:, 1])), "target-copy"),
        ((X[:300], Y[:300], X[200:], Y[200:]), "test-in-train"),
        ((X[:300], Y[:300] * 0, X[300:], Y[300:]), "one-class"),
    ],
)
def test_planted_faults_void_the_measures(split, rule):
    assert rule in voids(check_validity(*split))


def test_groups_and_times_are_kept_apart():
    assert "group-overlap" in voids(check_validity(*SPLIT, groups=(np.arange(300), np.arange(299, 399))))
    assert "time-overlap" in voids(check_validity(*SPLIT, times=(np.arange(300), np.arange(100, 200))))
    assert (
        voids(
            check_validity(
                *SPLIT, groups=(np.arange(300), np.arange(300, 400)), times=(np.arange(300), np.arange(300, 400))
            )
        )
        == ""
    )


def test_the_contract_fixes_the_column_order_and_what_must_be_given():
    columns = tuple(Feature(n, Kind.NUMBER) for n in "abcd")
    contract = Contract(
        columns=(*columns, Feature("who", Kind.TEXT, Role.GROUP), Feature("when", Kind.DATE, Role.TIME))
    )
    assert "column-order" in voids(check_validity(*SPLIT, contract, names=list("abdc")))
    assert "column-order" in voids(check_validity(*copied(X[:, 0]), contract))
    evidence = check_validity(*SPLIT, contract)
    assert voids(evidence) == ""
    assert len(evidence.not_checked) == 2


def test_bad_shapes_are_refused():
    for bad in ((X, Y, X[:, :2], Y), (X[:0], Y[:0], X, Y), (X, Y[:5], X, Y), (X, Y * 0.5, X, Y)):
        with pytest.raises(DataError):
            check_validity(*bad)


def test_keys_and_aucs():
    x = np.array([[0.0, np.nan], [-0.0, np.nan], [1.0, 2.0], [2.0, 1.0]])
    keys = row_keys(x)
    assert keys[0] == keys[1]
    assert len(set(keys.tolist())) == 3
    sklearn = pytest.importorskip("sklearn.metrics")
    wanted = [max(a, 1 - a) for a in (sklearn.roc_auc_score(Y, X[:, i]) for i in range(4))]
    assert np.allclose(single_feature_auc(X, Y), wanted)


def test_tables_are_read_by_content(tmp_path):
    (tmp_path / "odd.name").write_text("a,b\n1,x\n,y\n")
    assert read_table(tmp_path / "odd.name").to_pydict() == {"a": [1, None], "b": ["x", "y"]}
    assert dataset_digest(tmp_path / "odd.name") == dataset_digest(str(tmp_path / "odd.name"))
    with pytest.raises(DataError):
        dataset_digest(tmp_path / "none")
    for content in (b"", b"a\n", b"PAR1xxxx", b"a,a\n1,2\n", b"a,b\n1\n", b"PK\x03\x04"):
        (tmp_path / "bad.csv").write_bytes(content)
        with pytest.raises(DataError):
            read_table(tmp_path / "bad.csv")
