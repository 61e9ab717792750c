"""Converting a model file: in the sandbox, compared on real rows, with a statement that ties child to parent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.artifacts.derivation import Derivation
from assay.artifacts.report import FileVerdict
from assay.artifacts.scan import scan_paths
from assay.contract.contract import Contract
from assay.contract.encode import encode
from assay.core.clock import Clock, system_clock
from assay.core.digest import Digest, digest_file
from assay.core.errors import DataError, Refused, SettingError, UnsupportedError
from assay.core.evidence import Evidence, Subject
from assay.core.files import write_record
from assay.core.finding import Finding, Severity
from assay.core.keys import PrivateKey
from assay.core.measure import Measure
from assay.core.statement import Envelope
from assay.data.sources import read_table
from assay.stats.intervals import clopper_pearson
from assay.training.job import call, recipe_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NEAR = 1e-5


@dataclass(frozen=True, slots=True)
class Way:
    """One conversion. function: called in the sandbox; made: the file it leaves; opens: it executes what the file says."""

    function: str
    made: str
    needs_rows: bool = True
    opens: bool = True
    kind: str = ""


_SKLEARN = Way("assay.artifacts.convert:convert_sklearn", "model.onnx")
_SKOPS = Way("assay.artifacts.conversion.skops_archive:convert_to_skops", "model.skops")
_GRAPH = Way("assay.artifacts.conversion.torch_graph:convert_torch_graph", "model.onnx")
_WEIGHTS = Way(
    "assay.artifacts.conversion.torch_weights:convert_torch_weights", "model.safetensors", needs_rows=False, opens=False
)
_BOOSTING = "assay.artifacts.conversion.boosting_file:convert_boosting_file"
_TORCH = {"torch-zip", "torch-legacy", "torch-tar", "torchscript"}
_OPENED = {"pickle", "joblib"}
TARGETS = ("auto", "onnx", "safetensors", "skops")


def ways(label: str, to: str = "auto") -> tuple[Way, ...]:
    """Return the conversions to try, in order, for a file of the format that the scanner calls ``label``.

    Raises UnsupportedError when there is none.
    """
    family = label.partition("-")[0]
    found: dict[str, tuple[Way, ...]] = {}
    if label in _TORCH:
        found = {"onnx": (_GRAPH,)} if label == "torchscript" else {"onnx": (_GRAPH,), "safetensors": (_WEIGHTS,)}
        found["auto"] = found.get("safetensors", found["onnx"])
    elif family in {"xgboost", "lightgbm"}:
        native = (Way(_BOOSTING, "model.onnx", opens=False, kind=family),)
        found = {"onnx": native, "auto": native}
    elif label in _OPENED or label in {"zlib", "gzip", "bz2", "xz", "lzma", "lz4", "joblib-zfile"}:
        found = {"onnx": (_SKLEARN,), "skops": (_SKOPS,), "auto": (_SKLEARN, _SKOPS)}
    if to not in found:
        known = ", ".join(sorted(found.keys() - {"auto"})) or "nothing"
        raise UnsupportedError(f"a {label} file is not converted to {to}", remedy=f"It is converted to: {known}")
    return found[to]


def convert_file(
    model: Path,
    table: Path | None,
    contract: Path | None,
    folder: Path,
    *,
    to: str = "auto",
    key: PrivateKey | None = None,
    engine: str = "auto",
    clock: Clock = system_clock,
) -> Evidence:
    """Convert a model to a form that holds no code, into ``folder``; return evidence of how far the two agree.

    table: real rows to compare on, read by ``contract``, or an .npy file of rows (n, ...); weights need none.
    to: one of ``TARGETS``. key: signs the derivation statement. ``folder`` gets the model, ``conversion.json`` (the
    evidence) and ``derivation.json``. Raises DataError, ContractError, UnsupportedError, JobError, or Refused when the
    file is malicious and the conversion would open it; ``folder`` is then as it was.
    """
    if not model.is_file():
        raise DataError("the model does not exist", where=str(model), remedy="Check the path")
    scanned = scan_paths([model]).files[0]
    try:
        tried = ways(scanned.format, to)
    except UnsupportedError as error:
        raise UnsupportedError(error.message, where=str(model), remedy=error.remedy) from error
    malicious = scanned.verdict is FileVerdict.MALICIOUS
    if malicious and any(way.opens for way in tried):
        raise Refused(
            f"is malicious: {scanned.findings[0].message}", where=str(model), reason="scan-malicious",
            remedy="Do not open it; --to safetensors takes the tensors out of torch files without opening them",
        )  # fmt: skip
    with _rows(table, contract, needed=tried[0].needs_rows) as rows:
        for number, way in enumerate(tried):
            try:
                return _convert(model, way, rows, folder, key, engine, clock, malicious=malicious)
            except UnsupportedError:
                if number == len(tried) - 1:
                    raise
    raise UnsupportedError("cannot be converted", where=str(model))


def convert_rows(
    model: Path,
    x: NDArray[np.float64],
    folder: Path,
    *,
    recipe: str = "",
    engine: str = "auto",
    clock: Clock = system_clock,
) -> Evidence:
    """Convert a model of our own training to ONNX and compare both on rows x (n, d) in model space.

    recipe: ``file.py:function`` that made it, whose classes it may hold.
    """
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch).resolve() / "rows.npy"
        np.save(rows, x)
        return _convert(model, _SKLEARN, rows, folder, None, engine, clock, recipe=recipe)


def _convert(
    model: Path,
    way: Way,
    rows: Path | None,
    folder: Path,
    key: PrivateKey | None,
    engine: str,
    clock: Clock,
    *,
    malicious: bool = False,
    recipe: str = "",
) -> Evidence:
    parent = Subject(model.name, digest_file(model))
    source = model.resolve()
    arguments = {"model": str(source), "kind": way.kind, "recipe": recipe, **({"rows": str(rows)} if rows else {})}
    inputs = (source, *([rows] if rows else []), *(recipe_files(recipe) if recipe else ()))
    answer, isolation = call(way.function, arguments, inputs=inputs, output=folder.resolve(), engine=engine)
    if digest_file(model) != parent.digest:
        raise Refused("changed while it was converted", where=str(model), reason="model-changed", remedy="Try again")
    child = Subject(way.made, digest_file(folder / way.made))
    derivation = _derivation(answer, child, parent, digest_file(rows) if rows else None)
    evidence = _evidence(answer, derivation, isolation, clock, malicious=malicious)
    write_record(folder / "conversion.json", evidence.to_json())
    signed = Envelope.of(derivation.statement(), *([key] if key else []))
    write_record(folder / "derivation.json", signed.to_json())
    return evidence


def _derivation(answer: Mapping[str, object], child: Subject, parent: Subject, rows: Digest | None) -> Derivation:
    from assay import __version__

    measured = {
        name: float(str(answer[name])) for name in ("rows", "max_difference", "mean_difference", "label_agreement")
    }
    dropped, versions = answer.get("dropped"), answer.get("versions")
    return Derivation(
        child, parent, str(answer["tool"]), measured,
        {"assay": __version__, **({str(k): str(v) for k, v in versions.items()} if isinstance(versions, dict) else {})},
        tuple(str(d) for d in dropped) if isinstance(dropped, list) else (), rows,
    )  # fmt: skip


def _evidence(
    answer: Mapping[str, object],
    derivation: Derivation,
    isolation: Mapping[str, object],
    clock: Clock,
    *,
    malicious: bool,
) -> Evidence:
    child, parent, measured = derivation.child, derivation.parent, derivation.measured
    n, share, far = int(measured["rows"]), measured["label_agreement"], measured["max_difference"]
    measures: tuple[Measure, ...] = ()
    if n:
        low, high = clopper_pearson(round(share * n), n)
        measures = (
            Measure("label_agreement", share, min(low, share), max(high, share), n),
            Measure("max_probability_difference", far, far, far, n, unit="probability", method="maximum over rows"),
        )
    findings = []
    if far > _NEAR or share < 1.0:
        text = f"probabilities differ by up to {far:.2g}, labels agree on {share:.4%}"
        remedy = "Assess and approve the converted model, not the original"
        findings.append(Finding("convert-differs", Severity.HIGH, text, child.name, remedy))
    if malicious:
        text = "loading the original would do harm; what it calls was left out"
        findings.append(Finding("convert-from-malicious", Severity.LOW, text, parent.name, "Do not open the original"))
    lists = {name: answer[name] for name in ("dropped", "trusted") if answer.get(name)}
    return Evidence(
        control="convert",
        subjects=(child, parent),
        made=clock(),
        measures=measures,
        findings=tuple(findings),
        parameters={
            "dtype": str(answer["dtype"]),
            "tool": derivation.tool,
            "parent": str(parent.digest),
            "child": str(child.digest),
            "isolation": dict(isolation),
            **lists,
        },
    )


@contextmanager
def _rows(table: Path | None, contract: Path | None, *, needed: bool) -> Iterator[Path | None]:
    import numpy as np

    if table is None:
        if needed:
            raise SettingError("needs real rows on which both models are compared", remedy="Give --rows TABLE")
        yield None
    elif table.suffix == ".npy":
        if not table.is_file():
            raise DataError("the rows do not exist", where=str(table), remedy="Check the path")
        try:
            np.load(table, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise DataError("is no array of numbers", where=str(table), remedy="Save it with numpy.save") from error
        yield table.resolve()
    else:
        x = encode(Contract.read(contract or Path("contract.yaml")), read_table(table))
        with tempfile.TemporaryDirectory() as scratch:
            rows = Path(scratch).resolve() / "rows.npy"
            np.save(rows, x)
            yield rows
