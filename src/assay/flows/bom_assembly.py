"""From what is known of a model, and how far it can be relied on, to its bill of materials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from assay import __version__
from assay.artifacts.bom.card import Card, Metric, limits_of, metrics_of
from assay.artifacts.bom.declared import DeclaredCard
from assay.artifacts.bom.document import CLAIM, Bom, Dataset, Part, Reference, Tier
from assay.artifacts.derivation import Derivation
from assay.contract.contract import Contract, Role
from assay.core.canonical import canonical_bytes
from assay.core.digest import Digest
from assay.core.evidence import Evidence, Subject
from assay.flows.bom_environment import environment_parts

BOM_TYPE = "https://cyclonedx.org/bom"
_USES = ("train", "test", "table", "contract")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model before it is written down.

    tier: of the digests. files: name -> digest of what lies beside or in the model. derivation: from what the model
    was converted. provenance: predicate of the training's statement. datasets: use -> (name, digest). references:
    signatures, statements, logs. The tiers are those of the fact beside them.
    """

    name: str
    tier: Tier
    digest: Digest | None = None
    version: str = ""
    author: str = ""
    files: Mapping[str, Digest] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    evidence_tier: Tier = Tier.INFERRED
    provenance: Mapping[str, object] = field(default_factory=dict)
    provenance_tier: Tier = Tier.INFERRED
    contract: Contract | None = None
    derivation: Derivation | None = None
    derivation_tier: Tier = Tier.DECLARED
    datasets: Mapping[str, tuple[str, Digest]] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)


def assemble(known: Known, declared: DeclaredCard, locks: Sequence[Path], made: datetime, *, seed: int = 0) -> Bom:
    """Return the bill of what is known and declared; where both speak, what was measured counts."""
    libraries, odd = _libraries(known, locks)
    data = _data(known)
    uses = sorted(data.keys() | declared.data.keys())
    datasets = tuple(_dataset(known, declared, use, *data.get(use, (use, None))) for use in uses)
    files = tuple(_file(known, name, digest) for name, digest in sorted(known.files.items()))
    derivation = known.derivation
    return Bom(
        _model(known, declared, libraries, files), _card(known, declared, odd), made, seed, datasets,
        (*libraries, *files), (_ancestor(derivation.parent, known.derivation_tier),) if derivation else (),
        _pedigree(derivation, known.derivation_tier) if derivation else "", tool=("assay", __version__),
    )  # fmt: skip


def _libraries(known: Known, locks: Sequence[Path]) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    internal = _section(_section(known.provenance, "buildDefinition"), "internalParameters")
    lines = internal.get("environment")
    return environment_parts(
        locks, [str(line) for line in lines] if isinstance(lines, list) else [], known.provenance_tier
    )


def _model(known: Known, declared: DeclaredCard, libraries: Sequence[Part], files: Sequence[Part]) -> Part:
    claims = {"": known.tier} if known.digest else {}
    if known.digest:
        claims["hashes"] = known.tier
    told = {"licences": declared.licence, "supplier": declared.supplier, "description": declared.description}
    claims |= {key: Tier.DECLARED for key, value in told.items() if value}
    facts = dict(known.properties)
    if known.author:
        facts["assay:author"] = known.author
    # What another library needs hangs on that one; the model itself needs those that nothing else does.
    below = {ref for part in libraries for ref in part.needs or ()}
    roots = [part.ref for part in libraries if part.ref not in below]
    return Part(
        "model", declared.name or known.name, "machine-learning-model", known.version or declared.version,
        (str(known.digest),) if known.digest else (), (declared.licence,) if declared.licence else (),
        supplier=declared.supplier, description=declared.description, references=known.references,
        needs=(*roots, *(f.ref for f in files)), claims=claims, properties=facts,
    )  # fmt: skip


def _file(known: Known, name: str, digest: Digest) -> Part:
    return Part(f"file:{name}", name, "file", digests=(str(digest),), needs=(), claims={"": known.tier})


def _card(known: Known, declared: DeclaredCard, odd: Sequence[str]) -> Card:
    contract = known.contract
    slices = [c.name for c in contract.columns if c.slice] if contract else []
    metrics = metrics_of(known.evidence, slices)
    estimator = _estimator(known.evidence)
    learnt = contract is not None and contract.target is not None
    claims = {
        "quantitativeAnalysis": known.evidence_tier if metrics else None,
        "modelParameters": Tier.DECLARED if contract else None,
        "considerations": Tier.DECLARED if declared.users or declared.use_cases else None,
    }
    return Card(
        declared.approach or ("supervised" if learnt else ""), declared.task or ("classification" if learnt else ""),
        declared.family or _family(estimator), declared.architecture or estimator, _inputs(contract), _outputs(contract),
        metrics, declared.users, declared.use_cases,
        (*declared.limitations, *odd, *limits_of(known.evidence), *_unmeasured(metrics, slices)),
        declared.tradeoffs, declared.ethics, declared.fairness,
        {f"{CLAIM}:{field}": tier.value for field, tier in claims.items() if tier},
    )  # fmt: skip


def _estimator(evidence: Sequence[Evidence]) -> str:
    """Return the class that was trained, as the training reported it, "" when nothing is known of one."""
    told = ((e.parameters or {}).get("estimator") for e in evidence if e.control == "training")
    return next((str(name) for name in told if name), "")


def _unmeasured(metrics: Sequence[Metric], slices: Sequence[str]) -> Iterator[str]:
    """Yield what nobody measured: a slice that the contract names, or all."""
    seen = {part.partition("=")[0] for metric in metrics for part in metric.slice.split(",")}
    silent = [name for name in slices if name not in seen]
    if silent:
        yield f"quality was not measured by {', '.join(silent)}, which the contract names as slices"
    if not metrics:
        yield "nothing about this model was measured"


def _family(estimator: str) -> str:
    name = estimator.rpartition(".")[2].lower()
    words = {
        "boost": "gradient boosting", "lgbm": "gradient boosting", "forest": "random forest", "trees": "random forest",
        "tree": "decision tree", "logistic": "linear model", "linear": "linear model", "mlp": "neural network",
        "svc": "support vector machine", "neighbors": "nearest neighbours", "bayes": "naive Bayes",
        "nb": "naive Bayes",
    }  # fmt: skip
    return next((family for word, family in words.items() if word in name), "")


def _inputs(contract: Contract | None) -> tuple[str, ...]:
    if contract is None:
        return ()
    if contract.tensor is not None:
        return (f"{contract.tensor.dtype} tensor (n, {', '.join(map(str, contract.tensor.shape))})",)
    features = [c for c in contract.columns if c.role is Role.FEATURE]
    return (f"float64 tensor (n, {len(features)})", *(f"{c.name}: {c.kind.value}" for c in features))


def _outputs(contract: Contract | None) -> tuple[str, ...]:
    target = contract.target if contract else None
    return (f"probabilities of {target.name}: {', '.join(target.classes)}",) if target else ()


def _data(known: Known) -> dict[str, tuple[str, Digest]]:
    """Return the data by use: given, or what the provenance names as resolved dependencies."""
    found = dict(known.datasets)
    sources = _section(known.provenance, "buildDefinition").get("resolvedDependencies")
    for item in sources if isinstance(sources, list) else ():
        name, digests = item.get("name"), item.get("digest")
        if name in _USES and name not in found and isinstance(digests, Mapping) and "sha256" in digests:
            found[str(name)] = (str(name), Digest("sha256", str(digests["sha256"])))
    return found


def _dataset(known: Known, declared: DeclaredCard, use: str, name: str, digest: Digest | None) -> Dataset:
    told = declared.data.get(use)
    # The contract belongs to the data that it describes, but holds none.
    held = () if use == "contract" or known.contract is None else known.contract.columns
    sensitive = tuple(c.name for c in held if c.sensitive)
    tier = known.tier if use in known.datasets else known.provenance_tier
    claims = {"": tier, "hashes": tier} if digest else {"": Tier.DECLARED}
    if sensitive:
        claims["sensitiveData"] = Tier.DECLARED
    if told is None:
        return Dataset(f"data:{use}", name, use, str(digest or ""), "", "", (), sensitive, (), claims)
    if told.parties or told.classification:
        claims["governance"] = Tier.DECLARED
    if told.sensitive:
        claims["sensitiveData"] = Tier.DECLARED
    return Dataset(
        f"data:{use}", told.name or name, use, str(digest or ""), told.classification, told.description,
        (told.licence,) if told.licence else (), tuple(dict.fromkeys((*told.sensitive, *sensitive))), told.parties, claims,
    )  # fmt: skip


def _ancestor(parent: Subject, tier: Tier) -> Part:
    return Part(f"ancestor:{parent.digest.hex}", parent.name, "machine-learning-model", digests=(str(parent.digest),),
                claims={"": tier})  # fmt: skip


def _pedigree(derivation: Derivation, tier: Tier) -> str:
    record = {
        "claim": tier.value, "tool": derivation.tool, "versions": dict(derivation.versions),
        "measured": dict(derivation.measured), "dropped": list(derivation.dropped),
        "rows": str(derivation.rows) if derivation.rows else None,
    }  # fmt: skip
    return canonical_bytes(record).decode()


def _section(record: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}
