"""assay.load: what is opened is what the scan admitted, and no more."""

import os
import pickle
import pickletools

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import assay
from assay.artifacts.load_guard import LoadRefused, guarded, open_model
from assay.artifacts.scan import scan_paths
from assay.core.errors import DataError, Refused, SettingError, UnsupportedError

X, Y = load_iris(return_X_y=True)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("owned",)


class Mine:
    def __init__(self, value):
        self.value = value


@pytest.fixture
def forest(tmp_path):
    model = RandomForestClassifier(n_estimators=5, random_state=0).fit(X, Y)
    path = tmp_path / "m.joblib"
    joblib.dump(model, path)
    return model, path


def test_a_sandboxed_model_answers_as_the_original(forest):
    model, path = forest
    with assay.load(path) as loaded:
        assert loaded.type.endswith("RandomForestClassifier")
        assert loaded.isolation["engine"] != "none"
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        assert list(loaded.classes_) == [0, 1, 2]
        answers = assay.predictor(loaded, budget=200)
        assert answers.probabilities(X).shape == (150, 3)
        with pytest.raises(UnsupportedError):
            loaded.decision_function(X)
        # the session survives a call that fails inside
        with pytest.raises(Refused, match="model failed"):
            loaded.predict(X[:, :2])
        assert len(loaded.predict(X[:3])) == 3


def test_text_classes_and_arrays_come_out(tmp_path):
    words = np.array(["a", "b", "c"])[Y]
    joblib.dump(LogisticRegression(max_iter=1000).fit(X, words), tmp_path / "w.joblib")
    with assay.load(tmp_path / "w.joblib") as loaded:
        assert set(loaded.predict(X)) == {"a", "b", "c"}
    np.save(tmp_path / "a.npy", X)
    with assay.load(tmp_path / "a.npy") as loaded:
        np.testing.assert_array_equal(loaded.arrays()["array"], X)


def test_in_this_process_the_object_itself_comes_back(forest):
    model, path = forest
    loaded = assay.load(path, isolation="none")
    assert isinstance(loaded, RandomForestClassifier)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@pytest.mark.parametrize("isolation", ["auto", "none"])
def test_a_hostile_file_is_refused_before_anything_runs(tmp_path, monkeypatch, isolation):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(Refused, match=r"mkdir"):
        assay.load("m.pkl", isolation=isolation)
    assert not (tmp_path / "owned").exists()


def test_an_unknown_name_is_refused_until_the_caller_vouches_for_it(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(Mine(3)))
    with pytest.raises(Refused, match="allow-list"):
        assay.load(path, isolation="none")
    assert assay.load(path, isolation="none", allow=[f"{Mine.__module__}:Mine"]).value == 3


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "posix:system", "nodot", ""])
def test_what_is_dangerous_cannot_be_allowed(forest, name):
    with pytest.raises(SettingError):
        assay.load(forest[1], isolation="none", allow=[name])


def test_what_is_no_file_or_no_model_is_refused(tmp_path):
    with pytest.raises(DataError):
        assay.load(tmp_path / "none")
    with pytest.raises(DataError):
        assay.load(tmp_path)
    (tmp_path / "x.bin").write_bytes(b"\x00\xffnothing")
    with pytest.raises(Refused):
        assay.load(tmp_path / "x.bin")


def test_the_guard_refuses_a_name_outside_the_admitted(forest):
    _, path = forest
    (report,) = scan_paths([path]).files
    for name in report.admitted:
        if name[1] in {"_reconstruct", "ndarray"}:
            continue
        with pytest.raises(LoadRefused, match="did not report"):
            open_model(path, "joblib", report.admitted - {name})


def test_admitted_are_exactly_the_names_that_the_file_imports(forest):
    model, path = forest
    data = pickle.dumps(model, protocol=2)
    (path.parent / "m.pkl").write_bytes(data)
    (report,) = scan_paths([path.parent / "m.pkl"]).files
    named = {tuple(a.split(" ", 1)) for op, a, _ in pickletools.genops(data) if op.name == "GLOBAL"}
    assert report.admitted == named


def test_a_guarded_load_starts_no_process_and_no_connection():
    import socket
    import subprocess

    with guarded(()):
        with pytest.raises(LoadRefused, match="subprocess"):
            subprocess.run(["true"], check=True)
        with pytest.raises(LoadRefused, match="socket"):
            socket.create_connection(("127.0.0.1", 9))
        with pytest.raises(LoadRefused, match=r"os\.system"):
            os.system("true")
    subprocess.run(["true"], check=True)


def test_a_refusal_that_is_swallowed_ends_the_load():
    with guarded({("collections", "OrderedDict")}):
        pickle.loads(b"ccollections\nOrderedDict\n.")
        with pytest.raises(LoadRefused):
            pickle.loads(b"cos\nsystem\n.")
        with pytest.raises(LoadRefused):
            pickle.loads(b"ccollections\nOrderedDict\n.")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [
            ("os", "system"),
            ("builtins", "eval"),
            ("collections", "OrderedDict"),
            ("json", "loads"),
            ("datetime", "date"),
            ("decimal", "Decimal"),
        ]
    ),
    st.integers(0, 4),
)
def test_scan_and_guard_agree_on_what_may_be_imported(tmp_path, name, protocol):
    """Whatever a file imports, the guard lets it through just when the scan admitted it."""
    module, attribute = name
    data = (
        f"c{module}\n{attribute}\n.".encode()
        if protocol < 4
        else (
            b"\x80\x04\x8c"
            + bytes([len(module)])
            + module.encode()
            + b"\x8c"
            + bytes([len(attribute)])
            + attribute.encode()
            + b"\x93."
        )
    )
    path = tmp_path / f"{module}{attribute}{protocol}.pkl"
    path.write_bytes(data)
    (report,) = scan_paths([path]).files
    if name in report.admitted:
        open_model(path, "pickle", report.admitted)
    else:
        with pytest.raises(LoadRefused):
            open_model(path, "pickle", report.admitted)
