"""Attacks inside the contracts of four real tables: are rows valid, how often do they succeed, at what cost.

For each table and model, rows of the class of interest (will not pay, malware, phishing) that the model gets right and
that meet the contract are attacked: once inside the contract's feasible region, once inside its ranges alone, by the
same attack at the same budget. ``gap`` is the difference of the two success rates in points. ``best`` is the share that
any attack found at ten times the budget: what the contract itself lets through.

No peer attacks trees under such rules; TabularBench (MOEVA, CAPGD) takes torch nets only, on Python 3.8.

Usage: python benchmarks/feasible_attacks.py [--set NAME ...] [--model NAME ...] [--rows 100] [--queries 2000] [--best] [--words 3]
Needs the data sets of ../shared/datasets and Assay with [dev]. One JSON line a result, then Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "shared" / "datasets")]

from feasible_contracts import CONTRACTS  # noqa: E402

from assay.assessment.evasion.base import EvasionAttack  # noqa: E402
from assay.assessment.evasion.recourse import changes  # noqa: E402
from assay.contract.encode import encode, labels  # noqa: E402
from assay.contract.region import Region  # noqa: E402
from assay.contract.rows import RowRules  # noqa: E402
from assay.core.discovery import named  # noqa: E402
from assay.models.predictor import predictor  # noqa: E402

SEED = 0
ATTACKS = ("beam", "genetic", "hopskipjump", "simba")


def models(x, y, wanted):
    """Yield the fitted models that are wanted (none: all) by name."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from xgboost import XGBClassifier

    makers = {
        "histgb": lambda: HistGradientBoostingClassifier(max_iter=150, random_state=SEED).fit(x, y),
        "xgboost": lambda: XGBClassifier(
            n_estimators=150, max_depth=6, learning_rate=0.1, n_jobs=1, random_state=SEED
        ).fit(x, y),
        "forest": lambda: RandomForestClassifier(100, min_samples_leaf=2, random_state=SEED, n_jobs=1).fit(x, y),
        "mlp": lambda: mlp(x, y),
    }
    for name, make in makers.items():
        if not wanted or name in wanted:
            yield name, make()


def mlp(x, y):
    """Return a torch net of two hidden layers that standardises its input and takes a missing value for the mean."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            # Signed logarithms first: columns such as amounts spread over many orders of size.
            spread = self.squeezed(torch.as_tensor(x))
            self.mean = torch.nn.Parameter(torch.as_tensor(np.nanmean(spread, axis=0)), requires_grad=False)
            self.std = torch.nn.Parameter(torch.as_tensor(np.nanstd(spread, axis=0) + 1e-9), requires_grad=False)
            width = x.shape[1]
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(width, 64),
                torch.nn.ReLU(),
                torch.nn.Linear(64, 64),
                torch.nn.ReLU(),
                torch.nn.Linear(64, 2),
            ).double()

        @staticmethod
        def squeezed(v):
            return torch.sign(v) * torch.log1p(v.abs())

        def forward(self, v):
            z = (self.squeezed(v) - self.mean) / self.std
            return self.layers(torch.where(torch.isnan(z), torch.zeros_like(z), z))

    torch.manual_seed(SEED)
    net = Net()
    optimizer = torch.optim.Adam(net.layers.parameters(), 2e-3)
    rows, wanted = torch.as_tensor(x), torch.as_tensor(y)
    for _ in range(max(4, 300_000 // len(x))):
        for index in torch.randperm(len(rows)).split(256):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(rows[index]), wanted[index]).backward()
            optimizer.step()
    return net.eval()


def table(name):
    """Return the contract, rows and labels for training and testing: a random 70/30 split, at most 30,000 rows to train."""
    from load import load

    frame, target, _ = load(name)
    frame = frame.assign(**{target.name: target.to_numpy()})
    order = np.random.default_rng(SEED).permutation(len(frame))
    cut = int(0.7 * len(frame))
    contract = CONTRACTS[name](frame.iloc[order[:cut]])
    x, y = encode(contract, frame), labels(contract, frame)
    train, test = order[:cut][:30_000], order[cut:]
    return contract, x[train], y[train], x[test], y[test]


def attacked(attack, model, x, y, region, rules, *, pool):
    """Return success, valid rows among the successes, median cost, queries and seconds of one attack."""
    target = predictor(model, classes=2)
    began = time.perf_counter()
    result = attack(target, x, y, region, starts=pool, seed=SEED)
    seconds = time.perf_counter() - began
    made = result.x_adv[result.success]
    valid = rules.violations(made).ok & region.contains(made, x[result.success])
    really = predictor(model, classes=2).labels(made) != y[result.success]
    return result, {
        "success": round(float(result.success.mean()), 3), "valid": round(float(valid.mean()), 4) if len(made) else None,
        "confirmed": round(float(really.mean()), 4) if len(made) else None,
        "cost": round(float(np.median(result.distance[result.success])), 3) if len(made) else None,
        "queries": round(float(result.queries.mean())), "over": int(np.maximum(result.queries - attack.max_queries, 0).sum()),
        "samples_per_s": round(len(x) / seconds, 1),
    }  # fmt: skip


def chosen(name, model):
    """Return the attacks that a model can be put to."""
    return (*ATTACKS, "capgd") if name == "mlp" else ATTACKS


def made(name, queries):
    """Return an attack of that name at a budget; those that measure cost make it small."""
    kind = named(EvasionAttack, name)
    norm = "cost" if name in ("beam", "genetic", "capgd") else "l2"
    return kind(max_queries=queries if name != "capgd" else queries // 4, norm=norm)


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--set", action="append", choices=list(CONTRACTS))
    ask.add_argument("--model", action="append", choices=["histgb", "xgboost", "forest", "mlp"])
    ask.add_argument("--rows", type=int, default=100)
    ask.add_argument("--queries", type=int, default=2000)
    ask.add_argument("--best", action="store_true", help="also search with ten times the budget")
    ask.add_argument("--words", type=int, default=0, help="print so many changes in words")
    options = ask.parse_args()
    lines = []
    for name in options.set or CONTRACTS:
        contract, x_train, y_train, x_test, y_test = table(name)
        region, rules = Region.of(contract), RowRules(contract)
        box = Region.box(region.base_low, region.base_high, scale=region.scale)
        positive = contract.target.classes.index(contract.target.positive)
        known = x_train[y_train != positive][:200]
        for kind, model in models(x_train, y_train, options.model):
            said = predictor(model, classes=2).labels(x_test)
            fit = rules.violations(x_test).ok & (y_test == positive) & (said == y_test)
            rows = np.flatnonzero(fit)[: options.rows]
            x, y = x_test[rows], y_test[rows]
            any_found = np.zeros(len(x), dtype=bool)
            for attack in chosen(kind, model):
                free = attacked(made(attack, options.queries), model, x, y, box, RowRules(boxed(contract)), pool=known)[
                    1
                ]
                result, bound = attacked(made(attack, options.queries), model, x, y, region, rules, pool=known)
                any_found |= result.success
                gap = round(100 * (free["success"] - bound["success"]), 1)
                lines.append(
                    {
                        "set": name,
                        "model": kind,
                        "rows": len(x),
                        "attack": attack,
                        "box": free["success"],
                        "gap": gap,
                        **bound,
                    }
                )
                print(json.dumps(lines[-1]), flush=True)
                for said_so in changes(result, x, contract)[: options.words]:
                    print("   ", said_so.words, flush=True)
            if options.best:
                for attack in ("beam", "genetic"):
                    left = np.flatnonzero(~any_found)
                    if len(left):
                        result, _ = attacked(
                            made(attack, 10 * options.queries), model, x[left], y[left], region, rules, pool=known
                        )
                        any_found[left] |= result.success
                print(json.dumps({"set": name, "model": kind, "best": round(float(any_found.mean()), 3)}), flush=True)
                for line in lines:
                    if line["set"] == name and line["model"] == kind:
                        line["best"] = round(float(any_found.mean()), 3)
    print(markdown(lines))


def boxed(contract):
    """Return the contract with ranges alone, as numbers."""
    from dataclasses import replace

    from assay.contract.contract import Kind
    from assay.contract.rows import span

    columns = tuple(
        replace(c, kind=Kind.NUMBER, categories=(), low=span(c)[0], high=span(c)[1], ordered=False)
        for c in contract.columns
    )
    return replace(contract, columns=columns, relations=(), implications=(), one_hot=())


def markdown(lines):
    """Return the table of results."""
    heads = (
        "set",
        "model",
        "rows",
        "attack",
        "success",
        "box",
        "gap",
        "best",
        "valid",
        "confirmed",
        "cost",
        "queries",
        "over",
        "samples_per_s",
    )
    out = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(out + ["| " + " | ".join(str(line.get(h, "")) for h in heads) + " |" for line in lines])


if __name__ == "__main__":
    main()
