"""``pipeline``: the configuration of what trains, stores and serves models."""

from __future__ import annotations

import json
from pathlib import Path

import click

from assay.cli.output import Output, command


@click.group("pipeline")
def pipeline() -> None:
    """Check the configuration of a pipeline."""


@command("check")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--sarif", type=click.Path(path_type=Path), help="Also write the findings as SARIF 2.1.0 to this file.")
@click.option(
    "--fail-on", default="medium", show_default=True,
    type=click.Choice(["note", "low", "medium", "high", "critical"]), help="Severity from which a finding fails.",
)  # fmt: skip
def check(output: Output, paths: tuple[Path, ...], sarif: Path | None, fail_on: str) -> int:
    """Check configuration files and folders against known holes.

    MLflow, DVC, Airflow, Kubeflow, KServe, Istio, Kubernetes, Ray, Jupyter, TensorBoard, Feast, continuous
    integration, pip, and Python that loads models; read from YAML, INI, TOML, JSON, Dockerfiles, shell and Python.
    Nothing is run. Exit 1 on findings, 3 when a file could not be read.
    """
    from assay.cli.show import show_evidence
    from assay.core.files import write_text
    from assay.core.finding import Severity
    from assay.core.sarif import sarif_of
    from assay.supply.pipeline.scan import check_pipeline

    evidence = check_pipeline(paths)
    if sarif is not None:
        write_text(sarif, json.dumps(sarif_of(evidence.findings), indent=2) + "\n")
    return show_evidence(output, evidence, fail_on=Severity(fail_on))


pipeline.add_command(check)
