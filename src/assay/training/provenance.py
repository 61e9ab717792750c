"""Provenance: who trained what, when, from which code, data and libraries, and under which confinement.

The predicate is SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance); what a reader needs to repeat the
training is in it, and what was not known is said to be unknown.
"""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import distributions
from pathlib import Path

from assay.core.clock import format_time
from assay.core.digest import Digest, digest_file, digest_record
from assay.core.evidence import Subject
from assay.core.statement import Statement

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://assay.dev/training/v1"
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


@dataclass(frozen=True, slots=True)
class Code:
    """The commit of the recipe's repository; dirty: it had changes not committed. commit "": in no repository."""

    commit: str = ""
    dirty: bool = False


def provenance(
    model: Subject,
    *,
    recipe: str,
    datasets: Mapping[str, Digest],
    seed: int,
    isolation: Mapping[str, object],
    started: datetime,
    finished: datetime,
    parameters: Mapping[str, object] | None = None,
    who: str = "",
) -> Statement:
    """Return the provenance statement about a trained model.

    recipe: ``file.py:function``. isolation: what was in force, as the job reported it. who: the person ("": the
    account's name). Raises DataError when the recipe cannot be read.
    """
    file = Path(recipe.rpartition(":")[0])
    code, lock = code_of(file.resolve().parent), environment()
    sources = [{"name": file.name, "digest": _digests(digest_file(file))}]
    if code.commit:
        sources.append({"name": "repository", "digest": {"gitCommit": code.commit}})
    sources += [{"name": name, "digest": _digests(digest)} for name, digest in sorted(datasets.items())]
    sources.append({"name": "environment", "digest": _digests(digest_record(lock))})
    return Statement(
        (model,),
        PREDICATE_TYPE,
        {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "recipe": f"{file.name}:{recipe.rpartition(':')[2]}",
                    "seed": str(seed),
                    "parameters": dict(parameters or {}),
                },
                "internalParameters": {
                    "isolation": dict(isolation),
                    "codeDirty": code.dirty if code.commit else None,
                    "python": platform.python_version(),
                    "platform": platform.platform(),
                    "environment": lock,
                },
                "resolvedDependencies": sources,
            },
            "runDetails": {
                "builder": {"id": f"{BUILD_TYPE}/{isolation.get('engine', 'unknown')}"},
                "metadata": {
                    "invocationId": str(digest_record([str(model.digest), format_time(started), str(seed)])),
                    "startedOn": format_time(started),
                    "finishedOn": format_time(finished),
                    "invokedBy": who or account(),
                },
            },
        },
    )


def environment() -> list[str]:
    """Return the installed distributions as sorted ``name==version``; its digest is the environment's lock."""
    return sorted({f"{d.name.lower().replace('_', '-')}=={d.version}" for d in distributions() if d.name})


def code_of(folder: Path) -> Code:
    """Return the commit that ``folder`` is at and whether it has changes; nothing of the repository is run."""
    git = shutil.which("git")
    commit = _git(git, folder, "rev-parse", "HEAD") if git else None
    if git is None or commit is None:
        return Code()
    changes = _git(git, folder, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    return Code(commit, changes is None or changes != "")


def account() -> str:
    """Return the name of the account that runs this, "unknown" when it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _git(program: str, folder: Path, *arguments: str) -> str | None:
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [program, *_SAFE, "-C", str(folder), *arguments], capture_output=True, timeout=20, check=False, env=quiet
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def _digests(digest: Digest) -> dict[str, str]:
    return {digest.algorithm: digest.hex}
