"""Loading a model file that one did not write: scanned first, then opened with just the names that the scan admitted."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from assay.artifacts.load_guard import open_model
from assay.artifacts.pickle.policy import builtin_policy
from assay.artifacts.report import FileReport, FileVerdict
from assay.artifacts.scan import scan_paths
from assay.core.errors import DataError, Refused, UnsupportedError
from assay.training.isolation import Limits
from assay.training.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SERVE = "assay.artifacts.load_guard:serve_model"
_ANSWER_MB = 1024


class SandboxedModel:
    """A model that runs in a sandbox of its own: its answers come out, nothing else does.

    report: what the scan said. methods: what can be called. type: the class inside. classes_, n_features_in_ and
    feature_names_in_ as of the estimator, where it has them. A context manager; ``close`` ends the process.
    """

    def __init__(self, session: Session, report: FileReport, folder: Path) -> None:
        import numpy as np

        about = session.about.get("about")
        told: dict[str, Any] = about if isinstance(about, dict) else {}
        self._session, self._folder, self.report = session, folder, report
        self.isolation = session.isolation
        self.type = str(told.get("type", ""))
        self.methods = tuple(str(m) for m in told.get("methods") or ())
        if told.get("classes") is not None:
            self.classes_ = np.asarray(told["classes"])
        if told.get("width"):
            self.n_features_in_ = int(told["width"])
        if told.get("names"):
            self.feature_names_in_ = np.asarray(told["names"])

    def predict(self, x: Any) -> NDArray[Any]:
        """Return the model's predictions for rows x (n, d)."""
        return self._ask("predict", x)

    def predict_proba(self, x: Any) -> NDArray[Any]:
        """Return class probabilities (n, classes). Raises UnsupportedError for a model without."""
        return self._ask("predict_proba", x)

    def decision_function(self, x: Any) -> NDArray[Any]:
        """Return the model's scores. Raises UnsupportedError for a model without."""
        return self._ask("decision_function", x)

    def transform(self, x: Any) -> NDArray[Any]:
        """Return the transformed rows. Raises UnsupportedError for a model that transforms nothing."""
        return self._ask("transform", x)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays and tensors that the file holds, by dotted name."""
        return self._session.call("arrays", {})

    def close(self) -> None:
        """End the sandbox."""
        self._session.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SandboxedModel({self.type}, isolation={self.isolation.get('engine')})"

    def _ask(self, method: str, x: Any) -> NDArray[Any]:
        import numpy as np

        if self.methods and method not in self.methods:
            raise UnsupportedError(f"the model has no {method}", where=self.type, remedy="Call what its methods list")
        return self._session.call(method, {"x": np.asarray(x)})["answer"]


def load(
    path: str | os.PathLike[str],
    *,
    isolation: str = "auto",
    allow: Iterable[str] = (),
    limits: Limits | None = None,
) -> Any:
    """Return the model in a file after a clean scan, running in a sandbox; ``isolation="none"`` opens it in this process.

    Either way the load imports exactly the names that the scan reported as allowed, starts no process and reaches no
    network. In the sandbox a ``SandboxedModel`` comes back, with ``predict`` and its kin; in this process the object
    itself does. allow: more names, ``module.name``, that the caller vouches for; what is known to be dangerous cannot
    be allowed. limits: of the sandbox; seconds bounds opening and each call.

    Raises Refused when the scan is not clean or the load reaches further, DataError when there is no such file,
    UnsupportedError for a format that is not opened, MissingError when no sandbox works here.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError("is no file", where=str(source), remedy="Give one model file")
    # A copy of our own: what is opened is what was scanned, whoever writes to the original meanwhile.
    folder = Path(tempfile.mkdtemp(prefix="assay-load-")).resolve()
    try:
        copy = folder / source.name
        shutil.copyfile(source, copy)
        report = _admit(copy, source, allow)
        if isolation == "none":
            return open_model(copy, report.format, report.admitted)
        arguments = {"model": str(copy), "kind": report.format, "admitted": sorted(report.admitted)}
        bounds = limits or Limits(seconds=120.0, output_mb=_ANSWER_MB)
        session = Session(_SERVE, arguments, inputs=(copy,), engine=isolation, limits=bounds)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        if isolation == "none":
            shutil.rmtree(folder, ignore_errors=True)
    return SandboxedModel(session, report, folder)


def _admit(copy: Path, source: Path, allow: Iterable[str]) -> FileReport:
    """Return the report of a clean scan. Raises Refused with the first reason otherwise."""
    (report,) = scan_paths([copy], policy=builtin_policy().allowing(allow)).files
    if report.verdict is FileVerdict.CLEAN:
        return report
    first = report.findings[0] if report.findings else None
    why = first.message if first else (report.not_checked[0].why if report.not_checked else "could not be examined")
    remedy = (first.remedy if first else "") or "Ask its author for ONNX or safetensors"
    raise Refused(f"is {report.verdict.value}: {why}", where=str(source), remedy=remedy)
