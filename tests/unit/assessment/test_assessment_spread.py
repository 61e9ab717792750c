"""Every attack runs against every kind of model, and samples may be spread over threads and processes."""

from __future__ import annotations

import dataclasses
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from assay.assessment.evasion.base import EvasionAttack
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.evasion.simba import SimBA
from assay.assessment.evasion.spread import spread
from assay.assessment.evasion.square import Square
from assay.contract.region import Region
from assay.core.discovery import discover
from assay.core.errors import BudgetError, RowsRefused, SettingError
from assay.core.settings import settings_of
from assay.models.predictor import predictor

X = np.random.default_rng(0).normal(size=(160, 4)).astype(np.float32).astype(float)
Y = (X[:, 0] - 0.5 * X[:, 1] > 0).astype(int)
LINEAR = LogisticRegression().fit(X, Y)
REGION = Region.box(np.full(4, -4.0), np.full(4, 4.0))
BLACK_BOX = ("beam", "boundary", "genetic", "hopskipjump", "nes", "simba", "square", "transfer", "zoo")


def boosted(kind):
    if kind == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1).fit(X, Y)
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=10, min_child_samples=5, n_jobs=1, verbose=-1).fit(X, Y)


def module():
    import torch

    layer = torch.nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.vstack([np.zeros(4), LINEAR.coef_[0]])))
        layer.bias.copy_(torch.tensor([0.0, LINEAR.intercept_[0]]))
    return layer


def onnx():
    from skl2onnx import to_onnx

    return to_onnx(LINEAR, X[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        data = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"][0]["data"]
        answer = LINEAR.predict_proba(np.array(data)).reshape(-1).tolist()
        body = json.dumps({"outputs": [{"name": "probabilities", "data": answer}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def models():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = {
        "sklearn": LINEAR,
        "xgboost": boosted("xgboost"),
        "lightgbm": boosted("lightgbm"),
        "torch": module(),
        "onnx": onnx(),
        "endpoint": f"http://127.0.0.1:{server.server_port}/v2/models/m",
    }
    yield made
    server.shutdown()
    server.server_close()


def small(name):
    """Return the attack of that name at a small budget, with room to find what is far."""
    kind = discover(EvasionAttack)[name]
    settings = {"max_queries": 120}
    if "radius" in settings_of(kind):
        settings["radius"] = 2.0
    return kind(**settings)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("model", ["sklearn", "xgboost", "lightgbm", "torch", "onnx", "endpoint"])
@pytest.mark.parametrize("name", BLACK_BOX)
def test_black_box_attacks_run_against_every_kind_of_model(models, model, name):
    asked = predictor(models[model], classes=2)
    x = X[:8]
    y = asked.labels(x)
    attack = small(name)
    found = attack(asked.limited(None), x, y, REGION, seed=3)
    assert found.queries.max() <= attack.max_queries
    assert found.success.mean() >= 0.6
    assert (asked.labels(found.x_adv)[found.success] != y[found.success]).all()
    assert REGION.contains(found.x_adv, x).all()
    asked.close()


def same(one, other):
    return all(
        np.asarray(getattr(one, f.name)).tobytes() == np.asarray(getattr(other, f.name)).tobytes()
        for f in dataclasses.fields(type(one))
    )


@pytest.mark.parametrize(
    "attack", [Square(max_queries=60, radius=0.8), HopSkipJump(max_queries=300)], ids=lambda a: a.name
)
def test_the_result_does_not_show_how_it_was_spread(attack):
    asked = predictor(LINEAR)
    y = LINEAR.predict(X[:40])
    alone, threads = (
        spread(attack, asked.limited(None), X[:40], y, REGION, seed=5, n_jobs=jobs, block=7) for jobs in (1, 3)
    )
    assert same(alone, threads)
    assert not same(alone, spread(attack, asked.limited(None), X[:40], y, REGION, seed=6, block=7))
    assert alone.success.mean() > 0.5


@pytest.mark.long
def test_processes_give_what_threads_give():
    y = LINEAR.predict(X[:20])
    attack = HopSkipJump(max_queries=300)
    alone = spread(attack, predictor(LINEAR), X[:20], y, REGION, seed=5, block=7)
    with joblib.parallel_config(backend="loky"):
        assert same(alone, spread(attack, predictor(LINEAR), X[:20], y, REGION, seed=5, n_jobs=2, block=7))


def test_each_block_of_samples_is_attacked_as_it_would_be_alone():
    y = LINEAR.predict(X[:20])
    attack = SimBA(max_queries=60)
    found = spread(attack, predictor(LINEAR), X[:20], y, REGION, starts=X[80:], targets=1 - y, block=20)
    assert found.x_adv.shape == (20, 4)
    assert found.success.all()


def test_queries_and_calls_are_counted_and_a_budget_holds():
    y = LINEAR.predict(X[:30])
    asked = predictor(LINEAR, budget=30 * 60)
    found = spread(SimBA(max_queries=60), asked, X[:30], y, REGION, n_jobs=2, block=8)
    assert asked.queries == found.queries.sum()
    assert asked.calls > 0
    tight = predictor(LINEAR, budget=50)
    with pytest.raises(BudgetError):
        spread(SimBA(max_queries=60), tight, X[:30], y, REGION, n_jobs=2, block=8)
    assert tight.queries <= 50


def test_an_endpoint_is_asked_from_several_threads(models):
    asked = predictor(models["endpoint"], classes=2)
    y = LINEAR.predict(X[:12])
    attack = SimBA(max_queries=12)
    found = spread(attack, asked, X[:12], y, REGION, n_jobs=3, block=4)
    assert same(found, spread(attack, asked, X[:12], y, REGION, n_jobs=1, block=4))
    asked.close()


def test_what_guards_refuse_is_added_up():
    def guard(x):
        bad = np.flatnonzero(x[:, 0] > 0.5)
        if len(bad):
            raise RowsRefused("outlier", rows=tuple(bad.tolist()))
        return np.tile([0.9, 0.1], (len(x), 1))

    x = np.linspace(0, 1, 40).reshape(20, 2) / 2
    attack, region = HopSkipJump(max_queries=40), Region.box([0, 0], [1, 1])
    found = spread(attack, predictor(guard, classes=2), x, np.zeros(20, dtype=int), region, block=5)
    assert found.refused > 0
    assert found.stopped == ""
    assert not found.success.any()


def test_no_samples_and_no_block():
    none = spread(SimBA(), predictor(LINEAR), X[:0], Y[:0], REGION)
    assert none.x_adv.shape == (0, 4)
    with pytest.raises(SettingError, match="block"):
        spread(SimBA(), predictor(LINEAR), X[:4], Y[:4], REGION, block=0)
