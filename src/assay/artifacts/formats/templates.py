"""Chat and prompt templates (Jinja): a host renders them, and what reaches for Python's inside leaves the template."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assay.artifacts.reader import CODE_EXECUTION, Data, Inspection
from assay.core.finding import Severity

_ATTACK = re.compile(
    rb"__(?:class|globals|builtins|subclasses|mro|base|bases|init|import|getattribute|dict|reduce|code)__|\bcycler\b|\blipsum\b"
    rb"|\bjoiner\b|\bnamespace\.__|\battr\s*\(|\|\s*attr\b|\bpopen\b|\bos\.system\b|\bsubprocess\b|\beval\s*\(|\bexec\s*\("
    rb"|\\x5f\\x5f|\\u005f|\brequest\.|\bself\._|\bconfig\.__|\bget_flashed_messages\b|\burl_for\b|\bundefined\.__"
)
_MOST_MATCHES, _LONGEST_BLOCK = 500, 20_000


def check_template(text: bytes, name: str, place: str, inspection: Inspection) -> None:
    """Report a template that reaches out of its sandbox. name: what the file calls it."""
    if found := _ATTACK.search(text):
        reach = found.group(0)[:30].decode("utf-8", "replace")
        says = f"the template {name[:60]} reaches for Python's inside ({reach})"
        inspection.report(
            "template-escape", Severity.CRITICAL, says, place, CODE_EXECUTION, "Do not render its templates"
        )


def check_blocks(data: Data, where: str, inspection: Inspection) -> None:
    """Report the first block of a text, if it has any, that reaches out of a template's sandbox."""
    if data.find(b"{{") < 0 and data.find(b"{%") < 0:
        return
    for count, found in enumerate(_ATTACK.finditer(data)):
        if count >= _MOST_MATCHES:
            return
        before = max(0, found.start() - _LONGEST_BLOCK)
        opened = max(data.rfind(b"{{", before, found.start()), data.rfind(b"{%", before, found.start()))
        closed = max(data.rfind(b"}}", before, found.start()), data.rfind(b"%}", before, found.start()))
        if opened > closed:
            check_template(found.group(0), "in the text", f"{where}@{found.start()}", inspection)
            return


def check_settings(document: object, where: str, inspection: Inspection) -> None:
    """Report templates in a tokenizer's or processor's settings."""
    if isinstance(document, dict):
        for path, text in _templates(document.get("chat_template")):
            check_template(
                text.encode("utf-8", "replace"), "chat_template", f"{where}!$.chat_template{path}", inspection
            )


def _templates(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield "", value
    elif isinstance(value, dict):
        yield from ((f".{k}"[:60], v) for k, v in value.items() if isinstance(v, str))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            if isinstance(item, dict) and isinstance(item.get("template"), str):
                yield f"[{at}]", item["template"]
