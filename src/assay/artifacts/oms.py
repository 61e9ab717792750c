"""OpenSSF Model Signing v1 with keys: one Sigstore bundle that signs every file of a model.

The bundle (v0.3) holds a DSSE envelope with an in-toto statement: the predicate lists each file's digest, the subject
is the digest over those digests. Key bundles of the ``model_signing`` command verify here and ours verify there, for
P-256, P-384 and P-521; Ed25519 keys are taken here alone. https://github.com/ossf/model-signing-spec
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from hmac import compare_digest
from pathlib import Path, PurePosixPath

from assay.artifacts.model_files import ALONE, find_files, hash_files, shown
from assay.core.canonical import parse
from assay.core.digest import Digest
from assay.core.errors import AssayError, DataError, FormatError, SettingError, UnsupportedError, VerificationError
from assay.core.evidence import Subject
from assay.core.files import read_bytes, write_bytes
from assay.core.keys import PrivateKey, PublicKey
from assay.core.statement import PAYLOAD_TYPE, Envelope, Statement

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_GIT = (".git", ".gitattributes", ".github", ".gitignore")
_CURVES = {"secp256r1", "secp384r1", "secp521r1"}
_HASHES = {"sha256", "blake2b"}
_LIMIT = 1 << 26
_MOST_PARTS = 1000


def sign_model(
    model: str | os.PathLike[str], key: PrivateKey, bundle: str | os.PathLike[str], *, ignore: Iterable[str] = ()
) -> Mapping[str, Digest]:
    """Sign a model file or folder and write the bundle; return what was signed, path -> digest.

    The bundle itself, git's own files and ``ignore`` (paths relative to the folder) are left out. A file alone has the
    path ``.``. Raises DataError for a missing or empty model, one with links in it, or a bundle that would overwrite
    something else; UnsupportedError for a curve that others cannot verify.
    """
    root, target = Path(model), Path(bundle)
    _usable(key)
    _replaceable(root, target)
    left_out = sorted({*_GIT, *_relative(ignore), *_inside(root, target)}) if root.is_dir() else []
    found = list(find_files(root, left_out))
    for file in found:
        if file.odd:
            where = shown(root / file.name)
            raise DataError(file.odd, where=where, remedy="A signed model holds plain files only; replace or ignore it")
    if not found:
        raise DataError("holds no file", where=shown(root), remedy="Give a model file or folder")
    # The specification's order: by the parts of the path, not by its text.
    files = hash_files(root, sorted(file.name for file in found), "sha256")
    data = json.dumps(_bundle(Envelope.of(_statement(root, files, left_out), key), key.public), sort_keys=True).encode()
    if len(data) > _LIMIT:
        raise DataError(f"holds too many files to sign one by one ({len(files)})", where=shown(root))
    write_bytes(target, data)
    return files


def verify_model(
    model: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    keys: Iterable[PublicKey],
    *,
    ignore: Iterable[str] = (),
) -> Mapping[str, Digest]:
    """Return what was signed, path -> digest, when one of ``keys`` signed it and the files are just those.

    ignore: more paths, relative to the folder, that the verifier leaves out. Raises VerificationError with the reason:
    signature-form (no bundle, or a damaged one), signature-unsupported (shards, other hashes, certificates),
    signature-key (not a key of ``keys``), signature, file-changed, file-missing, file-unexpected, file-link.
    Raises DataError when the model or the bundle cannot be read.
    """
    root, source = Path(model), Path(bundle)
    signed, left_out, algorithm = _manifest(_opened(source, tuple(keys)), source)
    wanted = {PurePosixPath(name): name for name in signed}
    if root.is_file() and wanted.keys() == {PurePosixPath(root.name)}:
        # Some signers name the one file of a single-file model, others write `.`.
        wanted = {ALONE: root.name}
    here = _as_signed(root, [*left_out, *_relative(ignore), *_inside(root, source)], wanted)
    for name in sorted(wanted.keys() - here):
        raise _no("was signed and is missing", wanted[name], "file-missing")
    found = hash_files(root, sorted(here), algorithm)
    for name, text in wanted.items():
        if not compare_digest(found[str(name)].hex, signed[text].hex):
            raise _no("is not what was signed", text, "file-changed")
    return signed


def signature_path(model: str | os.PathLike[str]) -> Path:
    """Return where a model's bundle is kept by default: ``model.sig`` in a folder, ``<file>.sig`` beside a file."""
    path = Path(model)
    return path / "model.sig" if path.is_dir() else path.with_name(f"{path.name}.sig")


def _as_signed(root: Path, left_out: Iterable[str], wanted: Mapping[PurePosixPath, str]) -> set[PurePosixPath]:
    """Return the files that are here, all of them wanted; no more is looked at than what was signed."""
    here = set()
    for file in find_files(root, left_out):
        if file.odd == "is a link":
            raise _no("is a link, and may lead to anything", file.name, "file-link")
        if file.odd or file.name not in wanted:
            raise _no(f"{file.odd or 'is here'} and was not signed", file.name, "file-unexpected")
        here.add(file.name)
    return here


def _usable(key: PrivateKey) -> None:
    curve = getattr(key.key, "curve", None)
    if curve is not None and curve.name not in _CURVES:
        raise UnsupportedError(f"curve {curve.name} is not for signing models", remedy="Use P-256, P-384 or P-521")


def _replaceable(root: Path, target: Path) -> None:
    """Raise DataError when writing the bundle would destroy something that is no bundle."""
    if not target.exists():
        return
    try:
        if root.resolve() != target.resolve() and _record(target).get("mediaType") == MEDIA_TYPE:
            return
    except (DataError, VerificationError):
        pass
    raise DataError("exists and is not a signature", where=shown(target), remedy="Name another file for the signature")


def _relative(names: Iterable[str]) -> list[str]:
    """Return paths to ignore as the specification writes them. Raises SettingError for one outside the folder."""
    paths = [PurePosixPath(name) for name in names]
    for path in paths:
        if path.is_absolute() or ".." in path.parts or path == ALONE:
            raise SettingError(f"{shown(path)!r} is no path inside the model", remedy="Give one relative to its folder")
    return [str(path) for path in paths]


def _inside(root: Path, bundle: Path) -> tuple[str, ...]:
    """Return the bundle's path relative to the model's folder, when it lies inside."""
    folder, place = root.resolve(), bundle.parent.resolve() / bundle.name
    return (place.relative_to(folder).as_posix(),) if root.is_dir() and place.is_relative_to(folder) else ()


def _statement(root: Path, files: Mapping[str, Digest], left_out: list[str]) -> Statement:
    serialization: dict[str, object] = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    if left_out:
        serialization["ignore_paths"] = left_out
    resources = [{"name": n, "algorithm": d.algorithm, "digest": d.hex} for n, d in files.items()]
    subject = Subject(root.resolve().name, _overall(files))
    return Statement((subject,), PREDICATE_TYPE, {"serialization": serialization, "resources": resources})


def _bundle(envelope: Envelope, key: PublicKey) -> dict[str, object]:
    # Without key ids in the envelope: the specification names the key by its hint.
    signatures = [{"sig": base64.b64encode(s).decode(), "keyid": ""} for _, s in envelope.signatures]
    return {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": _hint(key)}, "tlogEntries": []},
        "dsseEnvelope": {**envelope.to_json(), "signatures": signatures},
    }


def _opened(bundle: Path, keys: tuple[PublicKey, ...]) -> Statement:
    """Return the authenticated statement of a bundle."""
    record = _record(bundle)
    material, envelope = record.get("verificationMaterial"), record.get("dsseEnvelope")
    if record.get("mediaType") != MEDIA_TYPE:
        raise _no(f"is no {MEDIA_TYPE}", bundle, "signature-form")
    if not isinstance(material, Mapping) or not isinstance(envelope, Mapping):
        raise _no("lacks verificationMaterial or dsseEnvelope", bundle, "signature-form")
    if not isinstance(material.get("publicKey"), Mapping):
        why = "was not signed with a key, but with a certificate"
        raise _no(why, bundle, "signature-unsupported", "Have it signed with a key")
    signatures = envelope.get("signatures")
    if envelope.get("payloadType") != PAYLOAD_TYPE or not isinstance(signatures, list) or len(signatures) != 1:
        raise _no("does not hold one statement with one signature", bundle, "signature-form")
    hint = material["publicKey"].get("hint")
    able = [key for key in keys if not hint or _hint(key) == hint]
    if not able:
        raise _no("is signed with a key that is not trusted", bundle, "signature-key", "Add the signer's key")
    try:
        return Envelope.from_json(envelope).verify(able)
    except VerificationError as error:
        raise _no("does not carry a valid signature", bundle, "signature") from error
    except (AssayError, ValueError) as error:  # ValueError: base64 that is not even ASCII
        raise _no(f"cannot be read ({error})", bundle, "signature-form") from error


def _record(bundle: Path) -> Mapping[str, object]:
    """Return the JSON object in a file; few parts are allowed, so that a hostile one stays small in memory."""
    data = read_bytes(bundle, limit=_LIMIT)
    if sum(data.count(mark) for mark in (b"[", b"{", b",")) > _MOST_PARTS:
        raise _no("is no signature bundle", bundle, "signature-form")
    try:
        record = parse(data)
    except FormatError as error:
        raise _no(f"cannot be read ({error.message})", bundle, "signature-form") from error
    if not isinstance(record, Mapping):
        raise _no("is no signature bundle", bundle, "signature-form")
    return record


def _manifest(statement: Statement, bundle: Path) -> tuple[dict[str, Digest], list[str], str]:
    """Return what a statement lists: files with digests, paths left out, the hash."""
    serialization, resources = (statement.predicate.get(k) for k in ("serialization", "resources"))
    if (
        statement.predicate_type != PREDICATE_TYPE
        or not isinstance(serialization, Mapping)
        or not isinstance(resources, list)
        or not resources
        or len(statement.subjects) != 1
    ):
        raise _no("holds no statement about a model", bundle, "signature-form")
    method, algorithm = serialization.get("method"), serialization.get("hash_type")
    if method != "files" or not isinstance(algorithm, str) or algorithm not in _HASHES:
        raise _no(f"lists {shown(method)} of {shown(algorithm)}", bundle, "signature-unsupported", "Sign it by files")
    left_out = serialization.get("ignore_paths") or []
    if not isinstance(left_out, list) or not all(isinstance(p, str) for p in left_out):
        raise _no("leaves out something that is no path", bundle, "signature-form")
    files: dict[str, Digest] = {}
    for resource in resources:
        name = _name(resource, bundle)
        if name in files:
            raise _no(f"lists {shown(name)} twice", bundle, "signature-form")
        files[name] = _digest(resource, algorithm, bundle)
    if not compare_digest(str(_overall(files)), str(statement.subjects[0].digest)):
        raise _no("contradicts itself: its files do not give its digest", bundle, "signature-form")
    return files, [str(p) for p in left_out], algorithm


def _name(resource: object, bundle: Path) -> str:
    name = resource.get("name") if isinstance(resource, Mapping) else None
    path = PurePosixPath(name) if isinstance(name, str) else PurePosixPath("/")
    if not isinstance(name, str) or path.is_absolute() or ".." in path.parts or "\0" in name or str(path) != name:
        raise _no(f"lists {shown(name)!r}, which is no path inside a model", bundle, "signature-form")
    return name


def _digest(resource: Mapping[str, object], algorithm: str, bundle: Path) -> Digest:
    if resource.get("algorithm") != algorithm:
        raise _no(f"lists a digest that is not of {algorithm}", bundle, "signature-form")
    try:
        return Digest(algorithm, str(resource.get("digest")))
    except FormatError as error:
        raise _no("lists a digest that is none", bundle, "signature-form") from error


def _overall(files: Mapping[str, Digest]) -> Digest:
    """Return the digest over all digests, in their order."""
    state = hashlib.sha256()
    for digest in files.values():
        state.update(bytes.fromhex(digest.hex))
    return Digest("sha256", state.hexdigest())


def _hint(key: PublicKey) -> str:
    return hashlib.sha256(key.to_pem()).hexdigest()


def _no(what: str, where: object, reason: str, remedy: str = "Do not use the model") -> VerificationError:
    name = where.name if isinstance(where, Path) else where
    return VerificationError(what, where=shown(name), remedy=remedy, reason=reason)
