"""Python source in model archives: it runs when the model is used, and what it calls decides how bad that is."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from itertools import islice

from assay.artifacts.pickle.policy import Rating
from assay.artifacts.reader import EMBEDDED_CODE, Inspection
from assay.core.finding import Severity

LARGEST_SOURCE = 128 << 10
_MOST_REPORTS = 20
_BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint"}
_RUNNERS = re.compile(
    r"(?:os\.(?:system|popen|exec\w*|spawn\w*|posix_spawn\w*|fork|startfile)|posix\.\w+|nt\.\w+|subprocess\.\w+|pty\.\w+"
    r"|ctypes\.\w+[\w.]*|socket\.\w+|runpy\.\w+|pip\.main|commands\.\w+|code\.\w+|marshal\.loads?|c?_?pickle\.(?:loads?|Unpickler)"
    r"|dill\.loads?|cloudpickle\.loads?|importlib\.\w+|builtins\.(?:eval|exec|compile|__import__)|types\.(?:FunctionType|CodeType)"
    r"|urllib\.\w+[\w.]*|requests\.\w+|shutil\.(?:rmtree|move)|asyncio\.create_subprocess_\w+|sys\.(?:modules|meta_path)[\w.]*)"
)
_PLAIN = re.compile(
    rb"\b(?:os\.(?:system|popen|exec\w*|spawn\w*)|subprocess|ctypes|socket|eval|exec|__import__|marshal)\b\s*[.(]"
)
_REMEDY = "Read the source before use, or ask its author for a format without code"


def check_source(source: bytes, name: str, place: str, inspection: Inspection) -> None:
    """Report a Python member of a model archive: that it is there, and every call that reaches the system."""
    calls = list(islice(dangerous_calls(source, inspection), _MOST_REPORTS))
    for line, what in calls:
        text = f"the Python source {name!r} calls {what}"
        inspection.report("python-source", Severity.CRITICAL, text, f"{place}:{line}", EMBEDDED_CODE, _REMEDY)
    if not calls:
        text = f"{name!r} is Python source that is run when the archive is used as a model"
        inspection.report("python-source", Severity.HIGH, text, place, EMBEDDED_CODE, _REMEDY)


def dangerous_calls(source: bytes, inspection: Inspection) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted name of every call that runs commands or code, or reaches the network."""
    if len(source) <= LARGEST_SOURCE and not inspection.expired():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(source)
            yield from _calls(tree, inspection)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
        else:
            return
    for found in _PLAIN.finditer(source):
        yield source.count(b"\n", 0, found.start()) + 1, found.group(0).decode("ascii", "replace").rstrip(" (.")


def _calls(tree: ast.AST, inspection: Inspection) -> Iterator[tuple[int, str]]:
    names: dict[str, str] = {}
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                          for a in node.names})  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
        elif isinstance(node, ast.Assign) and (made := _dotted(node.value, names)):
            # s = os.system; s("...") is the same call.
            names.update({t.id: made for t in node.targets if isinstance(t, ast.Name) and t.id != made})
        elif isinstance(node, ast.Call):
            found.append(node.func)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.extend(node.decorator_list)
    for func in found:
        dotted = _dotted(func, names)
        if dotted and _reaches(dotted, inspection):
            yield func.lineno, dotted[:80]


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < 20:
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(names.get(node.id, node.id))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        name = _dotted(node.func, names)
        first = node.args[0] if node.args else None
        if name == "__import__" and isinstance(first, ast.Constant) and isinstance(first.value, str):
            parts.append(first.value)
        elif name == "getattr" and len(node.args) >= 2 and isinstance(node.args[1], ast.Constant):
            parts.append(f"{_dotted(node.args[0], names)}.{node.args[1].value!s}")
        else:
            return ""
    else:
        return ""
    return ".".join(reversed(parts))[:300]


def _reaches(dotted: str, inspection: Inspection) -> bool:
    if dotted in _BUILTINS or _RUNNERS.fullmatch(dotted):
        return True
    module, _, name = dotted.rpartition(".")
    return bool(module) and inspection.policy.judge(module, name).rating is Rating.DANGEROUS
