"""YAML with lines: every value with the line it stands on, bounded however often aliases repeat it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from assay.core.errors import FormatError
from assay.supply.pipeline.document import Plain, Setting

_MOST_VALUES = 200_000
_DEEPEST = 100
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(slots=True)
class _Walk:
    left: int = _MOST_VALUES

    def value(self, node: Any, path: str, depth: int, out: list[Setting]) -> Plain:
        """Return the plain value of a node; every scalar below it is added to ``out`` with its path and line."""
        self.left -= 1
        if self.left < 0 or depth > _DEEPEST:
            raise FormatError("holds more values, or deeper ones, than any configuration")
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Plain] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
                found[key] = self.value(value_node, f"{path}.{key}" if path else key, depth + 1, out)
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"{path}[{i}]", depth + 1, out) for i, item in enumerate(node.value)]
        value = _scalar(node)
        out.append(Setting(path, value, line))
        return value


def read_yaml(text: str) -> Iterator[tuple[Plain, list[Setting], int]]:
    """Yield (value, every scalar with path and line, first line) of each document. Raises FormatError."""
    walk = _Walk()
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            if node is not None:
                settings: list[Setting] = []
                yield walk.value(node, "", 0, settings), settings, node.start_mark.line + 1
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FormatError(f"is not valid YAML ({' '.join(str(error).split())[:120]})") from error


def _scalar(node: Any) -> Plain:
    text, kind = node.value, node.tag.rpartition(":")[2]
    if kind == "bool":
        return _BOOLS.get(text.lower(), text)
    if kind == "null":
        return None
    if kind in {"int", "float"}:
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            return text
    return text
