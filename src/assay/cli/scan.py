"""``scan``: what loading a model file would do, without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.output import Output, command

if TYPE_CHECKING:
    from assay.artifacts.baseline import Acceptance
    from assay.artifacts.report import FileReport

_MOST_LISTED = 50
_FAIL_ON = {"malicious": 4, "suspicious": 3, "error": 2, "unsupported": 1}


@command("scan")
@click.argument("paths", nargs=-1, required=True)
@click.option("--sarif", type=click.Path(path_type=Path), help="Also write the findings as SARIF 2.1.0 to this file.")
@click.option("--explain", is_flag=True, help="Show every import and call that loading would make, with offsets.")
@click.option(
    "--fail-on",
    type=click.Choice(list(_FAIL_ON)),
    default="suspicious",
    show_default=True,
    help="Worst verdict that is let pass is the one below.",
)
@click.option("--baseline", type=click.Path(path_type=Path), help="File of accepted findings; they do not fail.")
@click.option("--accept", "reason", help="Accept all that is found, for this reason; written to --baseline.")
@click.option("--by", help="Who accepts it.")
@click.option("--until", help="Last day of the acceptance, as 2027-01-31; within a year.")
@click.option("--allow-unpinned", is_flag=True, help="Fetch from URLs whose content can change, such as a branch.")
@click.option("--whole", is_flag=True, help="Fetch raw tensors from URLs as well, not only what can hold code.")
def scan(
    output: Output,
    paths: tuple[str, ...],
    sarif: Path | None,
    explain: bool,
    fail_on: str,
    baseline: Path | None,
    reason: str | None,
    by: str | None,
    until: str | None,
    allow_unpinned: bool,
    whole: bool,
) -> int:
    """Say what loading model files would do.

    PATHS are files, folders, - for standard input, or URLs: hf://OWNER/NAME@REVISION, s3://, gs://, mlflow://, https://.
    Nothing is executed; folders and archives are searched. Formats are told by content: pickle, joblib, NumPy,
    torch, ONNX, Keras, TensorFlow, safetensors, skops, XGBoost, LightGBM, PMML, GGUF, archives.
    Exit 1 when a file is malicious or suspicious; 3 when a file could not be examined; what cannot be read never
    passes.
    """
    from assay.artifacts.report import FileVerdict
    from assay.flows.scan import Accept, scan_models

    accept = Accept.of(reason, by, until)
    judged, explained = scan_models(
        paths, allow_unpinned=allow_unpinned, whole=whole, explain=explain, baseline=baseline, accept=accept
    )
    report = judged.report
    if sarif is not None:
        from assay.artifacts.sarif import scan_sarif
        from assay.core.files import write_text

        write_text(sarif, json.dumps(scan_sarif(report, judged.accepted), indent=2) + "\n")
    output.document(judged.to_json())
    if explain:
        output.text(explained)
    else:
        # Among thousands of files, those that need a look would not be seen.
        many = len(report.files) > _MOST_LISTED
        listed = [f for f in report.files if not many or f.verdict is not FileVerdict.CLEAN]
        rows = [(f.verdict.value, f.format, f.path, _what(f, judged.accepted.get(f.path, ()))) for f in listed]
        if rows:
            output.table(("verdict", "format", "file", "what"), rows)
        if many:
            output.note("clean files are counted, not listed; --json lists all")
    for note in judged.notes:
        output.note(note)
    taken = f", {len(judged.accepted)} accepted" if judged.accepted else ""
    output.text(", ".join(f"{count} {name}" for name, count in report.summary.items() if count) + taken)
    if judged.open_verdict.rank >= _FAIL_ON[fail_on]:
        return 1
    return 0 if judged.open_verdict is FileVerdict.CLEAN else 3


def _what(file: FileReport, accepted: tuple[Acceptance, ...]) -> str:
    why = file.not_checked[0].why if file.not_checked else ""
    text = file.findings[0].message if file.findings else why
    return f"accepted by {accepted[0].by} until {accepted[0].until}: {text}" if accepted else text
