"""Keras v3 configurations: Lambda layers, modules that are not Keras's own, names that reach out of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assay.artifacts.formats.text import JsonCheck, nodes
from assay.artifacts.reader import CODE_EXECUTION, Inspection
from assay.core.finding import Severity

_CODE_CLASSES = {"Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer"}
_OWN_MODULE = re.compile(
    r"keras(?:\.src)?(?:\.(?:layers|models|engine|initializers|regularizers|constraints|activations|losses|metrics|"
    r"optimizers|dtype_policies|quantizers|random|ops|saving|backend)[\w.]*)?"
)
# Functions that Keras finds by their plain name: losses, metrics, activations.
_FUNCTIONS = frozenset(
    """mean_squared_error mean_absolute_error mean_absolute_percentage_error mean_squared_logarithmic_error binary_crossentropy
    categorical_crossentropy sparse_categorical_crossentropy kl_divergence poisson cosine_similarity huber log_cosh hinge
    squared_hinge categorical_hinge binary_focal_crossentropy categorical_focal_crossentropy ctc dice tversky circle
    categorical_generalized_cross_entropy binary_accuracy categorical_accuracy sparse_categorical_accuracy
    top_k_categorical_accuracy sparse_top_k_categorical_accuracy accuracy relu relu6 leaky_relu elu selu celu gelu glu sigmoid
    log_sigmoid hard_sigmoid silu hard_silu swish hard_swish mish tanh hard_tanh tanh_shrink softplus softsign softmax
    log_softmax softmin sparsemax sparse_sigmoid sparse_plus threshold exponential linear squareplus hard_shrink soft_shrink
    mse mae mape msle kld kullback_leibler_divergence logcosh r2_score""".split()
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
            for rule, severity, text in _said(node):
                inspection.report(rule, severity, text, f"{where}!{path}", CODE_EXECUTION, _REMEDY)


def _said(node: dict[str, object]) -> Iterator[tuple[str, Severity, str]]:
    """Yield (rule, severity, message) of what loading one record would do."""
    name, module = node.get("class_name"), node.get("module")
    if isinstance(name, str) and name.rpartition(".")[2].rpartition(">")[2] in _CODE_CLASSES:
        yield (
            "keras-code-layer",
            Severity.CRITICAL,
            f"the layer {name!r} carries code that is run when the model is loaded or used",
        )
    if isinstance(module, str):
        yield from _of_module(module, str(name))
    if _resolves(node, module, name):
        yield "keras-function", Severity.HIGH, f"loading resolves the function {node.get('config')!r}"
    vocabulary = node.get("vocabulary")
    if isinstance(vocabulary, str) and vocabulary:
        yield "keras-reads-file", Severity.HIGH, f"loading reads the file {vocabulary!r}"
    if node.get("registered_name") and not module and isinstance(name, str):
        yield "keras-custom-object", Severity.HIGH, f"the layer {name!r} is looked up in a registry of custom code"


def _of_module(module: str, name: str) -> Iterator[tuple[str, Severity, str]]:
    if not _OWN_MODULE.fullmatch(module) and module != "builtins":
        yield "keras-foreign-module", Severity.CRITICAL, f"the module {module!r} is imported when the model is loaded"
    if name in {"get_file", "load_model", "get_source_inputs"}:
        yield "keras-foreign-module", Severity.CRITICAL, f"loading calls {module}.{name}"


def _resolves(node: dict[str, object], module: object, name: object) -> bool:
    """Return whether loading looks up a function that is none of Keras's losses, metrics and activations."""
    if name == "function":
        return str(node.get("config")) not in _FUNCTIONS
    plain = name is None or str(name) in {"tuple", "list", "dict", "int", "float", "slice"}
    return (module == "builtins" and not plain) or _is_function(module, name)


def _is_function(module: object, name: object) -> bool:
    """Return whether a class of Keras is named as no class is: what is found under such a name is a function."""
    own = isinstance(module, str) and module.startswith("keras")
    return own and isinstance(name, str) and name != "function" and name[:1].islower()
