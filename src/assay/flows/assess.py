"""Assessing: first whether the evaluation is valid, then the attacks; a failure of the first voids the second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from assay.assessment.assessment import Assessment, attack, case_of, subject_of
from assay.assessment.reach import is_live
from assay.contract.contract import Contract, Kind
from assay.contract.encode import encode, labels
from assay.contract.region import Region
from assay.core.clock import Clock, system_clock
from assay.core.digest import digest_file
from assay.core.errors import DataError, SettingError
from assay.core.evidence import Evidence, Subject
from assay.data.sources import read_table
from assay.data.validity import check_validity, voids
from assay.models.accounts import Accounts
from assay.models.predictor import Predictor, predictor

if TYPE_CHECKING:
    from assay.flows.fix import Fix
    from assay.models.refit import Refit
    from assay.training.refit import IsolatedRefit


def assess(
    model: object,
    *,
    train: tuple[object, object],
    test: tuple[object, object],
    contract: Contract | None = None,
    region: Region | None = None,
    refit: Refit | object | None = None,
    profile: str = "quick",
    goals: Sequence[str] = (),
    seed: int = 0,
    subjects: tuple[Subject, ...] = (),
    clock: Clock = system_clock,
    progress: Callable[[str], None] | None = None,
) -> Assessment:
    """Attack a model and return evidence on robustness, privacy and integrity, each measure with its interval.

    The split is judged first (``data.validity``): leakage, overlap or a wrong split void every measure after it.
    model, train, test, contract, region, refit, profile, seed: as in ``assay.assessment.assessment.case_of``; goals,
    subjects: as in ``attack`` beside it (default: the model's file, else its answers on the test rows).
    Raises DataError, SettingError, UnsupportedError.
    """
    case = case_of(
        model, train=train, test=test, contract=contract, region=region, refit=refit, profile=profile, seed=seed
    )
    given = splits_of(contract, train[0], test[0]) if contract is not None else {}
    validity = check_validity(
        case.x_train, case.y_train, case.x_test, case.y_test, contract, clock=clock, **given  # type: ignore[arg-type]
    )  # fmt: skip
    found = attack(
        case, goals=goals, void=voids(validity), subjects=subjects or (subject_of(model, case),), clock=clock,
        progress=progress,
    )  # fmt: skip
    return Assessment((validity, *found.evidence), found.curves, found.exhibits)


def assess_files(
    model: str,
    train: Path,
    test: Path,
    contract: Path,
    *,
    recipe: str = "",
    goals: Sequence[str] = (),
    profile: str = "quick",
    keys: Sequence[str] = (),
    patience: float = 60.0,
    report: Path | None = None,
    engine: str = "auto",
    seed: int = 0,
    fix: bool = False,
    clock: Clock = system_clock,
    progress: Callable[[str], None] | None = None,
) -> tuple[Assessment, Fix | None]:
    """Assess a model file or endpoint on two tables, and write ``report`` when it is named.

    recipe: ``file.py:function``. keys: of the endpoint; several are one attacker's accounts. patience: seconds that an
    attack waits in all where the endpoint says later. fix: also try what would
    lower membership inference (``flows.fix``), for which a recipe is needed. Raises SettingError without one.
    """
    from assay.flows.report import assessment_report

    if fix and not recipe:
        raise SettingError("a fix needs the recipe", where="--fix", remedy="Give --recipe file.py:function")
    described = Contract.read(contract)
    refit = shadow_fits(recipe, described, engine=engine) if recipe else None
    target = _target(model, described, keys, patience)
    about = (Subject(Path(model).name, digest_file(model)),) if Path(model).is_file() else ()
    found = assess(
        target,
        train=(read_table(train), None), test=(read_table(test), None), contract=described, refit=refit,
        profile=profile, goals=goals, seed=seed, subjects=about, clock=clock, progress=progress,
    )  # fmt: skip
    fixed = _fix(recipe, described, (train, test), engine, profile, seed, progress) if fix else None
    if fixed is not None:
        found = Assessment(found.evidence, (*found.curves, fixed.curve()), (*found.exhibits, fixed.listing()))
    if report is not None:
        assessment_report(report, found, title=Path(model).name, made=clock())
    return found, fixed


def _fix(
    recipe: str,
    contract: Contract,
    tables: tuple[Path, Path],
    engine: str,
    profile: str,
    seed: int,
    progress: Callable[[str], None] | None,
) -> Fix:
    from assay.flows.fix import fix_privacy

    read = [read_table(path) for path in tables]
    train, test = ((encode(contract, t), labels(contract, t)) for t in read)
    base = shadow_fits(recipe, contract, engine=engine)
    return fix_privacy(
        lambda variant: replace(base, variant=variant), train, test, Region.of(contract), profile=profile, seed=seed,
        progress=progress,
    )  # fmt: skip


def _target(model: str, contract: Contract, keys: Sequence[str], patience: float) -> Predictor:
    asked = [predictor(model, contract=contract, key=key) for key in keys or [""]]
    return Accounts(asked, patience=patience) if is_live(asked[0]) else asked[0]


def shadow_fits(recipe: str, contract: Contract, *, engine: str = "auto") -> IsolatedRefit:
    """Return what fits ``recipe`` (``file.py:function``) again in the sandbox, told of the contract's columns."""
    from assay.training.refit import IsolatedRefit

    file, _, function = recipe.partition(":")
    if not Path(file).is_file():
        raise DataError("does not exist", where=file, remedy="Give --recipe file.py:function")
    names, categorical = columns_of(contract)
    classes = len(contract.target.classes) if contract.target else 0
    return IsolatedRefit(
        f"{Path(file).resolve()}:{function or 'build'}", engine=engine, classes=classes, columns=names,
        categorical=categorical,
    )  # fmt: skip


def columns_of(contract: Contract) -> tuple[list[str], list[int]]:
    """Return the names of the features, and the positions of those that hold categories."""
    features = contract.features
    return [f.name for f in features], [i for i, f in enumerate(features) if f.kind is Kind.CATEGORY]


def splits_of(contract: Contract, train: object, test: object) -> dict[str, tuple[object, object]]:
    """Return the group and time columns of both tables, as ``check_validity`` takes them; none of arrays."""
    from assay.contract.contract import Role
    from assay.contract.table import as_table

    found: dict[str, tuple[object, object]] = {}
    if any(hasattr(t, "dtype") for t in (train, test)):
        return found
    tables = [as_table(t) for t in (train, test)]
    for role, argument in ((Role.GROUP, "groups"), (Role.TIME, "times")):
        names = [c.name for c in contract.columns if c.role is role]
        if names and all(names[0] in t.column_names for t in tables):
            found[argument] = (_column(tables[0], names[0]), _column(tables[1], names[0]))
    return found


def judge_split(contract: Contract, train: object, test: object, *, clock: Clock) -> Evidence:
    """Return the evidence on whether a split of two Arrow tables can be believed."""
    pairs = [(encode(contract, t), labels(contract, t)) for t in (train, test)]
    given = splits_of(contract, train, test)
    return check_validity(*pairs[0], *pairs[1], contract, clock=clock, **given)  # type: ignore[arg-type]


def _column(table: object, name: str) -> object:
    return table.column(name).to_numpy(zero_copy_only=False)  # type: ignore[attr-defined]
