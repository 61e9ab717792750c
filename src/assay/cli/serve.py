"""``serve`` and ``monitor``: the guarded endpoint, and what it has seen."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command

_dir = click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path(), help="Project folder.  [default: .]"
)


@command("serve")
@click.argument("release", type=click.Path(path_type=Path), required=False)
@_dir
@click.option("--trust", type=click.Path(path_type=Path), help="Trusted keys.  [default: trust.json of the project]")
@click.option("--keys", type=click.Path(path_type=Path), help="File of API keys.  [default: .assay/api-keys.json]")
@click.option("--events", type=click.Path(path_type=Path), help="Folder of events.  [default: .assay/events]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind; others than loopback need TLS.")
@click.option("--port", default=8080, show_default=True, help="Port to bind.")
@click.option("--cert", default="", help="TLS certificate, PEM.")
@click.option("--cert-key", default="", help="Key of the certificate, PEM.")
@click.option("--rate", default=1000.0, show_default=True, help="Rows a second that each key may ask for.")
@click.option("--burst", default=10_000.0, show_default=True, help="Most rows a key may ask for at once.")
@click.option("--new-key", "principal", default="", help="Make an API key for this caller, print it once, and leave.")
@click.option("--check", is_flag=True, help="Verify the release and leave, without serving.")
def serve(
    output: Output, release: Path | None, folder: Path, trust: Path | None, keys: Path | None, events: Path | None,
    host: str, port: int, cert: str, cert_key: str, rate: float, burst: float, principal: str, check: bool,
) -> int:  # fmt: skip
    """Serve RELEASE behind its guards.

    By default release/ of the project. One that does not verify is refused, and it is verified again every few
    seconds. Callers give their key in X-API-Key. First make one: assay serve --new-key NAME
    """
    from assay.flows.serve import Place, new_key, serve_place

    place = Place.of(folder, release=release, trust=trust, keys=keys, events=events)
    if principal:
        secret = new_key(place, principal)
        output.document({"principal": principal, "key": secret})
        output.text(secret)
        output.note(f"API key of {principal}, shown this once; its digest is in {place.keys}")
        return 0
    serve_place(
        place, host=host, port=port, certificate=cert, key=cert_key, rate=rate, burst=burst, dry=check, say=output.note
    )
    output.document({"release": str(place.release), "verified": True})
    return 0


@command("monitor")
@_dir
@click.option("--events", type=click.Path(path_type=Path), help="Folder of events.  [default: .assay/events]")
@click.option("--since", type=click.DateTime(), help="Only events from this time on (UTC).")
@click.option("--seed", default=0, show_default=True, help="Seed of the tests.")
def monitor(output: Output, folder: Path, events: Path | None, since: object, seed: int) -> int:
    """Compare recorded traffic with the training data.

    Measures drift and the reject rate, raises alerts, and opens an incident for each. Exit 0 when no alert fired, 1 when one did.
    """
    from datetime import datetime, timezone

    from assay.cli.show import show_watch
    from assay.flows.monitor import monitor as watch
    from assay.flows.project import Project

    project = Project.read(folder)
    start = since.replace(tzinfo=timezone.utc) if isinstance(since, datetime) else None
    seen = watch(
        events or project.state / "events", project.release / "model" / "baseline.json", project.state, since=start,
        seed=seed,
    )  # fmt: skip
    return show_watch(output, seen)
