"""Write docs/reference/*.md from the code: commands, settings, errors, controls and rules.

    python tools/make_reference.py           write the pages
    python tools/make_reference.py --check   exit 1 with the list of pages that are not current

Pages depend on the code of Assay alone: not on the machine, the terminal or installed plugins.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

import assay
from assay.atlas.data import ATLAS
from assay.core import errors
from assay.core.discovery import Control, discover
from assay.core.finding import Severity
from assay.core.settings import settings_of

PACKAGE = Path(assay.__file__).parent
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
EXITS = (
    (0, "clean, or done"),
    (1, "findings, or refused by a policy, gate, guard or verification"),
    (2, "bad usage or bad input: one line says what, where and what to do"),
    (3, "something needed is missing, or could not be checked"),
)


# ---- commands --------------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """Return the page of every command, in the order of the program's own help."""
    from assay.cli.main import app

    parts = [_title("Commands", "Every command takes `--help`. Long work is told on standard error; with `--json` one "
                    "document, and nothing else, is printed on standard output.")]  # fmt: skip
    parts.append("## Exit codes\n\n" + _table(("code", "means"), EXITS))
    for path, command in walk(app):
        parts.append(f"{'##' if len(path) == 1 else '###'} assay {' '.join(path)}\n\n" + _command(path, command))
    return _page(parts)


def walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below a group with its names, groups before what they hold."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


def _command(path: Sequence[str], command: click.Command) -> str:
    parts = [_paragraphs(command.help or "")]
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if isinstance(command, click.Group):
        usage = f"assay {' '.join(path)} COMMAND"
    else:
        words = [f"{_argument(a)}" for a in arguments]
        words += [f"{o.opts[-1]} {_kind(o)}".strip() for o in options if o.required]
        usage = " ".join(
            ["assay", *path, *words, *(["[OPTIONS]"] if len(options) > sum(o.required for o in options) else [])]
        )
    parts.append(f"```text\n{usage}\n```")
    if options:
        rows = [
            (_code(", ".join([*o.opts, *o.secondary_opts])), _code(_kind(o)), _default(o), _text(o.help or ""))
            for o in options
        ]
        parts.append(_table(("option", "value", "default", "meaning"), rows))
    return "\n\n".join(part for part in parts if part)


def _argument(argument: click.Argument) -> str:
    name = (argument.name or "").upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _kind(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(str(getattr(choice, "value", choice)) for choice in option.type.choices)
    kinds = {"integer range": "integer", "float range": "float"}
    return kinds.get(option.type.name, option.type.name).upper()


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    value = option.default
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    known = isinstance(value, (str, int, float, Path)) and value is not False and value != ""
    return _code(str(value)) if known else ""


# ---- settings --------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Return the page of every declared setting: those of controls, and those of limits."""
    parts = [_title("Settings", "Parameters with a declared range. A value outside it is refused when the object is made, "
                    "with an error that names the setting.")]  # fmt: skip
    owners = [(f"{base.__name__}: {name}", part) for base in bases() for name, part in own(base).items()]
    listed = {part for _, part in owners}
    owners += [(cls.__name__, cls) for cls in declaring() if cls not in listed and not issubclass(cls, Control)]
    for title, cls in owners:
        if dataclasses.is_dataclass(cls) and settings_of(cls):
            parts.append(f"## {title}\n\n{_code(f'{cls.__module__}.{cls.__name__}')}\n\n" + _settings(cls))
    return _page(parts)


def _settings(cls: type) -> str:
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    rows = [(_code(name), _code(repr(defaults[name])), _text(declared.constraint.describe()), _text(declared.doc))
            for name, declared in settings_of(cls).items()]  # fmt: skip
    return _table(("setting", "default", "range", "meaning"), rows)


def bases() -> list[type[Control]]:
    """Return the base classes of what is discovered, by name."""
    found = {cls for module in _modules_with("package=") for cls in _classes(module) if _is_base(cls)}
    return sorted(found, key=lambda cls: cls.__name__)


def own(base: type[Control]) -> dict[str, type[Control]]:
    """Return Assay's own parts of a base class by name; plugins that happen to be installed are left out."""
    return {name: part for name, part in discover(base).items() if part.__module__.startswith("assay.")}


def declaring() -> list[type]:
    """Return every class of Assay that declares settings, by module and name."""
    found = {cls for module in _modules_with("= setting(") for cls in _classes(module)
             if dataclasses.is_dataclass(cls) and settings_of(cls)}  # fmt: skip
    return sorted(found, key=lambda cls: (cls.__module__, cls.__name__))


def _is_base(cls: type) -> bool:
    return issubclass(cls, Control) and not cls.name and "package" in vars(cls) and bool(cls.package)


def _classes(module: str) -> list[type]:
    return [
        cls
        for cls in vars(importlib.import_module(module)).values()
        if isinstance(cls, type) and cls.__module__ == module
    ]


def _modules_with(text: str) -> Iterator[str]:
    for name, path in _modules():
        if (
            name != "assay.core.discovery"
            and name != "assay.core.settings"
            and text in path.read_text(encoding="utf-8")
        ):
            yield name


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


# ---- errors and controls ---------------------------------------------------------------------------------------------


def errors_page() -> str:
    """Return the page of every error with its code and exit code, as the tree they form."""
    rows = [(_code(cls.__name__), parent and _code(parent), _code(cls.code), cls.exit_code, _text(_first_line(cls)))
            for cls, parent in _below(errors.AssayError, "")]  # fmt: skip
    intro = "Library code raises these. `code` is stable; with `--json` a failed command prints code, message, where and remedy."
    return _page([_title("Errors", intro), _table(("error", "is a", "code", "exit code", "means"), rows)])


def _below(cls: type[errors.AssayError], parent: str) -> Iterator[tuple[type[errors.AssayError], str]]:
    yield cls, parent
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _below(child, cls.__name__)


def controls_page() -> str:
    """Return the page of every control and of the ATLAS techniques that controls speak to."""
    intro = f"What is discovered, with the techniques and mitigations of MITRE ATLAS {ATLAS.version} that it speaks to."
    parts, speaks = [_title("Controls", intro)], defaultdict(list)
    for base in bases():
        rows = []
        for name, part in own(base).items():
            rows.append((_code(name), _text(part.summary()), _atlas(part.techniques), _atlas(part.mitigations)))
            for technique in part.techniques:
                speaks[technique].append(f"{base.__name__} {_code(name)}")
        if rows:
            place = f"{_text(_first_line(base))} Parts live in {_code(base.package)}."
            parts.append(
                f"## {base.__name__}\n\n{place}\n\n" + _table(("name", "what it is", "techniques", "mitigations"), rows)
            )
    rows = [(_atlas((key,)), "; ".join(who)) for key, who in sorted(speaks.items())]
    parts.append("## By technique\n\n" + _table(("technique", "controls"), rows))
    return _page(parts)


def _atlas(ids: Iterable[str]) -> str:
    return "; ".join(f"{key} {_name(key)}".strip() for key in ids)


def _name(key: str) -> str:
    found = (*ATLAS.techniques, *ATLAS.mitigations)
    return next((part.name for part in found if part.id == key), "")


# ---- rules -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule id as the code writes it, with a severity, the message and the module that reports it."""

    id: str
    severity: Severity
    message: str
    module: str


def rules_page() -> str:
    """Return the page of every rule of a finding that stands in the code."""
    intro = ("Rules that findings carry, as the code states them; `…` stands for what is filled in. A rule with several "
             "severities depends on what was found.")  # fmt: skip
    by_id: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules():
        by_id[rule.id].append(rule)
    rows = []
    for key, found in sorted(by_id.items()):
        severities = sorted({r.severity for r in found}, key=lambda s: -s.rank)
        messages = sorted({r.message for r in found if r.message.strip("… ,")})
        modules = sorted({r.module.removeprefix("assay.") for r in found})
        rows.append(
            (
                _code(key),
                ", ".join(s.value for s in severities),
                "<br>".join(map(_text, messages)),
                ", ".join(map(_code, modules)),
            )
        )
    return _page([_title("Rules", intro), _table(("rule", "severity", "what it says", "reported by"), rows)])


def rules() -> list[Rule]:
    """Return every rule that a call states with a literal id, or one that its function assigns, and a severity."""
    out: list[Rule] = []
    for name, path in _modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        for function in functions:
            bound = _bindings(function)
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                out += [Rule(rule, severity, text, name) for rule, severity, text in _stated(call, bound)]
    return out


Bindings = dict[str, list[tuple[int, ast.expr]]]


def _stated(call: ast.Call, bound: Bindings) -> Iterator[tuple[str, Severity, str]]:
    places = [i for i, value in enumerate(call.args[:3]) if i and any(map(_severity, _values(value, bound)))]
    if not places:
        return
    ids = [_message(value) for value in _values(call.args[0], bound)]
    levels = [_severity(value) for value in _values(call.args[places[0]], bound)]
    pairs = (
        zip(ids, levels, strict=True)
        if _paired(call.args[0], call.args[places[0]], bound)
        else ((i, s) for i in ids for s in levels)
    )
    # Finding(rule, severity, message, ...), and Check(rule, column, severity, flag, message, ...).
    message = call.args[places[0] * 2 :][:1]
    said = _last(message[0], call, bound) if message else []
    for rule, level in pairs:
        if level is not None and re.fullmatch(r"[a-z][a-z0-9]*(-([a-z0-9]+|…))*", rule):
            for text in map(_message, said or [ast.Constant("")]):
                yield rule, level, text


def _last(value: ast.expr, call: ast.Call, bound: Bindings) -> list[ast.expr]:
    """Return what a value may be at a call: for a name, what the last assignment above it gives."""
    if not isinstance(value, ast.Name):
        return _branches(value)
    above = [v for _, v in bound.get(value.id, []) if v.lineno <= call.lineno]
    last = max((v.lineno for v in above), default=0)
    return [branch for v in above if v.lineno == last for branch in _branches(v)]


def _paired(first: ast.expr, second: ast.expr, bound: Bindings) -> bool:
    """Return whether two names are set together by the same tuples."""
    if not (isinstance(first, ast.Name) and isinstance(second, ast.Name)):
        return False
    return [at for at, _ in bound.get(first.id, [])] == [at for at, _ in bound.get(second.id, [])]


def _bindings(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Bindings:
    """Return what each name of a function may be set to, with the statement or tuple that sets it."""
    bound: Bindings = defaultdict(list)
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            sources = _branches(node.value)
            targets = node.targets
        elif isinstance(node, ast.For) and isinstance(node.iter, (ast.Tuple, ast.List)):
            sources, targets = node.iter.elts, [node.target]
        else:
            continue
        for target in targets:
            for source in sources:
                if isinstance(target, ast.Name):
                    bound[target.id].append((id(source), source))
                elif isinstance(target, ast.Tuple) and isinstance(source, ast.Tuple):
                    for name, value in zip(target.elts, source.elts, strict=False):
                        if isinstance(name, ast.Name):
                            bound[name.id].append((id(source), value))
    return bound


def _branches(value: ast.expr) -> list[ast.expr]:
    return [*_branches(value.body), *_branches(value.orelse)] if isinstance(value, ast.IfExp) else [value]


def _values(value: ast.expr, bound: Bindings) -> list[ast.expr]:
    found = [v for _, v in bound[value.id]] if isinstance(value, ast.Name) and value.id in bound else [value]
    return [branch for v in found for branch in _branches(v)]


def _severity(value: ast.expr) -> Severity | None:
    named = isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "Severity"
    return Severity.__members__.get(value.attr) if named and isinstance(value, ast.Attribute) else None


def _message(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, str) else ""
    if isinstance(value, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in value.values)
    return ""


# ---- Markdown --------------------------------------------------------------------------------------------------------


def _title(title: str, intro: str) -> str:
    return f"# {title}\n\n<!-- Made by tools/make_reference.py from the code. Do not edit. -->\n\n{intro}"


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _text(text: str) -> str:
    """Return text on one line, safe in a table; what stands in backticks stays as it is."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("``", "`"))
    marks = {"<": "&lt;", ">": "&gt;", "|": "&#124;", "*": r"\*", "[": r"\[", "]": r"\]", "_": r"\_"}
    return "".join(p if p.startswith("`") else "".join(marks.get(c, c) for c in p) for p in pieces).replace("\\_", "_")


def _paragraphs(text: str) -> str:
    out = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = [line.rstrip() for line in block.splitlines()]
        if lines[0].strip() == "\b":
            out.append("```text\n" + "\n".join(lines[1:]) + "\n```")
        else:
            out.append(_text(block))
    return "\n\n".join(out)


def _first_line(cls: type) -> str:
    return (inspect.getdoc(cls) or "").partition("\n\n")[0]


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "errors.md": errors_page,
    "controls.md": controls_page,
    "rules.md": rules_page,
}


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with ``--check`` compare them; return the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: make_reference.py [--check]", file=sys.stderr)
        return 2
    made = {FOLDER / name: page().encode() for name, page in PAGES.items()}
    stale = [path for path, page in made.items() if not path.is_file() or path.read_bytes() != page]
    if arguments:
        for path in stale:
            print(f"stale: docs/reference/{path.name}; run python tools/make_reference.py")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_bytes(made[path])
        print(f"wrote docs/reference/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
