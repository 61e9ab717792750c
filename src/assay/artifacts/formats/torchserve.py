"""The manifest of TorchServe archives (.mar): which code serves the model, and what is installed for it."""

from __future__ import annotations

from assay.artifacts.formats.archive_member import escapes
from assay.artifacts.formats.text import JsonCheck
from assay.artifacts.reader import EMBEDDED_CODE, Inspection
from assay.core.finding import Severity

_OWN = {"image_classifier", "image_segmenter", "object_detector", "text_classifier"}
_CODE = ("handler", "modelFile")
_REMEDY = "Read the handler before use, or serve the model with one of TorchServe's own"


class TorchServeManifest(JsonCheck, name="torchserve-manifest", techniques=(EMBEDDED_CODE,)):
    """The MAR-INF/MANIFEST.json of an archive."""

    label = "torchserve-manifest"

    def fits(self, document: dict[str, object]) -> bool:
        """Return whether the document describes a model for TorchServe."""
        model = document.get("model")
        return isinstance(model, dict) and "modelName" in model and bool({"handler", "serializedFile"} & model.keys())

    def check(self, document: dict[str, object], where: str, inspection: Inspection) -> None:
        """Report code that serving runs, files outside of the archive, and packages that it installs."""
        model = document["model"]
        for key, value in model.items() if isinstance(model, dict) else ():
            place = f"{where}!$.model.{key}"[:300]
            if isinstance(value, str) and escapes(value):
                text = f"the manifest names {value!r}, which lies outside of the archive"
                inspection.report("archive-traversal", Severity.CRITICAL, text, place, EMBEDDED_CODE, _REMEDY)
            if key in _CODE and value and str(value) not in _OWN:
                text = f"the manifest names code to run: {value!r}"
                inspection.report("config-names-code", Severity.HIGH, text, place, EMBEDDED_CODE, _REMEDY)
            elif key == "requirementsFile" and value:
                text = f"packages named in {value!r} are installed when the archive is served"
                inspection.report("installs-packages", Severity.HIGH, text, place, EMBEDDED_CODE, _REMEDY)
