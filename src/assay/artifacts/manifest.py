"""What a model signature says, whoever signed: the files of a model with their digests, and whether they are here.

An OpenSSF Model Signing v1 statement lists each file's digest in its predicate; its subject is the digest over those
digests. Keys, certificates and Sigstore identities differ only in who vouches for that statement.
https://github.com/ossf/model-signing-spec
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path, PurePosixPath

from assay.artifacts.digest_store import DigestStore
from assay.artifacts.model_files import ALONE, find_files, hash_files, shown
from assay.core.canonical import canonical_bytes, parse
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
_SHAPE = {
    "": {"mediaType", "verificationMaterial", "dsseEnvelope"},
    "verificationMaterial": {
        "publicKey",
        "x509CertificateChain",
        "certificate",
        "tlogEntries",
        "timestampVerificationData",
    },
    "dsseEnvelope": {"payload", "payloadType", "signatures"},
}


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a model that a signature is to cover, in the specification's order, not yet read."""

    root: Path
    names: tuple[PurePosixPath, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What is signed. files: path -> digest. scan: what a scan said of the files, part of what is signed."""

    listing: Listing
    files: Mapping[str, Digest]
    scan: Mapping[str, object] = field(default_factory=dict)

    def statement(self) -> Statement:
        """Return it as the statement that is signed."""
        serialization: dict[str, object] = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
        if self.listing.left_out:
            serialization["ignore_paths"] = list(self.listing.left_out)
        resources = [{"name": n, "algorithm": d.algorithm, "digest": d.hex} for n, d in self.files.items()]
        subject = Subject(self.listing.root.resolve().name, overall_digest(self.files))
        predicate: dict[str, object] = {"serialization": serialization, "resources": resources}
        if self.scan:
            predicate["scan"] = dict(self.scan)
        return Statement((subject,), PREDICATE_TYPE, predicate)


def list_model(model: str | os.PathLike[str], bundle: str | os.PathLike[str], ignore: Iterable[str] = ()) -> Listing:
    """Return the files of a model that a bundle is to sign.

    The bundle itself, git's own files and ``ignore`` (paths relative to the folder) are left out. A file alone has the
    path ``.``. Raises DataError for a missing or empty model, one with links in it, or a bundle that would overwrite
    something else.
    """
    root, target = Path(model), Path(bundle)
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
    return Listing(root, tuple(sorted(file.name for file in found)), tuple(left_out))


def read_content(listing: Listing, digests: DigestStore | None = None) -> Content:
    """Return the listed files with their digests. Raises DataError when one cannot be read."""
    return Content(listing, hash_files(listing.root, listing.names, "sha256", digests))


def write_bundle(bundle: str | os.PathLike[str], material: Mapping[str, object], envelope: Envelope) -> None:
    """Write a bundle in which ``material`` says who signed; not one byte of it can change and still verify.

    Raises DataError when it would be too large for any verifier.
    """
    # Without key ids in the envelope: the specification names the signer in the material.
    signatures = [{"sig": base64.b64encode(s).decode(), "keyid": ""} for _, s in envelope.signatures]
    record = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {**material, "tlogEntries": []},
        "dsseEnvelope": {**envelope.to_json(), "signatures": signatures},
    }
    write_bundle_bytes(bundle, canonical_bytes(record))


def write_bundle_bytes(bundle: str | os.PathLike[str], data: bytes) -> None:
    """Write a finished bundle. Raises DataError when it would be too large for any verifier."""
    if len(data) > _LIMIT:
        raise DataError(f"would be larger than {_LIMIT} bytes: too many files to sign one by one", where=shown(bundle))
    write_bytes(bundle, data)


def read_bundle(bundle: Path) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return a bundle's verification material and its envelope, neither of them verified.

    Raises VerificationError (signature-form) for a damaged bundle, or one that says anything that is not verified.
    """
    record = _record(bundle)
    material, envelope = record.get("verificationMaterial"), record.get("dsseEnvelope")
    if record.get("mediaType") != MEDIA_TYPE:
        raise refusal(f"is no {MEDIA_TYPE}", bundle, "signature-form")
    if not isinstance(material, Mapping) or not isinstance(envelope, Mapping):
        raise refusal("lacks verificationMaterial or dsseEnvelope", bundle, "signature-form")
    if not isinstance(material.get("tlogEntries"), list):
        raise refusal("lacks tlogEntries", bundle, "signature-form")
    for name, part in (("", record), ("verificationMaterial", material), ("dsseEnvelope", envelope)):
        if odd := part.keys() - _SHAPE[name]:
            raise refusal(f"holds {shown(min(odd))!r}, which nobody verifies", bundle, "signature-form")
    signatures = envelope.get("signatures")
    if envelope.get("payloadType") != PAYLOAD_TYPE or not isinstance(signatures, list) or len(signatures) != 1:
        raise refusal("does not hold one statement with one signature", bundle, "signature-form")
    _exact(envelope, signatures[0], bundle)
    return material, envelope


def open_envelope(envelope: Mapping[str, object], keys: Collection[PublicKey], bundle: Path) -> Statement:
    """Return the statement in an envelope that one of ``keys`` signed. Raises VerificationError."""
    try:
        return Envelope.from_json(envelope).verify(keys)
    except VerificationError as error:
        raise refusal("does not carry a valid signature", bundle, "signature") from error
    except (AssayError, ValueError) as error:  # ValueError: base64 that is not even ASCII
        raise refusal(f"cannot be read ({error})", bundle, "signature-form") from error


def compare_model(
    model: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    statement: Statement,
    ignore: Iterable[str] = (),
    digests: DigestStore | None = None,
) -> Mapping[str, Digest]:
    """Return what an authenticated statement lists, path -> digest, when the files here are just those.

    Raises VerificationError: signature-form, signature-unsupported, file-changed, file-missing, file-unexpected,
    file-link.
    """
    root, source = Path(model), Path(bundle)
    signed, left_out, algorithm = _manifest(statement, source)
    wanted = {PurePosixPath(name): name for name in signed}
    if root.is_file() and wanted.keys() == {PurePosixPath(root.name)}:
        # Some signers name the one file of a single-file model, others write `.`.
        wanted = {ALONE: root.name}
    here = _as_signed(root, [*left_out, *_relative(ignore), *_inside(root, source)], wanted)
    for name in sorted(wanted.keys() - here):
        raise refusal("was signed and is missing", wanted[name], "file-missing")
    found = hash_files(root, sorted(here), algorithm, digests)
    for name, text in wanted.items():
        if not compare_digest(found[str(name)].hex, signed[text].hex):
            raise refusal("is not what was signed", text, "file-changed")
    return signed


def check_curve(key: PublicKey | PrivateKey) -> None:
    """Raise UnsupportedError for a curve that others cannot verify."""
    curve = getattr(key.key, "curve", None)
    if curve is not None and curve.name not in _CURVES:
        raise UnsupportedError(f"curve {curve.name} is not for signing models", remedy="Use P-256, P-384 or P-521")


def overall_digest(files: Mapping[str, Digest]) -> Digest:
    """Return the digest over all digests, in their order."""
    state = hashlib.sha256()
    for digest in files.values():
        state.update(bytes.fromhex(digest.hex))
    return Digest("sha256", state.hexdigest())


def refusal(what: str, where: object, reason: str, remedy: str = "Do not use the model") -> VerificationError:
    """Return the error that says why a signature does not hold."""
    name = where.name if isinstance(where, Path) else where
    return VerificationError(what, where=shown(name), remedy=remedy, reason=reason)


def _exact(envelope: Mapping[str, object], signature: object, bundle: Path) -> None:
    """Raise VerificationError for anything in a signature that could change unnoticed."""
    if not isinstance(signature, Mapping) or signature.keys() - {"sig", "keyid"}:
        raise refusal("holds a signature of unknown form", bundle, "signature-form")
    for text in (envelope.get("payload"), signature.get("sig")):
        try:
            if isinstance(text, str) and base64.b64encode(base64.b64decode(text, validate=True)).decode() == text:
                continue
        except ValueError:
            pass
        raise refusal("cannot be read (base64)", bundle, "signature-form")


def _as_signed(root: Path, left_out: Iterable[str], wanted: Mapping[PurePosixPath, str]) -> set[PurePosixPath]:
    """Return the files that are here, all of them wanted; no more is looked at than what was signed."""
    here = set()
    for file in find_files(root, left_out):
        if file.odd == "is a link":
            raise refusal("is a link, and may lead to anything", file.name, "file-link")
        if file.odd or file.name not in wanted:
            raise refusal(f"{file.odd or 'is here'} and was not signed", file.name, "file-unexpected")
        here.add(file.name)
    return here


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


def _record(bundle: Path) -> Mapping[str, object]:
    """Return the JSON object in a file; few parts are allowed, so that a hostile one stays small in memory."""
    data = read_bytes(bundle, limit=_LIMIT)
    if sum(data.count(mark) for mark in (b"[", b"{", b",")) > _MOST_PARTS:
        raise refusal("is no signature bundle", bundle, "signature-form")
    try:
        record = parse(data)
    except FormatError as error:
        raise refusal(f"cannot be read ({error.message})", bundle, "signature-form") from error
    if not isinstance(record, Mapping):
        raise refusal("is no signature bundle", bundle, "signature-form")
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
        raise refusal("holds no statement about a model", bundle, "signature-form")
    method, algorithm = serialization.get("method"), serialization.get("hash_type")
    if method != "files" or not isinstance(algorithm, str) or algorithm not in _HASHES:
        raise refusal(
            f"lists {shown(method)} of {shown(algorithm)}", bundle, "signature-unsupported", "Sign it by files"
        )
    left_out = serialization.get("ignore_paths") or []
    if not isinstance(left_out, list) or not all(isinstance(p, str) for p in left_out):
        raise refusal("leaves out something that is no path", bundle, "signature-form")
    files: dict[str, Digest] = {}
    for resource in resources:
        name = _name(resource, bundle)
        if name in files:
            raise refusal(f"lists {shown(name)} twice", bundle, "signature-form")
        files[name] = _digest(resource, algorithm, bundle)
    if not compare_digest(str(overall_digest(files)), str(statement.subjects[0].digest)):
        raise refusal("contradicts itself: its files do not give its digest", bundle, "signature-form")
    return files, [str(p) for p in left_out], algorithm


def _name(resource: object, bundle: Path) -> str:
    name = resource.get("name") if isinstance(resource, Mapping) else None
    path = PurePosixPath(name) if isinstance(name, str) else PurePosixPath("/")
    if not isinstance(name, str) or path.is_absolute() or ".." in path.parts or "\0" in name or str(path) != name:
        raise refusal(f"lists {shown(name)!r}, which is no path inside a model", bundle, "signature-form")
    return name


def _digest(resource: Mapping[str, object], algorithm: str, bundle: Path) -> Digest:
    if resource.get("algorithm") != algorithm:
        raise refusal(f"lists a digest that is not of {algorithm}", bundle, "signature-form")
    try:
        return Digest(algorithm, str(resource.get("digest")))
    except FormatError as error:
        raise refusal("lists a digest that is none", bundle, "signature-form") from error
