"""One ledger, several processes: no answer beyond the budget, and none that is charged comes back after a crash."""

from __future__ import annotations

import subprocess
import sys

import pytest

from assay.core.errors import BudgetError
from assay.training.private.ledger import Ledger

SPEND = """
import sys
from pathlib import Path
from assay.core.errors import BudgetError
from assay.training.private.ledger import Ledger

ledger, given = Ledger(Path(sys.argv[1]), 2.0, 1e-5), 0
sys.stdin.readline()
try:
    while True:
        ledger.charge(20.0, 1)
        given += 1
except BudgetError:
    print(given)
"""

CRASH = """
import os, sys
from sklearn.datasets import make_classification
from sklearn.naive_bayes import GaussianNB
from assay.training.private import votes
from assay.training.private.noise import Noise

x, y = make_classification(200, random_state=0)
made = votes.PrivateVotes(GaussianNB(), parts=10, sigma=20, epsilon=2.0, ledger=sys.argv[1]).fit(x, y)
Noise.normal = lambda *a, **k: os._exit(9)
made.predict(x[:3])
print("answered")
"""


def started(code, path):
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=pipe, stdout=pipe, text=True)


def test_processes_share_one_budget(tmp_path):
    alone = Ledger(tmp_path / "alone.json", 2.0, 1e-5)
    most = 0
    with pytest.raises(BudgetError):
        for _ in range(1_000):
            alone.charge(20.0, 1)
            most += 1
    spenders = [started(SPEND, tmp_path / "shared.json") for _ in range(3)]
    for spender in spenders:
        spender.stdin.write("\n")
        spender.stdin.flush()
    given = [int(spender.communicate()[0]) for spender in spenders]
    assert sum(given) == most > 0
    assert Ledger(tmp_path / "shared.json", 2.0, 1e-5).answers() == most


def test_what_was_charged_stays_charged_when_the_answer_is_never_given(tmp_path):
    crashed = started(CRASH, tmp_path / "spent.json")
    said, _ = crashed.communicate()
    assert (crashed.returncode, said) == (9, "")
    assert Ledger(tmp_path / "spent.json", 2.0, 1e-5).answers() == 3
