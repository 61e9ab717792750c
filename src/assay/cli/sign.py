"""``keygen``, ``sign`` and ``verify-model``: a key of one's own, OpenSSF signatures of any model, and checking them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from assay.cli.output import Output, command

_path = click.Path(path_type=Path)


@command("keygen")
@click.argument("path", type=_path)
@click.option(
    "--kind", type=click.Choice(("p256", "ed25519")), default="p256", show_default=True,
    help="P-256 signatures of models also verify with the model_signing command.",
)  # fmt: skip
def keygen(output: Output, path: Path, kind: str) -> int:
    """Make a key: the private one in PATH, readable by you alone, and the public one in PATH.pub.

    Exit 2 when one of the files exists; a key is never overwritten.
    """
    from assay.flows.sign import make_key

    public = make_key(path, kind)
    output.document({"private": str(path), "public": f"{path}.pub", "kind": kind, "key": public.id})
    output.text(f"{path}: keep it to yourself. {path}.pub: hand it out. Key {public.id[:12]}")
    return 0


@command("sign")
@click.argument("model", type=_path)
@click.option("--key", type=_path, help="Private key file, as `assay keygen` makes it.")
@click.option("--certificate", type=_path, help="The key's certificate (PEM); verifiers then trust its root.")
@click.option("--chain", type=_path, multiple=True, help="Certificates between it and the root; may be repeated.")
@click.option("--keyless", is_flag=True, help="Sign as an OpenID identity, by way of Sigstore, without a key.")
@click.option("--identity-token-file", type=_path, help="File with a fresh OpenID token, for --keyless.")
@click.option("--trust-config", type=_path, help="Sigstore's trust root and addresses, for --keyless.")
@click.option(
    "--bundle", type=_path, help="File to write.  [default: MODEL.sig beside a file, MODEL/model.sig in a folder]"
)
@click.option(
    "--scan/--no-scan", default=True, show_default=True,
    help="Scan the same bytes, and refuse what is malicious.",
)  # fmt: skip
@click.option("--verdict", is_flag=True, help="Sign what the scan said of each file, too.")
@click.option("--digests", type=_path, help="File that remembers digests of unchanged files, so as not to read them.")
@click.option("--fresh", is_flag=True, help="Believe nothing in --digests; read every file.")
@click.option("--ignore", multiple=True, help="Path inside the folder that is not signed; may be repeated.")
def sign(
    output: Output,
    model: Path,
    key: Path | None,
    keyless: bool,
    identity_token_file: Path | None,
    trust_config: Path | None,
    **options: Any,
) -> int:
    """Sign MODEL, a file or a folder, with --key or --keyless.

    Writes an OpenSSF model signature (Sigstore bundle) over every file; git's own files and the signature itself are
    left out. The same bytes are scanned first, unless --no-scan. Exit 1 when the scan finds the model malicious.
    Exit 2 when the model holds links, or when the bundle would overwrite something else.
    """
    from assay.flows.sign import sign as sign_files
    from assay.flows.sign import sign_as_identity

    sigstore = (identity_token_file, trust_config)
    if (key is None) != keyless or (keyless and None in sigstore) or (not keyless and any(sigstore)):
        raise click.UsageError("Give --key, or --keyless with --identity-token-file and --trust-config.")
    if keyless and (options["certificate"] or options["chain"]):
        raise click.UsageError("--certificate and --chain go with --key.")
    if key is not None:
        signed = sign_files(model, key, **options)
    else:
        from assay.core.files import read_bytes

        del options["certificate"], options["chain"]
        token = read_bytes(str(identity_token_file), limit=1 << 16).decode(errors="replace").strip()
        signed = sign_as_identity(model, token, str(trust_config), **options)
    output.document(signed.to_json())
    count = f"{len(signed.files)} file{'' if len(signed.files) == 1 else 's'}"
    by = f"key {signed.key[:12]}" if signed.key else "with a Sigstore identity"
    output.text(f"{signed.bundle}: signs {count}, {by}{f', scan: {signed.scan}' if signed.scan else ''}")
    return 0


@command("verify-model")
@click.argument("model", type=_path)
@click.option("--key", "keys", type=_path, multiple=True, help="Public key that is trusted (.pub); may be repeated.")
@click.option(
    "--certificate-root", "roots", type=_path, multiple=True, help="Root certificates that are trusted (PEM)."
)
@click.option("--trust-root", type=_path, help="Sigstore trust root file; nothing is fetched.")
@click.option("--identity", help="Who must have signed: a name in the certificate, such as a mail address.")
@click.option("--issuer", help="Who must have named the Sigstore identity, a URL.")
@click.option("--at", help="Time at which certificates must hold, as 2026-01-31T12:00:00Z.  [default: now]")
@click.option("--bundle", type=_path, help="The signature.  [default: where `assay sign` writes it]")
@click.option("--digests", type=_path, help="File that remembers digests of unchanged files, so as not to read them.")
@click.option("--fresh", is_flag=True, help="Believe nothing in --digests; read every file.")
@click.option("--ignore", multiple=True, help="Path inside the folder that is left out as well; may be repeated.")
def verify_model(output: Output, model: Path, at: str | None, **options: Any) -> int:
    """Verify the signature of MODEL, a file or a folder, offline.

    Trust is given by --key, by --certificate-root, or by --trust-root with --identity and --issuer. Exit 1 when a file
    was changed, added or removed, or the signature does not hold, saying which.
    """
    from assay.core.clock import parse_time
    from assay.flows.sign import confirm

    found = confirm(model, at=parse_time(at) if at else None, **options)
    output.document(found.to_json())
    count = f"{len(found.files)} file{'' if len(found.files) == 1 else 's'}"
    output.text(f"ok: {count} as signed by {', '.join(found.signer)}")
    return 0
