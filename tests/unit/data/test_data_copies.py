from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, make_classification

from assay.contract.contract import Contract, Feature, Kind
from assay.core.finding import Severity
from assay.data.copies import near_copies
from assay.data.validity import check_validity, voids

RNG = np.random.default_rng(1)


def table(n=1200, d=8):
    return make_classification(n, d, n_informative=5, random_state=3)


def split(x, seed=0):
    order = np.random.default_rng(seed).permutation(len(x))
    return x[order[: len(x) * 7 // 10]], x[order[len(x) * 7 // 10 :]]


@pytest.mark.parametrize("x", [load_breast_cancer().data, load_digits().data, table()[0], RNG.normal(size=(900, 2))])
def test_honest_splits_raise_nothing(x):
    found = near_copies(*split(x))
    assert found.findings() == ()


@pytest.mark.parametrize(("share", "severity"), [(0.03, Severity.MEDIUM), (0.3, Severity.HIGH)])
def test_copies_with_noise_across_the_split_are_found(share, severity):
    train, test = split(table()[0])
    k = round(share * len(test))
    test = test.copy()
    test[:k] = train[:k] + RNG.normal(size=(k, train.shape[1])) * 0.02
    found = near_copies(train, test)
    across, within = found.measures()
    assert across.low <= share <= across.high
    assert within.estimate < 0.005
    assert set(found.rows) >= set(range(k)) and (found.partners[:k] == np.arange(k)).all()
    (finding,) = found.findings()
    assert (finding.rule, finding.severity) == ("near-duplicates", severity)


def test_augmented_rows_that_were_split_afterwards_are_told():
    x = table(400)[0]
    copies = np.concatenate([x + RNG.normal(size=x.shape) * 0.01 for _ in range(3)])
    (finding,) = near_copies(*split(copies)).findings()
    assert finding.severity is Severity.MEDIUM


def test_coarse_rows_resemble_one_another_by_nature():
    x = RNG.integers(0, 6, (1500, 8)).astype(float)
    assert all(f.severity is Severity.LOW for f in near_copies(*split(x)).findings())


def test_categories_missing_values_and_unseen_codes_have_a_distance():
    x, _ = table()
    codes = RNG.integers(0, 30, (len(x), 1)).astype(float)
    few = RNG.integers(-1, 3, (len(x), 1)).astype(float)
    x = np.concatenate([x, codes, few], axis=1)
    x[RNG.random(x.shape) < 0.02] = np.nan
    train, test = split(x)
    kept = train.copy(), test.copy()
    test[:40] = train[:40]
    test[:40, 0] += 0.01
    test[40, 8] = 99.0
    category = np.arange(10) >= 8
    found = near_copies(train, test, category)
    assert set(range(40)) - set(np.flatnonzero(np.isnan(test[:40, 0]))) <= set(found.rows)
    assert np.array_equal(train, kept[0], equal_nan=True)
    again = near_copies(train, test, category)
    assert (again.rows == found.rows).all()


def test_what_has_no_distance_is_not_judged():
    assert near_copies(np.ones((100, 3)), np.ones((100, 3))) is None
    assert near_copies(RNG.normal(size=(20, 3)), RNG.normal(size=(100, 3))) is None
    assert near_copies(np.ones((100, 0)), np.ones((100, 0))) is None


def test_equal_rows_are_counted_elsewhere():
    train, test = split(table()[0])
    assert near_copies(train, np.concatenate([test, train[:100]])).found == 0


def test_many_training_rows_are_all_compared():
    x = RNG.normal(size=(30_000, 6))
    test = RNG.normal(size=(300, 6))
    test[7] = x[29_999] + 1e-3
    found = near_copies(x, test, pairs=9_000_000)
    assert found.asked == 300 and 7 in found.rows
    assert found.partners[list(found.rows).index(7)] == 29_999


def test_a_contaminated_split_voids_what_is_measured_on_it():
    x, y = table()
    test = x[:300] + RNG.normal(size=(300, 8)) * 0.01
    contract = Contract(columns=tuple(Feature(f"f{i}", Kind.NUMBER) for i in range(8)))
    assert "near-duplicates" in voids(check_validity(x, y, test, y[:300], contract))
    assert voids(check_validity(x[:800], y[:800], x[800:], y[800:], contract)) == ""


def test_missing_groups_are_nobodys_and_numbers_are_equal_however_stored():
    x, y = table()
    given = x[:800], y[:800], x[800:], y[800:]
    nobody = (
        np.array([None, "", *(f"p{i}" for i in range(798))], dtype=object),
        np.array([None, ""] * 200, dtype=object),
    )
    assert voids(check_validity(*given, groups=nobody)) == ""
    stored = np.arange(800), np.where(np.arange(400) < 399, np.arange(400) + 799.0, np.nan)
    assert "group-overlap" in voids(check_validity(*given, groups=stored))
