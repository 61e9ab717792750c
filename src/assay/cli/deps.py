"""``deps``: what a project and an environment depend on."""

from __future__ import annotations

import json
from pathlib import Path

import click

from assay.cli.output import Output, command


@click.group("deps")
def deps() -> None:
    """Check the dependencies of a project or an environment."""


@command("check")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--private", multiple=True, metavar="NAME", help="A package that only your own index may answer; repeat.")
@click.option(
    "--osv", metavar="PATH_OR_URL", help="Known vulnerabilities: a folder or .zip of OSV records, or a server."
)
@click.option(
    "--environment", type=click.Path(path_type=Path), metavar="SITE_PACKAGES",
    help="Also hold the files installed in this folder against their RECORDs.",
)  # fmt: skip
@click.option("--sarif", type=click.Path(path_type=Path), help="Also write the findings as SARIF 2.1.0 to this file.")
@click.option(
    "--fail-on", default="medium", show_default=True,
    type=click.Choice(["note", "low", "medium", "high", "critical"]), help="Severity from which a finding fails.",
)  # fmt: skip
def check(
    output: Output, paths: tuple[Path, ...], private: tuple[str, ...], osv: str | None, environment: Path | None,
    sarif: Path | None, fail_on: str,
) -> int:  # fmt: skip
    """Check pins, hashes, indexes, look-alike names, known vulnerabilities and installed files.

    Reads requirements and constraints, uv.lock, poetry.lock, Pipfile.lock, pylock.toml, pyproject.toml, Pipfile,
    pip.conf, uv.toml and .env, in files or folders. Nothing is installed, built or run, and the network is asked only
    for --osv URL. Exit 1 on findings, 3 when something could not be checked.
    """
    from assay.cli.show import show_evidence
    from assay.core.files import write_text
    from assay.core.finding import Severity
    from assay.core.sarif import sarif_of
    from assay.supply.deps.check import check_deps

    evidence = check_deps(paths, private_names=private, osv=osv, environment=environment)
    if sarif is not None:
        write_text(sarif, json.dumps(sarif_of(evidence.findings), indent=2) + "\n")
    return show_evidence(output, evidence, fail_on=Severity(fail_on))


deps.add_command(check)
