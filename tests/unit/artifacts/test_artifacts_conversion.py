"""Conversions: the same numbers, nothing executed that was not asked for, everything left out is told."""

import pickle
import zipfile

import joblib
import lightgbm
import numpy as np
import pytest
import torch
import xgboost
from safetensors.torch import load_file
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from assay.artifacts.conversion.boosting_file import convert_boosting_file
from assay.artifacts.conversion.skops_archive import convert_to_skops
from assay.artifacts.conversion.torch_graph import convert_torch_graph
from assay.artifacts.conversion.torch_weights import convert_torch_weights
from assay.artifacts.convert import EXACT, convert_sklearn, parity
from assay.core.errors import AssayError, FormatError, UnsupportedError

RNG = np.random.default_rng(3)
X = RNG.normal(size=(300, 5))
X[RNG.random(X.shape) < 0.05] = np.nan
CLASSES = {2: (np.nan_to_num(X[:, 0]) > 0).astype(int), 4: RNG.integers(0, 4, 300)}


@pytest.fixture
def rows(tmp_path):
    np.save(tmp_path / "rows.npy", X)
    return str(tmp_path / "rows.npy")


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_native_xgboost_is_exact(tmp_path, rows, classes, ending):
    model = xgboost.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1).fit(X, CLASSES[classes])
    path = tmp_path / f"m.{ending}"
    model.save_model(path)
    answer = convert_boosting_file({"model": str(path), "kind": "xgboost", "rows": rows}, tmp_path)
    assert answer["max_difference"] <= EXACT and answer["label_agreement"] == 1.0


@pytest.mark.parametrize("classes", CLASSES)
def test_native_lightgbm_is_exact(tmp_path, rows, classes):
    settings = {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
    data = lightgbm.Dataset(X, CLASSES[classes])
    booster = lightgbm.train({**settings, "verbose": -1, "num_threads": 1}, data, num_boost_round=8)
    booster.save_model(str(tmp_path / "m.txt"))
    answer = convert_boosting_file({"model": str(tmp_path / "m.txt"), "kind": "lightgbm", "rows": rows}, tmp_path)
    assert answer["max_difference"] <= EXACT and answer["label_agreement"] == 1.0


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_no_boosting_file_is_refused(tmp_path, rows, kind):
    (tmp_path / "m").write_text("{}")
    with pytest.raises(AssayError):
        convert_boosting_file({"model": str(tmp_path / "m"), "kind": kind, "rows": rows}, tmp_path)
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("kind", [xgboost.XGBClassifier, lightgbm.LGBMClassifier])
@pytest.mark.parametrize("classes", CLASSES)
def test_pickled_boosting_is_exact(tmp_path, rows, kind, classes):
    options = {"verbose": -1} if kind is lightgbm.LGBMClassifier else {}
    model = kind(n_estimators=6, max_depth=3, n_jobs=1, **options).fit(X, CLASSES[classes])
    joblib.dump(model, tmp_path / "m.joblib")
    answer = convert_sklearn({"model": str(tmp_path / "m.joblib"), "rows": rows}, tmp_path)
    assert (answer["tool"], answer["label_agreement"]) == ("exact", 1.0)
    assert answer["max_difference"] <= EXACT


def test_what_has_no_graph_becomes_skops(tmp_path):
    clean = np.nan_to_num(X)
    np.save(tmp_path / "rows.npy", clean)
    joblib.dump(KNeighborsClassifier(3).fit(clean, CLASSES[2]), tmp_path / "m.joblib")
    answer = convert_to_skops({"model": str(tmp_path / "m.joblib"), "rows": str(tmp_path / "rows.npy")}, tmp_path)
    assert answer["max_difference"] == 0.0 and zipfile.is_zipfile(tmp_path / "model.skops")
    assert all(isinstance(name, str) for name in answer["trusted"])


def weights(value, tmp_path, **options):
    path = tmp_path / "m.pt"
    torch.save(value, path, **options)
    return convert_torch_weights({"model": str(path)}, tmp_path), load_file(tmp_path / "model.safetensors")


STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.bias": torch.ones(2, dtype=torch.bfloat16),
    "n": torch.tensor(7),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_comes_out_bit_for_bit(tmp_path, zipped):
    answer, back = weights(STATE, tmp_path, _use_new_zipfile_serialization=zipped)
    assert answer["tensors"] == 3 and not answer["dropped"]
    assert all(torch.equal(STATE[n], t) and STATE[n].dtype == t.dtype for n, t in back.items())


def test_a_checkpoint_gives_its_names_bare_and_tells_the_rest(tmp_path):
    answer, back = weights({"state_dict": STATE, "epoch": 3, "note": "x"}, tmp_path)
    assert set(back) == set(STATE)
    assert answer["dropped"] == ["epoch: int", "note: str"]


def test_a_whole_module_gives_its_weights_without_its_class(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    answer, back = weights(module, tmp_path)
    assert {n: t.tolist() for n, t in back.items()} == {n: t.tolist() for n, t in module.state_dict().items()}
    assert any("torch.nn.modules.linear.Linear: not imported" in line for line in answer["dropped"])


def test_shared_tensors_become_copies_and_are_told(tmp_path):
    base = torch.arange(4.0)
    answer, back = weights({"a": base, "b": base[1:]}, tmp_path)
    assert back["b"].tolist() == [1.0, 2.0, 3.0] and "b: shared memory with a" in answer["dropped"][0]


class Hostile:
    """What unpickling would make a folder of."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_call_is_left_out_and_told(tmp_path, zipped):
    answer, back = weights(
        {"state_dict": STATE, "hook": Hostile(tmp_path / "made")}, tmp_path, _use_new_zipfile_serialization=zipped
    )
    assert set(back) == set(STATE) and not (tmp_path / "made").exists()
    assert any("mkdir: not imported" in line for line in answer["dropped"])


@pytest.mark.parametrize("value", [{"a": 1}, [], "text"])
def test_a_file_without_tensors_is_refused(tmp_path, value):
    with pytest.raises(UnsupportedError, match="no tensor"):
        weights(value, tmp_path)


@pytest.mark.parametrize("data", [b"", b"no", pickle.dumps(3), b"PK\x03\x04" + bytes(40)])
def test_no_torch_file_is_refused(tmp_path, data):
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(FormatError):
        convert_torch_weights({"model": str(tmp_path / "m.pt")}, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_torchscript_is_a_program_and_gives_no_weights(tmp_path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(2, 1).eval(), torch.zeros(1, 2)).save(str(tmp_path / "m.pt"))
    with pytest.raises(UnsupportedError, match="TorchScript"):
        convert_torch_weights({"model": str(tmp_path / "m.pt")}, tmp_path)
    # What torch's reader finds by a table of its own stands in the bytes, wherever that is.
    torch.save(STATE, tmp_path / "m.pt")
    with open(tmp_path / "m.pt", "ab") as stream:
        stream.write(b"x/constants.pkl")
    with pytest.raises(UnsupportedError, match="TorchScript"):
        convert_torch_weights({"model": str(tmp_path / "m.pt")}, tmp_path)


def test_two_tensors_of_one_name_are_not_made_one(tmp_path):
    with pytest.raises(UnsupportedError, match=r"two tensors would be called a\.b"):
        weights({"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}}, tmp_path)


def test_a_tensor_that_safetensors_does_not_take_is_said(tmp_path):
    with pytest.raises(UnsupportedError, match="does not take"):
        weights({"a": torch.zeros(2, dtype=torch.complex128)}, tmp_path)


def test_a_regressor_becomes_skops_and_nothing_else(tmp_path):
    clean = np.nan_to_num(X)
    np.save(tmp_path / "rows.npy", clean)
    arguments = {"model": str(tmp_path / "m.joblib"), "rows": str(tmp_path / "rows.npy")}
    joblib.dump(LinearRegression().fit(clean, clean[:, 1]), tmp_path / "m.joblib")
    with pytest.raises(UnsupportedError, match="only classifiers"):
        convert_sklearn(arguments, tmp_path)
    assert convert_to_skops(arguments, tmp_path)["label_agreement"] == 1.0
    for other in (StandardScaler().fit(clean), {"a": 1}):
        joblib.dump(other, tmp_path / "m.joblib")
        for convert in (convert_sklearn, convert_to_skops):
            with pytest.raises(UnsupportedError):
                convert(arguments, tmp_path)


@pytest.mark.parametrize(
    ("got", "wanted", "far"),
    [([[0.5, np.nan]], [[0.5, np.nan]], 0.0), ([[np.inf]], [[np.inf]], 0.0), ([[1.0]], [[0.25]], 0.75),
     ([[np.nan]], [[0.5]], None), ([[np.inf]], [[-np.inf]], None), ([[0.5]], [[0.5, 0.5]], None)],
)  # fmt: skip
def test_answers_that_are_no_numbers_are_never_near(got, wanted, far):
    if far is None:
        with pytest.raises(ValueError):
            parity(np.array(got), np.array(wanted), np.array([True]))
    else:
        assert parity(np.array(got), np.array(wanted), np.array([True]))["max_difference"] == far


@pytest.mark.parametrize("scripted", [True, False])
def test_a_module_becomes_a_graph(tmp_path, scripted):
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 3))
    np.save(tmp_path / "rows.npy", RNG.normal(size=(20, 1, 8, 8)))
    if scripted:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(module.eval(), torch.zeros(2, 1, 8, 8)).save(str(tmp_path / "m.pt"))
    else:
        torch.save(module, tmp_path / "m.pt")
    answer = convert_torch_graph({"model": str(tmp_path / "m.pt"), "rows": str(tmp_path / "rows.npy")}, tmp_path)
    assert answer["max_difference"] < 1e-5 and answer["label_agreement"] == 1.0


def test_weights_alone_are_no_graph(tmp_path, rows):
    torch.save(STATE, tmp_path / "m.pt")
    with pytest.raises(UnsupportedError, match="not a module"):
        convert_torch_graph({"model": str(tmp_path / "m.pt"), "rows": rows}, tmp_path)
