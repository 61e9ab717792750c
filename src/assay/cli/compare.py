"""``compare``: the version in use against the one that is to replace it."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command

_path = click.Path(path_type=Path)


@command("compare")
@click.argument("old")
@click.argument("new")
@click.option("--test", "test_file", type=_path, required=True, help="Table that neither was trained on.")
@click.option(
    "--contract", type=_path, default=Path("contract.yaml"), show_default=True, help="Contract of the tables."
)
@click.option("--train", "train_file", type=_path, help="Trusted table that both were trained on.")
@click.option("--retrain", type=_path, help="Table that NEW was trained on; the screen tries its values.")
@click.option("--recipe", default="", help="file.py:function that fits clean versions on --train, in the sandbox.")
@click.option("--refits", default=20, show_default=True, type=click.IntRange(1), help="How many clean versions to fit.")
@click.option("--clean", type=_path, multiple=True, help="File of a version known to be clean; may be repeated.")
@click.option(
    "--profile", default="quick", show_default=True, type=click.Choice(["quick", "standard", "deep"]),
    help="How hard to attack.",
)  # fmt: skip
@click.option("--report", type=_path, help="Report to write.")
@click.option("--isolation", default="auto", show_default=True, help="Sandbox engine of the fits; 'none': unconfined.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn.")
def compare(
    output: Output, old: str, new: str, test_file: Path, contract: Path, train_file: Path | None, retrain: Path | None,
    recipe: str, refits: int, clean: tuple[Path, ...], profile: str, report: Path | None, isolation: str, seed: int,
) -> int:  # fmt: skip
    """Compare the model NEW with the model OLD on the same rows.

    Every difference has a paired interval: quality, robustness, exposure of members, labels that change, slices that
    are worse off, and inputs on which the two differ. With clean versions (--recipe or --clean, 19 or more) NEW is
    screened for a backdoor. OLD and NEW are .onnx files or URLs of endpoints.
    Exit 1 when the new version is worse or suspected, 3 when something could not be checked.
    """
    from assay.cli.show import show_evidence
    from assay.flows.diff import compare_files

    found = compare_files(
        old, new, test_file, contract, train=train_file, retrain=retrain, clean=clean, recipe=recipe, refits=refits,
        profile=profile, engine=isolation, report=report, seed=seed,
        progress=lambda what: output.stage("compare", "working", what),
    )  # fmt: skip
    code = show_evidence(output, found.evidence)
    for listing in found.listings:
        output.table(listing.heads, listing.rows, title=f"\n{listing.title}")
    return code
