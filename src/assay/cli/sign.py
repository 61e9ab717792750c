"""``keygen`` and ``sign``: a key of one's own, and an OpenSSF signature of any model with it."""

from __future__ import annotations

from pathlib import Path

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
@click.option("--key", type=_path, required=True, help="Private key file, as `assay keygen` makes it.")
@click.option(
    "--bundle", type=_path, help="File to write.  [default: MODEL.sig beside a file, MODEL/model.sig in a folder]"
)
@click.option("--ignore", multiple=True, help="Path inside the folder that is not signed; may be repeated.")
def sign(output: Output, model: Path, key: Path, bundle: Path | None, ignore: tuple[str, ...]) -> int:
    """Sign MODEL, a file or a folder.

    Writes an OpenSSF model signature (Sigstore bundle) over every file; git's own files and the signature itself are
    left out. Exit 2 when the model holds links, or when the bundle would overwrite something else.
    """
    from assay.flows.sign import sign as sign_files

    signed = sign_files(model, key, bundle, ignore=ignore)
    output.document(signed.to_json())
    count = f"{len(signed.files)} file{'' if len(signed.files) == 1 else 's'}"
    output.text(f"{signed.bundle}: signs {count}, key {signed.key[:12]}")
    return 0
