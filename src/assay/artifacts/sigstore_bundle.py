"""OpenSSF Model Signing v1 without keys: Sigstore says which identity signed a model, and a public log when.

Signing asks Sigstore's services for a certificate that lives for minutes and logs the signature. Verifying needs no
network: the bundle holds the log's proof, and the verifier's trust root file the keys of authority and logs. Nothing is
fetched, so what is believed is what lies in that file. Needs the ``sigstore`` extra. https://docs.sigstore.dev
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.artifacts.certificates import Vouched
from assay.artifacts.digest_store import DigestStore
from assay.artifacts.manifest import (
    Content,
    compare_model,
    list_model,
    read_bundle,
    read_content,
    refusal,
    write_bundle_bytes,
)
from assay.core.canonical import canonical_bytes, parse
from assay.core.digest import Digest
from assay.core.errors import DependencyError, FormatError, JobError, SettingError
from assay.core.files import read_bytes
from assay.core.statement import PAYLOAD_TYPE, Statement

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.verify import Verifier

_TRUST_LIMIT = 1 << 22
_SIGSTORE_LIMIT = 1 << 26


def sign_keyless(
    model: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    identity_token: str,
    trust_config: str | os.PathLike[str],
    *,
    ignore: Iterable[str] = (),
    digests: DigestStore | None = None,
) -> Mapping[str, Digest]:
    """Sign a model file or folder as an OpenID identity and write the bundle; return what was signed, path -> digest.

    identity_token: a fresh OpenID token for the audience ``sigstore``. trust_config: file with trust root and addresses
    of the services (ClientTrustConfig). Needs those services. Raises as ``sign_content_keyless``, and DataError as
    ``sign_model`` does.
    """
    content = read_content(list_model(model, bundle, ignore), digests)
    sign_content_keyless(content, bundle, identity_token, trust_config)
    return content.files


def sign_content_keyless(
    content: Content,
    bundle: str | os.PathLike[str],
    identity_token: str,
    trust_config: str | os.PathLike[str],
) -> None:
    """Sign files that have been read as an OpenID identity, and write the bundle.

    Raises DependencyError without sigstore; FormatError for an unusable trust configuration; SettingError for a token
    that is none or too old; JobError when a service cannot be reached or refuses.
    """
    with _sigstore():
        from sigstore.dsse import Statement as InToto
        from sigstore.errors import Error
        from sigstore.models import ClientTrustConfig
        from sigstore.oidc import ExpiredIdentity, IdentityError, IdentityToken
        from sigstore.sign import SigningContext
    text = read_bytes(trust_config, limit=_TRUST_LIMIT)
    try:
        context = SigningContext.from_trust_config(ClientTrustConfig.from_json(text.decode()))
    except (Error, ValueError, IndexError) as error:
        why = f"is no trust configuration ({_first_line(error)})"
        raise FormatError(why, where=str(trust_config), remedy="Give a ClientTrustConfig file") from error
    try:
        token = IdentityToken(identity_token)
    except IdentityError:
        # `from None`: nothing of a token may get into a log.
        raise SettingError("is no valid identity token", where="identity token", remedy="Get a fresh one") from None
    statement = InToto(canonical_bytes(content.statement().to_json()))
    try:
        with context.signer(token) as signer:
            made = signer.sign_dsse(statement)
    except ExpiredIdentity:
        raise SettingError("has expired", where="identity token", remedy="Get a fresh one") from None
    except Exception as error:
        why = f"Sigstore did not sign ({_first_line(error)})"
        raise JobError(why, remedy="Check the addresses in the trust configuration", reason="sigstore") from error
    write_bundle_bytes(bundle, made.to_json().encode())


def verify_keyless(
    model: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    identity: str,
    issuer: str,
    trust_root: str | os.PathLike[str],
    *,
    ignore: Iterable[str] = (),
    digests: DigestStore | None = None,
) -> Vouched:
    """Return what was signed, when ``identity``, as named by ``issuer``, signed just these files and it was logged.

    trust_root: file with the keys that are trusted (TrustedRoot, or a ClientTrustConfig that has one). No network.
    Raises VerificationError: signature-form, signature-unsupported (not signed so), signature-identity (someone else, or
    named by someone else), signature (certificate, log entry or signature do not hold), and the ``file-`` reasons of
    ``verify_model``. Raises DependencyError without sigstore, FormatError for an unusable trust root.
    """
    if not identity or not issuer:
        raise SettingError("an identity and who named it are both needed", remedy="Give --identity and --issuer")
    source = Path(bundle)
    material, _ = read_bundle(source)
    if not isinstance(material.get("certificate"), Mapping) or not material.get("tlogEntries"):
        why = "was not signed with a Sigstore identity"
        raise refusal(why, source, "signature-unsupported", "Verify it with the signer's key or certificate")
    statement = _verified(source, material, _verifier(trust_root), _Signer(identity, issuer, source))
    return Vouched(compare_model(model, source, statement, ignore, digests), (identity,))


class _Signer:
    """Sigstore's policy for one identity, with a refusal of its own."""

    def __init__(self, identity: str, issuer: str, bundle: Path) -> None:
        self._identity = identity
        self._issuer = issuer
        self._bundle = bundle

    def verify(self, cert: Certificate) -> None:
        """Return when the certificate names the identity and its issuer. Raises VerificationError."""
        from sigstore.errors import Error
        from sigstore.verify.policy import Identity

        try:
            Identity(identity=self._identity, issuer=self._issuer).verify(cert)
        except Error as error:
            why = f"is not signed by {self._identity!r} as named by {self._issuer!r}"
            raise refusal(why, self._bundle, "signature-identity") from error


def _verifier(trust_root: str | os.PathLike[str]) -> Verifier:
    with _sigstore():
        from sigstore.errors import Error
        from sigstore.models import ClientTrustConfig, TrustedRoot
        from sigstore.verify import Verifier
    data = read_bytes(trust_root, limit=_TRUST_LIMIT)
    try:
        if b"clienttrustconfig" in data:
            root = ClientTrustConfig.from_json(data.decode()).trusted_root
        else:
            root = TrustedRoot.from_file(os.fspath(trust_root))
        return Verifier(trusted_root=root)
    except (Error, ValueError, IndexError) as error:
        why = f"is no trust root ({_first_line(error)})"
        raise FormatError(why, where=str(trust_root), remedy="Give a trusted_root.json") from error


def _verified(source: Path, material: Mapping[str, Any], verifier: Verifier, policy: _Signer) -> Statement:
    """Return the statement of a bundle that holds in every respect."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from sigstore.errors import Error
    from sigstore.models import Bundle, InvalidBundle

    odd = (
        ValueError, TypeError, AttributeError, LookupError, OverflowError, OSError, UnsupportedAlgorithm,
        x509.ExtensionNotFound, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType,
    )  # fmt: skip
    try:
        bundle = Bundle.from_json(read_bytes(source, limit=_SIGSTORE_LIMIT))
    except (InvalidBundle, Error, *odd) as error:
        raise refusal(f"cannot be read ({_first_line(error)})", source, "signature-form") from error
    try:
        kind, payload = verifier.verify_dsse(bundle, policy)
    except (Error, *odd) as error:
        raise refusal(f"does not hold ({_first_line(error)})", source, "signature") from error
    if not _sizes_agree(material):
        raise refusal("does not hold (the log's size is not the one it signed)", source, "signature")
    if kind != PAYLOAD_TYPE:
        raise refusal("does not hold an in-toto statement", source, "signature-form")
    try:
        return Statement.from_json(parse(payload))
    except FormatError as error:
        raise refusal(f"cannot be read ({error.message})", source, "signature-form") from error


def _sizes_agree(material: Mapping[str, Any]) -> bool:
    """Return whether each log entry has the size that its checkpoint signs: the library compares all of it but that."""
    try:
        proofs = [entry["inclusionProof"] for entry in material["tlogEntries"]]
        return all(str(p["treeSize"]) == p["checkpoint"]["envelope"].split("\n")[1] for p in proofs)
    except (KeyError, TypeError, AttributeError, IndexError):
        return False


@contextmanager
def _sigstore() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise DependencyError(
            "sigstore is not installed", where="Sigstore signatures", remedy="Run pip install 'assay[sigstore]'"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return ascii(lines[0][:200])[1:-1]
