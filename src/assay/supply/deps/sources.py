"""Files that say where packages come from: pip.conf, uv.toml, .env, and the tool tables of project files."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from assay.core.digest import digest_bytes
from assay.core.errors import FormatError
from assay.core.files import read_bytes
from assay.supply.deps.declared import Declared, Option, short

LIMIT = 4 << 20
_PIP = {"index-url", "extra-index-url", "find-links", "trusted-host", "no-index"}
_UV = {
    "index-url": "index-url", "extra-index-url": "extra-index-url", "find-links": "find-links",
    "index-strategy": "index-strategy", "allow-insecure-host": "trusted-host", "no-index": "no-index",
}  # fmt: skip
_VARIABLES = {
    **{f"PIP_{name.upper().replace('-', '_')}": (name, "pip") for name in _PIP},
    "UV_INDEX_URL": ("index-url", "uv"),
    "UV_DEFAULT_INDEX": ("index-url", "uv"),
    "UV_EXTRA_INDEX_URL": ("extra-index-url", "uv"),
    "UV_INDEX": ("extra-index-url", "uv"),
    "UV_FIND_LINKS": ("find-links", "uv"),
    "UV_INDEX_STRATEGY": ("index-strategy", "uv"),
    "UV_INSECURE_HOST": ("trusted-host", "uv"),
}
_ASSIGNED = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=(.*)")
_ON = {"1", "true", "yes", "on"}

Table = Mapping[str, object]


def is_settings(path: Path) -> bool:
    """Return whether a file's name is that of settings of pip or uv, or of an environment."""
    return path.name in {"pip.conf", "pip.ini", "uv.toml"} or path.name == ".env" or path.name.startswith(".env.")


def read_settings(path: Path) -> Declared:
    """Return the options about indexes in a settings file. Raises DataError or FormatError, naming it."""
    data = read_bytes(path, limit=LIMIT)
    try:
        text = data.decode("utf-8-sig")
        if path.name == "uv.toml":
            options = tuple(_uv(tomllib.loads(text), lambda *_: f"{path}:1"))
        elif path.name.startswith(".env"):
            options = tuple(_environment(text, str(path)))
        else:
            options = tuple(_pip(text, str(path)))
    # A continued line under a key without value is an AttributeError inside configparser.
    except (ValueError, RecursionError, configparser.Error, AttributeError) as error:
        raise FormatError(f"cannot be read ({short(str(error))})", where=str(path), remedy="Correct it") from error
    return Declared(str(path), "settings", (), options, (), {str(path): str(digest_bytes(data))})


def project_sources(held: Table, place: Callable[..., str], name: str) -> Iterator[Option]:
    """Yield the options about indexes in a pyproject.toml or Pipfile. place: gives the line of a text."""
    if name == "Pipfile":
        for item in _list(held.get("source")):
            source = _table(item)
            url = str(source.get("url", ""))
            yield Option("source", url, place(url), "pipenv", str(source.get("name", "")))
            if source.get("verify_ssl") is False:
                yield Option("trusted-host", url, place(url), "pipenv")
        return
    tool = _table(held.get("tool"))
    yield from _uv(_table(tool.get("uv")), place)
    for item in _list(_table(tool.get("poetry")).get("source")):
        source = _table(item)
        label, url = str(source.get("name", "")), str(source.get("url", ""))
        if label.lower() == "pypi" and not url:
            url = "https://pypi.org/simple"
        rank = str(source.get("priority", "default" if source.get("default") else ""))
        yield Option(
            "source", url, place(url, label), "poetry", label, "secondary" if source.get("secondary") else rank
        )


def _uv(held: Table, place: Callable[..., str]) -> Iterator[Option]:
    for table in (held, _table(held.get("pip"))):
        for key, name in _UV.items():
            for value in _values(table.get(key)):
                yield Option(name, value, place(value, key), "uv")
    for item in _list(held.get("index")):
        source = _table(item)
        url = str(source.get("url", ""))
        rank = "explicit" if source.get("explicit") else "default" if source.get("default") else ""
        yield Option("source", url, place(url), "uv", str(source.get("name", "")), rank)


def _values(value: object) -> list[str]:
    if isinstance(value, bool):
        return ["true"] if value else []
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]


def _pip(text: str, path: str) -> Iterator[Option]:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, interpolation=None)
    parser.read_string(text)
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for word in line.replace("=", " ", 1).split():
            lines.setdefault(word, number)
    for section in parser.sections():
        for key, value in parser.items(section):
            name = key.replace("_", "-")
            words = (value or "").split()
            if name == "no-index":
                words = ["true"] if words and words[0].lower() in _ON else []
            for word in words if name in _PIP else ():
                yield Option(name, word, f"{path}:{lines.get(word, lines.get(key, 1))}")


def _environment(text: str, path: str) -> Iterator[Option]:
    for number, line in enumerate(text.splitlines(), start=1):
        found = _ASSIGNED.match(line)
        if not found or found[1].upper() not in _VARIABLES:
            continue
        name, tool = _VARIABLES[found[1].upper()]
        words = found[2].partition(" #")[0].strip().strip("\"'").split()
        if name == "no-index":
            words = ["true"] if words and words[0].lower() in _ON else []
        for word in words:
            # uv lets an index be named: name=https://...
            url = word.partition("=")[2] if re.match(r"[\w-]+=https?:", word) else word
            yield Option(name, url, f"{path}:{number}", tool)


def _table(value: object) -> Table:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
