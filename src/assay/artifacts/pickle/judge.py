"""From a trace to findings: every import, call and attribute write of a pickle is put to the policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

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
_PYTHON = frozenset({"builtins", "__builtin__", "collections", "array"})
_CONTAINERS = frozenset({"bytes", "bytearray", "list", "tuple", "set", "frozenset", "deque", "array", "sorted"})
_LARGEST_DEMAND = 1 << 28
_HELPERS = frozenset({"_reconstructor", "__newobj__", "__newobj_ex__"})
# Methods that scipy's frozen distributions refer to.
_OWN_METHODS = frozenset({"_entropy", "_pdf", "_pmf", "_cdf", "_ppf", "_stats", "_rvs", "_munp"})
# Without brackets but those of the text itself, nothing in it can be called.
_RETURNED = r"    return \([\w ,]*\), [\w ,.]+\n"
_TEMPLATE = re.compile(
    rf"\s*def _parse_args\(self, [\w ,=.+-]*\):\n{_RETURNED}"
    rf"\s*def _parse_args_rvs\(self, [\w ,=.+-]*\):\n    return self\._argcheck_rvs\([\w ,=.]*\)\n"
    rf"\s*def _parse_args_stats\(self, [\w ,=.+'-]*\):\n{_RETURNED}\s*"
)
_LONGEST_FORMULA = 10_000
_FORMULA = re.compile(r"[\w\s~+\-*/:^().,|\[\]=<>!'\"]*")
_ELEMENTWISE = frozenset(
    "log log1p log2 log10 exp expm1 sqrt abs power square sin cos tan tanh sign floor ceil".split()
)
_STATISTICS = frozenset("C Q I bs cr cc te center standardize scale Treatment Sum Poly Diff Helmert Intercept".split())
_Step = TypeVar("_Step", Call, Build)
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
    _stateful: bool = False

    def report(self) -> None:
        """Report everything the trace does that is not allowed, each name once."""
        trace = self.trace
        if not self._names():
            self.inspection.error(self.where, "imports more names than the budget allows")
            return
        if not (self._each(trace.calls, self._call) and self._each(trace.builds, self._build)):
            self.inspection.error(self.where, "does more than the budget allows")
        for at, module, attribute in trace.unresolved[:_MOST_NAMES]:
            text = f"imports a name that is computed at load: {show(module)} . {show(attribute)}"
            self._say("pickle-computed-name", Severity.CRITICAL, text, at, _EXECUTION, _REMEDY)
        for found in trace.outside[:_MOST_NAMES]:
            self._outside(found)
        for at, why in trace.bombs:
            self.inspection.bomb(f"{self.where}@{at}", why)

    def _each(self, steps: list[_Step], judge: Callable[[_Step], None]) -> bool:
        """Judge every step; return False as soon as the budget is spent."""
        for begun in range(0, len(steps), _EVERY):
            for step in steps[begun : begun + _EVERY] if len(steps) > _EVERY else steps:
                judge(step)
            if len(steps) > _EVERY and (len(self._said) > _MOST_NAMES or self.inspection.expired()):
                return False
        return True

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
                self._stateful = self._stateful or rule.guard in STATES
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
        func = call.func if type(call.func) is Global else self._class_of(call.func)
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
        elif rule.guard in GUARDS and (why := GUARDS[rule.guard](self, call)):
            self._once("pickle-refused-arguments", Severity.HIGH, f"loading calls {show(call)}, {why}", call.at)
        elif func.module in _PYTHON and (size := demanded(func.name, call.args)) > _LARGEST_DEMAND:
            self.inspection.bomb(
                f"{self.where}@{call.at}", f"loading calls {show(call)}, which makes {size} items at once"
            )

    def _class_of(self, func: Value) -> Value:
        if isinstance(func, Call) and isinstance(func.func, Global) and func.func.name == "getattr":
            # A class method, as in ZoneInfo._unpickle: the call is judged under its full name when that is allowed.
            named = _attribute(func)
            return named if named and self.rule(named).rating is Rating.ALLOWED else func
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
        target = build.target
        if type(target) is not Call and isinstance(target, (Global, Unknown, Outside)):
            text = f"loading changes {show(target)} itself, with {show(build.state)}"
            self._once("pickle-patch", Severity.CRITICAL, text, build.at)
        for state in build.state[:2] if isinstance(build.state, tuple) else (build.state,):
            if isinstance(state, Pairs):
                planted = [k for k in state[::2] if type(k) is str and k in _HOOKS]
                if planted and planted != ["__dict__"]:
                    text = f"loading plants {planted[0]} on {show(build.target)}"
                    self._say("pickle-planted-hook", Severity.CRITICAL, text, build.at, _EMBEDDED, _REMEDY)
        # Most pickles make nothing of a class whose state is checked.
        made = made_class(build.target) if self._stateful else None
        if made and (check := STATES.get(self.rule(made).guard)) and (why := check(build.state)):
            text = f"loading fills {made.path} with {why}"
            self._say("pickle-code-in-state", Severity.CRITICAL, text, build.at, _EXECUTION, _REMEDY)

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


def _attribute(call: Call) -> Global | None:
    """Return what a call of getattr names, when it names an attribute of a class."""
    args = _arguments(call)
    if len(args) == 2 and isinstance(args[0], Global) and isinstance(args[1], str):
        return Global(args[0].module, f"{args[0].name}.{args[1]}", call.at)
    return None


def made_class(value: Value) -> Global | None:
    """Return the class of which a call makes an object, through the helpers of ``copyreg`` as well."""
    if not isinstance(value, Call) or not isinstance(value.func, Global):
        return None
    args = _arguments(value)
    if value.func.name in _HELPERS and args and isinstance(args[0], Global):
        return args[0]
    return value.func


def _safe_attribute(judge: Judge, call: Call) -> str:
    args = _arguments(call)
    made = made_class(args[0]) if args else None
    if made and len(args) == 2 and judge.rule(made).guard == "template" and args[1] in _OWN_METHODS:
        return ""
    if named := _attribute(call):
        found = judge.rule(named)
        if found.rating is Rating.ALLOWED:
            return ""
        if found.rating is Rating.DANGEROUS:
            judge.inspection.report("pickle-dangerous-global", Severity.CRITICAL, f"loading reads {show(call)}",
                                    f"{judge.where}@{call.at}", _EXECUTION, _REMEDY)  # fmt: skip
    return "which can reach any attribute"


def _type_of_none(_: Judge, call: Call) -> str:
    return "" if call.args == (None,) else "which makes or finds a class"


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
    "none": _type_of_none,
}


def _states(state: Value) -> Iterator[Pairs]:
    for part in state[:2] if isinstance(state, tuple) else (state,):
        if isinstance(part, Pairs):
            yield part


def _plain_template(state: Value) -> str:
    for part in _states(state):
        for key, text in zip(part[::2], part[1::2], strict=False):
            if key == "_parse_arg_template" and not (isinstance(text, str) and _TEMPLATE.fullmatch(text)):
                return f"a template of its own, which is run as code: {show(text)}"
    return ""


def _plain_formula(state: Value) -> str:
    for part in _states(state):
        for key, text in zip(part[::2], part[1::2], strict=False):
            if key == "formula" and not (text is None or (isinstance(text, str) and is_plain_formula(text))):
                return f"a formula that calls more than functions of statistics: {show(text)}"
    return ""


def is_plain_formula(text: str) -> bool:
    """Return whether a statistical formula names columns and calls known functions only; formulas are evaluated."""
    if len(text) > _LONGEST_FORMULA or "__" in text or not _FORMULA.fullmatch(text):
        return False
    calls = re.findall(r"([A-Za-z_][\w.]*)\s*\(", text)
    dotted = re.findall(r"[A-Za-z_]\w*(?:\s*\.\s*\w+)+", text)
    return all(c in _STATISTICS or c.startswith("np.") for c in calls) and all(
        re.fullmatch(r"np\.[a-z]\w*", d) and d[3:] in _ELEMENTWISE for d in dotted
    )


STATES: dict[str, Callable[[Value], str]] = {"template": _plain_template, "formula": _plain_formula}


def demanded(name: str, args: Value) -> int:
    """Return how many items a call of a built-in container makes from numbers alone."""
    if name not in _CONTAINERS or not isinstance(args, tuple) or not args:
        return 0
    first = args[0]
    if isinstance(first, int):
        return first if name in {"bytes", "bytearray"} else 0
    if isinstance(first, Call) and isinstance(first.func, Global) and first.func.name in {"range", "xrange"}:
        return max((n for n in _arguments(first) if isinstance(n, int)), default=0)
    return 0


__all__ = ["GUARDS", "STATES", "Judge"]
