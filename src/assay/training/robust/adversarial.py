"""Adversarial training of torch modules behind scikit-learn's API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from assay.core.clock import derive_seed
from assay.core.errors import SettingError
from assay.core.settings import Constraint, OneOf, Within
from assay.training.robust.ball import Ball
from assay.training.robust.fitting import Plan, fit
from assay.training.robust.nets import Factory, Standardise, build
from assay.training.robust.regimens import REGIMENS, Setting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_RANGES: dict[str, Constraint] = {
    "method": OneOf(tuple(REGIMENS)), "norm": OneOf(("linf", "l2")), "radius": Within(0.0, None),
    "steps": Within(1, None), "step_size": Within(0.0, None, open_low=True, optional=True), "beta": Within(0.0, None),
    "epochs": Within(1, None), "batch_size": Within(1, None), "learning_rate": Within(0.0, None, open_low=True),
    "weight_decay": Within(0.0, None), "averaging": Within(0.0, 1.0, open_high=True),
    "validation": Within(0.0, 1.0, open_high=True), "patience": Within(1, None, optional=True),
    "threads": Within(1, None, optional=True),
}  # fmt: skip
_JUDGED = 500
_BATCH = 4096


class AdversarialClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A torch classifier fitted against the worst change of each row within a ball.

    module: "auto" (convolutional for images, else perceptron), a name, or a function (shape, classes) -> torch module
    that returns logits. shape: of one sample when rows are flat, as in (1, 28, 28); images (n, h, w) get one channel.
    method: "pgd" (Madry et al. 2018), "trades" (Zhang et al. 2019), "fast" (one step from a random start, guarded
    against catastrophic overfitting: Wong et al. 2020, Andriushchenko & Flammarion 2020), "free" (Shafahi et al. 2019), or
    "noise" (Gaussian noise of one radius, for a vote under noise: Cohen et al. 2019), or "interval" (for certificates by
    intervals, Linf: Gowal et al. 2018).
    radius, norm: the ball, "linf" or "l2", in units of ``scale``: None (1), "deviation" (of each value), or one number a
    value, 0 for those that an attacker cannot change. low, high: range that attacked rows stay in (None: no end).
    steps, step_size: of the inner ascent (None: 2.5 radii over all steps); "free" replays each batch ``steps`` times.
    beta: weight of robustness in TRADES. validation: share of rows held out for early stopping on robust accuracy.
    averaging: how slowly the kept weights follow. random_state: the same seed gives the same weights on one machine
    with one number of ``threads`` (None: as torch is set up). device: where torch computes.

    Fitted: ``module_`` (in evaluation mode, takes rows as given to ``fit``, returns logits), ``classes_``, ``history_``.
    """

    def __init__(
        self,
        module: str | Factory = "auto",
        *,
        shape: tuple[int, ...] | None = None,
        method: str = "pgd",
        radius: float = 0.1,
        norm: str = "linf",
        scale: ArrayLike | str | None = None,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        steps: int = 7,
        step_size: float | None = None,
        beta: float = 6.0,
        epochs: int = 20,
        batch_size: int = 128,
        learning_rate: float = 0.005,
        weight_decay: float = 5e-4,
        averaging: float = 0.99,
        validation: float = 0.1,
        patience: int | None = None,
        threads: int | None = None,
        device: str = "cpu",
        random_state: int = 0,
    ) -> None:
        self.module = module
        self.shape = shape
        self.method = method
        self.radius = radius
        self.norm = norm
        self.scale = scale
        self.low = low
        self.high = high
        self.steps = steps
        self.step_size = step_size
        self.beta = beta
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.averaging = averaging
        self.validation = validation
        self.patience = patience
        self.threads = threads
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> AdversarialClassifier:
        """Fit on rows X (n, d), or samples (n, ...), and labels y (n,). Raises SettingError for settings out of range."""
        self._check()
        if self.method == "interval" and self.norm != "linf":
            raise SettingError("intervals are trained for Linf only", remedy="Use norm='linf', or another method")
        rows, labels = validate_data(self, X, y, dtype=np.float32, allow_nd=True)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            # scikit-learn's own words and type, which its estimator checks look for.
            raise ValueError(f"Classifier can't train when only one class is present: {self.classes_}")
        seed = derive_seed(int(self.random_state), "adversarial")
        with _settled(seed, self.threads, torch.device(self.device)):
            generator = torch.Generator(self.device).manual_seed(seed)
            module = self._network(rows)
            scale, low, high = (self._spread(v, rows) for v in self._units(rows))
            ball = Ball(self.norm, self.radius, low, high, scale)
            size = 2.5 * self.radius / self.steps if self.step_size is None else self.step_size
            setting = Setting(module, ball, self.steps, size, self.beta, generator)
            x, classes = torch.as_tensor(rows).to(self.device), torch.as_tensor(codes).long().to(self.device)
            kept, held = self._split(codes, generator)
            plan = Plan(
                self.method, self.epochs, self.batch_size, self.learning_rate, self.weight_decay, self.averaging,
                self.patience,
            )  # fmt: skip
            aside = (x[held], classes[held]) if len(held) else None
            self.history_ = fit(setting, plan, (x[kept], classes[kept]), aside)
            self.module_ = module.cpu()
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return class probabilities (n, classes) of rows X."""
        check_is_fitted(self, "module_")
        if len(self._sample_shape) > 1 and np.ndim(X) == 2:
            # A table of flattened images, as adapters for tables ask.
            X = np.asarray(X).reshape(-1, *self._sample_shape)
        rows = torch.as_tensor(validate_data(self, X, dtype=np.float32, allow_nd=True, reset=False))
        with torch.inference_mode():
            parts = [torch.softmax(self.module_(part).double(), dim=1) for part in torch.split(rows, _BATCH)]
        answer: NDArray[np.float64] = torch.cat(parts).numpy()
        return answer

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def onnx_bytes(self) -> bytes:
        """Return the fitted module as an ONNX graph: ``input`` (n, ...) to ``label`` (n,) and ``probabilities``.

        The label is the position in ``classes_`` unless the classes are whole numbers. Needs the package onnx.
        """
        from assay.training.robust.export import onnx_bytes

        check_is_fitted(self, "module_")
        return onnx_bytes(self.module_, self.classes_, self._sample_shape)

    def _check(self) -> None:
        for name, constraint in _RANGES.items():
            if not constraint.admits(getattr(self, name)):
                raise SettingError(f"{name} cannot be {getattr(self, name)!r}", remedy=f"Use {constraint.describe()}")

    def _network(self, rows: NDArray[np.float32]) -> torch.nn.Module:
        """Return the fresh network: rows as given, flattened, standardised, in the shape that the module wants."""
        self._sample_shape = rows.shape[1:]
        shape = tuple(self.shape) if self.shape is not None else rows.shape[1:]
        shape = (1, *shape) if len(shape) == 2 else shape
        width = int(np.prod(rows.shape[1:]))
        if int(np.prod(shape)) != width:
            raise SettingError(f"shape cannot be {shape} for samples of {width} values")
        flat = rows.reshape(len(rows), width).astype(np.float64)
        # Pixels share one mean and deviation: a pixel that never changes in training must not be blown up.
        axis = None if len(shape) == 3 else 0
        mean, deviation = np.broadcast_to(flat.mean(axis), width), np.broadcast_to(flat.std(axis), width)
        entry = [] if rows.ndim == 2 else [torch.nn.Flatten()]
        layers = [*entry, Standardise(mean.copy(), np.where(deviation > 0, deviation, 1.0))]
        if len(shape) > 1:
            layers.append(torch.nn.Unflatten(1, shape))
        inner = build(self.module, shape, len(self.classes_))
        body = [*inner] if isinstance(inner, torch.nn.Sequential) else [inner]
        # Channels last is what convolutions on a CPU are quickest in; nothing else depends on it.
        whole: Any = torch.nn.Sequential(*layers, *body).to(self.device)
        module: torch.nn.Module = whole.to(memory_format=torch.channels_last)
        return module

    def _units(self, rows: NDArray[np.float32]) -> tuple[Any, Any, Any]:
        scale: Any = 1.0 if self.scale is None else self.scale
        if isinstance(self.scale, str):
            if self.scale != "deviation":
                raise SettingError(f"scale cannot be {self.scale!r}", remedy="Use deviation, or numbers")
            scale = rows.std(axis=0)
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return scale, low, high

    def _spread(self, value: Any, rows: NDArray[np.float32]) -> torch.Tensor:
        try:
            full = np.broadcast_to(np.asarray(value, dtype=np.float32), rows.shape[1:])
        except ValueError as error:
            raise SettingError(f"an array of shape {np.shape(value)} does not describe {rows.shape[1:]}") from error
        return torch.as_tensor(full.copy()).to(self.device)

    def _split(self, codes: NDArray[np.intp], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the positions trained on and those held out, the latter at most 500 and none of a small set."""
        n = len(codes)
        order = torch.randperm(n, generator=generator, device=generator.device)
        aside = min(_JUDGED, int(self.validation * n))
        if aside < 5 * len(self.classes_):
            return order, order[:0]
        return order[aside:], order[:aside]


@contextmanager
def _settled(seed: int, threads: int | None, device: torch.device) -> Iterator[None]:
    """Seed torch's own streams (initial weights, dropout) and set its threads, and put both back."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


__all__ = ["AdversarialClassifier"]
