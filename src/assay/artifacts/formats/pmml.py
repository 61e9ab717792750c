"""XML models (PMML): no document type, no entities, no scripts, no reference out of the file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from assay.artifacts.reader import CODE_EXECUTION, DENIAL, Data, FormatReader, Inspection
from assay.core.finding import Severity

_HEAD = re.compile(rb"\A(?:\xef\xbb\xbf)?\s{0,64}<(?:\?xml|!DOCTYPE|!--|[A-Za-z][\w.:-]{0,60}[\s>/])")
_ROOT = re.compile(rb"<(?:[A-Za-z][\w.-]{0,40}:)?([A-Za-z][\w.-]{0,60})[\s>/]")
_LARGEST = 256 << 20


@dataclass(frozen=True, slots=True)
class _Rule:
    """What an XML model should not hold. says: what it does, after "the document"."""

    rule: str
    severity: Severity
    says: str
    pattern: re.Pattern[bytes]
    technique: str = CODE_EXECUTION


_NAMESPACES = rb"(?:xalan|http://xml\.apache\.org/(?:xalan|xslt)|http://exslt\.org)"
_CODE = (
    rb"(?:java[.:]|javascript:|exec\(|eval\(|Runtime|ProcessBuilder|os\.system|subprocess|__import__)"
)  # fmt: skip
_RULES = (
    _Rule(
        "xml-entity", Severity.CRITICAL, "declares entities, which read files or grow without end",
        re.compile(rb"<!ENTITY", re.IGNORECASE), DENIAL,
    ),
    _Rule(
        "xml-doctype", Severity.HIGH, "has a document type, which can name files to read",
        re.compile(rb"<!DOCTYPE", re.IGNORECASE), DENIAL,
    ),
    _Rule(
        "xml-script", Severity.CRITICAL, "holds code or objects that some readers run",
        re.compile(rb"<(?:\w{1,40}:)?(?:script|java|object|bean|void|javascript)[\s>]", re.IGNORECASE),
    ),
    _Rule(
        "xml-script", Severity.CRITICAL, "uses a namespace whose elements run code",
        re.compile(rb"xmlns(?::\w{1,40})?\s*=\s*[\"']" + _NAMESPACES, re.IGNORECASE),
    ),
    _Rule(
        "xml-instruction", Severity.MEDIUM, "has a processing instruction",
        re.compile(rb"<\?(?!xml[\s?])[A-Za-z]", re.IGNORECASE),
    ),
    _Rule(
        "xml-include", Severity.HIGH, "includes another file",
        re.compile(rb"(?:xi|XInclude):include|http://www\.w3\.org/2001/XInclude", re.IGNORECASE),
    ),
    _Rule(
        "pmml-extension-code", Severity.CRITICAL, "has an extension that names code",
        re.compile(
            rb"<(?:\w{1,40}:)?Extension\b[^>]{0,2000}(?:extender|name|value)\s*=\s*[\"'][^\"']{0,500}" + _CODE,
            re.IGNORECASE,
        ),
    ),
    _Rule(
        "pmml-function", Severity.CRITICAL, "calls a function by the name of a class of the host",
        re.compile(
            rb"<(?:\w{1,40}:)?(?:DefineFunction|Apply)\b[^>]{0,500}function\s*=\s*[\"'][\w.]*"
            rb"(?:java|javax|python|os|sys|groovy|lang)\.[\w.]+",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        "xml-reference", Severity.MEDIUM, "refers to something outside of the file",
        re.compile(rb"(?:href|location|url|src|uri)\s*=\s*[\"'](?:https?|ftp|file|jar|gopher|data):", re.IGNORECASE),
    ),
)  # fmt: skip


class XmlReader(FormatReader, name="xml", techniques=(CODE_EXECUTION,)):
    """Judge XML by its text: whatever could reach out of the file is found before any parser sees it."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as XML with an element."""
        head = bytes(data[:4096])
        return bool(_HEAD.match(head)) and bool(_ROOT.search(head) or b"<!" in head)

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Report every rule that matches, once."""
        root = _ROOT.search(bytes(data[:65536]))
        label = "pmml" if root and root.group(1) == b"PMML" else "xml"
        if len(data) > _LARGEST:
            inspection.error(where, "is longer than the budget for XML allows")
            return label
        if b"\0" in data[:4096]:
            inspection.cannot(where, "XML in another encoding than UTF-8 is not read")
            return label
        if re.search(
            rb"\A[^>]{0,200}encoding\s*=\s*[\"'](?!utf-?8|us-ascii|iso-8859-1)", bytes(data[:512]), re.IGNORECASE
        ):
            inspection.cannot(where, "XML in another encoding than UTF-8 is not read")
        for rule in _RULES:
            if found := rule.pattern.search(data):
                place, text = f"{where}@{found.start()}", f"the document {rule.says}"
                inspection.report(rule.rule, rule.severity, text, place, rule.technique, "Do not load it")
        return label
