"""Features that detectors look at: the inputs themselves, or what a torch module makes of them before its last layer."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.core.errors import UnsupportedError
from assay.models.torch_module import place_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class Standardised:
    """The values of each sample, flattened, at mean 0 and deviation 1 over the clean data; constant values count 0."""

    def __init__(self, x: NDArray[Any]) -> None:
        flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
        # One unit for all values of an image: a pixel that hardly varies must not drown the others.
        deviation = np.full(flat.shape[1], flat.std()) if np.ndim(x) > 2 else flat.std(axis=0)
        self._mean = flat.mean(axis=0)
        self._factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)

    def __call__(self, x: NDArray[Any]) -> Array:
        """Return the features (n, k) of samples."""
        made: Array = (np.asarray(x, dtype=np.float64).reshape(len(x), -1) - self._mean) * self._factor
        return made

    def pull(self, x: NDArray[Any], slope: Array) -> Array:
        """Return the slope by the samples, shape of x."""
        back: Array = (slope * self._factor).reshape(np.shape(x))
        return back


class Penultimate:
    """What a torch sequence computes before its last ``cut`` layers, in evaluation mode. Raises UnsupportedError."""

    def __init__(self, module: Any, *, cut: int = 1) -> None:
        import torch

        if not isinstance(module, torch.nn.Sequential) or not 0 < cut < len(module):
            raise UnsupportedError(
                f"a {type(module).__name__} has no last layers to cut off", remedy="Give a Sequential of several layers"
            )
        self._module = copy.deepcopy(module[:-cut]).eval()
        for parameter in self._module.parameters():
            parameter.requires_grad_(False)
        self._place = place_of(self._module)

    def __call__(self, x: NDArray[Any]) -> Array:
        """Return the features (n, k) of samples."""
        import torch

        with torch.no_grad():
            made: Array = self._module(self._tensor(x)).flatten(1).double().cpu().numpy()
        return made

    def pull(self, x: NDArray[Any], slope: Array) -> Array:
        """Return the slope by the samples, shape of x."""
        import torch

        entry = self._tensor(x).requires_grad_(True)
        out = self._module(entry).flatten(1)
        (back,) = torch.autograd.grad(out, entry, torch.as_tensor(slope).to(out))
        made: Array = back.double().cpu().numpy()
        return made

    def _tensor(self, x: NDArray[Any]) -> Any:
        import torch

        return torch.as_tensor(np.asarray(x)).to(**self._place)
