"""DP-SGD for torch modules: closed-form clipping where layers allow, Poisson samples, noise from a stream cipher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Sampler

from assay.core.errors import DataError, Refused, SettingError
from assay.core.measure import Measure
from assay.stats.privacy.calibrate import sigma_for
from assay.stats.privacy.events import SampledGaussian
from assay.training.private.claim import Claim, claim
from assay.training.private.clipping import Adaptive, Clipping, Flat
from assay.training.private.dpsgd import Observer, Step, not_finite
from assay.training.private.noise import Noise
from assay.training.private.sampling import poisson_batches, refuse_other_sampler
from assay.training.private.torch_gradients import Gradients, Loss, check_precision, cross_entropy
from assay.training.private.torch_noise import normals

if TYPE_CHECKING:
    from torch import nn


class PrivateTrainer:
    """Trains a torch module on tensors under (epsilon, delta)-differential privacy, on the device where the module is.

    rows: the public number of rows; with ``rate`` it gives the expected batch, by which sums are divided. sigma: None
    takes the least noise that meets epsilon. optimizer: made from the parameters; whatever it does with noisy gradients
    costs nothing. loss: outputs and targets to losses (n,). way: as in ``Gradients``. seed: repeatable noise and samples,
    for tests only. Raises SettingError for settings out of range, else as ``Gradients``.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        rows: int,
        steps: int,
        rate: float,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        sigma: float | None = None,
        clip: Clipping | None = None,
        optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
        loss: Loss | None = None,
        way: str = "auto",
        seed: int | None = None,
    ) -> None:
        if not (rows >= 1 and steps >= 1 and 0 < rate <= 1):
            raise SettingError(
                "rows and steps must be 1 or more and rate in (0, 1]", remedy="Give the public number of rows"
            )
        self.module, self.rows, self.steps, self.rate, self.delta = module, rows, steps, rate, delta
        self.sigma = sigma_for(epsilon, delta, rate, steps) if sigma is None else float(sigma)
        if not self.sigma > 0:
            raise SettingError(f"sigma cannot be {sigma}", remedy="Give a number above 0, or none to meet epsilon")
        self.clip = clip or Flat(1.0)
        self.loss: Loss = loss or cross_entropy
        self.gradients = Gradients(module, loss, way=way)
        self._parameters = list(self.gradients.parameters.values())
        self.optimizer = (optimizer or (lambda held: torch.optim.SGD(held, 0.1)))(self._parameters)
        self._seed = seed
        self._claimed: Claim | None = None
        self._entropy = ""

    def fit(self, x: Any, y: Any, observer: Observer | None = None) -> nn.Module:
        """Take all steps on rows x (n, ...) and targets y (n, ...); return the module.

        x and y may lie on another device: what a step draws is then copied to the module's. Raises Refused for a
        DataLoader or sampler, and when it was called before: a second run is a second spending. Raises DataError for what
        are no two tensors of as many rows, and when the weights come to be no finite numbers.
        """
        if isinstance(x, (DataLoader, Sampler)):
            refuse_other_sampler(getattr(x, "sampler", x))
        if self._entropy:
            raise Refused(
                "this trainer has spent its epsilon",
                reason="epsilon-spent",
                remedy="Account for both runs in a new trainer",
            )
        if not isinstance(x, torch.Tensor) or not isinstance(y, torch.Tensor) or len(x) != len(y):
            raise DataError("private training needs two tensors of as many rows", remedy="Stack the data set once")
        check_precision(self._parameters)
        noise = Noise(self._seed)
        self._entropy = noise.entropy
        expected, sigma, bound = self.rate * self.rows, self.clip.noise_share(self.sigma), self.clip.bound
        self.module.train()
        flat, parts = self.gradients.empty()
        normal = normals(noise, len(flat), flat)
        for name, p in self.gradients.parameters.items():
            p.grad = parts[name]
        with _seeded(noise.seed(), flat.device), self.gradients.watching():
            for number, rows in enumerate(poisson_batches(noise, len(x), self.rate, self.steps)):
                index = torch.from_numpy(rows)
                a, b = (held.index_select(0, index.to(held.device)).to(flat.device) for held in (x, y))
                _, squares = self.gradients.clipped_sum(a, b, self.clip, bound, parts)
                flat.add_(normal(), alpha=sigma * bound)
                if observer is not None:
                    weights = torch.cat([p.detach().reshape(-1) for p in self._parameters])
                    observer(Step(number, rows, weights.cpu().numpy(), flat.to("cpu", copy=True).numpy(), bound))
                if isinstance(self.clip, Adaptive):
                    shorter = int((squares.sum(1) <= bound**2).sum())
                    bound = self.clip.next_bound(bound, shorter, len(rows), expected, float(noise.normal(1)[0]))
                flat.div_(expected)
                self.optimizer.step()
        for p in self._parameters:
            p.grad = None
        # Once, at the end: reading a number back makes a GPU wait. On ``meta`` there are none.
        if not all(p.is_meta or bool(p.isfinite().all()) for p in self._parameters):
            raise not_finite()
        return self.module

    def privacy_statement(self) -> dict[str, object]:
        """Return what the trained module claims, as plain JSON. Raises SettingError before ``fit``."""
        return self.claim.to_json()

    def privacy_measures(self) -> tuple[Measure, ...]:
        """Return the claimed epsilon as measures. Raises SettingError before ``fit``."""
        return self.claim.measures(self.rows)

    @property
    def claim(self) -> Claim:
        """What the training has spent. Raises SettingError before ``fit``."""
        if not self._entropy:
            raise SettingError("there is no claim before training", remedy="Call fit")
        if self._claimed is None:
            self._claimed = claim(
                [(SampledGaussian(self.sigma, self.rate), self.steps)], self.delta,
                mechanism="DP-SGD: Poisson-subsampled Gaussian mechanism", entropy=self._entropy,
                assumptions=(
                    f"the number of rows, {self.rows}, is public", "settings were chosen without looking at the data",
                    "noise is taken to be real-valued", "inputs were not scaled by what was learnt from the data",
                ),
                details={"sigma": self.sigma, "sample_rate": self.rate, "steps": self.steps, "sampler": "poisson",
                         "expected_batch": self.rate * self.rows, "clipping": self.clip.describe(),
                         "gradients": self.gradients.way},
            )  # fmt: skip
        return self._claimed


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed what dropout and the like draw from, and put it back; on the CPU its own generator, as all take a millisecond."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        yield
