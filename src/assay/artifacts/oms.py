"""OpenSSF Model Signing v1 with keys: one Sigstore bundle that signs every file of a model.

The bundle (v0.3) holds a DSSE envelope with an in-toto statement (``assay.artifacts.manifest``). Key bundles of the
``model_signing`` command verify here and ours verify there, for P-256, P-384 and P-521; Ed25519 keys are taken here
alone. https://github.com/ossf/model-signing-spec
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from assay.artifacts.digest_store import DigestStore
from assay.artifacts.manifest import (
    MEDIA_TYPE,
    PREDICATE_TYPE,
    Content,
    check_curve,
    compare_model,
    list_model,
    open_envelope,
    read_bundle,
    read_content,
    refusal,
    write_bundle,
)
from assay.core.digest import Digest
from assay.core.keys import PrivateKey, PublicKey
from assay.core.statement import Envelope


def sign_model(
    model: str | os.PathLike[str],
    key: PrivateKey,
    bundle: str | os.PathLike[str],
    *,
    ignore: Iterable[str] = (),
    digests: DigestStore | None = None,
) -> Mapping[str, Digest]:
    """Sign a model file or folder and write the bundle; return what was signed, path -> digest.

    The bundle itself, git's own files and ``ignore`` (paths relative to the folder) are left out. A file alone has the
    path ``.``. digests: what is known of files that have not changed since. Raises DataError for a missing or empty
    model, one with links in it, or a bundle that would overwrite something else; UnsupportedError for a curve that
    others cannot verify.
    """
    check_curve(key)
    content = read_content(list_model(model, bundle, ignore), digests)
    sign_content(content, key, bundle)
    return content.files


def sign_content(content: Content, key: PrivateKey, bundle: str | os.PathLike[str]) -> None:
    """Sign files that have been read, and write the bundle. Raises UnsupportedError for an unusable curve."""
    check_curve(key)
    write_bundle(bundle, {"publicKey": {"hint": _hint(key.public)}}, Envelope.of(content.statement(), key))


def verify_model(
    model: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    keys: Iterable[PublicKey],
    *,
    ignore: Iterable[str] = (),
    digests: DigestStore | None = None,
) -> Mapping[str, Digest]:
    """Return what was signed, path -> digest, when one of ``keys`` signed it and the files are just those.

    ignore: more paths, relative to the folder, that the verifier leaves out. digests: what is known of files that have
    not changed since; as trustworthy as the store. Raises VerificationError with the reason: signature-form (no bundle,
    or a damaged one), signature-unsupported (shards, other hashes, certificates), signature-key (not a key of
    ``keys``), signature, file-changed, file-missing, file-unexpected, file-link. Raises DataError when the model or the
    bundle cannot be read.
    """
    source = Path(bundle)
    material, envelope = read_bundle(source)
    named = material.get("publicKey")
    if not isinstance(named, Mapping):
        why = "was not signed with a key, but with a certificate"
        raise refusal(
            why, source, "signature-unsupported", "Verify it by its certificate, or have it signed with a key"
        )
    if named.keys() - {"hint"} or material.keys() - {"publicKey", "tlogEntries"} or material.get("tlogEntries"):
        raise refusal("says more of its key than a hint", source, "signature-form")
    hint = named.get("hint")
    able = [key for key in keys if not hint or _hint(key) == hint]
    if not able:
        raise refusal("is signed with a key that is not trusted", source, "signature-key", "Add the signer's key")
    return compare_model(model, source, open_envelope(envelope, able, source), ignore, digests)


def signature_path(model: str | os.PathLike[str]) -> Path:
    """Return where a model's bundle is kept by default: ``model.sig`` in a folder, ``<file>.sig`` beside a file."""
    path = Path(model)
    return path / "model.sig" if path.is_dir() else path.with_name(f"{path.name}.sig")


def _hint(key: PublicKey) -> str:
    return hashlib.sha256(key.to_pem()).hexdigest()


__all__ = ["MEDIA_TYPE", "PREDICATE_TYPE", "sign_content", "sign_model", "signature_path", "verify_model"]
