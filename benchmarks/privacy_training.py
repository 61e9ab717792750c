"""One epoch of DP-SGD on a small convolutional net and mnist: Assay's closed forms against opacus' modes, one run.

Peers, in an environment of their own: ``pip install torch==2.13.0 opacus==1.6.0`` (the CPU build) and Assay
(``pip install -e .``). Data: ``../shared/datasets/mnist.npz``. Run: ``python benchmarks/privacy_training.py``.
Dense nets are timed by ``../shared/bench/privacy_peers.py --sections dp --project privacy_adapter``.
"""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from assay.training.private.clipping import Flat
from assay.training.private.torch_gradients import Gradients
from assay.training.private.torch_trainer import PrivateTrainer

warnings.filterwarnings("ignore")
ROOT = Path(__file__).resolve().parents[2] / "shared" / "datasets"
BATCH, ROWS, ROUNDS = 256, 4096, 4


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(16, 32, 4, 2), nn.ReLU(),
        nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def data():
    held = np.load(ROOT / "mnist.npz")
    x = torch.from_numpy(held["X_train"][:ROWS, None].astype(np.float32) / 255 - 0.5)
    return x, torch.from_numpy(held["y_train"][:ROWS].astype(np.int64))


def plain(x, y):
    module = net()
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    order = torch.randperm(len(x))
    start = time.perf_counter()
    for i in range(0, len(x), BATCH):
        j = order[i : i + BATCH]
        optimizer.zero_grad()
        F.cross_entropy(module(x[j]), y[j]).backward()
        optimizer.step()
    return time.perf_counter() - start


def assay(way):
    def run(x, y):
        module = net()
        trainer = PrivateTrainer(
            module, rows=len(x), steps=len(x) // BATCH, rate=BATCH / len(x), sigma=1.0, clip=Flat(1.0), way=way
        )
        start = time.perf_counter()
        trainer.fit(x, y)
        return time.perf_counter() - start

    return run


def opacus(mode):
    def run(x, y):
        from opacus import PrivacyEngine
        from torch.utils.data import DataLoader, TensorDataset

        module = net()
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        criterion, loader = nn.CrossEntropyLoss(), DataLoader(TensorDataset(x, y), BATCH)
        options = {
            "module": module,
            "optimizer": optimizer,
            "data_loader": loader,
            "noise_multiplier": 1.0,
            "max_grad_norm": 1.0,
        }
        engine = PrivacyEngine()
        if mode == "ghost":
            module, optimizer, criterion, loader = engine.make_private(
                criterion=criterion, grad_sample_mode="ghost", **options
            )
        else:
            module, optimizer, loader = engine.make_private(grad_sample_mode=mode, **options)
        start = time.perf_counter()
        for a, b in loader:
            optimizer.zero_grad()
            criterion(module(a), b).backward()
            optimizer.step()
        return time.perf_counter() - start

    return run


def main():
    torch.set_num_threads(1)
    x, y = data()
    ways = [("plain", plain), ("assay-closed", assay("closed")), ("assay-torch.func", assay("func"))]
    ways += [(f"opacus-{mode}", opacus(mode)) for mode in ("hooks", "functorch", "ew", "ghost")]
    best = {}
    for _ in range(ROUNDS):  # in turns, so that other work on the machine falls on all alike
        for name, run in ways:
            try:
                best[name] = min(best.get(name, np.inf), run(x, y))
            except ImportError as error:
                print(json.dumps({"way": name, "skipped": str(error)[:200]}))
    for name, seconds in best.items():
        print(
            json.dumps({"way": name, "seconds": round(seconds, 4), "x_plain": round(seconds / best["plain"], 3)}),
            flush=True,
        )
    clip, loss = Flat(1.0), lambda o, t: F.cross_entropy(o, t, reduction="none")
    module = net()
    one, _ = Gradients(module, loss, way="closed").clipped_sum(x[:128], y[:128], clip, 1.0)
    two, _ = Gradients(module, loss, way="func").clipped_sum(x[:128], y[:128], clip, 1.0)
    print(json.dumps({"max_abs_diff_closed_func": max(float((one[k] - two[k]).abs().max()) for k in two)}))


if __name__ == "__main__":
    main()
