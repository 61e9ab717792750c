"""YAML text of unknown origin as plain data with the line of every value, bounded in size, depth and aliases."""

from __future__ import annotations

from typing import Any, TypeAlias

from assay.core.errors import ContractError

Path: TypeAlias = "tuple[str | int, ...]"
Lines: TypeAlias = dict[Path, int]

_MOST_BYTES = 1 << 26
_MOST_VALUES = 300_000
_MOST_DEPTH = 12
# Read as written, never as a YAML boolean, number or date: `no` is a direction and may be a category.
_AS_WRITTEN = {"name", "categories", "classes", "positive", "mutable", "dtype", "description", "column", "one_of"}


def parse_yaml(text: str, *, where: str = "") -> tuple[object, Lines]:
    """Return the value of a YAML document and the line of each path in it.

    Fields that hold texts are taken as written. Raises ContractError: bad syntax, a repeated key, a tag that is
    not plain data, or more values, depth or expanded aliases than any contract has.
    """
    import yaml

    if len(text) > _MOST_BYTES:
        raise ContractError("is too large for a contract", where=where)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        reader = _Reader(loader, where)
        return (None if node is None else reader.value(node, ())), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"{where}:{mark.line + 1}" if mark else where
        raise ContractError(
            f"not valid YAML ({error.problem or error.context})", where=line, remedy="Correct the line"
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ContractError(f"not valid YAML ({' '.join(str(error).split())[:160]})", where=where) from error


class _Reader:
    """Turns nodes into plain data; every visit counts, so that nested aliases cannot blow up."""

    def __init__(self, loader: Any, where: str) -> None:
        self.loader = loader
        self.where = where
        self.lines: Lines = {}
        self.visits = 0

    def value(self, node: Any, path: Path) -> object:
        """Return the plain data of a node and note its line."""
        import yaml

        self.visits += 1
        line = node.start_mark.line + 1
        if self.visits > _MOST_VALUES or len(path) > _MOST_DEPTH:
            raise ContractError(
                "too many or too deeply nested values", where=f"{self.where}:{line}", remedy="Write it out plainly"
            )
        if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
            raise ContractError(
                f"the tag {node.tag} is not allowed", where=f"{self.where}:{line}", remedy="Write plain data"
            )
        self.lines[path] = line
        if isinstance(node, yaml.MappingNode):
            return self.record(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if _as_written(path) and (node.style or node.value not in ("", "~", "null")):
            return node.value
        return self.scalar(node, line)

    def record(self, node: Any, path: Path) -> dict[str, object]:
        """Return the plain data of a mapping node; keys are taken as written."""
        import yaml

        out: dict[str, object] = {}
        for key, item in node.value:
            place = f"{self.where}:{key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise ContractError("a key is not a plain text", where=place, remedy="Write it out plainly")
            if key.value in out:
                raise ContractError(f"the key {key.value!r} is repeated", where=place, remedy="Keep one")
            out[key.value] = self.value(item, (*path, key.value))
        return out

    def scalar(self, node: Any, line: int) -> object:
        """Return a scalar as null, boolean, number or text; a date as its ISO text."""
        import datetime as dt

        value = self.loader.construct_object(node)
        if isinstance(value, (dt.date, dt.datetime)):
            return value.isoformat()
        if value is not None and not isinstance(value, (str, int, float)):
            raise ContractError(f"a {type(value).__name__} is not allowed", where=f"{self.where}:{line}")
        return value


def _as_written(path: Path) -> bool:
    named = [part for part in path[-2:] if isinstance(part, str)]
    return bool(named) and named[-1] in _AS_WRITTEN
