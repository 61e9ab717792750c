"""The policy: thresholds over measures, the controls that must have spoken, and how many people must agree.

It is a YAML file that people edit; what it says is held against evidence by ``assay.registry.gate``.
"""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase

from assay.contract.reading import parse_yaml
from assay.core.digest import Digest, digest_record
from assay.core.errors import InputError
from assay.core.files import read_bytes
from assay.core.finding import Severity

_LIMIT = 1 << 20
_TOP = {"measures", "require", "findings", "evidence", "approvals"}
_RULE = {"measure", "at_least", "at_most", "on_uncertain", "optional", "why"}
_PERSON, _FAIL = "person", "fail"
_MOST_DAYS, _MOST_PEOPLE = 36_500, 1_000


@dataclass(frozen=True, slots=True)
class Rule:
    """One threshold. measure: name or pattern (``*`` and ``?``); every measure that matches is held against it.

    on_uncertain: ``person`` (an approver may accept an interval that straddles the threshold) or ``fail``.
    optional: nothing is missing when no measure matches. why: what the threshold is for.
    """

    measure: str
    at_least: float | None = None
    at_most: float | None = None
    on_uncertain: str = _PERSON
    optional: bool = False
    why: str = ""

    @property
    def threshold(self) -> str:
        """The threshold in words."""
        parts = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        return " and ".join(parts + ([f"at most {self.at_most:g}"] if self.at_most is not None else []))

    def matches(self, name: str) -> bool:
        """Return whether the rule is about the measure of that name."""
        return fnmatchcase(name, self.measure)

    def to_json(self) -> dict[str, object]:
        """Return the rule as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Policy:
    """What a release must reach. Round trip: ``Policy.from_json(p.to_json()) == p``.

    require: controls (patterns) that must have complete evidence; complete: those of which it must be so where they have
    spoken at all. fail_on: severity from which a finding refuses. max_age_days: evidence older than this counts as none.
    approvals: how many people must approve.
    """

    rules: tuple[Rule, ...]
    require: tuple[str, ...] = ()
    fail_on: Severity = Severity.HIGH
    max_age_days: int = 90
    approvals: int = 1
    complete: tuple[str, ...] = ()

    @property
    def max_age(self) -> timedelta:
        """How long evidence counts."""
        return timedelta(days=self.max_age_days)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Policy:
        """Return the policy in a YAML file. Raises DataError or InputError that names the file and the key."""
        try:
            text = read_bytes(path, limit=_LIMIT).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError("is not UTF-8 text", where=str(path)) from error
        return cls.from_yaml(text, where=str(path))

    @classmethod
    def from_yaml(cls, text: str, where: str = "") -> Policy:
        """Return the policy in YAML text. Raises InputError."""
        try:
            record, _ = parse_yaml(text, where=where)
        except (LookupError, AttributeError, TypeError) as error:
            # What a standard tag over the wrong text leads to, as in `!!bool x`.
            raise InputError("not valid YAML (a tag does not fit its value)", where=where) from error
        if not isinstance(record, Mapping):
            raise InputError("should be a record with measures and require", where=where)
        _known(record, _TOP, where, "policy")
        findings, evidence, approvals = (_section(record, key, where) for key in ("findings", "evidence", "approvals"))
        _known(findings, {"fail_on"}, where, "findings")
        _known(evidence, {"max_age_days"}, where, "evidence")
        _known(approvals, {"needed"}, where, "approvals")
        rules = record.get("measures") or []
        require = record.get("require") or []
        if not isinstance(rules, list) or not isinstance(require, list):
            raise InputError("measures and require should be lists", where=where)
        if not rules and not require:
            raise InputError("asks for nothing", where=where, remedy="Name measures with thresholds, or controls")
        return cls(
            tuple(_rule(rule, f"{where}: measures[{i}]") for i, rule in enumerate(rules)),
            tuple(_name(control, f"{where}: require") for control in require if not isinstance(control, Mapping)),
            _severity(findings.get("fail_on", "high"), f"{where}: findings.fail_on"),
            _whole(evidence.get("max_age_days", 90), f"{where}: evidence.max_age_days", _MOST_DAYS),
            _whole(approvals.get("needed", 1), f"{where}: approvals.needed"),
            _where_made(require, f"{where}: require"),
        )

    def to_json(self) -> dict[str, object]:
        """Return the policy as plain data."""
        return {
            "measures": [rule.to_json() for rule in self.rules],
            "require": [*self.require, *({"control": name, "optional": True} for name in self.complete)],
            "fail_on": self.fail_on.value,
            "max_age_days": self.max_age_days,
            "approvals": self.approvals,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Policy:
        """Return the policy in plain data. Raises InputError."""
        rules, require = record.get("measures"), record.get("require")
        if not isinstance(rules, list) or not isinstance(require, list):
            raise InputError("not a policy")
        return cls(
            tuple(_rule(rule, "measures") for rule in rules),
            tuple(_name(control, "require") for control in require if not isinstance(control, Mapping)),
            _severity(record.get("fail_on"), "fail_on"),
            _whole(record.get("max_age_days"), "max_age_days", _MOST_DAYS),
            _whole(record.get("approvals"), "approvals"),
            _where_made(require, "require"),
        )

    def digest(self) -> Digest:
        """Return the digest of the policy's content; comments and order of keys do not matter."""
        return digest_record(self.to_json())


def _rule(record: object, where: str) -> Rule:
    if not isinstance(record, Mapping):
        raise InputError("a rule is a record with measure and a threshold", where=where)
    _known(record, _RULE, where, "rule")
    name = _name(record.get("measure"), f"{where}.measure")
    low, high = (_number(record.get(k), f"{where}.{k}") for k in ("at_least", "at_most"))
    if low is None and high is None:
        raise InputError(f"{name} has no threshold", where=where, remedy="Give at_least or at_most")
    if low is not None and high is not None and low > high:
        raise InputError(f"{name} cannot be at least {low:g} and at most {high:g}", where=where)
    uncertain, optional = record.get("on_uncertain", _PERSON), record.get("optional", False)
    if uncertain not in [_PERSON, _FAIL]:
        raise InputError(f"on_uncertain is {_short(uncertain)}", where=where, remedy="Use person or fail")
    if not isinstance(optional, bool):
        raise InputError(f"optional is {_short(optional)}", where=where, remedy="Use true or false")
    why = record.get("why") or ""
    if not isinstance(why, str) or not _utf8(why):
        raise InputError(f"why is {_short(why)}", where=where, remedy="Say it in words")
    return Rule(name, low, high, str(uncertain), optional, why)


def _where_made(require: Sequence[object], where: str) -> tuple[str, ...]:
    """Return the controls of entries like ``{control: privacy.audit, optional: true}``."""
    found = []
    for entry in require:
        if isinstance(entry, Mapping):
            _known(entry, {"control", "optional"}, where, "require")
            if entry.get("optional") is not True:
                raise InputError(
                    "a control by itself is a name", where=where, remedy="Say optional: true, or the name alone"
                )
            found.append(_name(entry.get("control"), where))
    return tuple(found)


def _known(record: Mapping[str, object], known: set[str], where: str, what: str) -> None:
    for key in sorted(map(str, set(record) - known)):
        raise InputError(f"unknown key {key!r} in {what}", where=where, remedy=f"Use {', '.join(sorted(known))}")


def _section(record: Mapping[str, object], key: str, where: str) -> Mapping[str, object]:
    value = record.get(key) or {}
    if not isinstance(value, Mapping):
        raise InputError(f"{key} should be a record", where=where)
    return value


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or not _utf8(value):
        raise InputError(f"{_short(value)} is no name", where=where)
    return value


def _number(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _finite(value):
        raise InputError(f"{_short(value)} is no number", where=where)
    return float(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _whole(value: object, where: str, most: int = _MOST_PEOPLE) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InputError(f"should be a whole number from 1 to {most}, not {_short(value)}", where=where)
    return value


def _severity(value: object, where: str) -> Severity:
    known = [s.value for s in Severity]
    if value not in known:
        raise InputError(f"{_short(value)} is no severity", where=where, remedy=f"Use {', '.join(known)}")
    return Severity(value)


def _utf8(text: str) -> bool:
    """Return whether a text can be written: half of a surrogate pair cannot, and has no digest."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _short(value: object) -> str:
    """Return a value for a message, cut: what a few aliases stand for may be larger than any memory."""
    return reprlib.repr(value).encode("ascii", "backslashreplace").decode()


DEFAULT_POLICY = """\
# What a model must reach before anybody may approve it. Edit it: thresholds are decisions, not facts.
#
# Each rule holds the whole interval of a measure against a threshold:
#   pass       the interval lies on the right side        fail      it lies on the wrong side
#   uncertain  it straddles the threshold: an approver may accept it (on_uncertain: person), or not (fail)
# A measure that was not made blocks, unless its rule is optional. Names may hold * and ?.

measures:
  # Is the model any good? Ranking measures, since accuracy says little where classes are unbalanced.
  - {measure: quality.auc, at_least: 0.6}
  - {measure: quality.average_precision_lift, at_least: 1.1, optional: true}

  # Robustness: the share of rows, drawn evenly over the classes, that stay right however their owner changes them
  # within the contract, up to a distance of 0.1 (in each feature's own spread).
  - {measure: "robust_accuracy@l2_0.1,*", at_least: 0.4}

  # Privacy: how many training rows are recognised at one false accusation in a thousand, and overall.
  - {measure: "membership.tpr@fpr0.001,*", at_most: 0.05}
  - {measure: "membership.auc@*", at_most: 0.7}

  # A private recipe: epsilon as proven and as audited. What the audit finds wrong is a finding, and refuses below.
  - {measure: "epsilon*@*", at_most: 10, optional: true}

  # Integrity: the loss of AUC when a tenth of the training labels is turned.
  - {measure: "poisoning.auc_drop@flip0.1,*", at_most: 0.1}

  # The converted model is the trained one.
  - {measure: label_agreement, at_least: 0.98, optional: true}

# Controls that must have spoken, completely, about this very model; optional: only where they speak at all.
require:
  [data.contract, data.validity, scan, quality, evasion, membership, extraction, poisoning,
   {control: privacy.audit, optional: true}]    # a private recipe is audited, or does not pass

findings: {fail_on: high}        # the severity from which a finding refuses: note, low, medium, high, critical
evidence: {max_age_days: 90}     # older evidence counts as none
approvals: {needed: 1}           # people, none of them the author
"""
