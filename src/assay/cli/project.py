"""``demo``, ``quickstart``, ``init``, ``run``, ``status``: a whole project at once."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command

_folder = click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path(), help="Project folder.  [default: .]"
)


@command("demo")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("assay-demo"),
    show_default=True,
    help="Folder to make.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn.")
def demo(output: Output, folder: Path, seed: int) -> int:
    """See the whole way on built-in data, from table to endpoint.

    In half a minute: checks a table, trains in isolation, attacks, scans, signs, gates, approves and serves a
    model, attacks it again through the endpoint, tampers with it and shows that it is refused. Leaves
    report.html, release/
    and log/ in the folder.
    """
    from assay.flows.demo import run_demo

    result = run_demo(folder, seed=seed, report=output.stage)
    output.document(result.to_json())
    report, release = folder / "report.html", folder / "release"
    output.text(f"\nDone in {result.seconds:.0f} s. Look at {report}, then try: assay verify {release}")
    return 0


@command("quickstart")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="Column to predict.")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="Project folder to make.  [default: ./assay-NAME]"
)
@click.option(
    "--group", default="", help="Column whose equal values must stay on one side of the split (a person's id)."
)
@click.option("--time", default="", help="Column to split by: the last rows are the test rows.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn.")
@click.option(
    "--isolation", default="auto", show_default=True, help="Sandbox engine; 'none' runs unconfined and is recorded."
)
def quickstart(
    output: Output, table: Path, target: str, folder: Path | None, group: str, time: str, seed: int, isolation: str
) -> int:
    """Make a project of your own TABLE and run it.

    TABLE is CSV or Parquet; nothing needs editing. Infers the contract, splits the rows, writes assay.yaml,
    contract.yaml, policy.yaml and recipe.py for you to
    edit, and then does what `assay run` does. Exit code 0 or 1, as the policy says.
    """
    from assay.flows.quickstart import make_project

    root = folder or Path(f"assay-{table.stem}")
    project = make_project(table, target, root, group=group, time_column=time, seed=seed, report=output.stage)
    return _run(output, project.root, isolation, None)


@command("init")
@click.argument("name", required=False)
@_folder
def init(output: Output, name: str | None, folder: Path) -> int:
    """Write a project to fill in.

    Writes assay.yaml, contract.yaml, policy.yaml and recipe.py, each explained inside; what is there is kept.
    """
    from assay.flows.quickstart import write_blank

    written = write_blank(folder, name or folder.resolve().name)
    output.document({"written": [str(path) for path in written]})
    for path in written:
        output.text(f"wrote {path}")
    return 0


@command("run")
@_folder
@click.option(
    "--isolation", default="auto", show_default=True, help="Sandbox engine; 'none' runs unconfined and is recorded."
)
@click.option("--profile", default=None, type=click.Choice(["quick", "standard", "deep"]), help="How hard to attack.")
def run(output: Output, folder: Path, isolation: str, profile: str | None) -> int:
    """Do every stage from the data to the gate.

    Stages whose inputs have not changed are skipped. Check data, judge the evaluation, train in isolation,
    convert to a safe format, scan, assess, sign,
    register, gate. Ends with a table of measures against the policy. Exit 0: the gate passes; 1: it does not.
    """
    return _run(output, folder, isolation, profile)


def _run(output: Output, folder: Path, isolation: str, profile: str | None) -> int:
    from assay.cli.show import gate_rows
    from assay.flows.project import Project
    from assay.flows.run import run_project

    result = run_project(Project.read(folder), engine=isolation, profile=profile, report=output.stage)
    output.document(result.to_json())
    rows = [row[:5] for row in gate_rows(result.gate)]
    output.table(("measure", "estimate", "interval", "policy", "verdict"), rows, title=f"\n{result.title()}")
    output.text(result.closing())
    return 0 if result.passed else 1


@command("status")
@_folder
def status(output: Output, folder: Path) -> int:
    """Show versions, release, alerts and open incidents."""
    from assay.flows.status import project_status

    state = project_status(folder)
    output.document(state.to_json())
    for title, headings, rows in state.tables():
        output.table(headings, rows, title=f"\n{title}")
    return 0
