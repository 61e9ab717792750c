"""Multi-layer perceptrons of scikit-learn, many at once: batched matrix products over small groups of models.

A group is small enough for its weights and one batch of each model to stay in the processor's cache; groups run side
by side. Weights, updates and the rule to stop are those that scikit-learn documents for ``MLPClassifier``.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.clock import stream
from assay.models.together.base import Sample, Together, is_kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# Models of a group: as many as keep their weights in so many values, within these bounds.
_LEAST, _MOST, _VALUES = 8, 16, 32_000
_EPOCH_VALUES = 4_000_000
_ACTIVATIONS = ("relu", "tanh", "logistic", "identity")


class ManyPerceptrons(Together, name="mlp"):
    """Fits ``MLPClassifier`` with the solvers adam and sgd (constant rate), without early stopping."""

    @classmethod
    def accepts(cls, estimator: Any) -> bool:
        """Return whether the settings are those that are fitted here."""
        if not is_kind(estimator, "sklearn", "MLPClassifier"):
            return False
        known = estimator.solver in ("adam", "sgd") and estimator.activation in _ACTIVATIONS
        plain = estimator.solver == "adam" or estimator.learning_rate == "constant"
        return known and plain and not estimator.early_stopping and not estimator.warm_start

    @classmethod
    def answers(
        cls, estimator: Any, samples: list[Sample], *, classes: int, seeds: list[int]
    ) -> list[NDArray[np.float64]]:
        """Return the probabilities (q, classes) of each copy. Copies whose samples differ in shape or classes go apart."""
        from joblib import Parallel, delayed

        alike: dict[tuple[object, ...], list[int]] = {}
        for i, sample in enumerate(samples):
            alike.setdefault((sample.x.shape, sample.queries.shape, tuple(np.unique(sample.y))), []).append(i)
        groups = []
        for same in alike.values():
            some = samples[same[0]]
            sizes = _sizes(estimator, some.x.shape[1], len(np.unique(some.y)))
            weights = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
            size = int(np.clip(_VALUES // weights, _LEAST, _MOST))
            groups += [same[s : s + size] for s in range(0, len(same), size)]
        fits = (delayed(_group)(estimator, [samples[i] for i in g], [seeds[i] for i in g], classes) for g in groups)
        found = Parallel(n_jobs=min(len(groups), os.cpu_count() or 1), prefer="threads")(fits)
        made: list[NDArray[np.float64]] = [np.empty(0)] * len(samples)
        for group, block in zip(groups, found, strict=True):
            for i, answer in zip(group, block, strict=True):
                made[i] = answer
        return made


def _group(estimator: Any, samples: list[Sample], seeds: list[int], classes: int) -> NDArray[np.float64]:
    """Return the answers (k, q, classes) of k copies of one shape."""
    held = np.unique(samples[0].y)
    x = np.stack([s.x for s in samples]).astype(np.float32)
    codes = np.stack([np.searchsorted(held, s.y) for s in samples])
    sizes = _sizes(estimator, x.shape[2], len(held))
    wanted = np.eye(len(held), dtype=np.float32)[codes] if sizes[-1] > 1 else codes[..., None].astype(np.float32)
    nets = Perceptrons(sizes, estimator.activation, [stream(s, "mlp") for s in seeds])
    fit(nets, x, wanted, estimator)
    shares = nets.probabilities(np.stack([s.queries for s in samples]).astype(np.float32))
    answers = np.zeros((len(samples), shares.shape[1], classes))
    if len(held) == 1:
        answers[:, :, held[0]] = 1.0
    else:
        answers[:, :, held] = shares
    return answers


def _sizes(estimator: Any, inputs: int, classes: int) -> tuple[int, ...]:
    """Return the widths of all layers; two classes share one output."""
    return (inputs, *np.atleast_1d(estimator.hidden_layer_sizes).tolist(), classes if classes > 2 else 1)


class Perceptrons:
    """k networks of one shape in one buffer of parameters (k, p). sizes: widths of all layers, inputs first."""

    def __init__(self, sizes: tuple[int, ...], activation: str, chances: list[np.random.Generator]) -> None:
        self.activation, self.chances = activation, chances
        ends = np.cumsum([0, *((a + 1) * b for a, b in itertools.pairwise(sizes))])
        self.parameters = np.empty((len(chances), int(ends[-1])), dtype=np.float32)
        self.slopes = np.zeros_like(self.parameters)
        self.shapes = list(zip(ends[:-1].tolist(), sizes[:-1], sizes[1:], strict=True))
        # Glorot & Bengio 2010, with the factors that scikit-learn uses.
        factor = 2.0 if activation == "logistic" else 6.0
        for (start, a, b), end in zip(self.shapes, ends[1:], strict=True):
            bound = np.sqrt(factor / (a + b))
            for i, chance in enumerate(chances):
                self.parameters[i, start:end] = chance.uniform(-bound, bound, end - start)

    def keep(self, alive: NDArray[np.intp]) -> Perceptrons:
        """Return the networks ``alive`` only, as copies."""
        other = object.__new__(Perceptrons)
        other.activation, other.shapes = self.activation, self.shapes
        other.chances = [self.chances[i] for i in alive]
        other.parameters = self.parameters[alive]
        other.slopes = np.zeros_like(other.parameters)
        return other

    def layers(self, buffer: Floats) -> list[tuple[Floats, Floats]]:
        """Return views of each layer's weights (k, a, b) and biases (k, 1, b) in a buffer (k, p)."""
        k = len(buffer)
        return [
            (buffer[:, s : s + a * b].reshape(k, a, b), buffer[:, s + a * b : s + (a + 1) * b].reshape(k, 1, b))
            for s, a, b in self.shapes
        ]

    def probabilities(self, x: Floats) -> NDArray[np.float64]:
        """Return the probabilities (k, q, c) of queries (k, q, d)."""
        layers = self.layers(self.parameters)
        hidden = x
        for weights, bias in layers[:-1]:
            hidden = _activate(hidden @ weights + bias, self.activation)
        scores = (hidden @ layers[-1][0] + layers[-1][1]).astype(np.float64)
        if scores.shape[2] == 1:
            share = 1.0 / (1.0 + np.exp(-np.clip(scores, -700, 700)))
            return np.concatenate([1.0 - share, share], axis=2)
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=2, keepdims=True)
        return scores

    def step(self, x: Floats, wanted: Floats, alpha: float) -> Floats:
        """Put the slopes of the mean loss on a batch (k, b, d) into ``slopes``; return the losses (k,)."""
        layers, grads = self.layers(self.parameters), self.layers(self.slopes)
        hidden = [x]
        for weights, bias in layers[:-1]:
            z = hidden[-1] @ weights
            z += bias
            hidden.append(_activate(z, self.activation))
        scores = hidden[-1] @ layers[-1][0]
        scores += layers[-1][1]
        delta, losses = _loss(scores, wanted)
        count = x.shape[1]
        delta /= count
        for i in range(len(layers) - 1, -1, -1):
            weights, (g_weights, g_bias) = layers[i][0], grads[i]
            np.matmul(hidden[i].transpose(0, 2, 1), delta, out=g_weights)
            np.sum(delta, axis=1, keepdims=True, out=g_bias)
            if i:
                delta = delta @ weights.transpose(0, 2, 1)
                _backward(delta, hidden[i], self.activation)
            if alpha:
                g_weights += (alpha / count) * weights
        if alpha:
            losses += np.float32(0.5 * alpha / count) * sum(np.einsum("kab,kab->k", w, w) for w, _ in layers)
        return losses


def fit(nets: Perceptrons, x: Floats, wanted: Floats, settings: Any) -> None:
    """Fit networks to x (k, n, d) and targets (k, n, c) by the settings of an ``MLPClassifier``, in place.

    A network leaves the computation once its loss has not fallen by ``tol`` in ``n_iter_no_change`` epochs.
    """
    k, n = x.shape[:2]
    batch = min(200, n) if settings.batch_size == "auto" else min(int(settings.batch_size), n)
    live = np.arange(k)
    now, best, still = nets, np.full(k, np.inf), np.zeros(k, dtype=int)
    update = (
        _Adam(nets.parameters.shape, settings)
        if settings.solver == "adam"
        else _Momentum(nets.parameters.shape, settings)
    )
    for _ in range(settings.max_iter):
        total = np.zeros(len(live))
        order = np.stack([c.permutation(n) if settings.shuffle else np.arange(n) for c in now.chances])
        most = max(1, _EPOCH_VALUES // max(1, len(live) * batch * x.shape[2])) * batch
        for begin in range(0, n, most):
            part = order[:, begin : begin + most]
            rows, truth = x[live[:, None], part], wanted[live[:, None], part]
            for s in range(0, part.shape[1], batch):
                seen = rows[:, s : s + batch]
                total += now.step(seen, truth[:, s : s + batch], settings.alpha) * seen.shape[1]
                update(now.parameters, now.slopes)
        loss = total / n
        still[live] = np.where(loss > best[live] - settings.tol, still[live] + 1, 0)
        best[live] = np.minimum(best[live], loss)
        going = still[live] < settings.n_iter_no_change
        if not going.all():
            nets.parameters[live] = now.parameters
            live = live[going]
            if not len(live):
                return
            now = nets.keep(live)
            update.keep(going)
    nets.parameters[live] = now.parameters


@dataclass(slots=True)
class _Adam:
    """Kingma & Ba 2015."""

    first: Floats
    second: Floats
    settings: Any
    count: int = 0

    def __init__(self, shape: tuple[int, ...], settings: Any) -> None:
        self.first, self.second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.settings, self.count = settings, 0

    def __call__(self, parameters: Floats, slopes: Floats) -> None:
        s = self.settings
        self.count += 1
        self.first *= np.float32(s.beta_1)
        self.first += np.float32(1.0 - s.beta_1) * slopes
        self.second *= np.float32(s.beta_2)
        np.multiply(slopes, slopes, out=slopes)
        slopes *= np.float32(1.0 - s.beta_2)
        self.second += slopes
        rate = s.learning_rate_init * np.sqrt(1.0 - s.beta_2**self.count) / (1.0 - s.beta_1**self.count)
        np.sqrt(self.second, out=slopes)
        slopes += np.float32(s.epsilon)
        np.divide(self.first, slopes, out=slopes)
        slopes *= np.float32(rate)
        parameters -= slopes

    def keep(self, going: NDArray[np.bool_]) -> None:
        self.first, self.second = self.first[going], self.second[going]


class _Momentum:
    """Gradient descent with momentum, Nesterov's where the settings ask for it."""

    def __init__(self, shape: tuple[int, ...], settings: Any) -> None:
        self.settings = settings
        self.speed = np.zeros(shape, np.float32) if settings.momentum else None

    def __call__(self, parameters: Floats, slopes: Floats) -> None:
        slopes *= np.float32(self.settings.learning_rate_init)
        if self.speed is None:
            parameters -= slopes
            return
        mass = np.float32(self.settings.momentum)
        self.speed *= mass
        self.speed -= slopes
        if self.settings.nesterovs_momentum:
            parameters += mass * self.speed
            parameters -= slopes
        else:
            parameters += self.speed

    def keep(self, going: NDArray[np.bool_]) -> None:
        if self.speed is not None:
            self.speed = self.speed[going]


def _activate(z: Floats, kind: str) -> Floats:
    if kind == "relu":
        np.maximum(z, 0.0, out=z)
    elif kind == "tanh":
        np.tanh(z, out=z)
    elif kind == "logistic":
        np.negative(z, out=z)
        np.minimum(z, np.float32(80.0), out=z)
        np.exp(z, out=z)
        z += 1.0
        np.reciprocal(z, out=z)
    return z


def _backward(delta: Floats, active: Floats, kind: str) -> None:
    if kind == "relu":
        delta *= active > 0
    elif kind == "tanh":
        delta *= 1.0 - active * active
    elif kind == "logistic":
        delta *= active * (1.0 - active)


def _loss(scores: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Return d loss / d scores for the summed cross-entropy (k, b, c), and the mean loss of each model (k,)."""
    if scores.shape[2] == 1:
        loss = np.logaddexp(np.float32(0.0), scores) - wanted * scores
        return _activate(scores.copy(), "logistic") - wanted, loss.mean(axis=(1, 2))
    scores -= scores.max(axis=2, keepdims=True)
    picked = (scores * wanted).sum(axis=2)
    np.exp(scores, out=scores)
    total = scores.sum(axis=2, keepdims=True)
    losses = (np.log(total[..., 0]) - picked).mean(axis=1)
    scores /= total
    scores -= wanted
    return scores, losses
