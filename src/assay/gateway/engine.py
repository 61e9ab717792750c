"""The engine: an ONNX model made from bytes that were verified before, run on one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from assay.core.digest import Digest, digest_bytes
from assay.core.errors import DataError, FormatError, VerificationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INPUT_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}
_OUTPUT_TYPES = ("tensor(float)", "tensor(double)")


class Engine:
    """A classifier in memory: rows (n, d) in, class probabilities (n, classes) out.

    model: the bytes of an ONNX graph with one float or double input and one output of probabilities;
    nothing is read from disk again, so a file swapped after verification is never run.
    digest: when given, the bytes must have it. Raises VerificationError or FormatError.
    """

    __slots__ = ("_dtype", "_faults", "_input", "_output", "_run", "_shape", "digest")

    def __init__(self, model: bytes, *, digest: Digest | None = None) -> None:
        self.digest = digest_bytes(model)
        if digest is not None and digest != self.digest:
            raise VerificationError(f"the model's bytes are {self.digest.short}, not {digest.short}")
        session = _session(model)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or inputs[0].type not in _INPUT_TYPES:
            raise FormatError("the model needs exactly one float or double input", remedy="Run assay convert")
        named = [o for o in outputs if o.type in _OUTPUT_TYPES and len(o.shape) == 2]
        if not named:
            raise FormatError("the model has no output of probabilities [N, classes]", remedy="Run assay convert")
        self._input: str = inputs[0].name
        self._dtype: str = _INPUT_TYPES[inputs[0].type]
        self._shape: tuple[int, ...] = tuple(s if isinstance(s, int) else -1 for s in inputs[0].shape[1:])
        self._output: list[str] = [next((o.name for o in named if "prob" in o.name), named[0].name)]
        self._run = session.run
        self._faults = _faults()

    @property
    def width(self) -> int | None:
        """Values of one sample, None when the graph leaves them open."""
        size = 1
        for length in self._shape:
            if length < 0:
                return None
            size *= length
        return size

    def probabilities(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return class probabilities (n, classes) of rows (n, d) in model space. Raises DataError when it fails."""
        rows = x.astype(self._dtype, copy=False)
        if len(self._shape) > 1:
            rows = rows.reshape(len(x), *self._shape)
        try:
            answer = self._run(self._output, {self._input: rows})[0]
        except self._faults as error:
            raise DataError(f"the model cannot answer these rows ({str(error)[:200]})") from error
        return cast("NDArray[np.float64]", answer.astype("float64", copy=False))


def _session(model: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except _faults() as error:
        raise FormatError(
            f"not an ONNX model that runs here ({str(error)[:200]})", remedy="Convert it again"
        ) from error


def _faults() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NotImplemented", "RuntimeException")
    return tuple(getattr(state, name) for name in names)
