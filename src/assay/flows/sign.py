"""Signing any model with a key of one's own, and making such a key."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from assay.artifacts.oms import sign_model, signature_path
from assay.core.errors import DataError
from assay.core.keys import PrivateKey, PublicKey


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed. files: path -> digest; key: id of the key that verifies it."""

    bundle: Path
    files: dict[str, str]
    key: str

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {"bundle": str(self.bundle), "key": self.key, "files": self.files}


def sign(
    model: str | os.PathLike[str],
    key: str | os.PathLike[str],
    bundle: str | os.PathLike[str] | None = None,
    *,
    ignore: Iterable[str] = (),
) -> Signed:
    """Sign a model file or folder with the private key in a file; return what was signed.

    bundle: default as in ``signature_path``. Raises DataError when the key lies in the folder, where it would be handed
    out with the model; else as ``sign_model``.
    """
    root, secret = Path(model), Path(key)
    if root.is_dir() and secret.resolve().is_relative_to(root.resolve()):
        raise DataError(
            "lies inside the model and would be handed out", where=str(key), remedy="Move the key elsewhere"
        )
    private = PrivateKey.read(secret)
    target = Path(bundle) if bundle else signature_path(root)
    files = sign_model(root, private, target, ignore=ignore)
    return Signed(target, {name: str(digest) for name, digest in files.items()}, private.public.id)


def make_key(path: str | os.PathLike[str], kind: str = "p256") -> PublicKey:
    """Write a new private key to ``path``, mode 0600, and its public key to ``path.pub``; return the public key.

    kind: ``p256`` or ``ed25519``. Raises DataError, having written nothing, when one of the files exists.
    """
    for taken in (Path(path), Path(f"{os.fspath(path)}.pub")):
        if os.path.lexists(taken):
            raise DataError("exists already", where=str(taken), remedy="Name another file; a lost key cannot be remade")
    private = PrivateKey.generate(kind)
    private.write(path)
    return private.public
