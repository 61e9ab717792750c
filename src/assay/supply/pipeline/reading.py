"""Reading configuration files: name and content decide what one is; nothing is imported, expanded or run."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from assay.core.canonical import parse
from assay.core.errors import AssayError, FormatError
from assay.core.files import read_bytes
from assay.supply.pipeline.commands import commands_of, variables_of, words_of
from assay.supply.pipeline.document import Command, Document, Manifest, Plain, Setting
from assay.supply.pipeline.python_calls import calls_of
from assay.supply.pipeline.yaml_nodes import read_yaml

LIMIT = 4 << 20
_INI = {".ini", ".cfg", ".conf"}
_INI_NAMES = {"pip.conf", "pip.ini", ".pypirc", "setup.cfg"}
_YAML = {".yaml", ".yml"}
_SHELL = {".sh", ".bash", ".zsh", ".env", ".service"}
_TEXTS = ("command", "args", "entrypoint", "run", "script", "before_script", "CMD", "cmd")


def kind_of(path: Path) -> str:
    """Return what kind of configuration a file is by its name, "" when it is none."""
    name, suffix = path.name, path.suffix.lower()
    if name.startswith("Dockerfile") or suffix == ".dockerfile" or name == "Containerfile":
        return "dockerfile"
    if (name.startswith(("requirements", "constraints")) and suffix in {".txt", ".in"}) or suffix == ".requirements":
        return "requirements"
    if path.parent.name == ".dvc" and name in {"config", "config.local"}:
        return "ini"
    if name in _INI_NAMES or suffix in _INI:
        return "ini"
    if suffix in _YAML or name in {"MLmodel", "dvc.lock"}:
        return "yaml"
    if name.startswith(".env") or suffix in _SHELL or name in {"Procfile", "Makefile"}:
        return "shell"
    return {".toml": "toml", ".json": "json", ".py": "python", ".ipynb": "json"}.get(suffix, "")


def read_document(path: Path) -> Document:
    """Return a file as a document. Raises DataError or FormatError, naming it."""
    kind = kind_of(path)
    try:
        text = read_bytes(path, limit=LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError("is not UTF-8 text", where=str(path)) from error
    try:
        return _READERS[kind](path, text)
    except AssayError as error:
        raise FormatError(error.message, where=str(path), remedy="Correct it, so that it can be checked") from error
    except (RecursionError, ValueError) as error:
        raise FormatError(f"cannot be read ({type(error).__name__})", where=str(path)) from error


def _document(path: Path, kind: str, text: str, **parts: object) -> Document:
    return Document(str(path), path.name, kind, text=text, **{k: tuple(v) for k, v in parts.items()})  # type: ignore[arg-type]


def _ini(path: Path, text: str) -> Document:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        try:
            parser.read_string(text)
        except configparser.MissingSectionHeaderError as error:
            if text.lstrip().startswith("["):
                raise FormatError("is not valid INI (a section's name is not closed)") from error
            parser.read_string(f"[DEFAULT]\n{text}")
    # A continued line under a key without value is an AttributeError inside configparser.
    except (configparser.Error, AttributeError) as error:
        raise FormatError(f"is not valid INI ({' '.join(str(error).split())[:120]})") from error
    lines = _ini_lines(text)
    sections = {"": parser.defaults(), **{s: dict(parser.items(s)) for s in parser.sections()}}
    settings = [
        Setting(f"{section}.{key}".strip("."), value, lines.get((section, key), 1))
        for section, items in sections.items()
        for key, value in items.items()
    ]
    return _document(path, "ini", text, settings=settings)


def _ini_lines(text: str) -> dict[tuple[str, str], int]:
    section, found = "", {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("[") and "]" in stripped:
            section = stripped[1 : stripped.index("]")].strip()
        elif stripped and not stripped.startswith(("#", ";")):
            found[(section, re.split(r"[=:]", stripped, maxsplit=1)[0].strip())] = number
    return found


def _toml(path: Path, text: str) -> Document:
    try:
        held = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"is not valid TOML ({error})") from error
    return _document(path, "toml", text, settings=_flat(held, ""))


def _json(path: Path, text: str) -> Document:
    held = parse(text.encode())
    if path.suffix == ".ipynb" and isinstance(held, Mapping):
        cells = held.get("cells")
        code = "\n".join(_cell(c) for c in cells if isinstance(c, Mapping)) if isinstance(cells, list) else ""
        return _document(path, "python", text, calls=calls_of(code))
    return _document(path, "json", text, settings=_flat(held, ""), **_deployed(held, list(_flat(held, "")), 1))


def _cell(cell: Mapping[str, Plain]) -> str:
    source = cell.get("source")
    lines = source if isinstance(source, list) else str(source or "").splitlines(keepends=True)
    if cell.get("cell_type") != "code":
        return ""
    return "".join(("pass\n" if str(line).lstrip().startswith(("!", "%")) else str(line)) for line in lines)


def _yaml(path: Path, text: str) -> Document:
    parts: dict[str, list[object]] = {"settings": [], "environment": [], "commands": [], "manifests": []}
    for value, settings, line in read_yaml(text):
        parts["settings"] += settings
        for key, found in _deployed(value, settings, line).items():
            parts[key] += found
    return _document(path, "yaml", text, **parts, inside=_inside(path, parts["manifests"]))


def _inside(path: Path, manifests: list[object]) -> Iterator[tuple[int, Document]]:
    """Yield the files that rendered ConfigMaps and Secrets carry, each with the lines before it.

    Raises FormatError for one that has the name of a configuration and cannot be read.
    """
    for item in manifests:
        if not isinstance(item, Manifest) or item.kind not in {"ConfigMap", "Secret"}:
            continue
        for section in ("data", "stringData"):
            held = item.get(section)
            for name, text in held.items() if isinstance(held, Mapping) else ():
                file = path.parent / Path(str(name)).name
                kind = kind_of(file)
                # The data of a Secret is base64: what it holds is not shown, and not read here.
                if kind and isinstance(text, str) and not (item.kind == "Secret" and section == "data"):
                    line = (item.lines or {}).get(f"{section}.{name}", item.line)
                    # A block of text starts on the line after its key.
                    yield line if "\n" in text else line - 1, replace(_READERS[kind](file, text), path=str(path))


def _python(path: Path, text: str) -> Document:
    return _document(path, "python", text, calls=calls_of(text))


def _shell(path: Path, text: str) -> Document:
    if path.suffix == ".service":
        text = re.sub(r"^Exec\w+=|^Environment=", "", text, flags=re.MULTILINE)
    commands = list(commands_of(text))
    return _document(path, "shell", text, commands=commands, environment=variables_of(commands))


def _requirements(path: Path, text: str) -> Document:
    lines = [Setting("line", line.strip(), number) for number, line in enumerate(text.splitlines(), start=1)]
    return _document(path, "requirements", text, settings=[s for s in lines if s.text and not s.text.startswith("#")])


def _dockerfile(path: Path, text: str) -> Document:
    commands: list[Command] = []
    environment: list[Setting] = []
    settings: list[Setting] = []
    for number, line in _instructions(text):
        word, _, rest = line.strip().partition(" ")
        name, rest = word.upper(), rest.strip()
        if name in {"RUN", "CMD", "ENTRYPOINT"}:
            commands += _docker_command(rest, number)
        elif name in {"ENV", "ARG"}:
            environment += _docker_env(rest, number)
        else:
            settings.append(Setting(name, rest, number))
    environment += variables_of(commands)
    return _document(path, "dockerfile", text, commands=commands, environment=environment, settings=settings)


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    held, start = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            continue
        start = start if held else number
        if line.rstrip().endswith("\\"):
            held += line.rstrip()[:-1] + " "
            continue
        if (held + line).strip():
            yield start, held + line
        held = ""


def _docker_command(rest: str, line: int) -> list[Command]:
    if rest.startswith("["):
        try:
            return [Command(words_of(parse(rest.encode())), line)]
        except AssayError:
            pass
    return list(commands_of(re.sub(r"^(--\w[\w-]*(=\S+)?\s+)+", "", rest), line))


def _docker_env(rest: str, line: int) -> Iterator[Setting]:
    if "=" not in rest.split(" ", 1)[0]:
        name, _, value = rest.partition(" ")
        yield Setting(name, value, line)
        return
    for word in words_of(rest):
        name, _, value = word.partition("=")
        yield Setting(name, value, line)


def _deployed(value: Plain, settings: list[Setting], line: int) -> dict[str, list[object]]:
    """Return the environment, commands and Kubernetes objects that a YAML or JSON document describes."""
    found: dict[str, list[object]] = {"environment": [], "commands": [], "manifests": []}
    lines = {s.key: s.line for s in settings}
    objects = value.get("items") if isinstance(value, Mapping) and value.get("kind") == "List" else [value]
    for item in objects if isinstance(objects, list) else []:
        if isinstance(item, Mapping) and "kind" in item and "apiVersion" in item:
            meta = item.get("metadata")
            meta = meta if isinstance(meta, Mapping) else {}
            found["manifests"].append(
                Manifest(
                    str(item["kind"]), str(meta.get("name", "")), str(meta.get("namespace", "")), item, line, lines
                )
            )
    for path, node in _mappings(value, ""):
        at = min((n for key, n in lines.items() if key.startswith(path)), default=line)
        found["environment"] += _environment(node, path, lines, at)
        found["commands"] += _commands(node, path, lines, at)
    return found


def _mappings(value: Plain, path: str) -> Iterator[tuple[str, Mapping[str, Plain]]]:
    if isinstance(value, Mapping):
        yield path, value
        for key, item in value.items():
            yield from _mappings(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _mappings(item, f"{path}[{i}]")


def _environment(node: Mapping[str, Plain], path: str, lines: Mapping[str, int], at: int) -> Iterator[Setting]:
    for key in ("env", "environment", "variables"):
        held = node.get(key)
        where = f"{path}.{key}".strip(".")
        if isinstance(held, Mapping):
            for name, value in held.items():
                yield Setting(str(name), value, lines.get(f"{where}.{name}", at))
        for i, item in enumerate(held if isinstance(held, list) else []):
            if isinstance(item, Mapping) and "name" in item:
                yield Setting(str(item["name"]), item.get("value"), lines.get(f"{where}[{i}].name", at))
            elif isinstance(item, str):
                name, _, value = item.partition("=")
                yield Setting(name, value, lines.get(f"{where}[{i}]", at))


def _commands(node: Mapping[str, Plain], path: str, lines: Mapping[str, int], at: int) -> Iterator[Command]:
    words: list[str] = []
    first = at
    for key in _TEXTS:
        held, where = node.get(key), f"{path}.{key}".strip(".")
        line = lines.get(where, lines.get(f"{where}[0]", at))
        if isinstance(held, str):
            # A block of text starts on the line after its key.
            yield from commands_of(held, line + (1 if "\n" in held else 0))
        elif isinstance(held, list) and all(isinstance(v, (str, int, float)) for v in held):
            if key in {"script", "before_script"}:
                for i, text in enumerate(held):
                    yield from commands_of(str(text), lines.get(f"{where}[{i}]", line))
                continue
            first = line if not words else first
            words += [str(v) for v in held]
            if len(held) >= 2 and str(held[0]).rpartition("/")[2] in {"sh", "bash"} and "-c" in held[1:3]:
                yield from commands_of(str(held[-1]), line)
    if words:
        yield Command(tuple(words), first)


def _flat(value: Plain, path: str) -> Iterator[Setting]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _flat(item, f"{path}[{i}]")
    else:
        yield Setting(path, value)


_READERS: Mapping[str, Callable[[Path, str], Document]] = {
    "ini": _ini, "toml": _toml, "json": _json, "yaml": _yaml, "python": _python, "shell": _shell,
    "requirements": _requirements, "dockerfile": _dockerfile,
}  # fmt: skip
