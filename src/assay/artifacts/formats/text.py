"""Text: JSON and YAML configurations, native text models, logs; what names code is flagged by the readers of its kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

from assay.artifacts.reader import CODE_EXECUTION, Data, FormatReader, Inspection
from assay.core.discovery import Control, discover
from assay.core.finding import Severity

_HEAD = 1 << 16
_LONGEST_JSON = 64 << 20
_LARGEST_TREE = 4 << 20
_MOST_NODES = 1_000_000
_YAML_TAG = re.compile(
    rb"!!python/|!!?(?:ruby|java)/|tag:yaml\.org,2002:python/|(?m:^[ \t]*[\w.-]{1,80}:[ \t]+!!?[a-z]{1,40}\.[a-z])"
)
_SCRIPT = re.compile(
    rb"\A(?:#!|<\?php)|(?m:^(?:import|from) [\w.]{1,200}(?:$| import |[ \t]*;)|^def \w+\(|^class \w+[(:])"
)
_LOADER = re.compile(rb"(?m:^[ \t]*(?:loader_module|python_model|code|entry_point)[ \t]*:[ \t]*([^\n]{1,300}))")
_GOOD_LOADERS = {b"mlflow.sklearn", b"mlflow.xgboost", b"mlflow.lightgbm", b"mlflow.pytorch", b"mlflow.onnx",
                 b"mlflow.tensorflow", b"mlflow.catboost", b"mlflow.statsmodels", b"null", b"~", b"''"}  # fmt: skip
_REMEDY = "Do not give the file to a loader that runs what it names"


class JsonCheck(Control, package="assay.artifacts.formats"):
    """A kind of JSON document that can name code."""

    label = "json"

    def fits(self, document: dict[str, object]) -> bool:
        """Return whether the document is of this kind."""
        raise NotImplementedError

    def check(self, document: dict[str, object], where: str, inspection: Inspection) -> None:
        """Report what loading the document would do."""
        raise NotImplementedError


@cache
def _checks() -> tuple[JsonCheck, ...]:
    return tuple(check() for check in discover(JsonCheck).values())


class TextReader(FormatReader, name="text", techniques=(CODE_EXECUTION,)):
    """Read UTF-8 text: JSON by its kind, YAML tags that make objects, and source code."""

    fallback = True

    def claims(self, data: Data) -> bool:
        """Return whether the beginning is UTF-8 text without control characters."""
        head = data[:_HEAD]
        try:
            head.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start < len(head) - 4:
                return False
        return len(head) > 0 and not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head)

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine the text."""
        if data[:_HEAD].lstrip()[:1] in {b"{", b"["}:
            label = self._json(data, where, inspection)
            if label:
                return label
        if len(data) > _LONGEST_JSON:
            return "text" if data[:5] == b"tree\n" else self._large(where, inspection)
        if found := _YAML_TAG.search(data):
            text = "the text has a tag that makes a loader build an object"
            inspection.report(
                "yaml-object-tag", Severity.CRITICAL, text, f"{where}@{found.start()}", CODE_EXECUTION, _REMEDY
            )
        for loader in _LOADER.finditer(data):
            if loader.group(1).strip() not in _GOOD_LOADERS:
                text = f"the text names code to run: {loader.group(0).decode('utf-8', 'replace').strip()[:80]}"
                inspection.report(
                    "config-names-code", Severity.HIGH, text, f"{where}@{loader.start()}", CODE_EXECUTION, _REMEDY
                )
        if data[:5] == b"tree\n" and b"\nversion=v" in data[:200]:
            return "lightgbm-text"
        if found := _SCRIPT.search(data):
            text = "the text is source code, which is run when a model names it"
            inspection.report("source-code", Severity.LOW, text, f"{where}@{found.start()}", CODE_EXECUTION)
            return "source"
        return "text"

    @staticmethod
    def _large(where: str, inspection: Inspection) -> str:
        inspection.error(where, "is longer than the budget for text allows")
        return "text"

    @staticmethod
    def _json(data: Data, where: str, inspection: Inspection) -> str:
        if len(data) > _LARGEST_TREE:
            # Too large to build the tree of: only kinds that can name code need it.
            if any(data.find(key) >= 0 for key in (b'"class_name"', b'"__loader__"', b'"\\u00')):
                inspection.error(where, "is longer than the budget for JSON that can name code")
            return "json" if data[len(data) - 64 :].rstrip()[-1:] in {b"}", b"]"} else ""
        try:
            document = json.loads(data[:].decode("utf-8"))
        except RecursionError:
            inspection.error(where, "is nested deeper than the budget allows")
            return "json"
        except ValueError:
            return ""
        if isinstance(document, dict):
            for check in _checks():
                if check.fits(document):
                    check.check(document, where, inspection)
                    return check.label
        return "json"


def nodes(document: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every record in a document with its path, a bounded number of them, depth first."""
    stack: list[tuple[str, object]] = [("$", document)]
    for _ in range(_MOST_NODES):
        if not stack:
            return
        path, value = stack.pop()
        if isinstance(value, dict):
            yield path, value
            stack.extend((f"{path}.{key}"[:200], item) for key, item in value.items())
        elif isinstance(value, list):
            stack.extend((path, item) for item in value)
