"""From a registered model to a release: gate, decisions, publishing, verifying, and who may decide."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command

_dir = click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path(), help="Project folder.  [default: .]"
)
_version = click.option("--version", "number", type=int, help="Version to use.  [default: the newest]")
_as = click.option("--as", "person", required=True, help="Your name, as `assay people` knows it.")
_key = click.option("--key", type=click.Path(path_type=Path), required=True, help="Your private key file.")
_reason = click.option("--reason", required=True, help="Why, in words; recorded with the decision.")


@command("register")
@_dir
@click.option(
    "--isolation", default="auto", show_default=True, help="Sandbox engine; 'none' runs unconfined and is recorded."
)
def register(output: Output, folder: Path, isolation: str) -> int:
    """Do every stage up to the registry.

    Leaves a version with its signed evidence, not judged yet. Stages whose inputs have not changed are skipped.
    Judge the version with `assay gate`.
    """
    from assay.flows.project import Project
    from assay.flows.run import register_project
    from assay.flows.stages import Memory

    project = Project.read(folder)
    found = register_project(project, Memory(project.state / "stages", output.stage), engine=isolation)
    output.document(found.to_json())
    output.text(f"registered with {len(found.evidence)} pieces of evidence; next: assay gate")
    return 0


@command("gate")
@_dir
@_version
def gate(output: Output, folder: Path, number: int | None) -> int:
    """Hold a registered version against policy.yaml.

    Exit 0 when nothing is refused (what is uncertain is left to a person), else 1.
    """
    from assay.cli.show import gate_rows
    from assay.core.measure import Verdict
    from assay.flows.project import Project
    from assay.flows.release import judge

    found, report = judge(Project.read(folder), number=number)
    output.document({"version": found, "gate": report.to_json()})
    output.table(("measure", "estimate", "interval", "policy", "verdict", "why"), gate_rows(report))
    output.text(f"version {found}: {report.verdict.value}")
    return 0 if report.verdict in {Verdict.PASS, Verdict.UNCERTAIN} else 1


@command("approve")
@_dir
@_version
@_as
@_key
@_reason
@click.option("--accept-uncertain", is_flag=True, help="Accept measures whose interval straddles their threshold.")
def approve(
    output: Output, folder: Path, number: int | None, person: str, key: Path, reason: str, accept_uncertain: bool
) -> int:
    """Approve a version, signed with your key. Whoever made the model cannot approve it."""
    return _decide(output, folder, number, person, key, reason, "approve", accept_uncertain)


@command("reject")
@_dir
@_version
@_as
@_key
@_reason
def reject(output: Output, folder: Path, number: int | None, person: str, key: Path, reason: str) -> int:
    """Reject a version for good, signed with your key."""
    return _decide(output, folder, number, person, key, reason, "reject", False)


@command("revoke")
@_dir
@_version
@_as
@_key
@_reason
def revoke(output: Output, folder: Path, number: int | None, person: str, key: Path, reason: str) -> int:
    """Revoke an approved or released version, signed with your key."""
    return _decide(output, folder, number, person, key, reason, "revoke", False)


def _decide(
    output: Output,
    folder: Path,
    number: int | None,
    person: str,
    key: Path,
    reason: str,
    decision: str,
    uncertain: bool,
) -> int:
    from assay.core.keys import PrivateKey
    from assay.flows.project import Project
    from assay.flows.release import approve as decide

    made = decide(
        Project.read(folder), person, PrivateKey.read(key), reason=reason, decision=decision, number=number,
        accept_uncertain=uncertain,
    )  # fmt: skip
    output.document({"person": made.person, "decision": made.decision.value, "reason": made.reason})
    output.text(
        f"{made.person}: {made.decision.value}. Next: assay promote"
        if decision == "approve"
        else f"{made.person}: {made.decision.value}"
    )
    return 0


@command("promote")
@_dir
@_version
def promote(output: Output, folder: Path, number: int | None) -> int:
    """Publish an approved version as release/.

    Every statement goes into the transparency log, and the release is verified before it replaces an older one.
    """
    from assay.flows.project import Project
    from assay.flows.release import promote as publish

    project = Project.read(folder)
    made = publish(project, number=number)
    output.document({"release": str(made.digest), "version": made.version, "folder": str(project.release)})
    output.text(f"{project.release}: {made.name} version {made.version}, {made.digest.short}. Next: assay serve")
    return 0


@command("verify")
@click.argument("release", type=click.Path(path_type=Path))
@click.option("--trust", type=click.Path(path_type=Path), help="Trusted keys.  [default: trust.json beside RELEASE]")
@click.option("--policy", type=click.Path(path_type=Path), help="Also hold the release's evidence against this policy.")
def verify(output: Output, release: Path, trust: Path | None, policy: Path | None) -> int:
    """Verify a RELEASE folder offline.

    Checks model, signature, statements, gate, approvals, log proofs. Exit 0 when everything holds. Exit 1 when
    anything does not, saying what; one flipped byte is enough.
    """
    from assay.flows.release import verify as check

    found = check(release, trust, policy=policy)
    people = ", ".join(a.person for a in found.approvals)
    record = {
        "name": found.name, "version": found.version, "release": str(found.digest), "author": found.author,
        "approved_by": [a.person for a in found.approvals], "gate": found.gate.verdict.value,
        "statements": [e.control for e in found.evidence],
    }  # fmt: skip
    output.document(record)
    gate_says = found.gate.verdict.value
    output.text(f"ok: {found.name} version {found.version} by {found.author}, approved by {people}, gate: {gate_says}")
    return 0


@click.group("people")
def people() -> None:
    """Say who may approve.

    Names, keys and roles are kept in trust.json of the project folder.
    """


@command("add")
@click.argument("name")
@click.argument("key", type=click.Path(path_type=Path))
@_dir
@click.option(
    "--role", "roles", multiple=True, default=("approver",), show_default=True, help="What the person may do."
)
def add(output: Output, name: str, key: Path, folder: Path, roles: tuple[str, ...]) -> int:
    """Let NAME, whose public KEY file is given (.pub), approve models of this project."""
    from assay.flows.people import add_person

    person = add_person(folder, name, key, roles)
    output.document({"name": person.name, "key": person.key.id, "roles": sorted(person.roles)})
    output.text(f"{person.name}: {', '.join(sorted(person.roles))}, key {person.key.id[:12]}")
    return 0


@command("list")
@_dir
def list_people(output: Output, folder: Path) -> int:
    """List who may approve."""
    from assay.flows.project import Project
    from assay.registry.trust import Trust

    known = Trust.read(Project.read(folder).trust).people.values()
    output.document({"people": [{"name": p.name, "key": p.key.id, "roles": sorted(p.roles)} for p in known]})
    output.table(("name", "roles", "key"), [(p.name, ", ".join(sorted(p.roles)), p.key.id[:12]) for p in known])
    return 0


people.add_command(add)
people.add_command(list_people)
