"""``scan``: what loading a model file would do, without loading it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from assay.cli.output import Output, command

_FAIL_ON = {"malicious": 4, "suspicious": 3, "error": 2, "unsupported": 1}


@command("scan")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--sarif", type=click.Path(path_type=Path), help="Also write the findings as SARIF 2.1.0 to this file.")
@click.option("--explain", is_flag=True, help="Show every import and call that loading would make, with offsets.")
@click.option(
    "--fail-on",
    type=click.Choice(list(_FAIL_ON)),
    default="suspicious",
    show_default=True,
    help="Worst verdict that is let pass is the one below.",
)
def scan(output: Output, paths: tuple[Path, ...], sarif: Path | None, explain: bool, fail_on: str) -> int:
    """Say what loading model files would do.

    Nothing is executed; folders and archives are searched. Formats are told by content: pickle, joblib, NumPy,
    torch, ONNX, Keras, TensorFlow, safetensors, skops, XGBoost, LightGBM, PMML, GGUF, archives.
    Exit 1 when a file is malicious or suspicious; 3 when a file could not be examined; what cannot be read never
    passes.
    """
    from assay.artifacts.report import FileVerdict
    from assay.artifacts.scan import explain as explain_path
    from assay.artifacts.scan import scan_paths
    from assay.core.files import write_text

    report = scan_paths(paths)
    if sarif is not None:
        write_text(sarif, json.dumps(report.to_sarif(), indent=2) + "\n")
    output.document(report.to_json())
    if explain:
        for path in paths:
            output.text(explain_path(path))
    else:
        rows = [
            (f.verdict.value, f.format, f.path, f.findings[0].message if f.findings else _why(f.not_checked))
            for f in report.files
        ]
        output.table(("verdict", "format", "file", "what"), rows)
    output.text(", ".join(f"{count} {name}" for name, count in report.summary.items() if count))
    if report.verdict.rank >= _FAIL_ON[fail_on]:
        return 1
    return 0 if report.verdict is FileVerdict.CLEAN else 3


def _why(reasons: tuple[object, ...]) -> str:
    return str(getattr(reasons[0], "why", "")) if reasons else ""
