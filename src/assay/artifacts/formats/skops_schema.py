"""skops schemas: every node that imports or calls is put to the allow-list for pickles."""

from __future__ import annotations

from assay.artifacts.formats.text import JsonCheck, nodes
from assay.artifacts.pickle.policy import Rating
from assay.artifacts.reader import CODE_EXECUTION, Inspection
from assay.core.finding import Severity

_LOADERS = {
    "DictNode", "ListNode", "TupleNode", "SetNode", "TypeNode", "SliceNode", "FunctionNode", "PartialNode", "ObjectNode",
    "NdArrayNode", "MaskedArrayNode", "RandomStateNode", "RandomGeneratorNode", "DTypeNode", "SparseMatrixNode", "JsonNode",
    "BytesNode", "BytearrayNode", "UfuncNode", "TreeNode", "SGDNode", "LossNode", "_DictWithDeprecatedKeysNode",
    "DefaultDictNode", "CachedNode", "CyLossNode", "QuantileForestNode", "DatetimeNode", "SplineTransformerNode",
    "_TargetEncoderNode",
}  # fmt: skip
_CALLERS = {"OperatorFuncNode", "MethodNode", "ReduceNode", "ConstructorFromNode"}
_PLAIN = {("builtins", n) for n in ("str", "int", "float", "bool", "list", "dict", "tuple", "set", "slice", "bytes",
                                    "bytearray", "NoneType", "type", "object", "complex", "function")}  # fmt: skip
_REMEDY = "Ask its author for a model of known types"


class SkopsSchema(JsonCheck, name="skops-schema", techniques=(CODE_EXECUTION,)):
    """The schema.json of a skops archive."""

    label = "skops-schema"

    def fits(self, document: dict[str, object]) -> bool:
        """Return whether the document is a tree of skops nodes."""
        return "__loader__" in document and "__class__" in document

    def check(self, document: dict[str, object], where: str, inspection: Inspection) -> None:
        """Report every node whose type or loader is not on the allow-list."""
        for path, node in nodes(document):
            if node.get("__loader__") is None:
                continue
            loader = str(node["__loader__"])
            place, module, name = f"{where}!{path}", str(node.get("__module__")), str(node.get("__class__"))
            if loader in {"FunctionNode", "TypeNode"} and isinstance(node.get("content"), dict):
                self._target(node["content"], place, inspection)
            if loader not in _LOADERS | _CALLERS:
                text = f"the node has the unknown loader {loader[:60]!r}"
                inspection.report("skops-unknown-loader", Severity.HIGH, text, place, CODE_EXECUTION, _REMEDY)
            self._name(module, name, loader, place, inspection)

    def _target(self, content: object, place: str, inspection: Inspection) -> None:
        if isinstance(content, dict):
            module = content.get("module_path") or content.get("__module__")
            name = content.get("function") or content.get("__class__")
            if module or name:
                self._name(str(module), str(name), "FunctionNode", place, inspection)

    @staticmethod
    def _name(module: str, name: str, loader: str, place: str, inspection: Inspection) -> None:
        rule = inspection.policy.judge(module, name)
        if rule.rating is Rating.DANGEROUS and (module, name) not in _PLAIN:
            text = f"loading reaches {module}.{name}, which {rule.reason}"
            inspection.report("skops-dangerous-name", Severity.CRITICAL, text, place, rule.technique, _REMEDY)
        elif (
            rule.rating is Rating.UNKNOWN and (module, name) not in _PLAIN and not _known_function(module, name, loader)
        ):
            text = f"loading reaches {module}.{name}, which is on no allow-list"
            inspection.report("skops-unknown-name", Severity.HIGH, text, place, CODE_EXECUTION, _REMEDY)
        elif loader in _CALLERS and (loader != "ReduceNode" or rule.rating is not Rating.ALLOWED):
            text = f"a {loader} calls {module}.{name}"
            inspection.report("skops-call", Severity.CRITICAL, text, place, CODE_EXECUTION, _REMEDY)


def _known_function(module: str, name: str, loader: str) -> bool:
    # numpy's own element-wise functions compute numbers and nothing else.
    return loader == "UfuncNode" and module == "numpy" and name == "ufunc"
