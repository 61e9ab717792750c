"""From a trace to findings: every import, call and attribute write of a pickle is put to the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from assay.artifacts.pickle.machine import Trace
from assay.artifacts.pickle.policy import Rating, Rule
from assay.artifacts.pickle.values import Blob, Build, Call, Global, LongText, Outside, Pairs, Unknown, Value, show
from assay.core.finding import Severity

if TYPE_CHECKING:
    from assay.artifacts.reader import Data, Inspection

_EXECUTION = "AML.T0011.000"
_EMBEDDED = "AML.T0018.002"
_REMEDY = "Do not load the file; ask its author for ONNX or safetensors"
_UNKNOWN_REMEDY = "Load it only in a sandbox, or allow the name after reading its code"
_HOOKS = frozenset(
    "__setstate__ __reduce__ __reduce_ex__ __class__ __dict__ __code__ __globals__ __builtins__ __getattr__ "
    "__getattribute__ __del__ __call__ __init__ __new__ __bases__ __loader__ __spec__ __path__ __import__".split()
)
_MOST_NAMES, _EVERY = 2000, 100
_CODECS = frozenset({"latin1", "latin-1", "iso-8859-1", "utf-8", "utf8", "ascii"})


@dataclass(slots=True)
class Judge:
    """Put one trace to the policy of an inspection. persistent: ids from outside belong to the format."""

    inspection: Inspection
    data: Data
    trace: Trace
    where: str
    persistent: bool = False
    prefixes: tuple[str, ...] = ()
    _said: set[tuple[str, str]] = field(default_factory=set)

    def report(self) -> None:
        """Report everything the trace does that is not allowed, each name once."""
        trace = self.trace
        if not self._names():
            self.inspection.error(self.where, "imports more names than the budget allows")
            return
        steps: Iterator[Call | Build] = chain(trace.calls, trace.builds)
        for number, step in enumerate(steps):
            if isinstance(step, Call):
                self._call(step)
            else:
                self._build(step)
            if number % _EVERY == 0 and (len(self._said) > _MOST_NAMES or self.inspection.expired()):
                self.inspection.error(self.where, "does more than the budget allows")
                break
        for at, module, attribute in trace.unresolved[:_MOST_NAMES]:
            text = f"imports a name that is computed at load: {show(module)} . {show(attribute)}"
            self._say("pickle-computed-name", Severity.CRITICAL, text, at, _EXECUTION, _REMEDY)
        for found in trace.outside[:_MOST_NAMES]:
            self._outside(found)
        for at, why in trace.bombs:
            self.inspection.bomb(f"{self.where}@{at}", why)

    def rule(self, name: Global) -> Rule:
        """Return the policy's rule for a global."""
        if self.prefixes and name.module.startswith(self.prefixes):
            return Rule(Rating.ALLOWED, "type of the archive itself", "", frozenset({"reference", "new"}))
        return self.inspection.policy.judge(name.module, name.name)

    def _names(self) -> bool:
        """Put every name to the policy; return whether there were no more of them than the budget allows."""
        refused = []
        for name in self.trace.globals:
            rule = self.rule(name)
            if rule.rating is Rating.ALLOWED:
                self.inspection.admitted.add((name.module, name.name))
            else:
                refused.append((name, rule))
        if not refused:
            return True
        first_call: dict[int, Call] = {}
        for call in self.trace.calls:
            if isinstance(call.func, Global):
                first_call.setdefault(id(call.func), call)
        for name, rule in refused:
            self._name(name, rule, first_call.get(id(name)))
            if len(self._said) > _MOST_NAMES:
                return False
        return True

    def _name(self, name: Global, rule: Rule, call: Call | None) -> None:
        if ("name", name.path) in self._said:
            return
        self._said.add(("name", name.path))
        deed = f"calls {show(call)}" if call else f"imports {name.path[:200]}"
        at = call.at if call else name.at
        if rule.rating is Rating.DANGEROUS:
            text = f"loading {deed}, which {rule.reason}"
            self._say("pickle-dangerous-global", Severity.CRITICAL, text, at, rule.technique, _REMEDY)
        else:
            text = f"loading {deed}; {name.path[:200]} is on no allow-list"
            self._say("pickle-unknown-global", Severity.HIGH, text, at, _EXECUTION, _UNKNOWN_REMEDY)

    def _call(self, call: Call) -> None:
        func = call.func if type(call.func) is Global else self._persistent_class(call.func)
        if not isinstance(func, Global):
            if isinstance(func, (str, int, float, type(None), list, tuple, bytes)):
                self.trace.broken = (
                    self.trace.broken or f"a call of something that cannot be called at offset {call.at}"
                )
                return
            severity = Severity.CRITICAL if isinstance(func, (Unknown, Outside)) else Severity.HIGH
            text = f"loading calls the result of another value: {show(call)}"
            self._once("pickle-computed-call", severity, text, call.at)
            return
        rule = self.rule(func)
        if rule.rating is not Rating.ALLOWED:
            return
        use = "new" if call.kind in {"NEWOBJ", "NEWOBJ_EX"} else "call"
        if use not in rule.uses:
            text = f"loading calls {show(call)}; saved models never use {func.path} as a {use}"
            self._once("pickle-unlisted-use", Severity.HIGH, text, call.at)
        elif rule.guard and (why := GUARDS[rule.guard](self, call)):
            self._once("pickle-refused-arguments", Severity.HIGH, f"loading calls {show(call)}, {why}", call.at)

    def _persistent_class(self, func: Value) -> Value:
        # Old torch files wrap each module class in a persistent id: ("module", class, file, source).
        if (
            self.persistent
            and isinstance(func, Outside)
            and isinstance(func.key, tuple)
            and func.key[:1] == ("module",)
        ):
            return func.key[1] if len(func.key) > 1 else func
        return func

    def _build(self, build: Build) -> None:
        if isinstance(build.target, (Global, Unknown, Outside)):
            text = f"loading changes {show(build.target)} itself, with {show(build.state)}"
            self._once("pickle-patch", Severity.CRITICAL, text, build.at)
        for state in build.state[:2] if isinstance(build.state, tuple) else (build.state,):
            if isinstance(state, Pairs):
                planted = [k for k in state[::2] if isinstance(k, str) and k in _HOOKS]
                if planted and planted != ["__dict__"]:
                    text = f"loading plants {planted[0]} on {show(build.target)}"
                    self._say("pickle-planted-hook", Severity.CRITICAL, text, build.at, _EMBEDDED, _REMEDY)

    def _outside(self, found: Outside) -> None:
        if found.kind == "extension":
            text = f"takes code {show(found.key)} from the extension registry, which can stand for any callable"
            self._once("pickle-extension", Severity.HIGH, text, found.at)
        elif found.kind == "persistent" and not self.persistent:
            self._once("pickle-persistent-id", Severity.LOW, "needs a loader for persistent ids", found.at)

    def _once(self, rule: str, severity: Severity, text: str, at: int) -> None:
        if (rule, text) not in self._said:
            self._said.add((rule, text))
            self._say(rule, severity, text, at, _EXECUTION, _UNKNOWN_REMEDY)

    def _say(self, rule: str, severity: Severity, text: str, at: int, technique: str = "", remedy: str = "") -> None:
        self.inspection.report(rule, severity, text, f"{self.where}@{at}", technique, remedy)

    def first(self, kind: str, text: str) -> bool:
        """Return whether this is the first time that it is said of this trace."""
        known = (kind, text) in self._said
        self._said.add((kind, text))
        return not known

    def trusted(self, value: Value) -> bool:
        """Return whether a value is an allowed name whose call needs no check of its arguments."""
        if value is None:
            return True
        if not isinstance(value, Global):
            return False
        rule = self.rule(value)
        return rule.rating is Rating.ALLOWED and not rule.guard


Guard = Callable[[Judge, Call], str]


def _arguments(call: Call) -> tuple[Value, ...]:
    return call.args if isinstance(call.args, tuple) else (call.args,)


def _safe_codec(_: Judge, call: Call) -> str:
    args = _arguments(call)
    good = (
        len(args) == 2
        and isinstance(args[0], (str, LongText))
        and isinstance(args[1], str)
        and args[1].lower() in _CODECS
    )
    return "" if good else "which can spell hidden names"


def _trusted_factory(judge: Judge, call: Call) -> str:
    args = _arguments(call)
    return "" if not args or judge.trusted(args[0]) else "with a callable that is not allowed by itself"


def _constructor(_: Judge, call: Call) -> str:
    args = _arguments(call)
    bases = [a for a in args[:2] if isinstance(a, Global)]
    return "" if len(bases) == len(args[:2]) else "with something that is no class"


def _nested(judge: Judge, call: Call) -> str:
    args = _arguments(call)
    value = args[0] if args else b""
    if not judge.first("nested", str(id(value))):
        return ""
    if isinstance(value, Blob):
        value = judge.data[value.at : value.at + value.size]
    if not isinstance(value, bytes):
        return "with bytes that are computed at load"
    judge.inspection.scan(value, f"{judge.where}@{call.at}!nested")
    return ""


def _safe_attribute(judge: Judge, call: Call) -> str:
    args = _arguments(call)
    if len(args) == 2 and isinstance(args[0], Global) and isinstance(args[1], str):
        found = judge.rule(Global(args[0].module, f"{args[0].name}.{args[1]}", call.at))
        if found.rating is Rating.ALLOWED:
            return ""
        if found.rating is Rating.DANGEROUS:
            judge.inspection.report("pickle-dangerous-global", Severity.CRITICAL, f"loading reads {show(call)}",
                                    f"{judge.where}@{call.at}", _EXECUTION, _REMEDY)  # fmt: skip
    return "which can reach any attribute"


def _plain_data(_: Judge, call: Call) -> str:
    for value in _arguments(call):
        if isinstance(value, (Global, Outside, Unknown)):
            return "with something that is no plain data"
    return ""


GUARDS: dict[str, Guard] = {
    "codec": _safe_codec,
    "factory": _trusted_factory,
    "constructor": _constructor,
    "nested": _nested,
    "attribute": _safe_attribute,
    "data": _plain_data,
}

__all__ = ["GUARDS", "Judge"]
