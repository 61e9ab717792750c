"""``incident``: what went wrong, what the playbook says, and what people did about it."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command
from assay.core.clock import format_time

_dir = click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path(), help="Project folder.  [default: .]"
)
_by = click.option("--by", required=True, help="Who does this; recorded.")


@click.group("incident")
def incident() -> None:
    """Open, follow and close incidents.

    Each follows a playbook, and each step is recorded with who did it.

    Incidents are kept as one JSON record each in .assay/incidents of the project folder.
    """


@command("list")
@_dir
@click.option("--open", "only_open", is_flag=True, help="Only those that are open.")
def list_incidents(output: Output, folder: Path, only_open: bool) -> int:
    """List the incidents of a project: severity, state, how many steps are left."""
    from assay.response.incidents import Incidents

    found = Incidents(folder / ".assay" / "incidents").list(only_open=only_open)
    output.document({"incidents": [i.to_json() for i in found]})
    rows = [
        (i.id, i.severity.value, "open" if i.open else "closed", format_time(i.opened), len(i.todo), i.title)
        for i in found
    ]
    output.table(("id", "severity", "state", "opened", "steps left", "what"), rows)
    return 0


@command("show")
@click.argument("incident_id")
@_dir
def show(output: Output, incident_id: str, folder: Path) -> int:
    """Show one incident and the steps of its playbook, done and to do."""
    from assay.response.incidents import Incidents

    found = Incidents(folder / ".assay" / "incidents").show(incident_id)
    output.document(found.to_json())
    output.text(f"{found.id}  {found.title}  ({found.severity.value}, {found.playbook})")
    rows = [(s.name, "done" if s.done else "to do", s.by, s.text) for s in found.steps]
    output.table(("step", "state", "by", "what"), rows)
    return 0


@command("open")
@click.argument("title")
@click.option("--playbook", required=True, help="Playbook to follow, as in `--playbook drift`.")
@_by
@_dir
def open_incident(output: Output, title: str, playbook: str, by: str, folder: Path) -> int:
    """Open an incident called TITLE that follows a playbook; an unknown playbook is refused with the names there are."""
    from assay.response.incidents import Incidents

    made = Incidents(folder / ".assay" / "incidents").open(title, playbook, by=by)
    output.document(made.to_json())
    output.text(f"opened {made.id}: {len(made.steps)} steps, see `assay incident show {made.id}`")
    return 0


@command("done")
@click.argument("incident_id")
@click.argument("step")
@_by
@click.option("--note", default="", help="What was found or done.")
@_dir
def done(output: Output, incident_id: str, step: str, by: str, note: str, folder: Path) -> int:
    """Record that STEP of an incident has been done, by whom and with what result."""
    from assay.response.incidents import Incidents

    changed = Incidents(folder / ".assay" / "incidents").done(incident_id, step, by=by, note=note)
    output.document(changed.to_json())
    output.text(f"{changed.id}: {len(changed.todo)} steps left")
    return 0


@command("close")
@click.argument("incident_id")
@_by
@click.option("--reason", required=True, help="Why it can be closed; recorded.")
@_dir
def close(output: Output, incident_id: str, by: str, reason: str, folder: Path) -> int:
    """Close an incident, with who did it and why; a closed one is kept and cannot be changed."""
    from assay.response.incidents import Incidents

    closed = Incidents(folder / ".assay" / "incidents").close(incident_id, by=by, reason=reason)
    output.document(closed.to_json())
    output.text(f"closed {closed.id}")
    return 0


for _part in (list_incidents, show, open_incident, done, close):
    incident.add_command(_part)
