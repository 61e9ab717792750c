"""The way through, from the data to the gate: what ``assay run`` does, stage by stage.

check data -> judge the split -> train in isolation, and audit what is private -> scan -> convert -> assess -> fit
guards -> sign -> list materials -> register -> gate -> report. A stage whose inputs have not changed is skipped.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from assay.artifacts.oms import sign_model
from assay.artifacts.scan import scan
from assay.assessment.assessment import Assessment
from assay.assessment.assessment import assess as attack
from assay.assessment.curves import Curve
from assay.assessment.exhibits import Exhibit, exhibit
from assay.contract.validate import check
from assay.core.clock import Clock, system_clock
from assay.core.digest import Digest, digest_file, digest_record, digest_tree
from assay.core.errors import Refused
from assay.core.evidence import Evidence, Subject
from assay.core.files import write_record, write_text
from assay.core.finding import Finding, Severity
from assay.core.measure import Verdict
from assay.core.statement import Statement
from assay.data.privacy.base import check_privacy
from assay.data.validity import voids
from assay.flows.assess import columns_of, judge_split, shadow_fits
from assay.flows.bom import bom_inputs, work_bom
from assay.flows.convert import convert_rows
from assay.flows.identity import Identity
from assay.flows.project import Project
from assay.flows.release import Candidate, judge, register_candidate
from assay.flows.report import run_report
from assay.flows.stages import Memory, Report, Stage
from assay.flows.train import Job, audit_evidence, audit_line, claimed_measures, claims
from assay.flows.work import Work
from assay.gateway.guard import fit_guards, guards_of
from assay.models.predictor import predictor
from assay.monitoring.baseline import baseline
from assay.registry.gate import GateReport
from assay.training.provenance import provenance

_PARITY_ROWS = 20_000

Result = tuple[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. passed: the gate lets the model through, as soon as somebody approves it."""

    project: Project
    stages: tuple[Stage, ...]
    gate: GateReport
    version: int
    assessment: Assessment

    @property
    def passed(self) -> bool:
        """Whether the gate refuses nothing; what is uncertain is left to a person."""
        return self.gate.verdict in {Verdict.PASS, Verdict.UNCERTAIN}

    def to_json(self) -> dict[str, object]:
        """Return the run as plain data."""
        return {
            "project": self.project.name,
            "version": self.version,
            "verdict": self.gate.verdict.value,
            "stages": [
                {"name": s.name, "status": s.status, "detail": s.detail, "seconds": round(s.seconds, 3)}
                for s in self.stages
            ],
            "measures": [m.to_json() for m in self.assessment.measures],
            "gate": self.gate.to_json(),
            "report": str(self.project.report),
        }

    def title(self) -> str:
        """Return what the table of the gate is about, in one line."""
        return (
            f"{self.project.name} version {self.version} against {self.project.policy.name}: {self.gate.verdict.value}"
        )

    def closing(self) -> str:
        """Return what to do next."""
        report = f"Report: {self.project.report}"
        if not self.passed:
            return f"{report}\nNot released: see what failed above, or change the policy on purpose."
        return f"{report}\nNext: somebody else than {self.project.author} runs `assay approve`, then `assay promote`."


def run_project(
    project: Project,
    *,
    report: Report,
    engine: str = "auto",
    profile: str | None = None,
    clock: Clock = system_clock,
) -> RunResult:
    """Take a project through every stage up to the gate. report: told (name, status, detail) of each.

    Raises AssayError of the stage that could not be done; nothing half-written is left behind.
    """
    memory = Memory(project.state / "stages", report)
    found = register_project(project, memory, engine=engine, profile=profile, clock=clock)
    version, gate = judge(project, clock=clock)
    memory.note("gate", f"version {version}: {gate.verdict.value}")
    result = RunResult(project, tuple(memory.stages), gate, version, found)
    run_report(project.report, result, clock())
    report("report", "done", str(project.report))
    return result


def register_project(
    project: Project, memory: Memory, *, engine: str = "auto", profile: str | None = None, clock: Clock = system_clock
) -> Assessment:
    """Take a project through every stage up to the registry; return all evidence and the curves."""
    work = Work(project, engine, profile or project.profile)
    identity = Identity.of(project)
    memory.run("data", work.data, lambda: _check_data(work, clock))
    split = memory.run("validity", work.data, lambda: _judge(work, clock))
    served = _served(work, memory, _model(work, memory, clock), clock)
    model = digest_file(served)
    attacked = memory.run(
        "assess",
        {**work.digests, "model": model, "profile": work.profile, "seed": project.seed, "void": split.text("void")},
        lambda: _attack(work, served, void=split.text("void"), clock=clock, report=memory.report),
    )
    guards = str(sorted(project.guards.items()))
    memory.run(
        "guards",
        {**work.data, "model": model, "guards": guards, "seed": project.seed},
        lambda: _prepare(work, served),
        outputs=(work.model_folder,),
    )
    memory.run(
        "sign",
        {"files": digest_tree(work.model_folder), "key": identity.pipeline.public.id},
        lambda: _sign(work, identity),
        outputs=(work.signature,),
    )
    subject = Subject("model.onnx", model)
    evidence = tuple(_bound(e, subject) for stage in memory.stages for e in stage.evidence)
    made = tuple(Statement.from_json(s) for stage in memory.stages if (s := stage.result.get("statement")))
    bom = memory.run(
        "bom",
        {
            "evidence": digest_record([e.to_json() for e in evidence]),
            "statements": digest_record([s.to_json() for s in made]),
            "files": str({p.name: str(digest_file(p)) for p in bom_inputs(work)}),
        },
        lambda: _list_materials(work, subject, evidence, made),
    )
    made = (*made, Statement.from_json(bom.result["statement"]))
    number = register_candidate(Candidate(project, subject, evidence, made, work.digests), identity, clock)
    memory.note("register", f"{project.name} version {number}, {len(evidence)} pieces of evidence")
    return Assessment(evidence, _curves(attacked), _exhibits(attacked))


def _bound(evidence: Evidence, model: Subject) -> Evidence:
    """Return evidence on the data or the training as evidence on the model that came of them."""
    if any(s.digest == model.digest for s in evidence.subjects):
        return evidence
    return replace(evidence, subjects=(model, *evidence.subjects))


def _list_materials(
    work: Work, subject: Subject, evidence: tuple[Evidence, ...], statements: tuple[Statement, ...]
) -> Result:
    statement = work_bom(work, subject, evidence, statements)
    parts = statement.predicate.get("components")
    return f"CycloneDX, {len(parts) if isinstance(parts, list) else 0} components", {"statement": statement.to_json()}


def _curves(stage: Stage) -> tuple[Curve, ...]:
    held = stage.result.get("curves")
    return tuple(Curve.from_json(c) for c in held) if isinstance(held, list) else ()


def _exhibits(stage: Stage) -> tuple[Exhibit, ...]:
    held = stage.result.get("exhibits")
    return tuple(exhibit(e) for e in held) if isinstance(held, list) else ()


def _check_data(work: Work, clock: Clock) -> Result:
    bad = []
    evidence = []
    for path in (work.project.train, work.project.test):
        quarantine = work.place("quarantine", f"{path.stem}.parquet")
        quarantine.parent.mkdir(parents=True, exist_ok=True)
        found = check(path, work.contract, clock=clock, quarantine=quarantine)
        share = found.measure("bad_rows")
        bad.append(f"{path.name}: {share.estimate:.2%} of {share.n} rows break the contract" if share else path.name)
        evidence.append(found)
    if work.contract.tensor is None:
        # Copies and people across the split are judged with the split, since they void what is measured on it.
        kept = check_privacy(work.tables[0], work.contract, seed=work.project.seed, clock=clock)
        evidence.append(replace(kept, subjects=work.data_subjects[:1]))
    return "; ".join(bad), {"evidence": [e.to_json() for e in evidence]}


def _judge(work: Work, clock: Clock) -> Result:
    found = replace(judge_split(work.contract, *work.tables, clock=clock), subjects=work.data_subjects)
    why = voids(found)
    rows = f"{len(work.train[0])} training and {len(work.test[0])} test rows"
    return (f"void, {why}" if why else f"{rows}, nothing leaks"), {"evidence": [found.to_json()], "void": why}


def _model(work: Work, memory: Memory, clock: Clock) -> Path:
    """Return the model file that the project makes or names; a named one is scanned before anything opens it."""
    project = work.project
    if project.artifact is not None:
        artifact = project.artifact
        if artifact.suffix != ".onnx":
            memory.run("scan artifact", {"artifact": digest_file(artifact)}, lambda: _admit(artifact, clock))
        return artifact
    folder = work.place("train")
    made = memory.run(
        "train",
        {**work.digests, "seed": project.seed, "engine": work.engine, "author": project.author},
        lambda: _train(work, folder, clock),
        outputs=(folder / "model.joblib",),
    )
    if claim := made.result.get("privacy"):
        # A stage of its own: to switch it on or off must not train, and so spend, a second time.
        model = digest_file(folder / "model.joblib")
        memory.run(
            "privacy audit",
            {**work.digests, "model": model, "seed": project.seed, "engine": work.engine, "on": project.privacy_audit},
            lambda: _audit_privacy(work, claim, model, clock),
        )
    return folder / "model.joblib"


def _train(work: Work, folder: Path, clock: Clock) -> Result:
    project = work.project
    started = clock()
    made = _job(work).train(folder)
    subject = Subject("model.joblib", digest_file(made.model))
    statement = provenance(
        subject, recipe=project.recipe, datasets={k: work.digests[k] for k in ("train", "contract")},
        seed=project.seed, isolation=made.isolation, started=started, finished=clock(), who=project.author,
        parameters=claims(made),
    )  # fmt: skip
    engine = str(made.isolation.get("engine", "none"))
    findings: tuple[Finding, ...] = ()
    if engine == "none":
        findings = (
            Finding(
                "unconfined-training", Severity.MEDIUM, "the recipe ran with all the rights of its user", project.recipe,
                "Install bubblewrap, or `pip install 'assay[sandbox]'`",
            ),
        )  # fmt: skip
    evidence = Evidence(
        "training", (subject, *work.data_subjects[:1]), clock(), techniques=("AML.T0018", "AML.T0010"), findings=findings,
        measures=claimed_measures(made),
        parameters={"isolation": dict(made.isolation), "estimator": str(made.summary.get("estimator", "")), **claims(made)},
    )  # fmt: skip
    kind = str(made.summary.get("estimator", "model")).rpartition(".")[2]
    detail = f"{kind} on {made.summary.get('rows')} rows, isolation: {engine}"
    if void := next((m.void for m in claimed_measures(made) if m.void), ""):
        detail += f"; its claim of privacy does not hold: {void}"
    return detail, {"evidence": [evidence.to_json()], "statement": statement.to_json(), **claims(made)}


def _job(work: Work) -> Job:
    names, categorical = columns_of(work.contract)
    return Job(
        work.project.recipe, *work.train, seed=work.project.seed, engine=work.engine, columns=names,
        categorical=categorical,
    )  # fmt: skip


def _audit_privacy(work: Work, claim: object, model: Digest, clock: Clock) -> Result:
    """Train the private model once more, with canaries, and throw that model away."""
    about = (Subject("model.joblib", model), *work.data_subjects[:1])
    found = audit_evidence(claim, _job(work), about, clock, wanted=work.project.privacy_audit)
    return (audit_line(found), {"evidence": [found.to_json()]}) if found else ("nothing is claimed", {})


def _served(work: Work, memory: Memory, model: Path, clock: Clock) -> Path:
    """Return the model in the format that is served, converted in the sandbox unless it is ONNX already, and scanned."""
    if model.suffix != ".onnx":
        folder = work.place("onnx")
        memory.run(
            "convert",
            {"model": digest_file(model), **work.data, "engine": work.engine},
            lambda: _convert(work, model, folder, clock),
            outputs=(folder / "model.onnx",),
        )
        model = folder / "model.onnx"
    memory.run("scan", {"model": digest_file(model)}, lambda: _scan(model, clock))
    return model


def _convert(work: Work, model: Path, folder: Path, clock: Clock) -> Result:
    rows = np.concatenate([work.test[0], work.train[0]])[:_PARITY_ROWS]
    evidence = convert_rows(model, rows, folder, recipe=work.project.recipe, engine=work.engine, clock=clock)
    far = evidence.measure("max_probability_difference")
    detail = f"model.onnx differs by at most {far.estimate:.2g} on {far.n} rows" if far else "model.onnx"
    return detail, {"evidence": [evidence.to_json()]}


def _scan(path: Path, clock: Clock) -> Result:
    found = scan(path, clock=clock)
    return f"{path.name}: {(found.parameters or {}).get('verdict')}", {"evidence": [found.to_json()]}


def _admit(path: Path, clock: Clock) -> Result:
    """Scan a file that would execute when it is opened; it goes no further unless it is clean."""
    found = scan(path, clock=clock)
    verdict = (found.parameters or {}).get("verdict")
    if verdict != "clean":
        worst = found.findings[0].message if found.findings else "it cannot be read"
        raise Refused(f"the scan says {verdict}: {worst}", where=str(path), remedy="Look with `assay scan --explain`")
    return f"{path.name}: clean", {}


def _attack(work: Work, model: Path, *, void: str, clock: Clock, report: Report) -> Result:
    recipe = work.project.recipe
    refit = shadow_fits(recipe, work.contract, engine=work.engine) if recipe else None
    found = attack(
        str(model), train=work.train, test=work.test, contract=work.contract, refit=refit, profile=work.profile,
        seed=work.project.seed, void=void, clock=clock, progress=lambda goal: report("assess", "working", goal),
    )  # fmt: skip
    about = (Subject("model.onnx", digest_file(model)), *work.data_subjects)
    evidence = [replace(e, subjects=about).to_json() for e in found.evidence]
    lead = [found.measure(n) for n in ("quality.auc", "quality.average_precision")]
    detail = ", ".join(f"{m.name.partition('.')[2].replace('_', ' ')} {m.estimate:.3f}" for m in lead if m)
    plain = found.to_json()
    return detail or "see the report", {**plain, "evidence": evidence}


def _prepare(work: Work, model: Path) -> Result:
    """Lay out what is served: the model, its contract, the fitted guards, the baseline of drift."""
    guards = guards_of(work.project.guards)
    x = work.train[0]
    answers = predictor(str(model)).labels(x)
    folder = work.model_folder
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, folder / "model.onnx")
    write_text(folder / "contract.yaml", work.contract.to_yaml())
    fitted = fit_guards(guards, work.contract, x, seed=work.project.seed)
    write_record(folder / "guards.json", {"settings": dict(work.project.guards), "fitted": fitted})
    write_record(folder / "baseline.json", baseline(work.contract, x, answers).to_json())
    return f"{', '.join(g.name for g in guards)}; baseline of {len(x)} rows", {}


def _sign(work: Work, identity: Identity) -> Result:
    sign_model(work.model_folder, identity.pipeline, work.signature)
    return f"OpenSSF model signature, key {identity.pipeline.public.id[:12]}", {}
