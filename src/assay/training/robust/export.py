"""A fitted module as an ONNX graph of labels and probabilities, the form that the gateway serves."""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from assay.core.errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OPSET = 17


class Labelled(torch.nn.Module):
    """A module of logits with the label and the probabilities as its two answers."""

    def __init__(self, module: torch.nn.Module, labels: NDArray[np.int64]) -> None:
        super().__init__()
        self.inner = module
        self.register_buffer("labels", torch.as_tensor(labels))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return labels (n,) and probabilities (n, classes)."""
        shares = torch.softmax(self.inner(x), dim=1)
        labels: Any = self.labels
        return labels[shares.argmax(dim=1)], shares


def onnx_bytes(module: torch.nn.Module, classes: NDArray[Any], shape: tuple[int, ...]) -> bytes:
    """Return the graph ``input`` (n, *shape) float32 -> ``label`` (n,) int64, ``probabilities`` (n, classes).

    classes: whole numbers become the labels; others stand for their positions. Raises UnsupportedError.
    """
    whole = np.issubdtype(np.asarray(classes).dtype, np.integer)
    labels = np.asarray(classes, dtype=np.int64) if whole else np.arange(len(classes), dtype=np.int64)
    graph = Labelled(copy.deepcopy(module).cpu(), labels).eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        target = Path(folder) / "model.onnx"
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                graph, (torch.zeros(2, *shape),), str(target), input_names=["input"],
                output_names=["label", "probabilities"], dynamo=False, opset_version=_OPSET,
                dynamic_axes={name: {0: "n"} for name in ("input", "label", "probabilities")},
            )  # fmt: skip
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            why = (str(error).splitlines() or [""])[0][:200]
            raise UnsupportedError(f"the module has no ONNX form ({why})") from error
        return target.read_bytes()
