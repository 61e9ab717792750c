"""The project's own keys, made when they are first needed, and the trust file that others verify with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import Refused
from assay.core.keys import PrivateKey, PublicKey
from assay.flows.project import Project
from assay.registry.log.log import Log
from assay.registry.log.note import VerifierKey
from assay.registry.trust import Trust


@dataclass(frozen=True, slots=True)
class Identity:
    """The keys that a project signs with. pipeline: models, evidence and releases; log: checkpoints."""

    pipeline: PrivateKey
    log: PrivateKey
    origin: str

    @classmethod
    def of(cls, project: Project) -> Identity:
        """Return the project's identity; the first call makes its keys, its log and ``trust.json``.

        Raises Refused when ``trust.json`` believes other keys: then someone exchanged one of them.
        """
        folder = project.state / "keys"
        fresh = not (folder / "pipeline.key").exists()
        if fresh and project.trust.exists():
            raise Refused(
                "trust.json is here and the keys it believes are not", where=str(folder), reason="keys-missing",
                remedy="Bring the keys back, or remove trust.json, log/ and release/ to start anew",
            )  # fmt: skip
        identity = cls(
            # P-256, since `model_signing verify key` takes elliptic curves only.
            _key(folder / "pipeline.key", "p256"),
            _key(folder / "log.key", "ed25519"),
            f"assay.local/{re.sub(r'[^A-Za-z0-9._-]+', '-', project.name) or 'project'}",
        )
        if fresh:
            trust = Trust(str(VerifierKey.of(identity.origin, identity.log.public)), (identity.pipeline.public,))
            trust.write(project.trust)
        identity._believed(Trust.read(project.trust), project.trust)
        return identity

    def open_log(self, folder: Path) -> Log:
        """Return the log in ``folder``, made when it is not there."""
        if (folder / "checkpoint").exists():
            return Log.open(folder, self.log, self.origin)
        return Log.create(folder, self.log, self.origin)

    def owns(self, key: PublicKey) -> bool:
        """Return whether a key is one of the project's own."""
        return key.id in {self.pipeline.public.id, self.log.public.id}

    def _believed(self, trust: Trust, path: Path) -> None:
        own = str(VerifierKey.of(self.origin, self.log.public))
        if trust.log != own or self.pipeline.public.id not in {key.id for key in trust.pipeline}:
            raise Refused(
                "believes other keys than the project signs with", where=str(path), reason="keys-differ",
                remedy="Find out who changed it before going on",
            )  # fmt: skip


def _key(path: Path, kind: str) -> PrivateKey:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        PrivateKey.generate(kind).write(path)
    return PrivateKey.read(path)
