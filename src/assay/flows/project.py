"""A project: the folder with ``assay.yaml`` that names the data, the contract, the recipe and the policy.

What a person edits lies in the folder itself; what Assay keeps for itself lies in ``.assay`` (keys, data
base, cache); what leaves lies in ``release/``, ``log/`` and ``report.html``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from assay.core.errors import DataError, InputError
from assay.core.files import read_bytes

FILE = "assay.yaml"
_TOP = {"project", "data", "model", "policy", "serve", "seed", "author", "profile"}
_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Project:
    """One project, all paths absolute.

    recipe: ``file.py:function``, or "" when ``artifact`` names a finished model file. author: who is
    recorded as having made the model, and therefore cannot approve it. privacy_audit: whether a private model is
    trained once more, with canaries, to audit its claim (``model.privacy_audit``).
    """

    root: Path
    name: str
    train: Path
    test: Path
    contract: Path
    policy: Path
    recipe: str = ""
    artifact: Path | None = None
    seed: int = 0
    author: str = ""
    profile: str = "quick"
    guards: Mapping[str, object] = field(default_factory=dict)
    privacy_audit: bool = True

    @classmethod
    def read(cls, folder: str | os.PathLike[str] = ".") -> Project:
        """Return the project in ``folder``. Raises DataError or InputError that names the key."""
        root = Path(folder).resolve()
        path = root / FILE
        if not path.is_file():
            raise DataError(
                f"no {FILE} here",
                where=str(root),
                remedy="Run `assay init` or `assay quickstart TABLE --target COLUMN`",
            )
        try:
            record = yaml.safe_load(read_bytes(path, limit=_LIMIT))
        except yaml.YAMLError as error:
            raise InputError(f"not valid YAML ({' '.join(str(error).split())})", where=str(path)) from error
        if not isinstance(record, dict):
            raise InputError("should be a record with project, data, model and policy", where=str(path))
        for key in sorted(set(map(str, record)) - _TOP):
            raise InputError(f"unknown key {key!r}", where=str(path), remedy=f"Use {', '.join(sorted(_TOP))}")
        data, model, serve = (_section(record, key, path) for key in ("data", "model", "serve"))
        recipe, artifact = model.get("recipe"), model.get("artifact")
        if bool(recipe) == bool(artifact):
            raise InputError(
                "model needs either recipe or artifact",
                where=str(path),
                remedy="As in model: {recipe: recipe.py:build}",
            )
        audited = model.get("privacy_audit", True)
        if not isinstance(audited, bool):
            raise InputError(f"model.privacy_audit is {audited!r}", where=str(path), remedy="Use true or false")
        return cls(
            root=root,
            name=str(record.get("project") or root.name),
            train=_file(root, data, "data", "train", path),
            test=_file(root, data, "data", "test", path),
            contract=_file(root, data, "data", "contract", path),
            policy=_file(root, {"policy": record.get("policy", "policy.yaml")}, "", "policy", path),
            recipe=_recipe(root, str(recipe)) if recipe else "",
            artifact=(root / str(artifact)).resolve() if artifact else None,
            seed=_whole(record.get("seed", 0), "seed", path),
            author=str(record.get("author") or os.environ.get("USER") or "author"),
            profile=str(record.get("profile", "quick")),
            guards=_section(serve, "guards", path),
            privacy_audit=audited,
        )

    @property
    def state(self) -> Path:
        """The folder of keys, data base and cache, which is never released."""
        return self.root / ".assay"

    @property
    def release(self) -> Path:
        """The folder that is served: model, signature, statements, proofs."""
        return self.root / "release"

    @property
    def log(self) -> Path:
        """The transparency log's static files."""
        return self.root / "log"

    @property
    def trust(self) -> Path:
        """The public keys that a release is verified with."""
        return self.root / "trust.json"

    @property
    def report(self) -> Path:
        """The report of the last assessment."""
        return self.root / "report.html"

    @property
    def database(self) -> str:
        """The URL of the registry: ``ASSAY_DB`` or a SQLite file in the state folder."""
        return os.environ.get("ASSAY_DB") or f"sqlite:///{self.state / 'assay.sqlite'}"


def _section(record: Mapping[str, object], key: str, path: Path) -> dict[str, object]:
    value = record.get(key) or {}
    if not isinstance(value, dict):
        raise InputError(f"{key} should be a record", where=str(path))
    return value


def _file(root: Path, section: Mapping[str, object], name: str, key: str, path: Path) -> Path:
    label = f"{name}.{key}".strip(".")
    if not section.get(key):
        raise InputError(f"{label} is missing", where=str(path), remedy="Name the file, relative to this one")
    found = (root / str(section[key])).resolve()
    if not found.is_file():
        raise DataError(f"{label} does not exist", where=str(found), remedy=f"Correct {label} in {path.name}")
    return found


def _recipe(root: Path, text: str) -> str:
    file, _, function = text.partition(":")
    found = (root / file).resolve()
    if not found.is_file():
        raise DataError("the recipe does not exist", where=str(found), remedy=f"Correct model.recipe in {FILE}")
    return f"{found}:{function or 'build'}"


def _whole(value: object, key: str, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{key} should be a whole number, not {value!r}", where=str(path))
    return value
