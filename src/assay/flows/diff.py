"""Comparing versions: the one in use against the one that is to replace it, with fresh clean versions to judge by."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from assay.assessment.version_diff import VersionDiff, Versions, version_diff
from assay.contract.contract import Contract
from assay.contract.encode import encode, labels
from assay.contract.region import Region
from assay.core.clock import Clock, derive_seed, stream, system_clock
from assay.core.digest import digest_file
from assay.core.errors import SettingError
from assay.core.evidence import Subject
from assay.data.sources import read_table
from assay.flows.assess import columns_of
from assay.models.predictor import Predictor, predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]


def compare_files(
    old: str,
    new: str,
    test: Path,
    contract: Path,
    *,
    train: Path | None = None,
    retrain: Path | None = None,
    clean: Sequence[Path] = (),
    recipe: str = "",
    refits: int = 20,
    profile: str = "quick",
    engine: str = "auto",
    report: Path | None = None,
    seed: int = 0,
    clock: Clock = system_clock,
    progress: Callable[[str], None] | None = None,
) -> VersionDiff:
    """Compare two model files or endpoints on ``test``, and write ``report`` when it is named.

    train: rows that are trusted, which both versions were fitted on. retrain: rows that the new one was fitted on, whose
    values the screen tries. clean: files of versions known to be clean; recipe (``file.py:function``): fits ``refits``
    more on draws of ``train``, in the sandbox. Raises SettingError for a recipe without ``train``.
    """
    if recipe and train is None:
        raise SettingError("clean versions are fitted on trusted rows", where="--recipe", remedy="Give --train TABLE")
    described = Contract.read(contract)
    held = _rows(test, described)
    trusted = None if train is None else _rows(train, described)
    with tempfile.TemporaryDirectory(prefix="assay-clean-") as work:
        others: list[Predictor] = [predictor(str(path), contract=described) for path in clean]
        if recipe and trusted is not None:
            others += clean_versions(
                recipe,
                described,
                trusted,
                Path(work).resolve(),
                count=refits,
                engine=engine,
                seed=seed,
                progress=progress,
            )
        versions = Versions(
            predictor(old, contract=described), predictor(new, contract=described), *held, Region.of(described), described,
            others, trusted[0] if retrain is None and trusted else None if retrain is None else _rows(retrain, described)[0],
            trusted,
        )  # fmt: skip
        if progress:
            progress("comparing")
        about = tuple(
            Subject(f"{n}: {Path(p).name}", digest_file(p)) for n, p in (("old", old), ("new", new)) if _is_file(p)
        )
        found = version_diff(versions, subjects=about, profile=profile, seed=seed, clock=clock)
    if report is not None:
        from assay.assessment.assessment import Assessment
        from assay.flows.report import assessment_report

        assessment_report(
            report, Assessment((found.evidence,), (), found.listings), title=f"{Path(new).name} against {Path(old).name}",
            made=clock(),
        )  # fmt: skip
    return found


def clean_versions(
    recipe: str,
    contract: Contract,
    trusted: tuple[Array, Labels],
    work: Path,
    *,
    count: int,
    engine: str = "auto",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[Predictor]:
    """Fit ``recipe`` on ``count`` draws with replacement of trusted rows (x (n, d), y (n,)), as ONNX files below ``work``.

    Each is trained and converted in the sandbox. Raises JobError, or UnsupportedError where it cannot be converted.
    """
    from assay.flows.convert import convert_rows
    from assay.training.job import train

    file, _, function = recipe.partition(":")
    names, categorical = columns_of(contract)
    x, y = trusted
    found = []
    for number in range(count):
        if progress:
            progress(f"clean version {number + 1} of {count}")
        drawn = stream(seed, "clean", number).integers(0, len(y), len(y))
        folder = work / f"{number}"
        made = train(
            f"{Path(file).resolve()}:{function or 'build'}", x[drawn], y[drawn], output=folder / "trained",
            seed=derive_seed(seed, "clean", number) % 2**31, engine=engine, columns=names, categorical=categorical,
        )  # fmt: skip
        convert_rows(made.model, x[: min(len(x), 200)], folder / "converted", engine=engine)
        found.append(predictor(str(folder / "converted" / "model.onnx"), contract=contract))
    return found


def _rows(table: Path, contract: Contract) -> tuple[Array, Labels]:
    read = read_table(table)
    return encode(contract, read), labels(contract, read)


def _is_file(place: str) -> bool:
    return "://" not in place and Path(place).is_file()
