"""Names of code in configurations (MLmodel, Hydra, Lightning, jsonpickle): judged as the names in pickles are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from assay.artifacts.pickle.policy import Rating
from assay.artifacts.reader import CODE_EXECUTION, Data, Inspection
from assay.core.finding import Severity

LARGEST_YAML = 256 << 10
_MOST_NODES, _MOST_NAMES = 1_000_000, 300
_NOTHING = {"", "null", "Null", "NULL", "~", "''", '""'}
_LOADER = "loader_module"
# The value is imported, and most often called.
_NAMES = {"_target_", "class_path", "python_class", "import_path", "py/object", "py/type", "py/function", "py/class"}
# The value, or what is below, says what is called with which arguments.
_CALLS = {"__reduce__", "__reduce_ex__", "__setstate__", "py/reduce", "py/repr", "py/newargs", "py/newargsex"}
# Files with code, in an MLmodel.
_FILES = {"python_model", "code", "entry_point", "model_code_path"}
# What is below names classes in Python files beside the configuration, which Transformers and Diffusers import.
_MAPS = {"auto_map", "custom_pipelines"}
_KEYS = (
    _LOADER,
    "_target_",
    "class_path",
    "python_class",
    "import_path",
    "py/",
    "__reduce",
    "__setstate__",
    "auto_map",
    "custom_pipelines",
)
_LINE = re.compile(
    rb"(?m:^[ \t]*[\"']?(loader_module|python_model|model_code_path|code|entry_point|_target_|class_path)[\"']?"
    rb"[ \t]*:[ \t]*([^\n]{1,300}))"
)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)+")
_TAG = re.compile(r"python/|(?:^!|:)(?:ruby|java)/")
_MLFLOW = frozenset(
    f"mlflow.{n}" for n in (
        "sklearn", "xgboost", "lightgbm", "catboost", "pytorch", "onnx", "tensorflow", "keras", "statsmodels", "prophet",
        "pmdarima", "spark", "h2o", "paddle", "fastai", "spacy", "shap", "pyfunc.model",
    )
)  # fmt: skip
_REMEDY = "Do not give the file to a loader that runs what it names"


@dataclass(slots=True)
class ConfigNames:
    """Judges entries of one configuration; what was judged before is not reported again."""

    where: str
    inspection: Inspection
    _judged: set[tuple[str, str]] = field(default_factory=set)
    _public: dict[str, list[str]] = field(default_factory=dict)

    def document(self, document: object) -> None:
        """Judge every entry of a JSON document."""
        for path, key, called, value in _entries(document):
            if key in _MAPS:
                text = f"the text names code to run: {path}: {value}"
                self._report("config-names-code", Severity.HIGH, text, f"!{path}")
            elif key not in _FILES:
                self.entry(key, value, called, f"!{path}")

    def lines(self, data: Data) -> None:
        """Judge every line of a text that has the form of an entry, whatever else the text is."""
        for found in _LINE.finditer(data):
            value = re.sub(r"\s#.*", "", found.group(2).decode("utf-8", "replace")).strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            self.entry(found.group(1).decode(), value[1:-1] if quoted else value, False, f"@{found.start()}")

    def yaml(self, data: Data) -> None:
        """Judge every entry and tag of a YAML text; nothing is built from it. What is no YAML is left to ``lines``."""
        if len(data) > LARGEST_YAML:
            return
        for at, key, called, value, tag in _events(bytes(data), self.where, self.inspection):
            if tag and _TAG.search(tag) and ("", tag) not in self._judged:
                self._judged.add(("", tag))
                text = f"the text has a tag that makes a loader build an object: {tag[:80]}"
                self._report("yaml-object-tag", Severity.CRITICAL, text, f"@{at}")
            self.entry(key, value, called, f"@{at}")

    def entry(self, key: str, value: str, called: bool, place: str) -> None:
        """Judge one entry; called: it stands below a key that describes a call."""
        if not (called or key in _NAMES or key in _FILES or key in _CALLS or key == _LOADER):
            return
        value = value.strip()
        if value in _NOTHING or (key, value) in self._judged or len(self._judged) > _MOST_NAMES:
            return
        self._judged.add((key, value))
        if key == _LOADER:
            self._name(key, value, "_load_pyfunc", value in _MLFLOW, place)
        elif key in _FILES:
            self._report("config-names-code", Severity.HIGH, f"the text names code to run: {key}: {value}", place)
        elif key in _CALLS:
            if not self._name(key, *_split(value), True, place) and (key, "") not in self._judged:
                self._judged.add((key, ""))
                text = f"the entry {key!r} describes a call that a loader makes"
                self._report("config-names-code", Severity.HIGH, text, place)
        elif called or not _DOTTED.fullmatch(value):
            # A plain word is at most a built-in function; in Hydra anything else is looked up elsewhere.
            self._name(key, *_split(value), key != "_target_" or value.isidentifier(), place)
        else:
            self._name(key, *_split(value), False, place)

    def _name(self, key: str, module: str, name: str, fine: bool, place: str) -> bool:
        """Report a name unless the policy allows it, or it is ``fine`` and not dangerous. Returns whether it did."""
        rule = self.inspection.policy.judge(module, name)
        shown = f"{key}: {module}" if key == _LOADER else f"{key}: {module}.{name}"
        if rule.rating is Rating.DANGEROUS and not (fine and key == _LOADER):
            text = f"the text names code to run: {shown}, which {rule.reason}"
            self._report("config-dangerous-name", Severity.CRITICAL, text, place, rule.technique)
            return True
        if fine or self._allowed(module, name):
            return False
        self._report("config-names-code", Severity.HIGH, f"the text names code to run: {shown}", place)
        return True

    def _allowed(self, module: str, name: str) -> bool:
        # Configurations name a class where its package offers it, pickles where it is written.
        if not self._public:
            for (there, known), rule in self.inspection.policy.allowed.items():
                if not rule.guard and rule.uses & {"new", "call"}:
                    self._public.setdefault(known, []).append(there)
        return any(t == module or t.startswith(f"{module}.") for t in self._public.get(name, ()))

    def _report(self, rule: str, severity: Severity, text: str, place: str, technique: str = CODE_EXECUTION) -> None:
        self.inspection.report(rule, severity, text, f"{self.where}{place}", technique, _REMEDY)


def may_name_code(data: Data) -> bool:
    """Return whether one of the keys stands in the text, which may be very long."""
    return any(data.find(b'"' + key.encode()) >= 0 for key in _KEYS)


def _split(value: str) -> tuple[str, str]:
    module, _, name = value.replace(":", ".").rpartition(".")
    return module or "builtins", name


def _entries(document: object) -> Iterator[tuple[str, str, bool, str]]:
    """Yield (path, nearest key, whether below a call, text) of every text, and of every key that describes a call."""
    stack: list[tuple[str, str, bool, object]] = [("$", "", False, document)]
    for _ in range(_MOST_NODES):
        if not stack:
            return
        path, key, called, value = stack.pop()
        if isinstance(value, dict):
            for name, item in value.items():
                if name in _CALLS and not isinstance(item, str):
                    yield path, name, True, "..."
                if name in _MAPS and item:
                    yield path, name, called, str(item)[:200]
                    continue
                stack.append((f"{path}.{name}"[:200], name, called or name in _CALLS, item))
        elif isinstance(value, list):
            stack.extend((path, key, called, item) for item in value)
        elif isinstance(value, str):
            yield path, key, called, value


@dataclass(slots=True)
class _Open:
    """A collection that is open: a mapping or not, the key it stands at, whether below a call, whether a key is due."""

    mapping: bool = False
    key: str = ""
    called: bool = False
    due: bool = False

    @property
    def below(self) -> bool:
        """Whether what comes next stands below a call."""
        return self.called or self.calling

    @property
    def calling(self) -> bool:
        """Whether what comes next is the value of a key that describes a call."""
        return self.mapping and not self.due and self.key in _CALLS

    def pass_node(self, text: str) -> None:
        """Go on behind a node, which was a key where one was due."""
        if self.mapping:
            self.key, self.due = (text if self.due else self.key), not self.due


def _events(data: bytes, where: str, inspection: Inspection) -> Iterator[tuple[int, str, bool, str, str]]:
    """Yield (place, nearest key, whether below a call, text, tag) of every node, up to what is no YAML."""
    import yaml

    stack: list[_Open] = []
    texts: dict[str, str] = {}
    try:
        for event in yaml.parse(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if inspection.expired():
                inspection.error(where, "takes more time than the budget allows")
                return
            if isinstance(event, yaml.CollectionEndEvent):
                stack.pop()
            if not isinstance(event, yaml.NodeEvent):
                continue
            place = stack[-1] if stack else _Open()
            key, below, calling = ("" if place.due else place.key), place.below, place.calling
            at, text = getattr(event.start_mark, "index", 0), _text(event, texts)
            place.pass_node(text)
            yield at, key, below, text, str(getattr(event, "tag", "") or "")
            if isinstance(event, yaml.CollectionStartEvent):
                if calling:
                    yield at, key, True, "...", ""
                opened = isinstance(event, yaml.MappingStartEvent)
                stack.append(_Open(opened, key, below, opened))
    except (yaml.YAMLError, ValueError, RecursionError, IndexError):
        return


def _text(event: object, texts: dict[str, str]) -> str:
    """Return the text of a scalar, or of the scalar that an alias stands for; ``texts`` holds those with an anchor."""
    anchor, text = getattr(event, "anchor", None), getattr(event, "value", None)
    if text is None:
        return texts.get(str(anchor), "")
    if anchor:
        texts[anchor] = text
    return str(text)
