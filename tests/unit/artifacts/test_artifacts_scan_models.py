"""Really trained and saved models pass: the allow-list is neither blind nor loud."""

import io
import pickle

import pytest

np = pytest.importorskip("numpy")
sklearn = pytest.importorskip("sklearn")
joblib = pytest.importorskip("joblib")

from sklearn import ensemble, linear_model, neighbors, neural_network, pipeline, preprocessing, svm, tree  # noqa: E402

from assay.artifacts.scan import FileVerdict, scan_bytes, scan_paths  # noqa: E402

X = np.random.default_rng(0).normal(size=(40, 4))
Y = np.arange(40) % 2
MODELS = [
    linear_model.LogisticRegression(), ensemble.RandomForestClassifier(3, random_state=0), tree.DecisionTreeClassifier(),
    ensemble.GradientBoostingClassifier(n_estimators=2), ensemble.HistGradientBoostingClassifier(max_iter=2),
    neighbors.KNeighborsClassifier(3), svm.SVC(), neural_network.MLPClassifier((3,), max_iter=300, tol=1.0),
    pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()),
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_saved_sklearn_models_are_clean(model):
    model.fit(X, Y)
    for protocol in (2, 3, 4, 5):
        report = scan_bytes(pickle.dumps(model, protocol))
        assert report.verdict is FileVerdict.CLEAN, report
    for compress in (0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)):
        buffer = io.BytesIO()
        joblib.dump(model, buffer, compress=compress)
        report = scan_bytes(buffer.getvalue())
        assert report.verdict is FileVerdict.CLEAN and report.format in {"joblib", "pickle"}, (compress, report)


def test_a_payload_behind_the_last_array_of_joblib_is_found():
    class Evil:
        def __reduce__(self):
            import os

            return os.getcwd, ()

    buffer = io.BytesIO()
    joblib.dump([np.zeros(100_000), np.full(999, ord("."), "u1"), np.array(["a", None], object), Evil()], buffer)
    assert scan_bytes(buffer.getvalue()).verdict is FileVerdict.MALICIOUS


def test_an_object_array_that_hides_a_payload_is_found():
    class Evil:
        def __reduce__(self):
            import os

            return os.getcwd, ()

    for save in (np.save, lambda f, a: joblib.dump(a, f), lambda f, a: np.savez_compressed(f, a=a)):
        buffer = io.BytesIO()
        save(buffer, np.array([Evil(), 1], object))
        assert scan_bytes(buffer.getvalue()).verdict is FileVerdict.MALICIOUS


def test_numpy_pandas_and_scipy_values_are_clean():
    pd, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"])})
    for value in (
        np.arange(3),
        np.float64(2),
        np.zeros(2, "i4,f8"),
        np.random.default_rng(0),
        sparse.eye(3, format="csr"),
        frame,
        frame["b"],
    ):
        for protocol in (2, 4, 5):
            report = scan_bytes(pickle.dumps(value, protocol))
            assert report.verdict is FileVerdict.CLEAN, report


def test_saved_torch_files_are_clean():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LSTM(4, 3))
    for value in (
        module,
        module.state_dict(),
        {"w": torch.zeros(2, dtype=torch.bfloat16), "n": 3},
        torch.optim.Adam(module.parameters()).state_dict(),
    ):
        for new in (True, False):
            buffer = io.BytesIO()
            torch.save(value, buffer, _use_new_zipfile_serialization=new)
            report = scan_bytes(buffer.getvalue())
            assert report.verdict is FileVerdict.CLEAN, report
            assert report.format == ("torch-zip" if new else "torch-legacy")


def test_saved_boosting_models_are_clean(tmp_path):
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    light = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(X, Y)
    heavy = xgboost.XGBClassifier(n_estimators=2).fit(X, Y)
    found = [scan_bytes(pickle.dumps(m)) for m in (light, heavy)]
    light.booster_.save_model(tmp_path / "m.txt")
    heavy.save_model(tmp_path / "m.json")
    heavy.save_model(tmp_path / "m.ubj")
    found += [scan_bytes((tmp_path / n).read_bytes()) for n in ("m.txt", "m.json", "m.ubj")]
    assert [f.verdict for f in found] == [FileVerdict.CLEAN] * 5, found
    assert found[2].format == "lightgbm-text" and found[4].format == "xgboost-ubj"


def test_saved_skops_files_are_clean():
    io_ = pytest.importorskip("skops.io")
    report = scan_bytes(
        io_.dumps(pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()).fit(X, Y))
    )
    assert report.verdict is FileVerdict.CLEAN and report.format == "skops", report


def test_a_class_that_is_only_made_bare_must_not_be_called():
    # INST with arguments runs __init__, which saved models never do.
    report = scan_bytes(b"(S'x'\nisklearn.linear_model._logistic\nLogisticRegression\n.")
    assert report.verdict is FileVerdict.SUSPICIOUS


@pytest.mark.parametrize("length", [0x80, 0x180, 0x280, 0x480, 0x580, 0x28, 0x58, 0x5D8])
def test_a_length_that_begins_like_a_pickle_is_no_pickle(tmp_path, length):
    head = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    if length < len(head):
        head = b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'.replace(b" ", b"")
        length = len(head) + (-len(head) % 8)
    raw = length.to_bytes(8, "little") + head.ljust(length) + (b"\1\2\3\4" if b"[4]" in head else b"")
    (tmp_path / "m.safetensors").write_bytes(raw)
    report = scan_paths([tmp_path / "m.safetensors"])
    assert [(f.format, f.verdict.value) for f in report.files] == [("safetensors", "clean")]
