"""Torch modules to ONNX: TorchScript archives, and whole modules of classes that are installed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.artifacts.convert import parity, read_rows
from assay.core.errors import DataError, UnsupportedError

_OPSET = 17


def convert_torch_graph(arguments: Mapping[str, Any], output: Path) -> dict[str, object]:
    """Write ``model.onnx`` (``input`` (n, ...) -> ``output``) into ``output``; return how far it is from the module.

    arguments: ``model``, a TorchScript archive or a pickled module; ``rows``, an .npy file (n, ...). The module is put
    into evaluation mode. Raises UnsupportedError when it cannot be opened or has no ONNX form, DataError for rows that
    it does not take.
    """
    import numpy as np
    import torch

    rows = read_rows(arguments["rows"], any_shape=True).astype(np.float32)
    module = _module(str(arguments["model"]))
    module.eval()
    example = torch.from_numpy(rows)
    with torch.no_grad():
        try:
            answer = module(example)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            why = (str(error).splitlines() or [""])[0][:200]
            raise DataError(f"the model does not take rows of shape {rows.shape} ({why})") from error
    if not isinstance(answer, torch.Tensor):
        raise UnsupportedError(f"the model gives a {type(answer).__name__}, not one tensor")
    wanted = answer.numpy().astype(np.float64)
    target = output / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module, (example[:2],), str(target), input_names=["input"], output_names=["output"], dynamo=False,
                dynamic_axes={"input": {0: "n"}, "output": {0: "n"}}, opset_version=_OPSET,
            )  # fmt: skip
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            why = (str(error).splitlines() or [""])[0][:200]
            raise UnsupportedError(f"the module has no ONNX form ({why})") from error
    return {"tool": "torch.onnx", "dtype": "float32", **_compare(target, rows, wanted), "dropped": [],
            "versions": {"torch": str(torch.__version__)}}  # fmt: skip


def _module(path: str) -> Any:
    import pickle

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            jit: Any = torch.jit
            return jit.load(path, map_location="cpu")
        except (RuntimeError, ValueError, OSError):
            pass
        try:
            found = torch.load(path, map_location="cpu", weights_only=False)
        except (RuntimeError, ImportError, AttributeError, pickle.UnpicklingError, EOFError, TypeError) as error:
            why = (str(error).splitlines() or [""])[0][:200]
            raise UnsupportedError(
                f"the module cannot be opened ({why})",
                where=path,
                remedy="Export it as TorchScript, or keep its weights only",
            ) from error
    if not isinstance(found, torch.nn.Module):
        raise UnsupportedError(
            f"holds a {type(found).__name__}, not a module", where=path, remedy="Use --to safetensors for weights"
        )
    return found


def _compare(graph: Path, rows: Any, wanted: Any) -> dict[str, float]:
    import numpy as np
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session: Any = ort.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
    got = np.asarray(session.run(None, {"input": rows})[0], dtype=np.float64)
    flat, other = got.reshape(len(rows), -1), wanted.reshape(len(rows), -1)
    same = flat.argmax(axis=1) == other.argmax(axis=1) if flat.shape[1] > 1 else ((flat > 0) == (other > 0))[:, 0]
    try:
        return parity(got, wanted, same)
    except ValueError as error:
        raise UnsupportedError(f"the graph does not answer as the module does: {error}") from error
