"""``side-effects``: what every defence does to every risk."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command

_path = click.Path(path_type=Path)


@command("side-effects")
@click.argument("model")
@click.option("--train", "train_file", type=_path, required=True, help="Table that the model was trained on.")
@click.option("--test", "test_file", type=_path, required=True, help="Table that it was not trained on.")
@click.option(
    "--contract", type=_path, default=Path("contract.yaml"), show_default=True, help="Contract of the tables."
)
@click.option("--only", multiple=True, help="Only this defence; may be repeated.  [default: all]")
@click.option(
    "--radius", default=0.25, show_default=True, type=click.FloatRange(0, min_open=True),
    help="Of evasion and of robust training, in the contract's scale (L2).",
)  # fmt: skip
@click.option("--rows", default=100, show_default=True, type=click.IntRange(10), help="Rows on which evasion is tried.")
@click.option(
    "--queries", default=500, show_default=True, type=click.IntRange(40), help="Queries of each attack for a row."
)
@click.option("--report", type=_path, help="Report to write.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn.")
def side_effects(
    output: Output, model: str, train_file: Path, test_file: Path, contract: Path, only: tuple[str, ...], radius: float, rows: int,
    queries: int, report: Path | None, seed: int,
) -> int:  # fmt: skip
    """Measure what defences of MODEL do to evasion, membership, extraction, poisoning, accuracy and fairness.

    Defences: coarser answers, transforms of images, and models that are robust or private by training, each attacked
    itself and held against the same model without it. MODEL is an .onnx file or the URL of an endpoint.
    Exit 3 when something could not be measured: a file cannot be fitted again, so that poisoning of it is not checked.
    """
    from assay.cli.show import show_matrix
    from assay.flows.side_effects import matrix_files

    found, evidence = matrix_files(
        model, train_file, test_file, contract, only=only, radius=radius, rows=rows, queries=queries, report=report, seed=seed,
        progress=lambda name: output.stage("side-effects", "working", name),
    )  # fmt: skip
    return show_matrix(output, found, evidence)
