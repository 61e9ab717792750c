"""``bom``: what a model is made of, and what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.output import Output, command

if TYPE_CHECKING:
    from assay.artifacts.bom.difference import Change

_path = click.Path(path_type=Path)


class _MakeOr(click.Group):
    """A group whose first word, when it names no command, is what to make a bill of: ``assay bom MODEL``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command to run, ``make`` when none is named."""
        if args and args[0] not in self.commands:
            args = ["make", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Hand options that stand before the target to ``make``."""
        if args and args[0].startswith("-") and args[0] not in {"-h", "--help"}:
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group("bom", cls=_MakeOr)
def bom() -> None:
    """Write the bill of materials of a model, or compare two.

    `assay bom TARGET` is short for `assay bom make TARGET`.
    """


@command("make")
@click.argument("target", type=_path)
@click.option("-o", "--output", "file", type=_path, help="File to write.  [default: bom.cdx.json]")
@click.option("--card", type=_path, help="Declarations about model and data.  [default: card.yaml of the folder]")
@click.option("--lock", "locks", type=_path, multiple=True, help="Lock file of the environment; repeat.")
@click.option("--evidence", type=_path, multiple=True, help="Evidence about a model file; repeat.")
@click.option("--key", "keys", type=_path, multiple=True, help="Public key that is trusted (.pub); repeat.")
@click.option("--trust", type=_path, help="Trusted keys of a release.  [default: trust.json beside it]")
@click.option("--seed", default=0, show_default=True, help="Seed of the serial number.")
@click.option("--at", metavar="TIME", help="Time to record, as 2026-01-31T12:00:00Z.  [default: now]")
def make(
    output: Output, target: Path, file: Path | None, card: Path | None, locks: tuple[Path, ...],
    evidence: tuple[Path, ...], keys: tuple[Path, ...], trust: Path | None, seed: int, at: str | None,
) -> int:  # fmt: skip
    """Write the bill of materials of TARGET: a model file or folder, a project, or a release.

    CycloneDX 1.7 with model card: data with digests, measures with intervals, libraries with hashes and licences,
    signatures and statements, what the model was derived from. Each claim is declared, inferred or verified. With
    --json the document goes to standard output, and to a file only with -o. Exit 1 when something signed does not hold.
    """
    from assay.core.clock import parse_time
    from assay.core.files import write_bytes
    from assay.flows.bom import make_bom

    made = make_bom(
        target, card=card, locks=locks, evidence=evidence, keys=keys, trust=trust, seed=seed,
        made=parse_time(at) if at else None,
    )  # fmt: skip
    data = made.to_bytes()
    output.document(made.to_json())
    if file or not output.as_json:
        place = file or Path("bom.cdx.json")
        write_bytes(place, data)
        counts = {"dataset": len(made.datasets), "part": len(made.parts), "measure": len(made.card.metrics)}
        told = ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for word, n in counts.items())
        output.text(f"wrote {place}: {told}")
    return 0


@command("check")
@click.argument("file", type=_path)
def check(output: Output, file: Path) -> int:
    """Check a CycloneDX 1.7 FILE against the schema, and that its references lead somewhere. Exit 1 when it does not hold."""
    from assay.artifacts.bom.schema import faults_of
    from assay.core.files import read_record

    faults = list(faults_of(read_record(file)))
    output.document({"valid": not faults, "faults": faults})
    for fault in faults:
        output.text(fault)
    output.text("valid CycloneDX 1.7" if not faults else f"not valid: {len(faults)} in all")
    return 1 if faults else 0


@command("diff")
@click.argument("old", type=_path)
@click.argument("new", type=_path)
@click.option(
    "--fail-on", default="medium", show_default=True,
    type=click.Choice(["note", "low", "medium", "high", "critical"]), help="Severity from which a change fails.",
)  # fmt: skip
def diff(output: Output, old: Path, new: Path, fail_on: str) -> int:
    """Compare two CycloneDX files: parts, versions, hashes, data, licences, claims and measures.

    The same version with other bytes is high. Other data, another model, a claim that fell, a measure whose interval
    lies apart from the old one are medium. New versions and parts are low. The rest is a note. Exit 1 when a change
    reaches --fail-on.
    """
    from assay.core.finding import Severity
    from assay.flows.bom import bom_diff

    found = bom_diff(old, new)
    output.document(found.to_json())
    rows = _rows(found.changes)
    if rows:
        output.table(("severity", "change", "what", "before", "after", "why"), rows)
    else:
        output.text("no difference")
    return 1 if found.beyond(Severity(fail_on)) else 0


def _rows(changes: Sequence[Change]) -> list[tuple[str, ...]]:
    """Return the rows of the table. Claims that rose alike on many parts share one."""
    alike: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        field = change.what.rpartition(": ")[2] if ": " in change.what else ""
        key = (
            (change.kind, field, change.before, change.after) if change.kind == "claim" else (change.kind, change.what)
        )
        alike.setdefault((change.severity.value, *key), []).append(change)
    rows: list[tuple[str, ...]] = []
    for (severity, kind, field, *_), group in alike.items():
        first = group[0]
        what = first.what if len(group) == 1 else f"{len(group)} parts: {field}".removesuffix(": ")
        rows.append((severity, kind, what, first.before, first.after, first.why))
    return rows


bom.add_command(make)
bom.add_command(check)
bom.add_command(diff)
