"""TensorFlow Lite: the operators that a model needs beyond those of the library itself."""

from __future__ import annotations

from assay.artifacts.formats.flatbuffer import FlatDamage, Table
from assay.artifacts.formats.savedmodel import judge_operation
from assay.artifacts.reader import EMBEDDED_CODE, Data, FormatReader, Inspection
from assay.core.finding import Severity

_CODES, _CUSTOM = 1, 1
_FLEX = "Flex"
# Custom operators that TensorFlow Lite and MediaPipe register themselves.
_OWN = {"TFLite_Detection_PostProcess", "MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Convolution2DTransposeBias",
        "AudioSpectrogram", "Mfcc", "NumericVerify", "RFFT2D", "TransformLandmarks", "TransformTensorBilinear",
        "Landmarks2TransformMatrix"}  # fmt: skip


class TfliteReader(FormatReader, name="tflite", techniques=(EMBEDDED_CODE,)):
    """Follow a model's table of operators: those of TensorFlow and of other libraries are named in it."""

    def claims(self, data: Data) -> bool:
        """Return whether the content bears the identifier of the format."""
        return data[4:8] == b"TFL3"

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Judge every operator that is not one of the library's numbers."""
        try:
            for code in Table(data, 0, len(data), 0).tables(_CODES):
                name = code.text(_CUSTOM)
                if name.startswith(_FLEX):
                    judge_operation(name.removeprefix(_FLEX), "select operator", where, inspection)
                elif name and name not in _OWN:
                    text = f"the operator {name[:80]!r} needs a custom library"
                    inspection.report("tflite-custom-operator", Severity.HIGH, text, where, EMBEDDED_CODE)
        except FlatDamage as damage:
            inspection.error(where, str(damage))
        return "tflite"
