"""Score- and decision-based attacks beside ART, foolbox and torchattacks: quality at a budget, rows over it, speed.

Models and data are those of ``../shared/bench/robustness_peers.py`` (a CNN on MNIST, standard and adversarially trained;
gradient boosting and XGBoost on scaled breast_cancer and a generated table). Every row that reaches a model is counted
outside of the attacks. ``over`` is the number of rows beyond the stated budget, for the sample that got most of them on
average (peers do not count by sample, so their mean is taken).

Peers: adversarial-robustness-toolbox 1.20.1, foolbox 3.3.4, torchattacks 3.5.1, in a virtual environment of their own::

    python -m venv peers && peers/bin/pip install adversarial-robustness-toolbox==1.20.1 foolbox==3.3.4 \
        torchattacks==3.5.1 mlxtend xgboost-cpu scikit-learn torch
    PYTHONPATH=src peers/bin/python benchmarks/blackbox.py [--only square boundary zoo simba nes] [--n 50]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE.parent.parent / "shared" / "bench")]

import robustness_peers as peers  # noqa: E402

from assay.assessment.evasion.boundary import Boundary  # noqa: E402
from assay.assessment.evasion.nes import NES  # noqa: E402
from assay.assessment.evasion.simba import SimBA  # noqa: E402
from assay.assessment.evasion.square import Square  # noqa: E402
from assay.assessment.evasion.zoo import ZOO  # noqa: E402
from assay.contract.region import Region  # noqa: E402
from assay.models.predictor import predictor  # noqa: E402

SEED = 7
LINES = []


def have(name):
    return importlib.util.find_spec(name) is not None


class Asked:
    """Counts rows that reach a model."""

    def __init__(self, answer):
        self.answer, self.rows = answer, 0

    def __call__(self, rows):
        self.rows += len(rows)
        return self.answer(rows)


def measure(task, peer, model, x, y, run, rows, labels, budget, radius=None):
    """Run once and print success within the radius, median distances, rows a sample, rows over budget, samples a second."""
    before, began = rows(), time.perf_counter()
    try:
        made = np.asarray(run(), dtype=np.float32).reshape(x.shape)
    except Exception as error:  # a peer's failure is a result
        line = {"task": task, "peer": peer, "model": model, "error": f"{type(error).__name__}: {error}"[:160]}
    else:
        seconds, asked = time.perf_counter() - began, (rows() - before) / len(x)
        right = labels(x) == y
        change = (made - x).reshape(len(x), -1)
        inside = np.abs(change).max(axis=1) <= (np.inf if radius is None else radius + 1e-5)
        hit = right & (labels(made) != y) & inside
        far = np.linalg.norm(change[hit], axis=1)
        line = {
            "task": task, "peer": peer, "model": model, "n": len(x), "success": round(float(hit.sum() / right.sum()), 3),
            "l2_median": round(float(np.median(far)), 4) if len(far) else None, "rows": round(asked), "budget": budget,
            "over": max(0, round(asked - budget)), "samples_per_s": round(len(x) / seconds, 1),
        }  # fmt: skip
    LINES.append(line)
    print(json.dumps(line), flush=True)


def image(kind, n):
    """Return the counted torch net, test digits and labels, and Assay's view of the same net."""
    import torch

    net, name, x, y = peers.image_model(kind)
    net = peers.Counted(net)
    x, y = x[:n], y[:n]

    def labels(rows):
        with torch.no_grad():
            return net.inner(torch.as_tensor(rows, dtype=torch.float32)).argmax(1).numpy()

    ours = predictor(net, classes=10)
    # Assay keeps a copy of the net, which counts for itself.
    return net, ours, name, x, y, labels, Region.box(np.zeros(784), np.ones(784))


def art_images(net):
    import torch
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        net, loss=torch.nn.CrossEntropyLoss(), input_shape=(1, 28, 28), nb_classes=10, clip_values=(0.0, 1.0)
    )


def square_images(n, budget=1000):
    for kind, radius in (("std", 0.1), ("at", 0.2)):
        net, ours, name, x, y, labels, region = image(kind, n)
        args = ("square linf", name, x, y)

        def run(peer, f, rows, args=args, labels=labels, radius=radius):
            measure(args[0], peer, *args[1:], f, rows, labels, budget, radius)

        attack = Square(max_queries=budget, radius=radius)
        run(
            "assay",
            lambda a=attack, o=ours, x=x, y=y, r=region: a(o, x, y, r, seed=SEED).x_adv,
            lambda o=ours: o.queries,
        )
        if have("torchattacks"):
            import torch
            import torchattacks as ta

            attack = ta.Square(net, norm="Linf", eps=radius, n_queries=budget, n_restarts=1, seed=SEED)
            run(
                "torchattacks",
                lambda a=attack, x=x, y=y: a(torch.as_tensor(x), torch.as_tensor(y)).numpy(),
                lambda c=net: c.rows,
            )
        if have("art"):
            from art.attacks.evasion import SquareAttack

            attack = SquareAttack(
                art_images(net),
                norm=np.inf,
                max_iter=budget,
                eps=radius,
                p_init=0.8,
                nb_restarts=1,
                batch_size=n,
                verbose=False,
            )
            run("art", lambda a=attack, x=x, y=y: a.generate(x, y), lambda c=net: c.rows)


def boundary_images(n):
    net, ours, name, x, y, labels, region = image("std", n)
    budget = 2500
    args = (name, x, y)
    attack = Boundary(max_queries=budget)
    measure(
        "boundary l2",
        "assay",
        *args,
        lambda: attack(ours, x, y, region, seed=SEED).x_adv,
        lambda: ours.queries,
        labels,
        budget,
    )
    if have("foolbox"):
        import foolbox as fb
        import torch

        model = fb.PyTorchModel(net, bounds=(0, 1), device="cpu")
        peer = fb.attacks.BoundaryAttack(steps=budget, tensorboard=False)
        run = lambda: peer(model, torch.as_tensor(x), torch.as_tensor(y), epsilons=None)[1].numpy()  # noqa: E731, PLW0108
        measure("boundary l2", "foolbox", *args, run, lambda: net.rows, labels, budget)
    if have("art"):
        from art.attacks.evasion import BoundaryAttack

        peer_art = BoundaryAttack(
            art_images(net), targeted=False, max_iter=80, num_trial=10, batch_size=64, init_size=100, verbose=False
        )
        measure("boundary l2", "art", *args, lambda: peer_art.generate(x, y), lambda: net.rows, labels, budget)


def table(data, kind, n):
    model, x, y = peers.table_model(data, kind)
    x, y = x[:n], y[:n]
    asked = Asked(model.predict_proba)
    answer = lambda rows: asked(rows.astype(np.float32))  # noqa: E731 - float32, as peers ask
    region = Region.box(np.zeros(x.shape[1]), np.ones(x.shape[1]))
    return model, asked, predictor(answer, classes=2), x, y, lambda a: model.predict_proba(a).argmax(1), region


def art_box(asked, width):
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    return BlackBoxClassifierNeuralNetwork(
        lambda rows: np.asarray(asked(rows)), (width,), 2, channels_first=True, clip_values=(0.0, 1.0)
    )


def tables(only, n):
    for data, kind in (("bc", "gb"), ("bc", "xgb"), ("mc", "gb"), ("mc", "xgb")):
        model, asked, ours, x, y, labels, region = table(data, kind, n)
        name, rows = f"{data}-{kind}", lambda a=asked: a.rows

        def run(task, peer, f, budget, radius=None, name=name, x=x, y=y, rows=rows, labels=labels):
            measure(task, peer, name, x, y, f, rows, labels, budget, radius)

        def assay(attack, ours=ours, x=x, y=y, region=region):
            return lambda: attack(ours, x, y, region, seed=SEED).x_adv

        art = art_box(asked, x.shape[1]) if have("art") else None
        if "square" in only:
            run("square linf table", "assay", assay(Square(max_queries=200, radius=0.1)), 200, 0.1)
            if art is not None:
                from art.attacks.evasion import SquareAttack

                attack = SquareAttack(art, norm=np.inf, max_iter=200, eps=0.1, batch_size=n, verbose=False)
                run("square linf table", "art", lambda a=attack, x=x, y=y: a.generate(x, y), 200, 0.1)
        if "boundary" in only:
            run("boundary l2 table", "assay", assay(Boundary(max_queries=2400)), 2400)
            if art is not None:
                from art.attacks.evasion import BoundaryAttack

                attack = BoundaryAttack(art, targeted=False, max_iter=100, num_trial=10, verbose=False)
                run("boundary l2 table", "art", lambda a=attack, x=x, y=y: a.generate(x, y), 2400)
        if "zoo" in only:
            run("zoo l2", "assay", assay(ZOO(max_queries=1000)), 1000)
            if art is not None:
                from art.attacks.evasion import ZooAttack

                attack = ZooAttack(
                    peers.art_table(model, kind, x), confidence=0.0, learning_rate=1e-1, max_iter=20, binary_search_steps=5,
                    initial_const=1e-1, nb_parallel=x.shape[1], use_resize=False, use_importance=False, variable_h=0.2,
                    batch_size=1, verbose=False,
                )  # fmt: skip
                with peers.counted_model(model) as count:
                    run(
                        "zoo l2",
                        "art",
                        lambda a=attack, x=x, y=y: a.generate(x, y),
                        1000,
                        rows=lambda c=count: c["rows"],
                    )
        if "simba" in only:
            run("simba", "assay", assay(SimBA(max_queries=1000, step=0.1)), 1000)
            if art is not None:
                from art.attacks.evasion import SimBA as Peer

                attack = Peer(art, attack="px", max_iter=500, epsilon=0.1, order="random", verbose=False)
                run("simba", "art", lambda a=attack, x=x: a.generate(x), 1000)
        if "nes" in only:
            run("nes linf table", "assay", assay(NES(max_queries=1000, radius=0.1)), 1000, 0.1)


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = ("square", "boundary", "zoo", "simba", "nes")
    ask.add_argument("--only", nargs="*", default=every, choices=every)
    ask.add_argument("--n", type=int, default=50)
    options = ask.parse_args()
    if have("torch"):
        import torch

        torch.set_num_threads(1)
    if "square" in options.only:
        square_images(options.n)
    if "boundary" in options.only:
        boundary_images(min(options.n, 10))
    tables(options.only, options.n)
    heads = ("task", "model", "peer", "n", "success", "l2_median", "rows", "budget", "over", "samples_per_s", "error")
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for line in LINES:
        print("| " + " | ".join(str(line.get(h, "")) for h in heads) + " |")


if __name__ == "__main__":
    main()
