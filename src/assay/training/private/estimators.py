"""Private classifiers with scikit-learn's interface: linear, and small networks, trained by DP-SGD in numpy."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from assay.core.errors import DataError, SettingError
from assay.core.measure import Measure
from assay.stats.privacy.calibrate import sigma_for
from assay.stats.privacy.events import SampledGaussian
from assay.training.private.claim import Claim, claim
from assay.training.private.clipping import Adaptive, Clipping, Flat, clipping
from assay.training.private.dense import DenseNet, with_ones
from assay.training.private.dpsgd import Descent, Observer
from assay.training.private.noise import Noise
from assay.training.private.scaling import Scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PrivateClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What private classifiers share: declared classes and bounds, and the statement of what was spent.

    Nothing about the features is taken from the data. The names of the classes and the number of rows are, unless they
    are declared, and the statement then says that they were taken to be public.
    """

    claim_: Claim

    def privacy_statement(self) -> dict[str, object]:
        """Return what the fitted model claims, as plain JSON for provenance and evidence."""
        check_is_fitted(self)
        return self.claim_.to_json()

    def privacy_measures(self) -> tuple[Measure, ...]:
        """Return the claimed epsilon with its bracket as measures."""
        check_is_fitted(self)
        return self.claim_.measures(self.rows_)

    def __sklearn_tags__(self) -> Any:
        """Say that a few hundred rows cannot be learnt from privately."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    def _read(self, X: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.intp], tuple[str, ...]]:
        """Return rows, positions of their classes, and what was taken from the data. Sets ``classes_`` and ``rows_``."""
        x, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        if np.isnan(x).any():
            # scikit-learn's own tests look for this error and these words.
            raise ValueError(
                "Input X contains NaN: put BoundsEncoder(bounds, bins), where what is missing lies in no part, before it"
            )
        check_classification_targets(y)
        taken = []
        if self.classes is None:
            self.classes_, codes = np.unique(y, return_inverse=True)
            taken.append("the names of the classes are public (they were taken from the data)")
        else:
            self.classes_ = np.unique(np.asarray(self.classes))
            codes = np.clip(np.searchsorted(self.classes_, y), 0, len(self.classes_) - 1)
            if not np.array_equal(self.classes_[codes], y):
                raise DataError("a label is none of the declared classes", remedy="Declare every class in `classes`")
        if len(self.classes_) < 2:
            # scikit-learn's own tests look for this error and these words.
            raise ValueError("Classifier can't train when only one class is present.")
        if self.rows is None:
            taken.append("the number of rows is public (it was taken from the data)")
        self.rows_ = len(x) if self.rows is None else int(self.rows)
        return x, codes, tuple(taken)


class _DenseClassifier(PrivateClassifier):
    def __init__(
        self,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        *,
        steps: int = 150,
        sample_rate: float | None = None,
        batch: int = 4096,
        learning_rate: float = 1.0,
        momentum: float = 0.9,
        l2: float = 0.0,
        average: float = 0.5,
        clip: float = 1.0,
        clip_kind: str | Clipping = "flat",
        sigma: float | None = None,
        bounds: tuple[Any, Any] | None = None,
        row_norm: float | None = None,
        unit_rows: bool = False,
        features: int = 0,
        gamma: float = 1.5,
        image: tuple[int, int] | None = None,
        classes: Any = None,
        rows: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.steps = steps
        self.sample_rate = sample_rate
        self.batch = batch
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.l2 = l2
        self.average = average
        self.clip = clip
        self.clip_kind = clip_kind
        self.sigma = sigma
        self.bounds = bounds
        self.row_norm = row_norm
        self.unit_rows = unit_rows
        self.features = features
        self.gamma = gamma
        self.image = image
        self.classes = classes
        self.rows = rows
        self.random_state = random_state

    @abstractmethod
    def widths(self, width: int, classes: int) -> list[int]:
        """Return the widths of the network's layers for rows of ``width`` features."""

    def fit(self, X: Any, y: Any, observer: Observer | None = None) -> Self:
        """Train on rows X (n, d) and labels y (n,); observer sees every step, for audits.

        Raises SettingError for settings that no noise can meet, DataError for labels outside the declared classes.
        """
        x, codes, taken = self._read(X, y)
        plan = self.plan(self.rows_)
        noise = Noise(None if self.random_state is None else seed_of(self.random_state))
        self._scaling = self.scaling()
        classes = len(self.classes_)
        widths = self.widths(x.shape[1], classes)
        net = DenseNet(widths, noise.uniform if len(widths) > 2 else None)
        target = np.eye(classes, dtype=np.float32)[codes]
        plan.run(net, with_ones(self._scaling.apply(x)), target, noise, observer)
        self._net, self.n_iter_ = net, plan.steps
        self.claim_ = claim(
            [(SampledGaussian(plan.sigma, plan.rate), plan.steps)], self.delta,
            mechanism="DP-SGD: Poisson-subsampled Gaussian mechanism", entropy=noise.entropy,
            assumptions=(*taken, "settings were chosen without looking at the data", "noise is taken to be real-valued"),
            details={"sigma": plan.sigma, "sample_rate": plan.rate, "steps": plan.steps, "sampler": "poisson",
                     "expected_batch": plan.expected, "clipping": plan.clip.describe(), "preprocessing": self._scaling.describe()},
        )  # fmt: skip
        return self

    def plan(self, rows: int) -> Descent:
        """Return the plan for a table of ``rows``, with the least noise that meets epsilon. Raises SettingError."""
        rate = min(1.0, self.batch / rows) if self.sample_rate is None else float(self.sample_rate)
        if not 0 < rate <= 1:
            raise SettingError(f"sample_rate cannot be {rate}", remedy="Give a number in (0, 1]")
        sigma = sigma_for(self.epsilon, self.delta, rate, self.steps) if self.sigma is None else float(self.sigma)
        return Descent(
            steps=self.steps, rate=rate, sigma=sigma, expected=rate * rows, learning_rate=self.learning_rate,
            momentum=self.momentum, l2=self.l2, average=self.average, clip=clipping(self.clip_kind, self.clip),
        )  # fmt: skip

    def scaling(self) -> Scaling:
        """Return what the rows go through before the network."""
        return Scaling(self.bounds, self.row_norm, self.unit_rows, self.features, self.gamma, self.image)

    def onnx_bytes(self) -> bytes:
        """Return the fitted classifier, its scaling included, as an ONNX graph. Needs the package onnx."""
        from assay.training.private.export import dense_onnx

        check_is_fitted(self)
        return dense_onnx(self._scaling, self._net.layers, self.n_features_in_, self.classes_)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return scores (n, k) of the classes, or (n,) of the second one when there are two."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        scores = self._net.outputs(with_ones(self._scaling.apply(x))).astype(np.float64)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities (n, k) in the order of ``classes_``."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row."""
        scores = self.decision_function(X)
        best = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[best])


class DPLogisticRegression(_DenseClassifier):
    """Softmax regression under (epsilon, delta)-differential privacy.

    bounds: (low, high) of the features, scalars or one a feature, by the contract; they are scaled to [-1, 1] and cut
    there. row_norm: longest row that is used as it is. unit_rows, features, gamma, image: as in ``Scaling``. batch,
    sample_rate: rows in a step. rows: the number of rows as far as it is public. random_state: repeatable noise, for
    tests only: the statement then says that the claim does not hold.
    """

    def widths(self, width: int, classes: int) -> list[int]:
        """Return the widths of rows and of scores."""
        return [self.scaling().width(width), classes]

    @property
    def coef_(self) -> NDArray[np.float64]:
        """Weights (k, d) on scaled rows."""
        check_is_fitted(self)
        return self._net.layers[0][:, :-1].astype(np.float64)

    @property
    def intercept_(self) -> NDArray[np.float64]:
        """Constants (k,)."""
        check_is_fitted(self)
        return self._net.layers[0][:, -1].astype(np.float64)


class DPMLPClassifier(_DenseClassifier):
    """A network of dense layers with ReLU under (epsilon, delta)-differential privacy; other settings as the linear one's."""

    def __init__(
        self,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        *,
        hidden: tuple[int, ...] = (64,),
        steps: int = 200,
        sample_rate: float | None = None,
        batch: int = 1024,
        learning_rate: float = 0.5,
        momentum: float = 0.9,
        l2: float = 0.0,
        average: float = 0.25,
        clip: float = 0.5,
        clip_kind: str | Clipping = "flat",
        sigma: float | None = None,
        bounds: tuple[Any, Any] | None = None,
        row_norm: float | None = None,
        unit_rows: bool = False,
        features: int = 0,
        gamma: float = 1.5,
        image: tuple[int, int] | None = None,
        classes: Any = None,
        rows: int | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            epsilon, delta, steps=steps, sample_rate=sample_rate, batch=batch, learning_rate=learning_rate,
            momentum=momentum, l2=l2, average=average, clip=clip, clip_kind=clip_kind, sigma=sigma, bounds=bounds,
            row_norm=row_norm, unit_rows=unit_rows, features=features, gamma=gamma, image=image, classes=classes,
            rows=rows, random_state=random_state,
        )  # fmt: skip
        self.hidden = hidden

    def widths(self, width: int, classes: int) -> list[int]:
        """Return the widths of rows, of the hidden layers and of scores."""
        return [self.scaling().width(width), *self.hidden, classes]


def seed_of(random_state: Any) -> int:
    """Return a number for what scikit-learn takes as ``random_state``."""
    from sklearn.utils import check_random_state

    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


__all__ = ["Adaptive", "DPLogisticRegression", "DPMLPClassifier", "Flat", "PrivateClassifier"]
