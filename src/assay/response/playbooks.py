"""The built-in playbooks, as CACAO 2.0 records made from rows of steps.

CACAO Security Playbooks Version 2.0, OASIS 2023: https://docs.oasis-open.org/cacao/security-playbooks/v2.0/
Identifiers are name-based, so that a playbook has the same bytes wherever it is made.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from assay.core.errors import FormatError, SettingError

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://docs.oasis-open.org/cacao/security-playbooks/v2.0/assay")
_MADE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Playbook:
    """What people do about one kind of trouble. steps: (name, what to do), in order."""

    name: str
    title: str
    types: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    techniques: tuple[str, ...] = ()

    def to_cacao(self) -> dict[str, object]:
        """Return the playbook as a CACAO 2.0 record: a start, one manual action a step, an end."""
        start, end = self._id("start", "start"), self._id("end", "end")
        actions = [self._id("action", name) for name, _ in self.steps]
        workflow: dict[str, object] = {start: {"type": "start", "on_completion": actions[0]}}
        for (name, text), step, after in zip(self.steps, actions, [*actions[1:], end], strict=True):
            workflow[step] = {
                "type": "action",
                "name": name,
                "description": text,
                "on_completion": after,
                "commands": [{"type": "manual", "command": text}],
                "agent": self._id("individual", "responder"),
            }
        workflow[end] = {"type": "end"}
        return {
            "type": "playbook",
            "spec_version": "cacao-2.0",
            "id": self._id("playbook", "playbook"),
            "name": self.title,
            "playbook_types": list(self.types),
            "created_by": f"identity--{uuid.uuid5(_NAMESPACE, 'identity')}",
            "created": _MADE,
            "modified": _MADE,
            "labels": [self.name, *self.techniques],
            "workflow_start": start,
            "workflow": workflow,
            "agent_definitions": {self._id("individual", "responder"): {"type": "individual", "name": "Responder"}},
        }

    def _id(self, kind: str, name: str) -> str:
        return f"{kind}--{uuid.uuid5(_NAMESPACE, f'{self.name}/{kind}/{name}')}"


def cacao_steps(record: object) -> tuple[tuple[str, str], ...]:
    """Return the (name, description) of the actions of a CACAO playbook, following its workflow from the start.

    Raises FormatError when the workflow is no single path from start to end.
    """
    workflow = record.get("workflow") if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(workflow, Mapping) or record.get("type") != "playbook":
        raise FormatError("not a CACAO playbook")
    steps: list[tuple[str, str]] = []
    place = record.get("workflow_start")
    for _ in range(len(workflow)):
        step = workflow.get(place)
        if not isinstance(step, Mapping):
            break
        if step.get("type") == "end":
            return tuple(steps)
        if step.get("type") == "action":
            steps.append((str(step.get("name", "")), str(step.get("description", ""))))
        place = step.get("on_completion")
    raise FormatError(
        "the playbook's workflow does not lead from its start to an end", where=str(record.get("name", ""))
    )


_ALL = (
    Playbook(
        "drift",
        "The traffic has moved away from the training data",
        ("investigation", "remediation"),
        (
            (
                "confirm",
                "Look at the features that moved and since when; rule out a broken source or a changed client.",
            ),
            (
                "attribute",
                "Compare by principal: one account alone points to abuse, all accounts to a change in the world.",
            ),
            ("measure", "Have a sample of recent rows labelled and measure the model's error on them."),
            ("decide", "Keep, retrain on newer data, or roll back to the release before; write down why."),
            ("verify", "After the change, compare drift and error again over one week of traffic."),
        ),
        ("AML.T0020",),
    ),
    Playbook(
        "extraction",
        "Someone may be copying the model",
        ("detection", "mitigation"),
        (
            ("identify", "List principals by rows asked and by coverage of the feature space in the last days."),
            ("contain", "Lower the rate of the suspected keys, or revoke them and call their owners."),
            ("reduce", "Turn on rounding or label_only for these principals and measure the new extraction curve."),
            ("assess", "Estimate the fidelity that the queries so far can have given; tell the model's owner."),
            ("close", "Agree on quotas with honest heavy users and write down what was learnt."),
        ),
        ("AML.T0024.002",),
    ),
    Playbook(
        "evasion",
        "Inputs are being crafted to be misjudged",
        ("detection", "mitigation"),
        (
            ("collect", "Gather the refused and flagged rows and what was answered just before them."),
            ("reproduce", "Attack the release within its feasible region, starting from the collected rows."),
            ("contain", "Send the principals' decisions to a person, and put observing guards into enforcing mode."),
            (
                "repair",
                "Tighten the contract's ranges and relations, or retrain with a robust estimator; assess again.",
            ),
            ("review", "Look again at decisions made since the first crafted input, and correct those that harmed."),
        ),
        ("AML.T0015", "AML.T0043"),
    ),
    Playbook(
        "tampered-artifact",
        "A release does not verify any more",
        ("investigation", "remediation"),
        (
            ("stop", "Keep the gateway stopped; do not start it on the changed folder."),
            ("preserve", "Copy the folder, the event files and the access logs before anything is changed."),
            (
                "compare",
                "Find the changed file by its digest, and check the transparency log for entries not made by you.",
            ),
            ("restore", "Serve the last release that verifies, from a clean copy."),
            ("rotate", "Replace signing keys that the intruder can have reached, and revoke what they signed since."),
            ("report", "Tell those who rely on the model, and the authority where the law asks for it."),
        ),
        ("AML.T0010.003", "AML.T0018"),
    ),
    Playbook(
        "leak",
        "Training data or secrets may have become known",
        ("investigation", "notification"),
        (
            ("scope", "Say which data, whose, how sensitive, and since when it can have been reached."),
            ("contain", "Revoke keys and links; answer labels only where membership or attributes can be inferred."),
            ("measure", "Run the membership and inversion attacks on the release and record what they recover."),
            ("notify", "With the data protection officer, decide on notice to the authority (72 hours) and to people."),
            ("repair", "Retrain without the affected rows or with a privacy guarantee, and withdraw the old release."),
        ),
        ("AML.T0024.000", "AML.T0024.001"),
    ),
)
PLAYBOOKS: Mapping[str, Playbook] = {p.name: p for p in _ALL}


def playbook(name: str) -> Playbook:
    """Return the built-in playbook of that name. Raises SettingError that lists the names there are."""
    if name not in PLAYBOOKS:
        raise SettingError(f"there is no playbook {name!r}", remedy=f"Use one of: {', '.join(sorted(PLAYBOOKS))}")
    return PLAYBOOKS[name]
