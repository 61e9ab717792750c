"""Calls in Python source, by its syntax tree: the code is neither imported nor run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

from assay.core.errors import FormatError
from assay.supply.pipeline.document import Call, Plain

UNKNOWN = "<unknown>"


def calls_of(source: str) -> Iterator[Call]:
    """Yield the calls of a module, names resolved through its imports. Raises FormatError for what is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormatError(f"is not Python that can be read ({type(error).__name__})") from error
    names = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            if name:
                head, _, rest = name.partition(".")
                full = names.get(head, head) + (f".{rest}" if rest else "")
                keywords = {k.arg: _constant(k.value) for k in node.keywords if k.arg}
                yield Call(full, keywords, tuple(_constant(a) for a in node.args), node.lineno)


def _imported(tree: ast.AST) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.AST) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ".".join(["?", *reversed(parts)]) if parts else ""
    return ".".join([node.id, *reversed(parts)])


def _constant(node: ast.AST) -> Plain:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_constant(item) for item in node.elts]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return f"{UNKNOWN}:{_dotted(node)}"
    return UNKNOWN
