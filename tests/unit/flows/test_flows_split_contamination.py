"""A split that holds the same person, or copies of rows, on both sides voids every measure of the assessment."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from assay.contract.contract import Contract, Feature, Kind, Role, Target
from assay.flows.assess import assess

RNG = np.random.default_rng(4)
N = 400


def frame(who):
    x = RNG.normal(size=(len(who), 5))
    table = pd.DataFrame({f"f{i}": c for i, c in enumerate(x.T)})
    table["who"], table["y"] = who, np.where(x[:, 0] + RNG.normal(size=len(who)) > 0, "1", "0")
    return table


CONTRACT = Contract(
    Target("y", ("0", "1"), "1"),
    (*(Feature(f"f{i}", Kind.NUMBER) for i in range(5)), Feature("who", Kind.TEXT, Role.GROUP)),
)


def measures(train, test, goals=("quality", "membership")):
    model = LogisticRegression().fit(train[[f"f{i}" for i in range(5)]].to_numpy(), train.y == "1")
    found = assess(model, train=(train, None), test=(test, None), contract=CONTRACT, goals=goals)
    return [m for e in found.evidence if e.control != "data.validity" for m in e.measures]


@pytest.mark.parametrize("shared", [0, 1])
def test_one_shared_person_voids_membership(shared):
    train = frame([f"p{i // 2}" for i in range(N)])
    test = frame([f"q{i}" for i in range(N - shared)] + ["p0"] * shared)
    void = {bool(m.void) for m in measures(train, test)}
    assert void == {bool(shared)}


def test_near_copies_void_it_too():
    train = frame([f"p{i}" for i in range(N)])
    test = train.assign(who=[f"q{i}" for i in range(N)])
    test[[f"f{i}" for i in range(5)]] += RNG.normal(size=(N, 5)) * 1e-3
    found = measures(train, test, goals=("quality",))
    assert found and all("near-duplicates" in m.void for m in found)


def test_people_without_a_key_are_no_reason():
    train, test = frame([None] * N), frame([None] * N)
    assert not any(m.void for m in measures(train, test, goals=("quality",)))
