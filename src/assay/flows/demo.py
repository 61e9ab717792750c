"""The demonstration: the whole way on data that ships with scikit-learn, defended and attacked for real.

Nothing in it is played: every number is measured on this machine, every refusal is the gateway's or the verifier's own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.extraction.thief import Thief
from assay.contract.region import Region
from assay.core.clock import Clock, system_clock
from assay.core.errors import InputError, Refused
from assay.core.event import Event
from assay.core.files import write_text
from assay.core.keys import PrivateKey
from assay.core.measure import Measure
from assay.flows.monitor import monitor
from assay.flows.project import Project
from assay.flows.quickstart import project_of
from assay.flows.release import approve, promote, verify
from assay.flows.run import RunResult, run_project
from assay.flows.serve import serve_release
from assay.flows.stages import Report
from assay.flows.tamper import flip, tamper
from assay.flows.work import Work
from assay.gateway.auth import Keys, make_key
from assay.gateway.events import EventFile
from assay.gateway.limits import Rate
from assay.gateway.serve import background
from assay.models.guarded import Guarded
from assay.models.predictor import Predictor, predictor
from assay.registry.approval import Person
from assay.registry.trust import Trust
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

AUTHOR, APPROVER = "ada", "grace"
_ROWS_ATTACKED, _ROWS_OWNED, _QUERIES, _STOLEN = 12, 50, 150, (100, 300)
_PATIENCE = 10.0
_MARK = Path(".assay") / "demo"
_RATE = Rate(per_second=50.0, burst=3_000.0)


@dataclass(slots=True)
class DemoResult:
    """How the demonstration went. stages: (name, status, detail, seconds) in order; measures: what was measured."""

    folder: Path
    seconds: float = 0.0
    stages: list[dict[str, object]] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """Return the demonstration as plain data."""
        return {
            "folder": str(self.folder),
            "seconds": round(self.seconds, 1),
            "report": str(self.folder / "report.html"),
            "release": str(self.folder / "release"),
            "log": str(self.folder / "log"),
            "stages": self.stages,
            "measures": [m.to_json() for m in self.measures],
        }


def run_demo(folder: Path, *, seed: int = 0, report: Report, clock: Clock = system_clock) -> DemoResult:
    """Make a project in ``folder``, take its model to a guarded endpoint, attack it there and tamper with it.

    Raises InputError when a project is there already, and Refused when a refusal that must come does not.
    """
    return _Demo(folder.absolute(), seed, report, clock).play()


class _Demo:
    """The acts, in order; each says what it did as it goes."""

    def __init__(self, folder: Path, seed: int, report: Report, clock: Clock) -> None:
        self.folder, self.seed, self.tell, self.clock = folder, seed, report, clock
        self.result = DemoResult(folder)
        self.started = self.last = time.perf_counter()

    def play(self) -> DemoResult:
        _clear(self.folder)
        project = project_of(
            cell_nuclei(), "diagnosis", self.folder, name="cell-nuclei", seed=self.seed, author=AUTHOR, report=self.say
        )
        run = run_project(project, report=self.say, clock=self.clock)
        self.result.measures += run.assessment.measures
        self.decide(project, run)
        events = EventFile(project.state / "events", clock=self.clock)
        try:
            self.serve(project, events)
            self.exchange(project, events)
        finally:
            events.close()
        self.respond(project)
        verify(project.release, project.trust, now=self.clock())
        self.say("verify", "pass", "release/ is intact: model, signature, statements, approvals, log proofs")
        self.result.seconds = time.perf_counter() - self.started
        return self.result

    def say(self, name: str, status: str, detail: str) -> None:
        """Report a stage, and keep it unless it only says how far the work is."""
        now = time.perf_counter()
        self.tell(name, status, detail)
        if status != "working":
            record = {"name": name, "status": status, "detail": detail, "seconds": round(now - self.last, 3)}
            self.result.stages.append(record)
            self.last = now

    def decide(self, project: Project, run: RunResult) -> None:
        """Let the author try to approve, which is refused, and then somebody else."""
        keys = {name: _person_key(project, name) for name in (AUTHOR, APPROVER)}
        trust = Trust.read(project.trust)
        for name, key in keys.items():
            trust = trust.with_person(Person(name, key.public, frozenset({"approver"})))
        trust.write(project.trust)
        self.must_refuse(
            "self-approval", f"{AUTHOR}, who made the model",
            lambda: approve(project, AUTHOR, keys[AUTHOR], reason="it is mine", clock=self.clock),
        )  # fmt: skip
        made = approve(
            project, APPROVER, keys[APPROVER], reason="measures read, what is uncertain is acceptable here",
            accept_uncertain=True, clock=self.clock,
        )  # fmt: skip
        self.say("approve", "done", f"{made.person}: {made.reason} (gate: {run.gate.verdict.value})")
        release = promote(project, clock=self.clock)
        self.say("promote", "done", f"release/ {release.digest.short}, every statement in log/")

    def serve(self, project: Project, events: EventFile) -> None:
        """Serve the release and send it honest traffic, a thief and an evader, each with a key of its own."""
        secrets: dict[str, str] = {}
        keys = Keys.empty()
        for name in ("honest", "thief", "evader"):
            secrets[name], keys = make_key(keys, name)
        app = serve_release(
            project.release, Trust.read(project.trust), keys, events, clock=self.clock, rate=_RATE, recheck_seconds=0.2
        )
        work = Work(project, "auto", project.profile)
        with background(app) as base:
            url = f"{base}/v2/models/{app.model}"
            self.say("serve", "done", f"{url}, keys for {', '.join(secrets)}")

            for name, act in (
                ("honest", self.honest),
                ("thief", self.steal),
                ("evader", self.evade),
                ("honest", self.harm_live),
            ):
                with closing(predictor(url, contract=work.contract, key=secrets[name])) as endpoint:
                    act(work, endpoint)

    def honest(self, work: Work, endpoint: Predictor) -> None:
        """Send test rows one by one, as a clinic would."""
        guarded = Guarded(endpoint, 0)
        rows = work.test[0][:100]
        answers = guarded.labels(rows)
        right = int((answers == work.test[1][: len(rows)]).sum())
        self.say(
            "honest traffic", "done", f"{len(rows) - guarded.refused} of {len(rows)} rows answered, {right} rightly"
        )

    def steal(self, work: Work, endpoint: Predictor) -> None:
        """Measure extraction through the endpoint, whose rounding and quota are in the way."""
        x, y = work.test
        half = len(x) // 2
        region = Region.of(work.contract)
        thief = Thief(budgets=_STOLEN)
        behind = thief(Guarded(endpoint, 0), x[:half], x[half:], y[half:], region, seed=self.seed)
        bare = thief(
            predictor(str(work.model_folder / "model.onnx")), x[:half], x[half:], y[half:], region, seed=self.seed
        )
        self.result.measures += [_renamed(m, "endpoint") for m in behind.measures]
        detail = f"fidelity {_last(behind.fidelity)} behind the guards, {_last(bare.fidelity)} without"
        self.say("extraction attack", "done", f"{detail}, after {int(behind.queries.max(initial=0))} queries")

    def evade(self, work: Work, endpoint: Predictor) -> None:
        """Attack rows of one class through the endpoint, knowing the guards, and the bare model for comparison."""
        import numpy as np

        x, y = work.test
        rows = np.flatnonzero(y == 1)[:_ROWS_ATTACKED]
        region, attack = Region.of(work.contract), HopSkipJump(max_queries=_QUERIES)
        guarded, model = Guarded(endpoint, 1), predictor(str(work.model_folder / "model.onnx"))
        # The attacker owns rows of the other class, and sets out from them.
        own = x[y == 0][:_ROWS_OWNED]
        behind = attack(guarded, x[rows], y[rows], region, starts=own, seed=self.seed)
        bare = attack(model, x[rows], y[rows], region, starts=own, seed=self.seed)
        for where, outcome in (("endpoint", behind), ("bare", bare)):
            broken = int((outcome.success & ~outcome.already_wrong).sum())
            low, high = clopper_pearson(broken, len(rows))
            name = f"evasion.success@{where},hopskipjump_{_QUERIES}"
            threat = "black box, knows contract and guards"
            share = broken / len(rows)
            self.result.measures.append(Measure(name, share, low, high, len(rows), seed=self.seed, threat_model=threat))
        told = [
            f"{int(o.success.sum())} of {len(rows)} rows turned {where}" + _how_far(o.distance[o.success])
            for o, where in ((behind, "behind the guards"), (bare, "without"))
        ]
        asked = f"{guarded.refused} of {guarded.queries} queries refused"
        self.say("evasion attack", "done", f"{', '.join(told)}; {asked}")

    def harm_live(self, work: Work, endpoint: Predictor) -> None:
        """Flip a byte of the model while it is served: the gateway must stop answering."""
        model = work.project.release / "model" / "model.onnx"
        kept = model.read_bytes()
        try:
            flip(model)
            until = time.monotonic() + _PATIENCE
            while time.monotonic() < until:
                try:
                    endpoint.probabilities(work.test[0][:1])
                except Refused as error:
                    self.say("model exchanged while served", "refused", error.message[:120])
                    return
                time.sleep(0.1)
        finally:
            model.write_bytes(kept)
        raise Refused("the gateway went on answering for a model that was changed", reason="demo")

    def exchange(self, project: Project, events: EventFile) -> None:
        """Tamper with copies of the release in every way; each is refused for its own reason."""
        trust = Trust.read(project.trust)
        for case in tamper(project.release, trust, now=self.clock()):
            if not case.reason:
                raise Refused(f"{case.what} was accepted", reason="demo")
            events.put(
                Event(
                    "release.refused", self.clock(), "", "copy of release", case.reason, data={"message": case.message}
                )
            )
            self.say(case.what, "refused", f"{case.reason}: {case.message[:100]}")

    def respond(self, project: Project) -> None:
        """Compare the traffic with the baseline; what fires opens incidents."""
        seen = monitor(
            project.state / "events", project.release / "model" / "baseline.json", project.state,
            seed=self.seed, clock=self.clock,
        )  # fmt: skip
        self.result.measures += seen.evidence.measures
        for incident in seen.incidents:
            self.say("incident", "done", f"{incident.id} {incident.title}: playbook {incident.playbook}")
        if not seen.incidents:
            raise Refused("a refused release opened no incident", reason="demo")

    def must_refuse(self, name: str, who: str, act: Any) -> None:
        """Do what must be refused, and say why it was."""
        try:
            act()
        except Refused as error:
            self.say(name, "refused", f"{who}: {error.message}")
            return
        raise Refused(f"{name} was let through", reason="demo")


def cell_nuclei() -> pa.Table:
    """Return the breast cancer data that ships with scikit-learn as an Arrow table with a named diagnosis."""
    import pyarrow as pa
    from sklearn.datasets import load_breast_cancer

    held: Mapping[str, Any] = load_breast_cancer(as_frame=True)
    frame = held["data"].rename(columns=lambda name: name.replace(" ", "_"))
    frame["diagnosis"] = ["benign" if benign else "malignant" for benign in held["target"]]
    table: pa.Table = pa.Table.from_pandas(frame, preserve_index=False)
    return table


def _clear(folder: Path) -> None:
    """Remove what an earlier demonstration left; any other project is left alone, and refused later."""
    if (folder / _MARK).is_file():
        shutil.rmtree(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise InputError("is not empty", where=str(folder), remedy="Name another folder with --dir")
    write_text(folder / _MARK, "Made by `assay demo`, which removes this folder when it runs again.\n")


def _person_key(project: Project, name: str) -> PrivateKey:
    path = project.state / "people" / f"{name}.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        PrivateKey.generate().write(path)
    return PrivateKey.read(path)


def _last(values: NDArray[np.float64]) -> str:
    return f"{values[-1]:.3f}" if len(values) else "not reached"


def _how_far(distances: NDArray[np.float64]) -> str:
    return f" at a median distance of {sorted(distances)[len(distances) // 2]:.2f}" if len(distances) else ""


def _renamed(measure: Measure, where: str) -> Measure:
    return Measure(**{**measure.to_json(), "name": f"{measure.name},{where}"})  # type: ignore[arg-type]
