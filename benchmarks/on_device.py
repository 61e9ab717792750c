"""What a GPU gains: private training, attacks, adversarial training and smoothing on it and on the CPU, in one run.

    pip install torch opacus==1.6.0 torchattacks==3.5.1     (peers; left out, and said so, where they are missing)
    PYTHONPATH=src python benchmarks/on_device.py [--device cuda] [--checks] [--small]

Pictures of 28 x 28 are made here: ten smooth shapes, moved and noisy. Prints one JSON line a measurement; ratios are of
neighbouring timings, the best of a few, with the device waited for. ``--checks`` first runs ``tests/laws/test_laws_devices.py``,
which holds what the device computes against the CPU. ``--small`` is for trying the script out.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from assay.assessment.certificates.smoothing import Smoothing
from assay.assessment.evasion.autoattack import AutoAttack
from assay.assessment.evasion.pgd import PGD
from assay.contract.region import Region
from assay.models.predictor import predictor
from assay.training.private.clipping import Flat
from assay.training.private.noise import Noise
from assay.training.private.torch_noise import box_muller
from assay.training.private.torch_trainer import PrivateTrainer
from assay.training.robust.adversarial import AdversarialClassifier

REGION = Region.box(np.zeros(784), np.ones(784))


def pictures(n, seed):
    """Return n pictures (n, 1, 28, 28) of ten shapes in [0, 1], and which they are."""
    shapes = functional.interpolate(
        torch.rand(10, 1, 7, 7, generator=torch.Generator().manual_seed(0)), 28, mode="bicubic"
    )
    draw = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 10, (n,), generator=draw)
    rows = torch.stack([
        torch.roll(shapes[k], (int(a), int(b)), (1, 2))
        for k, a, b in zip(kind, *torch.randint(-2, 3, (2, n), generator=draw), strict=True)
    ])  # fmt: skip
    return (rows + 0.25 * torch.randn(rows.shape, generator=draw)).clip(0, 1), kind


def small_net():
    """Return the small network of ``privacy_training.py``, 26 thousand weights."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(16, 32, 4, 2), nn.ReLU(),
        nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def large_net():
    """Return a network of 1.7 million weights."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GroupNorm(8, 64),
        nn.ReLU(), nn.Conv2d(64, 128, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6272, 256), nn.ReLU(),
        nn.Linear(256, 10),
    )  # fmt: skip


NETS = {"small": small_net, "large": large_net}


def say(**row):
    print(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


def timed(run, device):
    """Return the seconds of a call, the device's work included, and what it returned."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    made = run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, made


def best(ways, device, rounds):
    """Return the least seconds of each way, taken in turns; what cannot be imported is left out."""
    found = {}
    for _ in range(rounds):
        for name, run in ways.items():
            try:
                seconds, _ = timed(run, device)
            except ImportError as error:
                say(skipped=name, why=str(error)[:100])
                continue
            found[name] = min(found.get(name, np.inf), seconds)
    return found


# --- private training


def plain_epoch(make, x, y, batch, device):
    def run():
        module = make().to(device)
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        order = torch.randperm(len(x), device=device)
        for rows in order.split(batch):
            optimizer.zero_grad()
            functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()

    return run


def private_epoch(make, x, y, batch, device, way):
    def run():
        module = make().to(device)
        PrivateTrainer(
            module, rows=len(x), steps=-(-len(x) // batch), rate=batch / len(x), sigma=1.0, clip=Flat(1.0), way=way
        ).fit(x, y)

    return run


def opacus_epoch(make, x, y, batch, device, mode):
    """One epoch of opacus on Poisson samples, its tensors on the device and its loader left out of the way."""

    def run():
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer

        module = GradSampleModule(make().to(device)) if mode == "hooks" else None
        if module is None:
            from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
                GradSampleModuleFastGradientClipping,
            )
            from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
            from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

            module = GradSampleModuleFastGradientClipping(make().to(device), max_grad_norm=1.0, use_ghost_clipping=True)
            optimizer = DPOptimizerFastGradientClipping(
                torch.optim.SGD(module.parameters(), 0.1),
                noise_multiplier=1.0,
                max_grad_norm=1.0,
                expected_batch_size=batch,
            )
            criterion = DPLossFastGradientClipping(module, optimizer, nn.CrossEntropyLoss())
        else:
            optimizer = DPOptimizer(
                torch.optim.SGD(module.parameters(), 0.1),
                noise_multiplier=1.0,
                max_grad_norm=1.0,
                expected_batch_size=batch,
            )
            criterion = nn.CrossEntropyLoss()
        for _ in range(-(-len(x) // batch)):
            rows = torch.nonzero(torch.rand(len(x), device=device) < batch / len(x)).reshape(-1)
            optimizer.zero_grad()
            criterion(module(x[rows]), y[rows]).backward()
            optimizer.step()

    return run


def private(device, small):
    rows = 2048 if small else 60_000
    x, y = pictures(rows, 1)
    for net, batch in (("small", 256), ("small", 2048), ("large", 1024)):
        make = NETS[net]
        speeds = {}
        for place in dict.fromkeys((device, "cpu")):
            # The CPU takes fewer rows, so that it ends; times are compared by the step.
            n = rows if place == "cuda" else min(rows, 4 * batch)
            a, b = x[:n].to(place), y[:n].to(place)
            ways = {
                "plain": plain_epoch(make, a, b, batch, place),
                "closed": private_epoch(make, a, b, batch, place, "closed"),
            }
            if place == "cuda":
                ways |= {f"opacus {mode}": opacus_epoch(make, a, b, batch, place, mode) for mode in ("hooks", "ghost")}
                ways["func"] = private_epoch(make, a, b, batch, place, "func")
            found = best(ways, place, 2 if place == "cuda" and not small else 1)
            steps = -(-n // batch)
            speeds[place] = {name: 1e3 * seconds / steps for name, seconds in found.items()}
            for name, seconds in found.items():
                say(what="dp-sgd", net=net, batch=batch, on=place, way=name, rows=n, ms_a_step=1e3 * seconds / steps,
                    x_plain=seconds / found["plain"])  # fmt: skip
        if device == "cuda":
            gain = {name: speeds["cpu"][name] / speeds["cuda"][name] for name in speeds["cpu"]}
            say(what="dp-sgd", net=net, batch=batch, x_cpu=gain)


def noise(device, small):
    count = 1 << (16 if small else 22)
    there = torch.device(device)
    for name, run in (("numpy", lambda: Noise().normal(count)), ("device", lambda: box_muller(Noise(), count, there))):
        run()
        say(what="noise", way=name, on=device, ns_a_number=1e9 * min(timed(run, device)[0] for _ in range(3)) / count)


# --- attacks, adversarial training, smoothing


def taught(small):
    """Return a network of two convolutions and two dense layers that knows the pictures, trained where it is quickest."""
    place = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 128),
        nn.ReLU(), nn.Linear(128, 10),
    ).to(place)  # fmt: skip
    x, y = (part.to(place) for part in pictures(2000 if small else 20_000, 1))
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(3):
        for rows in torch.randperm(len(x), device=place).split(128):
            optimizer.zero_grad()
            functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()
    return module.cpu().eval()


def attacks(device, small, module):
    x, y = (part.numpy() for part in pictures(40 if small else 1000, 2))
    x = x.astype(np.float64)
    jobs = {
        "pgd-40": (PGD(radius=0.1, steps=40, max_queries=43), len(x), len(x)),
        "autoattack": (AutoAttack(radius=0.1), 20 if small else 200, 10),
    }
    for name, (attack, many, few) in jobs.items():
        seconds = {}
        for place in dict.fromkeys((device, "cpu")):
            n = many if place == device else few
            target = predictor(copy.deepcopy(module).to(place), classes=10, batch=None if place == "cuda" else 500)
            attack(target, x[:8], y[:8], REGION, seed=0)
            runs = [
                timed(lambda t=target, n=n, a=attack: a(t, x[:n], y[:n], REGION, seed=0), place)
                for _ in range(2 if name == "pgd-40" else 1)  # cuDNN looks for the best way at each new size
            ]
            taken, found = min(runs, key=lambda run: run[0])
            seconds[place] = taken / n
            say(what=name, on=place, samples=n, robust=float((~found.success & ~found.already_wrong).mean()),
                rows_a_sample=float(found.queries.mean()), ms_a_sample=1e3 * taken / n)  # fmt: skip
        if device == "cuda":
            say(what=name, x_cpu=seconds["cpu"] / seconds["cuda"])
            peer(name, module, x[:many], y[:many], seconds["cuda"] * many)


def peer(name, module, x, y, ours):
    """The same attack by torchattacks on the device."""
    try:
        import torchattacks
    except ImportError as error:
        say(skipped="torchattacks", why=str(error)[:100])
        return
    net, a, b = copy.deepcopy(module).cuda(), torch.as_tensor(x).float().cuda(), torch.as_tensor(y).cuda()
    made = {
        "pgd-40": lambda: torchattacks.PGD(net, eps=0.1, alpha=0.01, steps=40),
        "autoattack": lambda: torchattacks.AutoAttack(net, norm="Linf", eps=0.1, n_classes=10, seed=0),
    }[name]()
    seconds, turned = min(
        (timed(lambda: made(a, b), "cuda") for _ in range(2 if name == "pgd-40" else 1)), key=lambda run: run[0]
    )
    with torch.no_grad():
        left = float((net(turned).argmax(1) == b).double().mean())
    say(what=name, way="torchattacks", on="cuda", samples=len(x), robust=left, ms_a_sample=1e3 * seconds / len(x),
        x_assay=seconds / ours)  # fmt: skip


def adversarial(device, small):
    rows, few = (1000, 1000) if small else (20_000, 2000)
    x, y = (part.numpy() for part in pictures(rows, 1))
    for batch in (128, 512):
        taken = {}
        for place in dict.fromkeys((device, "cpu")):
            n = rows if place == "cuda" else few
            options = {"radius": 0.1, "low": 0.0, "high": 1.0, "steps": 7, "batch_size": batch, "validation": 0.0}
            AdversarialClassifier(epochs=1, device=place, **options).fit(x[: 2 * batch], y[: 2 * batch])
            seconds, made = timed(
                lambda p=place, n=n: AdversarialClassifier(epochs=1, device=p, **options).fit(x[:n], y[:n]), place
            )
            steps = -(-n // batch)
            taken[place] = seconds / steps
            say(what="adversarial training, pgd-7", batch=batch, on=place, rows=n, ms_a_step=1e3 * seconds / steps,
                clean=float(made.score(x[:500], y[:500])))  # fmt: skip
        if device == "cuda":
            say(what="adversarial training, pgd-7", batch=batch, x_cpu=taken["cpu"] / taken["cuda"])


def smoothing(device, small, module):
    x, y = (part.numpy() for part in pictures(50, 3))
    certificate = Smoothing(sigma=0.25, method="fixed", samples=1000 if small else 10_000)
    taken = {}
    for place in dict.fromkeys((device, "cpu")):
        n = 50 if place == "cuda" else 4
        target = predictor(copy.deepcopy(module).to(place), classes=10, batch=10_000 if place == "cuda" else 1000)
        certificate(target, x[:1], y[:1], seed=0)
        seconds, found = timed(lambda t=target, n=n: certificate(t, x[:n], y[:n], seed=0), place)
        taken[place] = seconds / n
        say(
            what="smoothing",
            samples=certificate.samples,
            on=place,
            rows=n,
            ms_a_row=1e3 * seconds / n,
            mean_radius=float(found.lower.mean()),
        )
    if device == "cuda":
        say(what="smoothing", x_cpu=taken["cpu"] / taken["cuda"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checks", action="store_true")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    device, small = asked.device, asked.small
    warnings.filterwarnings("ignore")
    say(card=torch.cuda.get_device_name() if device == "cuda" else "cpu", torch=torch.__version__, python=platform.python_version(),
        threads=torch.get_num_threads())  # fmt: skip
    if asked.checks:
        import pytest

        laws = Path(__file__).resolve().parents[1] / "tests" / "laws" / "test_laws_devices.py"
        code = pytest.main(
            [str(laws), "-n", "0", "-q", "--no-header", "-o", "filterwarnings=default", "-W", "ignore", "--tb=short"]
        )
        say(what="checks", passed=code == 0)
    start = time.perf_counter()
    module = taught(small)
    for part in (noise, private, smoothing, attacks, adversarial):
        try:
            part(*(device, small, module)[: 3 if part in (smoothing, attacks) else 2])
        except Exception:  # the other parts are worth having
            traceback.print_exc()
            say(failed=part.__name__)
    say(what="all", seconds=time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
