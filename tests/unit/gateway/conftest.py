"""One small model, one contract and one way to ask, shared by the gateway's tests."""

import asyncio
import json

import httpx
import numpy as np
import pytest

from assay.core.event import Event
from assay.gateway.app import gateway
from assay.gateway.auth import Keys, make_key
from assay.testing.guards import guarded_table


class Notes(list):
    """A sink in memory."""

    full = False

    def put(self, event):
        if self.full:
            return False
        self.append(event if isinstance(event, Event) else event())
        return True


@pytest.fixture(scope="session")
def model_bytes():
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    _, x = guarded_table(500)
    model = LogisticRegression().fit(x, x[:, 0] + x[:, 1] > 0)
    graph = to_onnx(model, x[:1].astype(np.float64), options={"zipmap": False}, target_opset=17)
    graph.graph.input[0].name = "input"
    for node in graph.graph.node:
        node.input[:] = ["input" if i == "X" else i for i in node.input]
    return graph.SerializeToString()


@pytest.fixture(scope="session")
def table():
    return guarded_table(500)


class Asker:
    def __init__(self, app, key, notes):
        self.app, self.key, self.notes = app, key, notes

    def __call__(self, method="POST", path="/v2/models/model/infer", *, key=None, **rest):
        headers = {"x-api-key": self.key if key is None else key, **rest.pop("headers", {})}

        async def go():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://t") as client:
                return await client.request(method, path, headers=headers, **rest)

        return asyncio.run(go())

    def rows(self, rows, **rest):
        rows = np.asarray(rows, dtype=object)
        record = {
            "inputs": [{"name": "input", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}]
        }
        return self(content=json.dumps(record), headers={"content-type": "application/json"}, **rest)


@pytest.fixture
def make(model_bytes, table):
    def build(**options):
        secret, keys = make_key(options.pop("keys", Keys.empty()), "alice")
        notes = Notes()
        return Asker(gateway(model_bytes, table[0], keys, notes, release="sha256:r", **options), secret, notes)

    return build
