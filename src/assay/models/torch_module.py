"""torch modules as Predictors, with gradients."""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from assay.models.function import classes_of
from assay.models.predictor import Predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.contract.contract import Contract
    from assay.models.predictor import Array


class TorchModule(Predictor, name="torch"):
    """A classifier module that returns logits (n, classes); a copy of it is kept in evaluation mode."""

    differentiable: ClassVar[bool] = True

    def __init__(self, module: Any, classes: int, *, probabilities: bool = False) -> None:
        super().__init__(classes)
        # A copy: the caller's module keeps its mode and its parameters' gradients.
        self._module = copy.deepcopy(module).eval()
        for parameter in self._module.parameters():
            parameter.requires_grad_(False)
        first = next(iter(self._module.parameters()), None)
        self._place = {} if first is None else {"dtype": first.dtype, "device": first.device}
        self._already = probabilities

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` is a torch module; torch is not imported to find out."""
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(model, torch.nn.Module)

    @classmethod
    def wrap(cls, model: object, *, contract: Contract | None, **options: object) -> TorchModule:
        """Return the predictor. options: ``classes``, and ``probabilities=True`` when softmax is the last layer."""
        return cls(model, classes_of(contract, options), probabilities=bool(options.get("probabilities", False)))

    def _probabilities(self, x: Array) -> Array:
        import torch

        with torch.inference_mode():
            answer = self._module(self._tensor(x)).double()
            shares = answer if self._already else torch.softmax(answer, dim=1)
        result: Array = shares.cpu().numpy()
        return result

    def gradient(self, x: Array, labels: NDArray[np.intp]) -> Array:
        """Return d(cross-entropy)/dx, shape of ``x``; each row counts as one query."""
        import torch

        self.budget.spend(len(x))
        entry = self._tensor(x).requires_grad_(True)
        answer = self._module(entry)
        scores = torch.log(answer.clamp_min(1e-12)) if self._already else answer
        wanted = torch.as_tensor(labels, dtype=torch.long, device=entry.device)
        loss = (
            torch.nn.functional.nll_loss(scores, wanted, reduction="sum")
            if self._already
            else (torch.nn.functional.cross_entropy(scores, wanted, reduction="sum"))
        )
        (slope,) = torch.autograd.grad(loss, entry)
        result: Array = slope.double().cpu().numpy()
        return result

    def _tensor(self, x: Array) -> Any:
        import torch

        return torch.as_tensor(x).to(**self._place) if self._place else torch.as_tensor(x).float()
