"""Defences and detectors are measured against those who know them: what only hides the slope is seen to be broken."""

from __future__ import annotations

import numpy as np
import pytest

from assay.assessment.defences import measure_defence
from assay.assessment.detection import measure_detector
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.evasion.square import Square
from assay.contract.region import Region
from assay.core.errors import DataError, UnsupportedError
from assay.models.ensemble import Ensemble
from assay.models.predictor import predictor
from assay.models.transformed import Transformed
from assay.models.transforms.bit_depth import BitDepth
from assay.models.transforms.noise import Noise
from assay.testing.detectors import planted
from assay.training.detectors.disagreement import Disagreement
from assay.training.detectors.embeddings import Penultimate, Standardised
from assay.training.detectors.knn import Knn
from assay.training.detectors.lid import Lid
from assay.training.detectors.mahalanobis import Mahalanobis
from assay.training.detectors.squeezing import Squeezing

torch = pytest.importorskip("torch")
PGD = pytest.importorskip("assay.assessment.evasion.pgd").PGD

BOX = Region.box(np.zeros(20), np.ones(20))


@pytest.fixture(scope="module")
def digits():
    """Two kinds of 20 values in [0, 1], told apart by their mean, and a small network that does."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    x = np.clip(0.4 + 0.2 * y[:, None] + 0.15 * rng.normal(size=(500, 20)), 0, 1)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(torch.tensor(x).float()), torch.tensor(y)).backward()
        optimiser.step()
    return net.eval(), x, y


def test_rounding_stops_those_who_do_not_know_it_and_nobody_else(digits):
    net, x, y = digits
    plain = predictor(net, classes=2)
    hidden = Transformed(plain, [BitDepth(bits=4)])
    attacks = [PGD(radius=0.13, steps=20), Square(radius=0.13, max_queries=300)]
    found = measure_defence(plain, hidden, x[:60], y[:60], BOX, attacks, name="bit_depth")
    assert found.adaptive.mean() <= found.static.mean()
    assert found.adaptive.mean() <= found.undefended.mean() + 0.1
    assert found.verdict in ("broken", "no gain")
    assert found.findings[0].rule.startswith("defence-")
    names = [m.name for m in found.measures]
    assert "robust_accuracy@linf0.13,bit_depth,adaptive:pgd+square" in names
    assert all(m.threat_model for m in found.measures)


def test_a_defence_that_holds_is_said_to_hold(digits):
    _, x, y = digits

    class Averaging(torch.nn.Module):
        """The mean alone decides: nothing smaller than half the distance between the kinds turns it."""

        def forward(self, rows):
            score = 40 * (rows.mean(dim=1, keepdim=True) - 0.5)
            return torch.cat([-score, score], dim=1)

    frail = torch.nn.Sequential(torch.nn.Linear(20, 2))
    with torch.no_grad():
        frail[0].weight.copy_(torch.tensor([[-1.0] + [0.0] * 19, [1.0] + [0.0] * 19]))
        frail[0].bias.copy_(torch.tensor([0.5, -0.5]))
    found = measure_defence(
        predictor(frail, classes=2),
        predictor(Averaging(), classes=2),
        x[:80],
        y[:80],
        BOX,
        [PGD(radius=0.05)],
        name="mean",
    )
    assert found.verdict == "holds"
    assert not found.findings
    assert found.adaptive.mean() > found.undefended.mean() + 0.2


def test_random_defences_are_judged_by_most_answers(digits):
    net, x, y = digits
    plain = predictor(net, classes=2)
    noisy = Transformed(plain, [Noise(deviation=0.2)], draws=8)
    found = measure_defence(
        plain, noisy, x[:30], y[:30], BOX, [PGD(radius=0.15, steps=10, max_queries=60)], name="noise"
    )
    assert found.adaptive.mean() < 0.5
    again = measure_defence(
        plain, noisy, x[:30], y[:30], BOX, [PGD(radius=0.15, steps=10, max_queries=60)], name="noise"
    )
    assert [m.to_json() for m in found.measures] == [m.to_json() for m in again.measures]


def test_an_ensemble_is_attacked_through_all_its_members(digits):
    net, x, y = digits
    plain = predictor(net, classes=2)
    team = Ensemble([plain, predictor(lambda rows: (rows.mean(axis=1) > 0.5).astype(int), classes=2)])
    with pytest.raises(UnsupportedError):
        team.gradient(x[:1], y[:1])
    found = measure_defence(plain, team, x[:30], y[:30], BOX, [PGD(radius=0.2), Square(radius=0.2, max_queries=200)])
    assert "adaptive:square" in found.measures[-1].name


def test_a_defence_needs_samples_and_one_radius(digits):
    net, x, y = digits
    plain = predictor(net, classes=2)
    for attacks in ([PGD(radius=0.1), PGD(radius=0.2)], [HopSkipJump()]):
        with pytest.raises(DataError):
            measure_defence(plain, plain, x[:5], y[:5], BOX, attacks)
    with pytest.raises(DataError):
        measure_defence(plain, plain, x[:0], y[:0], BOX, [PGD()])


def test_a_detector_is_measured_against_both_attackers(digits):
    net, x, y = digits
    model = predictor(net, classes=2)
    screen = Mahalanobis(rate=0.05).fit(model, x[:300], y[:300])
    attacks = [PGD(radius=0.35, steps=40, max_queries=200)]
    found = measure_detector(model, screen, x[300:360], y[300:360], BOX, attacks)
    assert found.measure("false_alarm_rate").estimate < 0.2
    blind, aware = (found.measure(f"evasion_rate@mahalanobis,{w}").estimate for w in ("static", "aware"))
    assert found.measure("evasion_rate@none").estimate > 0.8
    assert blind <= aware
    assert aware > 0.3
    won = found.x_aware[found.evaded]
    assert (model.labels(won) != y[300:360][found.evaded]).all()
    assert not screen.flags(won).any()
    assert BOX.contains(found.x_aware, x[300:360]).all()
    assert (
        found.measure("detection_rate@mahalanobis,aware").estimate
        <= found.measure("detection_rate@mahalanobis,static").estimate
    )
    assert any(f.rule == "detector-evaded" for f in found.findings) == (aware * 60 >= 0.5 * 50) or aware < 0.5


def test_black_box_attackers_learn_a_detector_by_its_refusals():
    model, x, y, fresh = planted()
    screen = Knn(rate=0.05).fit(model, x, y)
    region = Region.box([-9.0] * 4, [9.0] * 4)
    rows = fresh[:20]
    found = measure_detector(model, screen, rows, model.labels(rows), region, [PGD(), HopSkipJump(max_queries=300)])
    assert found.evaded.mean() > 0.5
    assert "hopskipjump" in found.measures[-1].name
    with pytest.raises(UnsupportedError):
        measure_detector(model, screen, rows, model.labels(rows), region, [PGD()])
    with pytest.raises(DataError):
        measure_detector(model, screen, rows, 1 - model.labels(rows), region, [HopSkipJump(max_queries=50)])
    with pytest.raises(DataError):
        found.measure("no such")


@pytest.mark.parametrize("detector", [Mahalanobis(), Knn(), Lid(k=8), Disagreement(members=2)], ids=lambda d: d.name)
@pytest.mark.parametrize("deep", [False, True], ids=["inputs", "features"])
def test_slopes_of_detectors_are_exact(digits, detector, deep):
    net, x, y = digits
    embedding = Penultimate(net.double()) if deep else Standardised(x[:300])
    net.float()
    screen = detector.fit(predictor(net, classes=2), x[:300], y[:300], embedding=embedding)
    rows = x[300:303]
    slope, step = screen.slope(rows), 1e-6
    for i in range(20):
        up, down = rows.copy(), rows.copy()
        up[:, i] += step
        down[:, i] -= step
        np.testing.assert_allclose(
            slope[:, i], (screen.score(up) - screen.score(down)) / (2 * step), rtol=1e-3, atol=1e-5
        )


def test_the_slope_of_squeezing_goes_around_the_rounding(digits):
    net, x, y = digits
    screen = Squeezing(bits=2).fit(predictor(net, classes=2), x[:300], y[:300])
    rows = x[300:320]
    slope = screen.slope(rows)
    assert slope.shape == rows.shape
    moved = screen.score(np.clip(rows - 0.02 * np.sign(slope), 0, 1)) - screen.score(rows)
    assert moved.mean() < 0


def test_features_come_from_sequences_only(digits):
    net, x, _ = digits
    assert Penultimate(net)(x[:4]).shape == (4, 16)
    with pytest.raises(UnsupportedError):
        Penultimate(torch.nn.Linear(20, 2))
    with pytest.raises(UnsupportedError):
        Penultimate(net, cut=3)
