"""``log``: whether the transparency log is whole and extends what was seen before, and what it holds."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command

_folder = click.argument("folder", type=click.Path(path_type=Path))
_key = click.option(
    "--key",
    "key",
    default="",
    help="The log's key: its text, a file that holds it, or a trust.json.  [default: trust.json beside FOLDER]",
)


@click.group("log")
def log() -> None:
    """Verify and show the transparency log.

    It is static files, checked offline against one key. The key reads name+hash+base64; get it from somewhere
    other than the log itself.
    """


@command("verify")
@_folder
@_key
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    help="Checkpoint file kept from an earlier visit; the log must extend it.",
)
def verify(output: Output, folder: Path, key: str, since: Path | None) -> int:
    """Compute the log in FOLDER again from its entries; any changed, missing or foreign byte is refused."""
    from assay.registry.log.audit import consistent, verify_log
    from assay.registry.log.trust import read_checkpoint, trusted_key

    trusted = trusted_key(key, folder)
    old = None if since is None else read_checkpoint(since, trusted)
    found = verify_log(folder, trusted) if old is None else consistent(old, folder, trusted)
    extends = {} if old is None else {"extends": old.to_json()}
    output.document({"verified": True, "checkpoint": found.to_json(), **extends})
    output.text(f"{found.origin}: {found.size} entries, whole" + (f", extends {old.size}" if old else ""))
    return 0


@command("show")
@_folder
@_key
def show(output: Output, folder: Path, key: str) -> int:
    """Verify the log in FOLDER and list its entries: statement type and subjects, as each entry says itself.

    The log proves that an entry was logged. Who signed the statement in it is checked where it is used.
    """
    from assay.registry.log.audit import verified_entries
    from assay.registry.log.listing import listed
    from assay.registry.log.trust import trusted_key

    checkpoint, entries = verified_entries(folder, trusted_key(key, folder))
    lines = [listed(i, entry) for i, entry in enumerate(entries)]
    record = checkpoint.to_json()
    output.document({"checkpoint": record, "entries": [line.to_json() for line in lines]})
    output.text(f"{checkpoint.origin}: {checkpoint.size} entries, root {record['root']}")
    rows = [(x.index, x.size, x.kind or "not a statement", ", ".join(x.subjects)) for x in lines]
    output.table(("index", "bytes", "type", "subjects"), rows)
    return 0


for _part in (verify, show):
    log.add_command(_part)
