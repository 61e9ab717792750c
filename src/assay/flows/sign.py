"""Signing any model with a key, a certificate or a Sigstore identity, verifying it again, and making a key."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from assay.artifacts.digest_store import DigestStore
from assay.artifacts.manifest import Content, Listing, list_model, read_content
from assay.artifacts.oms import sign_content, signature_path, verify_model
from assay.core.errors import DataError, Refused, SettingError
from assay.core.keys import PrivateKey, PublicKey

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

StrPath: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed. files: path -> digest; key: id of the key that verifies it, empty for a Sigstore identity.

    scan: the verdict of the scan that came first; empty when there was none.
    """

    bundle: Path
    files: dict[str, str]
    key: str = ""
    scan: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        record: dict[str, object] = {"bundle": str(self.bundle), "key": self.key, "files": self.files}
        return {**record, "scan": self.scan} if self.scan else record


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A model that is what was signed. signer: names or key ids that are vouched for; files: path -> digest."""

    signer: tuple[str, ...]
    files: dict[str, str]

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {"signer": list(self.signer), "files": self.files}


def sign(
    model: StrPath,
    key: StrPath,
    bundle: StrPath | None = None,
    *,
    certificate: StrPath | None = None,
    chain: Iterable[StrPath] = (),
    scan: bool = True,
    verdict: bool = False,
    ignore: Iterable[str] = (),
    digests: StrPath | None = None,
    fresh: bool = False,
) -> Signed:
    """Sign a model file or folder with the private key in a file; return what was signed.

    bundle: default as in ``signature_path``. certificate: the key's own, PEM; then it is the certificate that is
    verified later, by way of ``chain``, those between it and the root. scan: one pass over the bytes hashes and scans
    them. verdict: what the scan said of each file is signed too, which OpenSSF Model Signing 1.0 does not know. digests:
    file that remembers digests of unchanged files; fresh: believe nothing in it. Raises DataError when the key or the
    digests lie in the folder, where they would be handed out with the model; Refused (scan-malicious), having written
    nothing, when loading a file would do harm; else as ``sign_model``.
    """
    root = Path(model)
    _outside(root, key, "Move the key elsewhere")
    private = PrivateKey.read(key)
    certificates = _certificates(certificate, chain)
    target = Path(bundle) if bundle else signature_path(root)
    content, said = _content(root, target, ignore, scan=scan, verdict=verdict, digests=digests, fresh=fresh)
    if certificates:
        from assay.artifacts.certificates import sign_content_with_certificate

        sign_content_with_certificate(content, private, certificates, target)
    else:
        sign_content(content, private, target)
    return _signed(target, content, private.public.id, said)


def sign_as_identity(
    model: StrPath,
    identity_token: str,
    trust_config: StrPath,
    bundle: StrPath | None = None,
    *,
    scan: bool = True,
    verdict: bool = False,
    ignore: Iterable[str] = (),
    digests: StrPath | None = None,
    fresh: bool = False,
) -> Signed:
    """Sign a model file or folder as an OpenID identity, by way of Sigstore; return what was signed.

    Raises as ``sign_keyless``, and otherwise as ``sign``.
    """
    from assay.artifacts.sigstore_bundle import sign_content_keyless

    root = Path(model)
    target = Path(bundle) if bundle else signature_path(root)
    content, said = _content(root, target, ignore, scan=scan, verdict=verdict, digests=digests, fresh=fresh)
    sign_content_keyless(content, target, identity_token, trust_config)
    return _signed(target, content, "", said)


def confirm(
    model: StrPath,
    bundle: StrPath | None = None,
    *,
    keys: Iterable[StrPath] = (),
    roots: Iterable[StrPath] = (),
    trust_root: StrPath | None = None,
    identity: str | None = None,
    issuer: str | None = None,
    at: datetime | None = None,
    ignore: Iterable[str] = (),
    digests: StrPath | None = None,
    fresh: bool = False,
) -> Confirmed:
    """Return who signed a model when its files are just what they signed; one way of trust is given.

    keys: public key files. roots: PEM files of root certificates, for which ``identity`` is a name that the certificate
    must carry, and ``at`` the time at which it must hold. trust_root: Sigstore's, with ``identity`` and ``issuer``.
    Raises VerificationError with its reason, SettingError for none or several ways of trust.
    """
    root, key_files, root_files = Path(model), tuple(keys), tuple(roots)
    source = Path(bundle) if bundle else signature_path(root)
    if (bool(key_files), bool(root_files), trust_root is not None).count(True) != 1:
        raise SettingError(
            "one way to trust the signer is needed", where=str(model),
            remedy="Give --key, --certificate-root, or --trust-root with --identity and --issuer",
        )  # fmt: skip
    if issuer is not None and trust_root is None:
        raise SettingError("an issuer is part of a Sigstore identity", where="--issuer", remedy="Give --trust-root too")
    if identity is not None and key_files:
        raise SettingError("a key vouches for no name", where="--identity", remedy="Leave it out")
    with _store(root, digests, fresh=fresh) as store:
        if key_files:
            public = tuple(PublicKey.read(file) for file in key_files)
            files = verify_model(root, source, public, ignore=ignore, digests=store)
            return Confirmed(tuple(k.id for k in public), {n: str(d) for n, d in files.items()})
        if root_files:
            from assay.artifacts.certificates import verify_with_certificate
            from assay.artifacts.chain import read_certificates

            believed = read_certificates(*root_files)
            found = verify_with_certificate(
                root, source, believed, subject=identity, at=at, ignore=ignore, digests=store
            )
        else:
            from assay.artifacts.sigstore_bundle import verify_keyless

            found = verify_keyless(
                root, source, identity or "", issuer or "", trust_root or "", ignore=ignore, digests=store
            )
    return Confirmed(found.names, {n: str(d) for n, d in found.files.items()})


def make_key(path: StrPath, kind: str = "p256") -> PublicKey:
    """Write a new private key to ``path``, mode 0600, and its public key to ``path.pub``; return the public key.

    kind: ``p256`` or ``ed25519``. Raises DataError, having written nothing, when one of the files exists.
    """
    for taken in (Path(path), Path(f"{os.fspath(path)}.pub")):
        if os.path.lexists(taken):
            raise DataError("exists already", where=str(taken), remedy="Name another file; a lost key cannot be remade")
    private = PrivateKey.generate(kind)
    private.write(path)
    return private.public


def _content(
    root: Path,
    target: Path,
    ignore: Iterable[str],
    *,
    scan: bool,
    verdict: bool,
    digests: StrPath | None,
    fresh: bool,
) -> tuple[Content, str]:
    """Return what is to be signed, and what a scan said of it. Raises Refused when it would do harm."""
    if verdict and not scan:
        raise SettingError("there is no verdict without a scan", where="verdict", remedy="Leave one of the two out")
    listing = list_model(root, target, ignore)
    with _store(root, digests, fresh=fresh) as store:
        if not scan:
            return read_content(listing, store), ""
        content = _scanned(listing, store)
    return content if verdict else replace(content, scan={}), str(content.scan["verdict"])


def _scanned(listing: Listing, store: DigestStore | None) -> Content:
    from assay.artifacts.examine import examine
    from assay.artifacts.report import FileVerdict

    found = examine(listing, store)
    for file in found.report.files:
        if file.verdict is FileVerdict.MALICIOUS:
            why = file.findings[0].message if file.findings else "loading it would do harm"
            raise Refused(
                f"is malicious: {why}", where=file.path, reason="scan-malicious", remedy="Do not sign or load it"
            )
    return found.content


def _store(root: Path, path: StrPath | None, *, fresh: bool) -> AbstractContextManager[DigestStore | None]:
    if path is None:
        return nullcontext()
    _outside(root, path, "Keep the digests elsewhere")
    return DigestStore(path, fresh=fresh)


def _outside(root: Path, file: StrPath, remedy: str) -> None:
    if root.is_dir() and Path(file).resolve().is_relative_to(root.resolve()):
        raise DataError("lies inside the model and would be handed out", where=str(file), remedy=remedy)


def _certificates(certificate: StrPath | None, chain: Iterable[StrPath]) -> tuple[Certificate, ...]:
    from assay.artifacts.chain import read_certificates

    files = tuple(chain)
    if certificate is None:
        if files:
            raise SettingError("needs the key's certificate", where="--chain", remedy="Give --certificate too")
        return ()
    return read_certificates(certificate, *files)


def _signed(target: Path, content: Content, key: str, said: str) -> Signed:
    return Signed(target, {name: str(digest) for name, digest in content.files.items()}, key, said)
