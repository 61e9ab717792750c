"""Keras v3 configurations: Lambda layers, modules that are not Keras's own, names that reach out of the file."""

from __future__ import annotations

import re

from assay.artifacts.formats.text import JsonCheck, nodes
from assay.artifacts.reader import CODE_EXECUTION, Inspection
from assay.core.finding import Severity

_CODE_CLASSES = {"Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer"}
_OWN_MODULE = re.compile(
    r"keras(?:\.src)?(?:\.(?:layers|models|engine|initializers|regularizers|constraints|activations|losses|metrics|"
    r"optimizers|dtype_policies|quantizers|random|ops|saving|backend)[\w.]*)?"
)
_REMEDY = "Ask its author for ONNX, or rebuild the model from its weights"


class KerasConfig(JsonCheck, name="keras-config", techniques=(CODE_EXECUTION,)):
    """A serialised Keras object."""

    label = "keras-config"

    def fits(self, document: dict[str, object]) -> bool:
        """Return whether the document is a serialised Keras object."""
        return "class_name" in document and "config" in document

    def check(self, document: dict[str, object], where: str, inspection: Inspection) -> None:
        """Report every node that loads code or names something that is not Keras's own."""
        for path, node in nodes(document):
            name, module = node.get("class_name"), node.get("module")
            place = f"{where}!{path}"
            if isinstance(name, str) and name.rpartition(".")[2].rpartition(">")[2] in _CODE_CLASSES:
                text = f"the layer {name!r} carries code that is run when the model is loaded or used"
                inspection.report("keras-code-layer", Severity.CRITICAL, text, place, CODE_EXECUTION, _REMEDY)
            if isinstance(module, str) and not _OWN_MODULE.fullmatch(module) and module != "builtins":
                text = f"the module {module!r} is imported when the model is loaded"
                inspection.report("keras-foreign-module", Severity.CRITICAL, text, place, CODE_EXECUTION, _REMEDY)
            if name == "function" or (
                module == "builtins" and name not in {None, "tuple", "list", "dict", "int", "float"}
            ):
                text = f"loading resolves the function {node.get('config')!r}"
                inspection.report("keras-function", Severity.HIGH, text, place, CODE_EXECUTION, _REMEDY)
            if isinstance(module, str) and str(name) in {"get_file", "load_model", "get_source_inputs"}:
                text = f"loading calls {module}.{name}"
                inspection.report("keras-foreign-module", Severity.CRITICAL, text, place, CODE_EXECUTION, _REMEDY)
            vocabulary = node.get("vocabulary")
            if isinstance(vocabulary, str) and vocabulary:
                text = f"loading reads the file {vocabulary!r}"
                inspection.report("keras-reads-file", Severity.HIGH, text, place, CODE_EXECUTION, _REMEDY)
            if node.get("registered_name") and not module and isinstance(name, str):
                text = f"the layer {name!r} is looked up in a registry of custom code"
                inspection.report("keras-custom-object", Severity.HIGH, text, place, CODE_EXECUTION, _REMEDY)
