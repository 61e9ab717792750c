"""A configuration file in one form, whatever it was written in: what it sets, runs, calls and deploys, with lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Plain: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Setting:
    """A key with its value, as in ``core.fernet_key`` or an environment variable; line from 1."""

    key: str
    value: Plain
    line: int = 1

    @property
    def text(self) -> str:
        """The value as text, without quotes and spaces around it."""
        return "" if self.value is None else str(self.value).strip().strip("'\"")

    @property
    def on(self) -> bool:
        """Whether the value says yes."""
        return self.text.lower() in {"true", "1", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Command:
    """A command line in words."""

    words: tuple[str, ...]
    line: int = 1

    def runs(self, *names: str) -> bool:
        """Return whether the command runs the program ``names[0]``, with the others among its words in this order."""
        words = iter(w.rpartition("/")[2] if i == 0 else w for i, w in enumerate(self._after(names[0])))
        return all(name in words for name in names)

    def values(self, flag: str) -> Iterator[str]:
        """Yield the values that are given to a flag, as ``--flag value`` or ``--flag=value`` ("" for a bare one)."""
        for i, word in enumerate(self.words):
            if word.startswith(f"{flag}="):
                yield word.partition("=")[2].strip("'\"")
            elif word == flag:
                following = self.words[i + 1] if i + 1 < len(self.words) else ""
                yield "" if following.startswith("-") else following

    def has(self, flag: str) -> bool:
        """Return whether a flag is given."""
        return any(True for _ in self.values(flag))

    def _after(self, program: str) -> tuple[str, ...]:
        for i, word in enumerate(self.words):
            if word.rpartition("/")[2] == program:
                return self.words[i:]
        return ()


@dataclass(frozen=True, slots=True)
class Call:
    """A call in Python code: dotted name as written after imports are resolved, keywords with constant values."""

    name: str
    keywords: Mapping[str, Plain]
    arguments: tuple[Plain, ...] = ()
    line: int = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """A Kubernetes object."""

    kind: str
    name: str
    namespace: str
    body: Mapping[str, Plain]
    line: int = 1
    lines: Mapping[str, int] | None = None

    def get(self, path: str, default: Plain = None) -> Plain:
        """Return the value at a dotted path of the object."""
        value: Plain = self.body
        for part in path.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value

    @property
    def pods(self) -> tuple[Mapping[str, Plain], ...]:
        """The pod specifications inside: a Pod's own, a workload's template, a cron job's, a predictor's."""
        paths = (
            "spec", "spec.template.spec", "spec.jobTemplate.spec.template.spec", "spec.predictor", "spec.transformer",
        )  # fmt: skip
        found = (self.get(path) for path in (paths[:1] if self.kind == "Pod" else paths[1:]))
        return tuple(spec for spec in found if isinstance(spec, Mapping))

    @property
    def containers(self) -> tuple[Mapping[str, Plain], ...]:
        """Every container of every pod specification."""
        groups = (spec.get(key) for spec in self.pods for key in ("containers", "initContainers"))
        return tuple(c for group in groups if isinstance(group, list) for c in group if isinstance(c, Mapping))


@dataclass(frozen=True, slots=True)
class Document:
    """One file. kind: ini, yaml, toml, json, dockerfile, shell, python, requirements; name: the file's own name.

    inside: files that it carries, as a ConfigMap does, each with the number of lines before it.
    """

    path: str
    name: str
    kind: str
    settings: tuple[Setting, ...] = ()
    environment: tuple[Setting, ...] = ()
    commands: tuple[Command, ...] = ()
    calls: tuple[Call, ...] = ()
    manifests: tuple[Manifest, ...] = ()
    text: str = ""
    inside: tuple[tuple[int, Document], ...] = ()
