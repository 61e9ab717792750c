"""OpenSSF Model Signing v1 with keys: one Sigstore bundle that signs every file of a model.

The bundle (v0.3) holds a DSSE envelope with an in-toto statement: the predicate lists each file's digest, the subject
is the digest over those digests. Key bundles of the ``model_signing`` command verify here and ours verify there, for
keys on elliptic curves; Ed25519 keys are taken here alone. https://github.com/ossf/model-signing-spec
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hmac import compare_digest
from pathlib import Path, PurePosixPath

from assay.core.canonical import parse
from assay.core.digest import Digest
from assay.core.errors import AssayError, DataError, FormatError, UnsupportedError, VerificationError
from assay.core.evidence import Subject
from assay.core.files import read_bytes, write_bytes
from assay.core.keys import PrivateKey, PublicKey
from assay.core.statement import PAYLOAD_TYPE, Envelope, Statement

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_GIT = (".git", ".gitattributes", ".github", ".gitignore")
_HASHES = {"sha256": 32, "blake2b": 64}
_LIMIT = 1 << 28
_MOST_FILES = 1_000_000


def sign_model(
    model: str | os.PathLike[str], key: PrivateKey, bundle: str | os.PathLike[str], *, ignore: Iterable[str] = ()
) -> Mapping[str, Digest]:
    """Sign a model file or folder and write the bundle; return what was signed, path -> digest.

    The bundle itself, git's own files and ``ignore`` (paths relative to the folder) are left out. Raises DataError
    for a missing or empty model, or one with links in it.
    """
    root, target = Path(model), Path(bundle)
    left_out = sorted({*_GIT, *ignore, *_inside(root, target)})
    files = _hashed(root, left_out, "sha256")
    serialization = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": left_out if root.is_dir() else [],
    }
    resources = [{"name": n, "algorithm": d.algorithm, "digest": d.hex} for n, d in files.items()]
    name = root.absolute().name
    statement = Statement(
        (Subject(name, _overall(files)),), PREDICATE_TYPE, {"serialization": serialization, "resources": resources}
    )
    envelope = Envelope.of(statement, key)
    record = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": _hint(key.public)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(envelope.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(s).decode(), "keyid": ""} for _, s in envelope.signatures],
        },
    }
    write_bytes(target, json.dumps(record, sort_keys=True).encode())
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
    signature-form, signature-key, signature, file-changed, file-missing, file-unexpected. Raises UnsupportedError for
    another way of listing files (shards), and DataError when the model or the bundle cannot be read.
    """
    root, source = Path(model), Path(bundle)
    signed, left_out, algorithm = _manifest(_opened(source, tuple(keys)), source)
    if root.is_file():
        # Both ways of naming the one file of a single-file model occur.
        name = next(iter(signed)) if len(signed) == 1 else "."
        found = {name: _hash(root, algorithm)}
    else:
        found = _hashed(root, [*left_out, *ignore, *_inside(root, source)], algorithm)
    for name in sorted(set(signed) - set(found)):
        raise _no("was signed and is missing", name, "file-missing")
    for name in sorted(set(found) - set(signed)):
        raise _no("is here and was not signed", name, "file-unexpected")
    for name, digest in signed.items():
        if not compare_digest(found[name].hex, digest.hex):
            raise _no("is not what was signed", name, "file-changed")
    return signed


def _opened(bundle: Path, keys: tuple[PublicKey, ...]) -> Statement:
    """Return the authenticated statement of a bundle."""
    record = _record(bundle)
    material, envelope = record.get("verificationMaterial"), record.get("dsseEnvelope")
    if record.get("mediaType") != MEDIA_TYPE:
        raise _no(f"is no {MEDIA_TYPE}", bundle.name, "signature-form")
    if not isinstance(material, Mapping) or not isinstance(envelope, Mapping):
        raise _no("lacks verificationMaterial or dsseEnvelope", bundle.name, "signature-form")
    named = material.get("publicKey")
    if not isinstance(named, Mapping):
        why = "was not signed with a key, but with a certificate"
        raise UnsupportedError(why, where=bundle.name, remedy="Sign it with a key")
    hint = named.get("hint")
    able = [key for key in keys if not hint or compare_digest(_hint(key), str(hint))]
    if not able:
        raise _no("is signed with a key that is not trusted", bundle.name, "signature-key", "Add the signer's key")
    try:
        return Envelope.from_json(envelope).verify(able)
    except VerificationError as error:
        raise _no("does not carry a valid signature", bundle.name, "signature") from error
    except AssayError as error:
        raise _no(f"cannot be read ({error.message})", bundle.name, "signature-form") from error


def _record(bundle: Path) -> Mapping[str, object]:
    try:
        record = parse(read_bytes(bundle, limit=_LIMIT), where=bundle.name)
    except FormatError as error:
        raise _no(f"cannot be read ({error.message})", bundle.name, "signature-form") from error
    if not isinstance(record, Mapping):
        raise _no("is no bundle", bundle.name, "signature-form")
    return record


def _manifest(statement: Statement, bundle: Path) -> tuple[dict[str, Digest], list[str], str]:
    """Return what a statement lists: files with digests, paths left out, the hash."""
    serialization, resources = (statement.predicate.get(k) for k in ("serialization", "resources"))
    if (
        statement.predicate_type != PREDICATE_TYPE
        or not isinstance(serialization, Mapping)
        or not isinstance(resources, list)
        or len(statement.subjects) != 1
    ):
        raise _no("holds no statement about a model", bundle.name, "signature-form")
    algorithm = serialization.get("hash_type")
    if serialization.get("method") != "files" or algorithm not in _HASHES:
        way = f"{serialization.get('method')} of {algorithm}"
        raise UnsupportedError(f"lists {way}", where=bundle.name, remedy="Sign by files with sha256")
    left_out = serialization.get("ignore_paths") or []
    if not isinstance(left_out, list) or not all(isinstance(p, str) for p in left_out):
        raise _no("leaves out something that is no path", bundle.name, "signature-form")
    files: dict[str, Digest] = {}
    for resource in resources:
        name = _name(resource, bundle)
        if name in files:
            raise _no(f"lists {name!r} twice", bundle.name, "signature-form")
        files[name] = _digest(resource, str(algorithm), bundle)
    if not compare_digest(_overall(files).hex, statement.subjects[0].digest.hex):
        raise _no("contradicts itself: its files do not give its digest", bundle.name, "signature-form")
    return files, [str(p) for p in left_out], str(algorithm)


def _name(resource: object, bundle: Path) -> str:
    name = resource.get("name") if isinstance(resource, Mapping) else None
    if not isinstance(name, str) or name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
        raise _no(f"lists {str(name)[:80]!r}, which is no path inside a model", bundle.name, "signature-form")
    return name


def _digest(resource: Mapping[str, object], algorithm: str, bundle: Path) -> Digest:
    if resource.get("algorithm") != algorithm:
        raise _no(f"lists a digest that is not of {algorithm}", bundle.name, "signature-form")
    try:
        return Digest(algorithm, str(resource.get("digest")))
    except FormatError as error:
        raise _no(f"lists a digest that {error.message}", bundle.name, "signature-form") from error


def _hashed(root: Path, left_out: Iterable[str], algorithm: str) -> dict[str, Digest]:
    """Return the digest of every file, in the order of the specification: by the parts of the path."""
    if root.is_file():
        return {".": _hash(root, algorithm)}
    if not root.is_dir():
        raise DataError("does not exist", where=str(root), remedy="Give a model file or folder")
    skipped = {PurePosixPath(p) for p in left_out}
    names = sorted(_walk(root, PurePosixPath(), skipped))
    if not names:
        raise DataError("holds no file", where=str(root), remedy="Give a model file or folder")
    with ThreadPoolExecutor() as pool:
        digests = pool.map(lambda name: _hash(root / name, algorithm), names)
        return {str(name): digest for name, digest in zip(names, digests, strict=True)}


def _walk(root: Path, below: PurePosixPath, skipped: set[PurePosixPath]) -> Iterator[PurePosixPath]:
    with os.scandir(root / below) as entries:
        for count, entry in enumerate(entries):
            name = below / entry.name
            if name in skipped:
                continue
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from _walk(root, name, skipped)
            elif stat.S_ISREG(mode) and count < _MOST_FILES:
                yield name
            else:
                what = "is a link or a device" if count < _MOST_FILES else "is one file too many"
                raise _no(what, str(name), "file-unexpected", "A signed model holds plain files only")


def _hash(path: Path, algorithm: str) -> Digest:
    try:
        with open(path, "rb", buffering=0) as stream:
            return Digest(algorithm, hashlib.file_digest(stream, algorithm).hexdigest())
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path)) from error


def _inside(root: Path, bundle: Path) -> tuple[str, ...]:
    """Return the bundle's path relative to the model's folder, when it lies inside."""
    try:
        return (bundle.absolute().relative_to(root.absolute()).as_posix(),) if root.is_dir() else ()
    except ValueError:
        return ()


def _overall(files: Mapping[str, Digest]) -> Digest:
    """Return the digest over all digests, in their order."""
    state = hashlib.sha256()
    for digest in files.values():
        state.update(bytes.fromhex(digest.hex))
    return Digest("sha256", state.hexdigest())


def _hint(key: PublicKey) -> str:
    return hashlib.sha256(key.to_pem()).hexdigest()


def _no(what: str, where: str, reason: str, remedy: str = "Do not use the model") -> VerificationError:
    return VerificationError(what, where=where, remedy=remedy, reason=reason)
