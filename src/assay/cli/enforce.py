"""``enforce``: only verified releases reach a model server."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command


@click.group("enforce")
def enforce() -> None:
    """Let only verified releases reach a model server."""


@command("run")
@click.argument("source")
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--trust", type=click.Path(path_type=Path), required=True, help="Trusted keys; not from SOURCE.")
def run(output: Output, source: str, destination: Path, trust: Path) -> int:
    """Verify the release at SOURCE, then copy its model files to DESTINATION.

    SOURCE is a folder, file:///PATH or pvc://CLAIM/PATH. Exit 1 when anything does not hold; DESTINATION is empty
    then. Made for an init container.
    """
    from assay.flows.enforce import enforce as let_through

    found = let_through(source, destination, trust)
    output.document(found.to_json())
    output.text(found.line())
    return 0


@command("render")
@click.argument("part", type=click.Choice(["pod", "kserve", "admission", "network", "all"]))
@click.option("--image", required=True, help="Image that holds Assay, as NAME@sha256:DIGEST.")
@click.option("--trust-configmap", "trust", default="assay-trust", show_default=True, help="ConfigMap with trust.json.")
@click.option("--namespace", default="models", show_default=True, help="Namespace of the model servers.")
@click.option("--deployment", default="model-server", show_default=True, help="Deployment and container to patch.")
@click.option("--claim", default="model-releases", show_default=True, help="Volume claim that holds the releases.")
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), help="Write files into this folder.")
def render(
    output: Output, part: str, image: str, trust: str, namespace: str, deployment: str, claim: str, folder: Path | None
) -> int:
    """Write the Kubernetes manifests that enforce it.

    pod: patch of a Deployment. kserve: storage container and a sample service. admission: policies that refuse what
    goes around them. network: no egress.
    """
    from assay.integrations.kubernetes import Place, rendered, write_manifests

    place = Place(image, trust=trust, namespace=namespace, deployment=deployment, claim=claim)
    texts = rendered(part, place)
    written = write_manifests(folder, texts) if folder else ()
    output.document({"manifests": texts, "files": [str(path) for path in written]})
    output.text("\n".join(map(str, written)) if folder else "---\n".join(texts.values()).rstrip("\n"))
    return 0


enforce.add_command(run)
enforce.add_command(render)
