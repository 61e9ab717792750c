"""Assay as ``project`` of ``../shared/bench/privacy_peers.py --project privacy_adapter`` (run in this folder's path).

``PYTHONPATH=benchmarks python ../shared/bench/privacy_peers.py --sections dp,dpacc,eps,dpaudit --project privacy_adapter``
"""

from __future__ import annotations

import itertools
import time

import numpy as np

from assay.stats.privacy.accountant import epsilon
from assay.stats.privacy.events import SampledGaussian
from assay.training.private.clipping import Flat
from assay.training.private.dense import DenseNet, with_ones
from assay.training.private.dpsgd import Descent
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.noise import Noise


def _best(run, times):
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def _plain(data):
    """The plain tensor loop of the bench, again beside Assay, so that the ratio is of two neighbouring timings."""
    import torch
    import torch.nn.functional as F

    x, y, batch = torch.from_numpy(data["X"]), torch.from_numpy(data["y"]), data["batch"]
    d, k, h = x.shape[1], int(y.max()) + 1, data["hidden"]
    linear = torch.nn.Linear
    module = linear(d, k) if h == 0 else torch.nn.Sequential(linear(d, h), torch.nn.ReLU(), linear(h, k))
    optimizer = torch.optim.SGD(module.parameters(), data["lr"])
    order = torch.randperm(len(x))
    for i in range(0, len(x) - batch + 1, batch):
        j = order[i : i + batch]
        optimizer.zero_grad()
        F.cross_entropy(module(x[j]), y[j]).backward()
        optimizer.step()


def _network(data):
    d, k, h = data["X"].shape[1], int(data["y"].max()) + 1, data["hidden"]
    return [d, k] if h == 0 else [d, h, k]


def dp(case, data):
    x, y, batch = data["X"], data["y"], data["batch"]
    steps, rate = len(x) // batch, batch / len(x)
    plan = Descent(
        steps=steps, rate=rate, sigma=data["sigma"], expected=batch, learning_rate=data["lr"], clip=Flat(data["C"])
    )
    rows, target = with_ones(x), np.eye(int(y.max()) + 1, dtype=np.float32)[y]

    def numpy_epoch():
        noise = Noise()
        plan.run(DenseNet(_network(data), noise.uniform), rows, target, noise)

    def torch_epoch():
        import torch

        from assay.training.private.torch_trainer import PrivateTrainer

        widths = _network(data)
        layers = [torch.nn.Linear(i, o) for i, o in itertools.pairwise(widths)]
        module = layers[0] if len(layers) == 1 else torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
        trainer = PrivateTrainer(module, rows=len(x), steps=steps, rate=rate, sigma=data["sigma"], clip=Flat(data["C"]))
        trainer.fit(torch.from_numpy(x), torch.from_numpy(y))

    times = 5 if len(x) < 5000 else 3
    plain = _best(lambda: _plain(data), times)
    result = []
    for way, run in (("numpy", numpy_epoch), ("torch", torch_epoch)):
        seconds = _best(run, times)
        result.append({"way": way, "seconds": seconds, "x_tensor_beside": seconds / plain, "plain_seconds": plain})
    result.append({"way": "closed form against torch.func", "max_abs_diff": _difference(data)})
    return result


def _difference(data):
    """The largest difference of a clipped sum over 128 rows from torch.func's, and of the sum's own largest entry."""
    import torch

    from assay.training.private.torch_gradients import Gradients

    widths = _network(data)
    noise, x, y = Noise(1), data["X"][:128], data["y"][:128]
    net = DenseNet(widths, noise.uniform)
    layers = [torch.nn.Linear(i, o) for i, o in itertools.pairwise(widths)]
    for layer, weights in zip(layers, net.layers):
        layer.weight.data = torch.from_numpy(weights[:, :-1].copy())
        layer.bias.data = torch.from_numpy(weights[:, -1].copy())
    module = layers[0] if len(layers) == 1 else torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
    rows, out = with_ones(x), np.empty_like(net.weights)
    target = np.eye(widths[-1], dtype=np.float32)[y]
    clip = Flat(data["C"])
    net.clipped_sum(rows, target, np.einsum("ij,ij->i", rows, rows), clip, clip.bound, out)
    loss = lambda o, t: torch.nn.functional.cross_entropy(o, t, reduction="none")  # noqa: E731
    total, _ = Gradients(module, loss, way="func").clipped_sum(
        torch.from_numpy(x), torch.from_numpy(y), clip, clip.bound
    )
    values = list(total.values())
    other = np.concatenate(
        [np.concatenate([w.numpy(), b.numpy()[:, None]], 1).ravel() for w, b in zip(values[::2], values[1::2])]
    )
    return float(np.abs(other - out).max())


def dpacc(case, data):
    """Settings fixed before any data was seen; bounds are those of the data set's description."""
    bounds = (0.0, 1.0) if case == "digits" else (-4.0, 4.0)
    rows = []
    for eps in data["eps"]:
        linear = lambda: DPLogisticRegression(eps, data["delta"], bounds=bounds)  # noqa: E731
        network = lambda: DPMLPClassifier(eps, data["delta"], bounds=bounds)  # noqa: E731
        for name, make in (("logreg", linear), ("mlp64", network)):
            scores = [make().fit(data["Xtr"], data["ytr"]).score(data["Xte"], data["yte"]) for _ in range(5)]
            rows.append({"model": name, "eps": eps, "accuracy": float(np.mean(scores)), "sd": float(np.std(scores))})
    return rows


def eps(case, data):
    start = time.perf_counter()
    found = epsilon([(SampledGaussian(data["sigma"], data["q"]), data["steps"])], data["delta"])
    seconds = time.perf_counter() - start
    return {"epsilon": found.high, "low": found.low, "gap": found.gap, "grid": found.errors["grid"], "seconds": seconds}


def dpaudit(case, data):
    """Three runs a cell as the peer has; ``benchmarks/privacy_audit.py`` makes more."""
    import privacy_audit as bench

    options = {"batch": data["B"], "steps": data["T"], "lr": data["lr"], "delta": data["delta"]}
    x = np.asarray(data["X"], float)
    return [
        bench.cell(x, data["y"], claim=claim, bug=bug, runs=3, **options) for claim in (2.0, 8.0) for bug in bench.BUGS
    ]
