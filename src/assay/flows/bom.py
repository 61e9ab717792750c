"""The bill of materials of a model file, a project or a release, and the differences between two."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from assay.artifacts.bom.declared import DeclaredCard, read_card
from assay.artifacts.bom.difference import BomDiff, diff_boms, read_bom
from assay.artifacts.bom.document import Bom, Part, Tier
from assay.artifacts.bom.reading import bom_of
from assay.core.clock import Clock, system_clock
from assay.core.errors import DataError
from assay.core.evidence import Evidence, Subject
from assay.core.keys import PublicKey
from assay.core.statement import Statement
from assay.flows.bom_assembly import BOM_TYPE, Known, assemble
from assay.flows.bom_environment import find_locks
from assay.flows.bom_sources import of_model, of_project, of_release
from assay.flows.project import FILE, Project
from assay.flows.release import verify
from assay.flows.work import Work
from assay.registry.release import MANIFEST

CARD = "card.yaml"
PROVENANCE = "https://slsa.dev/provenance/v1"


def make_bom(
    target: str | os.PathLike[str],
    *,
    card: Path | None = None,
    locks: Sequence[Path] = (),
    evidence: Sequence[Path] = (),
    keys: Sequence[Path] = (),
    trust: Path | None = None,
    seed: int = 0,
    made: datetime | None = None,
    clock: Clock = system_clock,
) -> Bom:
    """Return the bill of materials of a model file or folder, a project folder, or a release folder.

    card: declarations (default: ``card.yaml`` in the folder). locks: lock files of the environment (default: of the
    project). evidence: files of evidence about a model. keys: public keys by which a model's signature and statements
    are verified; trust: of a release (default: ``trust.json`` beside it). made: its time (default: now). The same
    target, seed and time give the same bytes. Raises DataError or FormatError for what cannot be read,
    VerificationError when something signed does not hold.
    """
    path, now = Path(target), made or clock()
    if (path / MANIFEST).is_file():
        known, signed = of_release(verify(path, trust, now=clock()))
        if signed and not card and not locks:
            return _released(bom_of(signed), known, now, seed)
        return assemble(known, _declared(card, path.absolute().parent), locks, now, seed=seed)
    if (path / FILE).is_file():
        project = Project.read(path)
        found = locks or find_locks(project.root)
        return assemble(of_project(project, clock), _declared(card, project.root), found, now, seed=seed)
    if not path.exists():
        raise DataError("does not exist", where=str(path), remedy="Give a model, a project folder or a release folder")
    known = of_model(path, evidence, [PublicKey.read(key) for key in keys], clock)
    return assemble(known, _declared(card, path if path.is_dir() else path.parent), locks, now, seed=seed)


def work_bom(work: Work, subject: Subject, evidence: Sequence[Evidence], statements: Sequence[Statement]) -> Statement:
    """Return the bill of a model that a run made, as the statement that is signed with its evidence.

    Its time is that of the newest evidence, so that a run that changes nothing changes no byte of it.
    """
    project = work.project
    names = {"train": project.train.name, "test": project.test.name, "contract": project.contract.name}
    made = next((s.predicate for s in statements if s.predicate_type == PROVENANCE), {})
    known = Known(
        project.name, Tier.INFERRED, subject.digest, author=project.author, evidence=tuple(evidence), provenance=made,
        contract=work.contract, datasets={use: (name, work.digests[use]) for use, name in names.items()},
        properties={"assay:format": "onnx"},
    )  # fmt: skip
    bom = assemble(
        known, _declared(None, project.root), find_locks(project.root), max(e.made for e in evidence), seed=project.seed
    )
    return Statement((subject,), BOM_TYPE, bom.to_json())


def bom_inputs(work: Work) -> tuple[Path, ...]:
    """Return the files of a project that its bill is made of, beside what the run itself makes."""
    card = work.project.root / CARD
    return (*find_locks(work.project.root), *([card] if card.is_file() else []))


def bom_diff(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> BomDiff:
    """Return what has changed from one CycloneDX file to another. Raises DataError or FormatError."""
    return diff_boms(read_bom(old), read_bom(new))


def _released(bom: Bom, known: Known, now: datetime, seed: int) -> Bom:
    """Return the bill that was signed with a release, along with what was signed after it.

    What the pipeline inferred is verified by now: the signature over it holds.
    """
    model = _raised(bom.model)
    files = (Part(f"file:{n}", n, "file", digests=(str(d),), needs=(), claims={"": Tier.VERIFIED})
             for n, d in sorted(known.files.items()))  # fmt: skip
    added = tuple(files)
    model = replace(
        model, version=known.version, references=(*model.references, *known.references),
        needs=(*(model.needs or ()), *(f.ref for f in added)), properties={**model.properties, **known.properties},
    )  # fmt: skip
    card = replace(bom.card, properties={k: _raised_text(v) if k.startswith("assay:claim") else v
                                         for k, v in bom.card.properties.items()})  # fmt: skip
    datasets = tuple(replace(d, claims=_raised_claims(d.claims)) for d in bom.datasets)
    parts = (*(_raised(p) for p in bom.parts), *added)
    return replace(bom, model=model, card=card, datasets=datasets, parts=parts, made=now, seed=seed)


def _raised(part: Part) -> Part:
    return replace(part, claims=_raised_claims(part.claims))


def _raised_claims(claims: Mapping[str, Tier]) -> dict[str, Tier]:
    return {k: Tier.VERIFIED if tier is Tier.INFERRED else tier for k, tier in claims.items()}


def _raised_text(tier: str) -> str:
    return Tier.VERIFIED.value if tier == Tier.INFERRED.value else tier


def _declared(card: Path | None, folder: Path) -> DeclaredCard:
    path = card or folder / CARD
    return read_card(path) if card or path.is_file() else DeclaredCard()
