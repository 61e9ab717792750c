"""Guards refuse rows and not the attack: a thief leaves such rows out, waits where it is told to, and goes on."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from assay.assessment.assessment import assess
from assay.assessment.evasion.base import EvasionAttack
from assay.assessment.extraction.base import ExtractionAttack
from assay.contract.region import Region
from assay.core.discovery import discover
from assay.core.errors import BudgetError, DataError, Refused, RowsRefused
from assay.models.accounts import Accounts
from assay.models.guarded import Guarded, answered
from assay.models.predictor import predictor

X, Y = make_classification(900, 6, n_informative=4, random_state=0)
MODEL = LogisticRegression().fit(X, Y)
REGION = Region.box(X.min(axis=0), X.max(axis=0))
ATTACKS = discover(ExtractionAttack)


class Outlying:
    """Refuses rows beyond a bound of the first column. named: says which rows they are, at most three of them."""

    def __init__(self, model=MODEL, *, bound=1.5, named=True):
        self.model, self.bound, self.named = model, bound, named

    def __call__(self, x):
        bad = np.flatnonzero(np.abs(x[:, 0]) > self.bound)
        if len(bad):
            raise RowsRefused("outlier", rows=tuple(bad[:3].tolist()) if self.named else ())
        return self.model.predict_proba(x)


class Bucket:
    """Answers so many rows, and more of them after each wait."""

    def __init__(self, size, wait=2.0):
        self.size = self.left = size
        self.pause = wait

    def __call__(self, x):
        if len(x) > self.left:
            raise BudgetError("later", wait=self.pause)
        self.left -= len(x)
        return MODEL.predict_proba(x)


def live(answer, *, patience=0.0, count=1, sleep=None):
    accounts = Accounts(
        [predictor(answer if count == 1 else answer(), classes=2) for _ in range(count)], patience=patience,
        sleep=sleep or (lambda _: None),
    )  # fmt: skip
    accounts.address = "http://model"
    return accounts


@pytest.mark.parametrize("named", [True, False])
def test_rows_that_a_guard_refuses_are_left_out_and_no_others(named):
    given, got = answered(predictor(Outlying(named=named), classes=2), X)
    fine = np.abs(X[:, 0]) <= 1.5
    assert np.array_equal(got, fine)
    assert np.allclose(given[fine], MODEL.predict_proba(X[fine]))
    assert np.isnan(given[~fine]).all()


def test_rows_are_left_out_of_the_question_that_they_were_in():
    asked = []

    class Counted(Outlying):
        def __call__(self, x):
            asked.append(len(x))
            return super().__call__(x)

    _, got = answered(live(Counted()), X)
    assert np.array_equal(got, np.abs(X[:, 0]) <= 1.5)
    assert max(asked) == 50
    # What was answered is not asked again: of 900 rows in 18 questions only what is left of a refused one.
    assert sum(asked) < 10 * len(X)


def test_rows_refused_in_the_second_half_of_a_question_are_named_by_their_places_in_all():
    class Small(BaseHTTPRequestHandler):
        def do_POST(self):
            held = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"][0]
            bad = [i for i, row in enumerate(held["data"]) if abs(row[0]) > 1.5]
            code = 413 if held["shape"][0] > 8 else 422 if bad else 200
            answers = [0.5] * (2 * held["shape"][0])
            told = {"rows": [{"row": i} for i in bad], "outputs": [{"name": "probabilities", "data": answers}]}
            body = json.dumps(told).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Small)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    asked = predictor(f"http://127.0.0.1:{server.server_port}/v2/models/m/infer", classes=2)
    try:
        _, got = answered(asked, X[:64])
    finally:
        asked.close()
        server.shutdown()
        thread.join()
        server.server_close()
    assert np.array_equal(got, np.abs(X[:64, 0]) <= 1.5)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_thief_goes_on_where_rows_are_refused(name):
    said = MODEL.predict_proba(X[600:])
    thief = ATTACKS[name](budgets=(60, 240))
    result = thief(predictor(Outlying(), classes=2), X[:600], X[600:], Y[600:], REGION, seed=0, said=said)
    assert 60 < result.queries[-1] < 240
    assert result.refused == 240 - result.queries[-1]
    assert np.isfinite(result.fidelity).all()


def test_a_tree_is_walked_up_to_where_a_guard_refuses():
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, Y)
    inside = X[np.abs(X[:, 0]) <= 1.5]
    thief = ATTACKS["path_finding"](budgets=(4000,))
    result = thief(
        predictor(Outlying(tree), classes=2), inside[:300], inside[300:], None, REGION, seed=0,
        said=tree.predict_proba(inside[300:]),
    )  # fmt: skip
    assert result.fidelity[-1] > 0.99


def test_an_endpoint_that_refuses_every_row_is_given_up():
    asked = []

    def never(x):
        asked.append(len(x))
        raise RowsRefused("all", rows=tuple(range(len(x))))

    thief = ATTACKS["knockoff"](budgets=(1000,))
    result = thief(
        predictor(never, classes=2), X[:600], X[600:], Y[600:], REGION, seed=0, said=MODEL.predict_proba(X[600:])
    )
    assert result.queries.size == 0
    assert sum(asked) == 200


def test_an_account_that_may_ask_later_waits_as_long_as_its_patience():
    slept, bucket = [], Bucket(100)

    def refill(seconds):
        slept.append(seconds)
        bucket.left = bucket.size

    accounts = live(bucket, patience=5.0, sleep=refill)
    assert len(accounts.probabilities(X[:300])) == 300
    assert slept == [2.0, 2.0]
    with pytest.raises(BudgetError):
        accounts.probabilities(X[:300])


def test_patience_ends_where_an_account_is_always_told_to_come_again_at_once():
    slept = []
    accounts = live(Bucket(0, wait=0.0), patience=3.0, sleep=slept.append)
    with pytest.raises(BudgetError):
        accounts.probabilities(X[:1])
    assert slept == [1.0, 1.0, 1.0]


def test_a_refused_row_costs_no_account():
    accounts = live(Outlying, count=3)
    with pytest.raises(RowsRefused):
        accounts.probabilities(X)
    assert accounts.used == 0


def test_accounts_without_a_time_to_come_back_end_the_attack():
    accounts = live(lambda: Bucket(0, wait=None), count=2, patience=100.0)
    with pytest.raises(Refused):
        accounts.probabilities(X[:1])


def test_where_a_guard_refuses_no_class_is_likelier():
    told = Guarded(predictor(Outlying(), classes=2), None).probabilities(X)
    assert (told[np.abs(X[:, 0]) > 1.5] == 0.5).all()


@pytest.mark.parametrize("goal", ["evasion", "extraction", "inversion", "quality"])
def test_goals_are_measured_on_the_rows_that_an_endpoint_answers(goal):
    found = assess(live(Outlying()), train=(X[:450], Y[:450]), test=(X[450:], Y[450:]), goals=[goal], region=REGION)
    refused = found.measure("rows_refused@test")
    assert refused.estimate == pytest.approx((np.abs(X[450:, 0]) > 1.5).mean())
    assert [e.control for e in found.evidence] == ["endpoint", goal]
    assert found.evidence[1].measures and not found.evidence[1].not_checked
    assert found.evidence[0].subjects[0].name == "answers of http://model"


def test_an_endpoint_that_answers_nothing_is_one_line():
    with pytest.raises(DataError, match="none of 450 test rows"):
        assess(live(Outlying(bound=0.0)), train=(X[:450], Y[:450]), test=(X[450:], Y[450:]), region=REGION)


class Steady:
    """Answers class 0, and refuses rows beyond a bound of the first column."""

    def __call__(self, x):
        bad = np.flatnonzero(np.abs(x[:, 0]) > 1.5)
        if len(bad):
            raise RowsRefused("outlier", rows=tuple(bad[:3].tolist()))
        return np.tile([0.9, 0.1], (len(x), 1))


@pytest.mark.parametrize("name", ["hopskipjump", "beam", "genetic", "boundary", "simba", "zoo"])
def test_a_refused_row_is_no_success_and_costs_a_query(name):
    x, y = X[np.abs(X[:, 0]) <= 1.5][:20], np.zeros(20, dtype=int)
    attack = discover(EvasionAttack)[name](max_queries=60)
    found = attack(predictor(Steady(), classes=2), x, y, REGION, seed=0)
    assert not found.success.any()
    assert not found.already_wrong.any()
    assert found.refused > 0
    assert found.queries.max() <= 60
    assert found.refused <= found.queries.sum()


def test_a_targeted_attack_is_refused_too():
    x, y = X[np.abs(X[:, 0]) <= 1.5][:20], np.zeros(20, dtype=int)
    attack = discover(EvasionAttack)["hopskipjump"](max_queries=60)
    found = attack(predictor(Steady(), classes=2), x, y, REGION, targets=1 - y, seed=0)
    assert not found.success.any()
    assert found.refused > 0


def test_what_an_attack_finds_lies_where_the_guard_lets_it():
    x, y = X[np.abs(X[:, 0]) <= 1.5][:40], Y[np.abs(X[:, 0]) <= 1.5][:40]
    found = discover(EvasionAttack)["hopskipjump"](max_queries=300)(predictor(Outlying(), classes=2), x, y, REGION)
    assert found.success.any()
    assert (np.abs(found.x_adv[:, 0]) <= 1.5).all()


def test_evasion_says_what_was_refused():
    found = assess(
        live(Outlying()), train=(X[:450], Y[:450]), test=(X[450:], Y[450:]), goals=["evasion"], region=REGION
    )
    refused = found.measure("rows_refused@hopskipjump_1000")
    assert 0 < refused.estimate < 1
    assert refused.n == found.measure("robust_accuracy@any,hopskipjump_1000").queries


def test_where_the_budget_of_an_endpoint_ends_evasion_keeps_what_was_found_and_says_so():
    found = assess(
        live(Bucket(30_000, wait=None)), train=(X[:450], Y[:450]), test=(X[450:], Y[450:]), goals=["evasion"], region=REGION
    )  # fmt: skip
    evidence = found.evidence[-1]
    cut = found.measure("robust_accuracy@any,hopskipjump_1000")
    assert cut.queries < 30_000
    missing = {m.what: m for m in evidence.not_checked}
    assert "after" in missing["evasion.hopskipjump"].why
    assert "--patience" in missing["evasion.hopskipjump"].remedy
    assert "evasion.beam" in missing


def test_a_local_budget_still_ends_an_attack():
    attack = discover(EvasionAttack)["hopskipjump"](max_queries=60)
    with pytest.raises(BudgetError):
        attack(predictor(MODEL).limited(100), X[:20], Y[:20], REGION)
