"""Networks that adversarial training starts from, as plain sequences of layers that certificates can read too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from assay.core.errors import SettingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Factory: TypeAlias = Callable[[tuple[int, ...], int], torch.nn.Module]


class Standardise(torch.nn.BatchNorm1d):
    """Takes each value of rows (n, d) to mean 0 and deviation 1 by fixed figures, whatever mode the network is in."""

    def __init__(self, mean: NDArray[np.floating], deviation: NDArray[np.floating]) -> None:
        # torch asks for a positive addition to the variance: one that float32 does not see beside a real one.
        super().__init__(len(mean), affine=False, eps=1e-12)
        self.running_mean = torch.as_tensor(mean, dtype=torch.float32)
        self.running_var = torch.as_tensor(deviation, dtype=torch.float32) ** 2
        self.eval()

    def train(self, mode: bool = True) -> Standardise:
        """Stay in evaluation mode: the figures are those of the training set, not of a batch."""
        del mode
        super().train(False)
        return self


def perceptron(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return a network of two hidden layers, for tables; samples (n, *shape) are flattened."""
    layers: list[torch.nn.Module] = [] if len(shape) == 1 else [torch.nn.Flatten()]
    width, hidden = math.prod(shape), (128, 64)
    for size in hidden:
        layers += [torch.nn.Linear(width, size), torch.nn.ReLU()]
        width = size
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, classes))


def convolutional(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return a network of two convolutions and two dense layers, for images (channels, height, width)."""
    if len(shape) != 3:
        raise SettingError(f"samples of shape {shape} are no images", remedy="Give shape=(channels, height, width)")
    channels, height, width = shape
    nn = torch.nn
    body = nn.Sequential(
        nn.Conv2d(channels, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
    )  # fmt: skip
    with torch.no_grad():
        size = body(torch.zeros(1, channels, height, width)).shape[1]
    return nn.Sequential(*body, nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, classes))


FACTORIES: dict[str, Factory] = {"perceptron": perceptron, "convolutional": convolutional}


def build(module: str | Factory, shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return a fresh network for samples of that shape. module: a name of ``FACTORIES``, "auto", or a factory.

    Raises SettingError for a name that is none, or when a factory returns no module.
    """
    if module == "auto":
        module = "convolutional" if len(shape) == 3 else "perceptron"
    factory = FACTORIES.get(module) if isinstance(module, str) else module
    if factory is None:
        raise SettingError(f"module cannot be {module!r}", remedy=f"Use auto, {', '.join(FACTORIES)} or a function")
    made: Any = factory(shape, classes)
    if not isinstance(made, torch.nn.Module):
        raise SettingError(f"the module factory returned a {type(made).__name__}", remedy="Return a torch module")
    return made
