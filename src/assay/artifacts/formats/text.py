"""Text: JSON and YAML configurations, native text models, logs; what names code is flagged by the readers of its kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

from assay.artifacts.formats.config_names import ConfigNames, may_name_code
from assay.artifacts.formats.lightgbm_text import check_lightgbm, is_lightgbm
from assay.artifacts.formats.templates import check_blocks, check_settings
from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.pickle.stream import looks_like_pickle
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
_JSON_HEAD = re.compile(rb"\s{0,64}\{\s{0,64}\"[\x20-\x7e]")
# The beginnings of native models, whose end is looked for however long they are.
_NATIVE_HEAD = re.compile(rb"\s{0,64}\{[^\x00]{0,4000}?\"(?:learner|oblivious_trees|features_info|cat_features_hash)\"")
_SKIPPED = re.compile(rb"(?:[^\"{}\[\]]++|\"(?:[^\"\\]++|\\.)*+\"|\[[^\"{}\[\]]*+\])*+", re.DOTALL)
# Kinds whose check puts every name to the policy itself.
_JUDGED_WHOLE = {"skops-schema"}
_BLANK = re.compile(r"[ \t\r\n]*+")
_DECODER = json.JSONDecoder()
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
        # A native model with something else behind it is read as what it begins as.
        return len(head) > 0 and (_is_text(head) or bool(_JSON_HEAD.match(head)) or is_lightgbm(head))

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine the text."""
        if data[:_HEAD].lstrip()[:1] in {b"{", b"["}:
            label = self._json(data, where, inspection)
            if label:
                return label
            if not _is_text(data[:_HEAD]):
                inspection.cannot(where, "the content begins as text and goes on as something else")
                return "text"
        native = is_lightgbm(data)
        if len(data) > _LONGEST_JSON:
            return check_lightgbm(data, where, inspection) if native else self._large(where, inspection)
        if found := _YAML_TAG.search(data):
            text = "the text has a tag that makes a loader build an object"
            inspection.report(
                "yaml-object-tag", Severity.CRITICAL, text, f"{where}@{found.start()}", CODE_EXECUTION, _REMEDY
            )
        names = ConfigNames(where, inspection)
        names.lines(data)
        check_blocks(data, where, inspection)
        if native:
            return check_lightgbm(data, where, inspection)
        names.yaml(data)
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
            return _long_json(data, where, inspection)
        whole = data[:].decode("utf-8", "surrogateescape")
        try:
            document, end = _DECODER.raw_decode(whole, _blank(whole, 0))
            behind = len(whole[:end].encode("utf-8"))
        except RecursionError:
            inspection.error(where, "is nested deeper than the budget allows")
            return "json"
        except ValueError:
            if _NATIVE_HEAD.match(data):
                inspection.error(where, "the model is damaged, or ends early")
            return ""
        label = "json"
        if isinstance(document, dict):
            for check in _checks():
                if check.fits(document):
                    check.check(document, where, inspection)
                    label = check.label
                    break
        if label not in _JUDGED_WHOLE:
            ConfigNames(where, inspection).document(document)
        check_settings(document, where, inspection)
        if _blank(whole, end) == len(whole):
            return label
        tail = data[behind : behind + _HEAD].lstrip()
        if label != "json" or not _is_text(tail) or looks_like_pickle(tail):
            check_tail(data, behind, where, inspection)
            return label
        # Lines of JSON, or a text that only begins as JSON does.
        return ""


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
    return not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head)


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _long_json(data: Data, where: str, inspection: Inspection) -> str:
    # Too large to build the tree of: only kinds that can name code need it.
    if any(data.find(key) >= 0 for key in (b'"class_name"', b'"__loader__"', b'"\\u00')) or may_name_code(data):
        inspection.error(where, "is longer than the budget for JSON that can name code")
    if len(data) <= _LONGEST_JSON and _NATIVE_HEAD.match(data):
        end = _end_of_json(data, inspection)
        if end < 0:
            inspection.error(where, "the model ends early, or takes more time than the budget allows")
        else:
            check_tail(data, end, where, inspection)
        return "json"
    return "json" if data[len(data) - 64 :].rstrip()[-1:] in {b"}", b"]"} else ""


def _end_of_json(data: Data, inspection: Inspection) -> int:
    """Return where the first value ends by its brackets, -1 when it does not or time is over."""
    at = depth = steps = 0
    while found := _SKIPPED.match(data, at):
        at = found.end() + 1
        bracket = data[at - 1 : at]
        steps += 1
        if not bracket or bracket == b'"' or (steps % 4096 == 0 and inspection.expired()):
            return -1
        depth += 1 if bracket in {b"{", b"["} else -1
        if depth <= 0:
            return at
    return -1


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
