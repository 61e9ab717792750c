"""ONNX models as Predictors, run by onnxruntime on one thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.core.errors import DataError, FormatError, UnsupportedError
from assay.models.estimator import local_path_of, need
from assay.models.predictor import Predictor

if TYPE_CHECKING:
    from assay.contract.contract import Contract
    from assay.models.predictor import Array

_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}


class OnnxFile(Predictor, name="onnx"):
    """An ONNX graph with one float or double input and an output of probabilities (n, classes) or logits."""

    def __init__(self, session: Any, classes: int, output: str, *, logits: bool) -> None:
        super().__init__(classes)
        self._session, self._output, self._logits = session, output, logits
        # Path or bytes of the graph, for those who read more of it than its answers.
        self.model: object = None
        entry = session.get_inputs()[0]
        self._input, self._dtype = entry.name, _TYPES[entry.type]

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` is the path of an ``.onnx`` file, or a graph's bytes."""
        return isinstance(model, bytes) or local_path_of(model).endswith(".onnx")

    @classmethod
    def wrap(cls, model: object, *, contract: Contract | None, **options: object) -> OnnxFile:
        """Return the predictor. options: ``logits=True`` for a graph without a final softmax.

        Raises DataError for a missing file, FormatError for one that is no ONNX model, UnsupportedError for
        a graph with other inputs than one tensor of floats.
        """
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise need("onnxruntime", "serve") from error
        path = local_path_of(model)
        if path and not Path(path).is_file():
            raise DataError("the model does not exist", where=path, remedy="Check the path")
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        try:
            session = ort.InferenceSession(path or model, settings, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise FormatError("not an ONNX model that can be run", where=path, remedy="Convert it again") from error
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            raise UnsupportedError(
                "the graph should take one tensor of floats", where=path, remedy="Convert it with `assay convert`"
            )
        output, classes = _probability_output(session, contract, options, path)
        made = cls(session, classes, output, logits=bool(options.get("logits", False)))
        made.model = path or model
        return made

    def _probabilities(self, x: Array) -> Array:
        import numpy as np

        answer = self._session.run([self._output], {self._input: np.ascontiguousarray(x, dtype=self._dtype)})[0]
        values: Array = np.asarray(answer, dtype=np.float64)
        if self._logits:
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        return values

    def __getstate__(self) -> dict[str, object]:
        raise UnsupportedError(
            "a running ONNX session cannot be sent to another process", remedy="Send the file's path"
        )


def _probability_output(
    session: Any, contract: Contract | None, options: dict[str, object], path: str
) -> tuple[str, int]:
    """Return the name of the output of probabilities and the number of classes."""
    floats = [o for o in session.get_outputs() if o.type in _TYPES]
    if not floats:
        raise UnsupportedError(
            "the graph has no output of probabilities",
            where=path,
            remedy="Convert it without a zipmap (`assay convert`)",
        )
    output = floats[-1]
    width = output.shape[1] if len(output.shape) == 2 else None
    if isinstance(width, int) and width >= 2:
        return output.name, width
    from assay.models.function import classes_of

    return output.name, classes_of(contract, options)
