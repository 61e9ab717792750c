"""An estimator is asked as it was fitted: with its own columns and its own classes, in the contract's order."""

from __future__ import annotations

from dataclasses import replace

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from assay.contract.contract import Contract
from assay.contract.encode import encode
from assay.core.errors import DataError
from assay.models.predictor import predictor


def people(n=200, seed=0):
    rng = np.random.default_rng(seed)
    town = rng.choice(["Ulm", "Bonn"], n)
    age = rng.integers(18, 90, n)
    risk = np.select([age < 40, age < 65], ["low", "medium"], "high")
    return pd.DataFrame({"town": town, "age": age, "weight": rng.normal(70, 9, n), "risk": risk})


FRAME = people()
CONTRACT = Contract.infer(FRAME, target="risk")


def pipeline():
    return make_pipeline(
        make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough"),
        RandomForestClassifier(10, random_state=0),
    )


def test_columns_in_another_order_and_fewer_of_them():
    names = ["age", "town"]
    model = pipeline().fit(FRAME[names], FRAME.risk)
    asked = predictor(model, contract=CONTRACT)
    assert np.allclose(asked.probabilities(encode(CONTRACT, FRAME)), model.predict_proba(FRAME[names]))


def test_classes_come_in_the_order_of_the_contract():
    rising = replace(CONTRACT, target=replace(CONTRACT.target, classes=("low", "medium", "high")))
    model = pipeline().fit(FRAME[["town", "age", "weight"]], FRAME.risk)
    own = model.predict_proba(FRAME[["town", "age", "weight"]])
    told = predictor(model, contract=rising).probabilities(encode(rising, FRAME))
    assert np.allclose(told, own[:, [1, 2, 0]])


def test_a_class_that_the_model_never_saw_has_no_chance():
    wider = replace(CONTRACT, target=replace(CONTRACT.target, classes=("low", "medium", "high", "extreme")))
    x = encode(wider, FRAME)
    told = predictor(LogisticRegression(max_iter=2000).fit(x, FRAME.risk), contract=wider).probabilities(x)
    assert told.shape == (200, 4)
    assert (told[:, 3] == 0).all()


def test_a_model_of_class_indices_keeps_them():
    x = encode(CONTRACT, FRAME)
    model = RandomForestClassifier(5, random_state=0).fit(x, np.arange(200) % 3)
    assert np.allclose(predictor(model, contract=CONTRACT).probabilities(x), model.predict_proba(x))


def test_other_classes_are_refused():
    model = RandomForestClassifier(2).fit(encode(CONTRACT, FRAME), FRAME.town)
    with pytest.raises(DataError, match="Bonn, Ulm"):
        predictor(model, contract=CONTRACT)


def test_a_column_that_is_no_feature_is_named():
    model = LogisticRegression(max_iter=2000).fit(FRAME[["age"]].assign(income=1.0), FRAME.risk)
    with pytest.raises(DataError, match="income"):
        predictor(model, contract=CONTRACT)


def test_another_width_is_refused():
    model = LogisticRegression().fit(np.zeros((4, 7)), [0, 1, 2, 0])
    with pytest.raises(DataError, match="7 columns and the contract has 3"):
        predictor(model, contract=CONTRACT)


def test_without_a_contract_named_columns_are_given_by_name():
    numbers = FRAME[["age", "weight"]]
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(numbers, FRAME.risk)
    assert np.allclose(predictor(model).probabilities(numbers.to_numpy()), model.predict_proba(numbers))


def test_what_the_model_refuses_is_one_line():
    model = RandomForestClassifier(2).fit(np.zeros((4, 3)), [0, 1, 0, 1])
    with pytest.raises(DataError, match="the model refuses the rows"):
        predictor(model).probabilities(np.zeros((2, 5)))


def test_an_estimator_of_frames_is_fitted_again_on_rows():
    names = ["town", "age", "weight"]
    model = pipeline().fit(FRAME[names], FRAME.risk)
    again = predictor(model, contract=CONTRACT).takes_rows(pipeline()).fit(encode(CONTRACT, FRAME), FRAME.risk)
    assert np.allclose(again.predict_proba(encode(CONTRACT, FRAME)), model.predict_proba(FRAME[names]))
