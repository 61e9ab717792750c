"""The bill of each guard at the gateway, in process: median paired difference in microseconds a request.

    python benchmarks/gateway.py [--rounds 400]

Two applications, with and without the part, answer the same request in turn through a bare ASGI call; events go
to memory, so the cost of the disk, which a thread of its own pays, is not in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time

import numpy as np

from assay.gateway.app import Gateway
from assay.gateway.auth import Keys, make_key
from assay.gateway.engine import Engine
from assay.gateway.guard import arm_guards, fit_guards, guards_of
from assay.testing.guards import guarded_table


class Memory:
    """A sink that keeps the last event."""

    last: object = None

    def put(self, event: object) -> bool:
        self.last = event
        return True


def model_bytes(x: np.ndarray) -> bytes:
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(n_estimators=50, random_state=0).fit(x, x[:, 0] + x[:, 1] > 0)
    return to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False}, target_opset=17).SerializeToString()


async def ask(app: Gateway, scope: dict, body: bytes) -> int:
    status = 0

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope, receive, send)
    return status


async def paired(first: Gateway, second: Gateway, scope: dict, body: bytes, rounds: int) -> tuple[float, float]:
    """Return the median cost of ``second`` and the median difference to ``first``, in microseconds."""
    costs, differences = [], []
    for i in range(rounds + 50):
        took = []
        for app in (first, second) if i % 2 else (second, first):
            start = time.perf_counter_ns()
            for _ in range(5):
                assert await ask(app, scope, body) == 200
            took.append((time.perf_counter_ns() - start) / 5000)
        a, b = took if i % 2 else took[::-1]
        if i >= 50:
            costs.append(b)
            differences.append(b - a)
    return statistics.median(costs), statistics.median(differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args().rounds
    contract, x = guarded_table()
    engine = Engine(model_bytes(x))
    secret, keys = make_key(Keys.empty(), "bench")
    headers = [(b"x-api-key", secret.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v2/models/model/infer", "headers": headers}

    def app(*names: str, record_rows: int = 0) -> Gateway:
        kinds = [g for g in guards_of(dict.fromkeys(names)) if g.name in names]
        armed = arm_guards(kinds, contract, fit_guards(kinds, contract, x))
        from assay.gateway.limits import Rate

        rate = Rate(per_second=1e9, burst=1e9)
        return Gateway(engine, contract, keys, Memory(), guards=armed, record_rows=record_rows, rate=rate)

    every = ("contract", "outlier", "rounding")
    parts = {name: app(name) for name in (*every, "label_only")}
    parts |= {"recorded rows": app(record_rows=16), "contract + outlier + rounding + rows": app(*every, record_rows=16)}
    for rows in (1, 64):
        data = x[:rows].ravel().tolist()
        tensor = {"name": "input", "shape": [rows, x.shape[1]], "datatype": "FP64", "data": data}
        body = json.dumps({"inputs": [tensor]}).encode()
        base, _ = asyncio.run(paired(app(), app(), scope, body, rounds))
        print(f"{rows} row(s): no guard {base:.1f} us/request")
        for name, part in parts.items():
            cost, difference = asyncio.run(paired(app(), part, scope, body, rounds))
            print(f"  {name:40s} {difference:+7.2f} us   ({cost:.1f})")


if __name__ == "__main__":
    main()
