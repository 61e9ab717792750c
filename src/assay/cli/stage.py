"""``data`` and ``train``: single stages, for those who do not run a whole project."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.output import Output, command

_contract = click.option("--contract", type=click.Path(path_type=Path), help="contract.yaml of the input.")
_engine = click.option(
    "--isolation", default="auto", show_default=True, help="Sandbox engine; 'none' runs unconfined and is recorded."
)
_seed = click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn.")
_path = click.Path(path_type=Path)


@click.group("data")
def data() -> None:
    """Describe and check tables."""


@command("infer")
@click.argument("table", type=_path)
@click.option("--target", required=True, help="Column to predict.")
@click.option(
    "-o", "--output", "target_file", type=_path, default=Path("contract.yaml"), show_default=True, help="File to write."
)
def infer(output: Output, table: Path, target: str, target_file: Path) -> int:
    """Write a first contract for TABLE: types, ranges, categories, nulls, ids, dates. Review it before use."""
    from assay.contract.contract import Contract
    from assay.core.files import write_text

    contract = Contract.infer(table, target)
    write_text(target_file, contract.to_yaml())
    output.document({"contract": contract.to_json(), "file": str(target_file)})
    output.text(f"wrote {target_file}: {len(contract.features)} features, target {target!r}")
    return 0


@command("check")
@click.argument("table", type=_path)
@_contract
@click.option("--quarantine", type=_path, help="Parquet file for the rows that break the contract, with the reasons.")
def check(output: Output, table: Path, contract: Path | None, quarantine: Path | None) -> int:
    """Check TABLE against a contract, in one pass whatever the number of checks. Exit 1 when a row breaks it."""
    from assay.cli.show import show_evidence
    from assay.contract.contract import Contract
    from assay.contract.validate import check as check_table

    evidence = check_table(table, Contract.read(contract or Path("contract.yaml")), quarantine=quarantine)
    return show_evidence(output, evidence)


@command("privacy")
@click.argument("table", type=_path)
@click.option("--test", "test_file", type=_path, help="Table that models are measured on: are its people in TABLE too?")
@_contract
@_seed
def privacy(output: Output, table: Path, test_file: Path | None, contract: Path | None, seed: int) -> int:
    """Look for what TABLE gives away of the people in it.

    Near-copies and the same people across the split, identifiers and free text in columns, and how many people share
    the quasi-identifiers of the contract. Exit 1 on a finding of medium severity or above, 3 when something could not
    be checked. Values are never shown.
    """
    from assay.cli.show import show_evidence
    from assay.contract.contract import Contract
    from assay.data.privacy.base import check_privacy

    described = Contract.read(contract or Path("contract.yaml"))
    names = (table.name, test_file.name if test_file else "")
    return show_evidence(output, check_privacy(table, described, test=test_file, seed=seed, names=names))


data.add_command(infer)
data.add_command(check)
data.add_command(privacy)


@command("train")
@click.argument("recipe")
@click.argument("table", type=_path)
@_contract
@click.option(
    "-o", "--output", "folder", type=_path, default=Path("trained"), show_default=True, help="Folder to write."
)
@_engine
@_seed
@click.option("--seconds", default=600, show_default=True, help="Time limit.")
@click.option("--memory", default=8192, show_default=True, help="Memory limit in MiB.")
@click.option("--author", default="", help="Who trains; recorded.  [default: your account]")
@click.option("--key", type=_path, help="Private key that signs the provenance statement.")
@click.option(
    "--audit/--no-audit", default=True, show_default=True, help="Train a private model once more, to audit it."
)
def train(
    output: Output,
    recipe: str,
    table: Path,
    contract: Path | None,
    folder: Path,
    isolation: str,
    seed: int,
    seconds: int,
    memory: int,
    author: str,
    key: Path | None,
    audit: bool,
) -> int:
    """Train RECIPE on TABLE in isolation.

    RECIPE is file.py:function. The job has no network, and writes to its output folder only.
    Leaves the model; training.json: digests of data, contract, recipe and model, the seed, the isolation in force; and
    provenance.json: the same as an in-toto statement (SLSA provenance), with code commit and environment.
    A private model is audited by a second training with canaries, which is not kept; the result stands in both files.
    Exit 1 when the recipe fails or breaks its confinement, and nothing is left behind then; also when the audit fails.
    Exit 3 when the audit could not be made.
    """
    from assay.cli.show import show_audit
    from assay.core.keys import PrivateKey
    from assay.flows.train import train_table

    trained = train_table(
        recipe,
        table,
        contract or Path("contract.yaml"),
        folder,
        engine=isolation,
        seed=seed,
        seconds=seconds,
        memory_mb=memory,
        author=author,
        key=PrivateKey.read(key) if key else None,
        privacy_audit=audit,
    )
    output.document(trained)
    output.text(f"trained {trained['estimator']} on {trained['rows']} rows: {trained['model']}")
    held = trained.get("privacy_audit")
    return show_audit(output, held, wanted=audit) if isinstance(held, dict) else 0


@command("convert")
@click.argument("model", type=_path)
@click.option("--rows", type=_path, help="Table of real rows on which both models must agree, or an .npy file.")
@_contract
@click.option(
    "--to", type=click.Choice(("auto", "onnx", "safetensors", "skops")), default="auto", show_default=True,
    help="Form to write.",
)  # fmt: skip
@click.option("--key", type=_path, help="Private key that signs the derivation statement.")
@click.option(
    "-o", "--output", "folder", type=_path, default=Path("converted"), show_default=True, help="Folder to write."
)
@_engine
def convert(
    output: Output,
    model: Path,
    rows: Path | None,
    contract: Path | None,
    to: str,
    key: Path | None,
    folder: Path,
    isolation: str,
) -> int:
    """Convert MODEL to a form that holds no code, in isolation.

    Pickled scikit-learn, XGBoost and LightGBM models, and native XGBoost and LightGBM files, become ONNX; what has no
    ONNX form becomes skops. TorchScript becomes ONNX, other torch files safetensors. Both models are compared on real
    rows. Leaves the model; conversion.json: their measured difference and what was dropped; and derivation.json: a
    statement that ties the new model to the old one.
    Exit 1 when the two disagree, when the model is malicious and would have to be opened, or breaks its confinement.
    """
    from assay.cli.show import show_evidence
    from assay.core.keys import PrivateKey
    from assay.flows.convert import convert_file

    signer = PrivateKey.read(key) if key else None
    evidence = convert_file(model, rows, contract, folder, to=to, key=signer, engine=isolation)
    output.note(f"wrote {folder / evidence.subjects[0].name}")
    for line in (evidence.parameters or {}).get("dropped") or ():  # type: ignore[attr-defined]
        output.note(f"dropped {line}")
    return show_evidence(output, evidence)


@command("verify-derivation")
@click.argument("statement", type=_path)
@click.argument("child", type=_path)
@click.option("--key", "keys", type=_path, multiple=True, required=True, help="Public key that is trusted (.pub).")
@click.option("--parent", type=_path, help="The original, to be checked as well.")
def verify_derivation(output: Output, statement: Path, child: Path, keys: tuple[Path, ...], parent: Path | None) -> int:
    """Check that STATEMENT, a derivation.json, is signed and about the file CHILD.

    Exit 1 when it is not, or when --parent is not the file that was converted.
    """
    from assay.artifacts.derivation import verify_derivation as verified
    from assay.core.keys import PublicKey

    found = verified(statement, child, [PublicKey.read(key) for key in keys], parent=parent)
    output.document(found.statement().to_json())
    far = found.measured.get("max_difference", 0.0)
    output.text(f"ok: {found.child.name} from {found.parent.name} by {found.tool}, differs by at most {far:.2g}")
    return 0
