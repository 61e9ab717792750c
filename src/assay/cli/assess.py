"""``assess``: attack one model file and measure what the attacks reach."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command

_path = click.Path(path_type=Path)


@command("assess")
@click.argument("model")
@click.option("--train", "train_file", type=_path, required=True, help="Table that the model was trained on.")
@click.option("--test", "test_file", type=_path, required=True, help="Table that it was not trained on.")
@click.option(
    "--contract", type=_path, default=Path("contract.yaml"), show_default=True, help="Contract of the tables."
)
@click.option("--recipe", default="", help="file.py:function that makes such a model; shadows and poisoning need it.")
@click.option(
    "--goal", "goals", multiple=True, help="Only this goal, or group of goals; may be repeated.  [default: all]"
)
@click.option(
    "--profile", default="quick", show_default=True, type=click.Choice(["quick", "standard", "deep"]),
    help="How hard to attack.",
)  # fmt: skip
@click.option(
    "--key", "keys", multiple=True, envvar="ASSAY_API_KEY",
    help="API key, when MODEL is an endpoint; several are accounts of one attacker.  [env: ASSAY_API_KEY]",
)  # fmt: skip
@click.option(
    "--patience", default=60.0, show_default=True, type=click.FloatRange(min=0),
    help="Seconds that each attack on an endpoint waits, in all, where it is told to come later.",
)  # fmt: skip
@click.option("--report", type=_path, default=Path("report.html"), show_default=True, help="Report to write.")
@click.option("--isolation", default="auto", show_default=True, help="Sandbox engine of the fits; 'none': unconfined.")
@click.option("--fix", is_flag=True, help="Also try what would lower membership inference, and what each remedy costs.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn.")
def assess(
    output: Output, model: str, train_file: Path, test_file: Path, contract: Path, recipe: str, goals: tuple[str, ...],
    profile: str, keys: tuple[str, ...], patience: float, report: Path, isolation: str, fix: bool, seed: int,
) -> int:  # fmt: skip
    """Attack MODEL and measure what the attacks reach.

    Robustness, privacy and integrity, each number with its interval. MODEL is an .onnx file, or the URL of an
    endpoint of the Open Inference Protocol (http://HOST/v2/models/NAME). Goals: quality, evasion, membership,
    attribute, inversion, extraction, poisoning; groups: robustness, privacy. Exit 3 when one could not be measured.
    """
    from assay.cli.show import show_fix, show_measures
    from assay.flows.assess import assess_files

    found, fixed = assess_files(
        model, train_file, test_file, contract, recipe=recipe, goals=goals, profile=profile, keys=keys, report=report,
        patience=patience, engine=isolation, fix=fix, seed=seed, progress=lambda goal: output.stage("assess", "working", goal),
    )  # fmt: skip
    if fixed is not None:
        return show_fix(output, found.evidence, fixed, f"report: {report}")
    return show_measures(output, found.evidence, f"report: {report}")
