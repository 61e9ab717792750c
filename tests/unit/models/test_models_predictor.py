"""Every adapter answers in one shape, counts what it is asked and stops at its budget."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from assay.core.errors import (
    BudgetError,
    DataError,
    FormatError,
    MissingError,
    Refused,
    RowsRefused,
    SettingError,
    UnsupportedError,
)
from assay.models.predictor import predictor

X = np.random.default_rng(0).normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)
MODEL = LogisticRegression().fit(X, Y)


def onnx_bytes() -> bytes:
    from skl2onnx import to_onnx

    return to_onnx(MODEL, X[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()


def torch_module():
    import torch

    layer = torch.nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.vstack([np.zeros(3), MODEL.coef_[0]])))
        layer.bias.copy_(torch.tensor([0.0, MODEL.intercept_[0]]))
    return torch.nn.Sequential(layer, torch.nn.Dropout(0.5))


MAKERS = {
    "estimator": lambda: (MODEL, {}),
    "function": lambda: (MODEL.predict_proba, {"classes": 2}),
    "share": lambda: (lambda rows: MODEL.predict_proba(rows)[:, 1], {"classes": 2}),
    "onnx": lambda: (onnx_bytes(), {}),
    "torch": lambda: (torch_module(), {"classes": 2}),
}


@pytest.mark.parametrize("name", MAKERS)
def test_adapters_agree_count_and_batch(name):
    model, options = MAKERS[name]()
    asked = predictor(model, budget=50, batch=7, **options)
    assert np.allclose(asked.probabilities(X), MODEL.predict_proba(X), atol=1e-5)
    assert (asked.queries, asked.calls) == (40, 6)
    with pytest.raises(BudgetError):
        asked.probabilities(X[:11])
    assert asked.queries == 40
    assert asked.probabilities(X[:0]).shape == (0, 2)


def test_labels_only_become_one_hot():
    asked = predictor(LinearSVC().fit(X, Y))
    assert set(np.unique(asked.probabilities(X))) == {0.0, 1.0}


def test_gradients_point_uphill():
    asked = predictor(torch_module(), classes=2)
    slope = asked.gradient(X, Y)
    step = X + 1e-3 * slope
    loss = [-np.log(MODEL.predict_proba(rows)[np.arange(40), Y]).sum() for rows in (X, step)]
    assert loss[1] > loss[0]
    assert asked.queries == 40


def test_a_limited_copy_counts_by_itself():
    first = predictor(MODEL)
    second = first.limited(3)
    second.labels(X[:3])
    assert (first.queries, second.queries) == (0, 3)


@pytest.mark.parametrize(
    ("model", "options", "error"),
    [
        (3, {}, UnsupportedError),
        ("absent.onnx", {}, DataError),
        (b"not onnx", {}, FormatError),
        (lambda rows: rows, {}, SettingError),
        (LogisticRegression(), {}, DataError),
    ],
)
def test_what_is_no_model_is_refused(model, options, error):
    with pytest.raises(error):
        predictor(model, **options)


def test_an_answer_of_the_wrong_shape_is_refused():
    with pytest.raises(DataError, match="answered in shape"):
        predictor(lambda rows: np.zeros((1, 2)), classes=2).labels(X)


@pytest.mark.parametrize("answer", [np.array([[-3.0, 5.0]]), np.array([[0.5, np.nan]]), np.array([[0.0, np.inf]])])
def test_what_is_no_probability_is_refused(answer):
    with pytest.raises(DataError, match="no probabilities"):
        predictor(lambda rows: np.repeat(answer, len(rows), axis=0), classes=2).probabilities(X)


def test_labels_that_are_no_class_indices_are_refused():
    with pytest.raises(DataError, match="labels from 1 to 3 and has 3 classes"):
        predictor(lambda rows: np.arange(len(rows)) % 3 + 1, classes=3).probabilities(X)


def test_labels_between_two_classes_are_refused():
    with pytest.raises(DataError, match=r"labels from 0\.5 to 0\.5"):
        predictor(lambda rows: np.full(len(rows), 0.5), classes=3).probabilities(X)


def test_a_function_that_answers_in_words_is_refused():
    with pytest.raises(DataError, match="something else than numbers"):
        predictor(lambda rows: np.array(["yes"] * len(rows)), classes=2).probabilities(X)


def test_gradients_of_a_tree_are_refused():
    with pytest.raises(UnsupportedError):
        predictor(DecisionTreeClassifier().fit(X, Y)).gradient(X, Y)


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        rows = np.array(json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"][0]["data"])
        key = self.headers.get("x-api-key", "")
        status = {"good": 200, "labels": 200, "slow": 429, "outlier": 422}.get(key, 401)
        if key == "small":
            status = 413 if len(rows) > 3 else 200
        name = "label" if key == "labels" else "probabilities"
        values = MODEL.predict(rows) if name == "label" else MODEL.predict_proba(rows)
        answer = {"outputs": [{"name": name, "data": values.reshape(-1).tolist()}]}
        refusal = {"error": "1 of 2 rows are refused", "reason": "outlier", "rows": [{"row": 1, "reasons": ["far"]}]}
        body = json.dumps(answer if status == 200 else refusal).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if status == 429:
            self.send_header("retry-after", "7")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def url():
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v2/models/m"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("key", ["good", "labels", "small"])
def test_an_endpoint_answers(url, key):
    asked = predictor(url, classes=2, key=key)
    assert (asked.labels(X) == MODEL.predict(X)).all()
    asked.close()


@pytest.mark.parametrize(("key", "error"), [("slow", BudgetError), ("bad", Refused)])
def test_an_endpoint_that_refuses_is_an_error(url, key, error):
    asked = predictor(url, classes=2, key=key)
    with pytest.raises(error):
        asked.labels(X[:2])
    asked.close()


def test_an_endpoint_says_which_rows_it_refuses_and_when_to_come_back(url):
    asked = predictor(url, classes=2, key="outlier")
    with pytest.raises(RowsRefused, match=r"422: 1 of 2 rows are refused\)$") as refused:
        asked.labels(X[:2])
    asked.close()
    assert refused.value.rows == (1,)
    asked = predictor(url, classes=2, key="slow")
    with pytest.raises(BudgetError) as spent:
        asked.labels(X[:2])
    asked.close()
    assert spent.value.wait == 7.0


def test_an_endpoint_that_is_down_is_missing():
    with pytest.raises(MissingError):
        predictor("http://127.0.0.1:9/v2/models/m", classes=2).labels(X[:1])
