"""torch modules as Predictors, with gradients."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from assay.models.function import classes_of
from assay.models.predictor import Predictor
from assay.models.white_box import Noise, WhiteBox

if TYPE_CHECKING:
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
        self._place = place_of(self._module)
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

    @property
    def module(self) -> Any:
        """The module itself, in evaluation mode, for certificates, which read its layers; it is not to be changed."""
        return self._module

    def _probabilities(self, x: Array) -> Array:
        import torch

        with torch.inference_mode():
            answer = self._module(self._tensor(x)).double()
            shares = answer if self._already else torch.softmax(answer, dim=1)
        result: Array = shares.cpu().numpy()
        return result

    def white_box(self) -> TorchWhiteBox:
        """Return the module from inside: tensors of its type, on its device."""
        return TorchWhiteBox(self, self._module, probabilities=self._already)

    def _tensor(self, x: Array) -> Any:
        import torch

        return torch.as_tensor(x).to(**self._place)

    def noisy(self, row: Array, deviation: Array, seed: int) -> Callable[[int], Any]:
        """Return a source of noisy copies of a row (d,), drawn on the module's device."""
        noise, middle, spread = self.white_box().noise(seed), self._tensor(row), self._tensor(deviation)
        return lambda n: middle + spread * noise.normal(n, len(row)).to(middle.dtype)


class TorchWhiteBox(WhiteBox):
    """A torch module from inside: logits and gradients in tensors that stay on its device.

    They are of the module's type, or float32 where that is shorter: steps of an attack would be lost in it.
    """

    def __init__(self, predictor: Predictor, module: Any, *, probabilities: bool = False) -> None:
        import torch

        super().__init__(predictor, torch)
        self._module, self._already = module, probabilities
        self._place = place_of(module)
        self._type = self._place["dtype"]
        if self._type.itemsize < torch.float32.itemsize:
            self._place["dtype"] = torch.float32

    def tensor(self, x: NDArray[Any]) -> Any:
        """Return numbers as a tensor on the module's device."""
        import torch

        return torch.as_tensor(x).to(**self._place)

    def index(self, values: NDArray[Any]) -> Any:
        """Return whole numbers or flags as a tensor on the module's device."""
        import torch

        return torch.as_tensor(values).to(self._place["device"])

    def array(self, tensor: Any) -> NDArray[Any]:
        """Return a tensor as an array: floating numbers as float64."""
        import torch

        made = tensor.detach()
        result: NDArray[Any] = (made.double() if torch.is_floating_point(made) else made).cpu().numpy()
        return result

    def noise(self, seed: int) -> Noise:
        """Return a source of random tensors on the module's device; the same seed gives the same numbers there."""
        import torch

        generator = torch.Generator(device=self._place["device"]).manual_seed(seed)
        return Noise(
            normal=lambda *shape: torch.randn(shape, generator=generator, **self._place),
            uniform=lambda *shape: torch.rand(shape, generator=generator, **self._place),
        )

    def _logits(self, x: Any) -> Any:
        import torch

        with torch.no_grad():
            return self._scores(x)

    def _pull(self, x: Any, weigh: Callable[[Any], Any]) -> tuple[Any, Any]:
        import torch

        with torch.enable_grad():
            entry = x.detach().requires_grad_(True)
            answer = self._scores(entry)
        logits = answer.detach()
        (slope,) = torch.autograd.grad(answer, entry, weigh(logits))
        return logits, slope

    def _scores(self, x: Any) -> Any:
        import torch

        answer = self._module(x.to(self._type)).to(self._place["dtype"])
        return torch.log(answer.clamp_min(torch.finfo(answer.dtype).tiny)) if self._already else answer


def place_of(module: Any) -> dict[str, Any]:
    """Return the ``dtype`` and ``device`` that a module's inputs need: those of its first floating weight or buffer."""
    import torch

    held = (t for group in (module.parameters(), module.buffers()) for t in group if t.is_floating_point())
    first = next(held, None)
    if first is None:
        return {"dtype": torch.float32, "device": torch.device("cpu")}
    return {"dtype": first.dtype, "device": first.device}
