"""Pickles as they lie in files: stacked, nested in byte constants, broken, and with arrays between the opcodes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from assay.artifacts.pickle.arrays import skip_array
from assay.artifacts.pickle.judge import Judge
from assay.artifacts.pickle.machine import BuildHook, Machine, Trace
from assay.artifacts.pickle.opcodes import OPENERS
from assay.artifacts.pickle.policy import Rating, builtin_policy
from assay.artifacts.pickle.values import Global, LongText
from assay.core.finding import Severity

if TYPE_CHECKING:
    from assay.artifacts.reader import Data, Inspection

_MOST_PICKLES = 50_000
_STOP = 0x2E
_TRIAL, _TRIAL_SECONDS = 1 << 14, 0.1
_TRIAL_PICKLES = 64
_LARGEST_NESTED = 32 << 20
_WINDOW, _LONGEST_IMPORT, _FARTHEST = 1 << 18, 1 << 10, 32 << 20
# How UTF-8 begins what is a byte from 0x80 on in Latin-1.
_TWO_BYTES = (0xC2, 0xC3)
# Taken for a persistent id, which a plain load refuses at once.
_ZIP = b"PK\x03\x04"
_MOST_SWEPT = 20_000
_NAME = rb"([A-Za-z_][\w.]{0,200})"
_TEXT = rb"(?:\x8c[\x01-\xff]|X[\x01-\xff]\0\0\0)" + _NAME + rb"(?:\x94|q.|r.{4}|p\d{1,9}\n){0,2}"
_IMPORT = re.compile(rb"[ci]" + _NAME + rb"\n" + _NAME + rb"\n|" + _TEXT + _TEXT + rb"\x93", re.DOTALL)
_REMEDY = "Do not load the file; ask its author for ONNX or safetensors"


def looks_like_pickle(data: Data) -> bool:
    """Return whether a load would do something with the content before it failed, or not fail."""
    if len(data) < 2 or data[0] not in OPENERS or data[:4] == _ZIP:
        return False
    if data[0] == 0x80:
        return data[1] <= 5 and not _stillborn(data)
    until = time.thread_time() + _TRIAL_SECONDS if len(data) > _TRIAL else float("inf")
    position = 0
    for _ in range(_TRIAL_PICKLES):
        # Many other formats begin with a byte that is an opcode: without a call, all must be pickles to the end.
        trace = Machine(data, position, opcodes=_TRIAL, deadline=until).run()
        if trace.sound >= 0:
            trace.globals = [n for n in trace.globals if n.at < trace.sound]
            trace.calls = [c for c in trace.calls if c.at < trace.sound]
            trace.builds = [b for b in trace.builds if b.at < trace.sound]
        if _acts(trace):
            return True
        if trace.broken:
            return False
        if trace.spent or trace.end >= len(data):
            return True
        position = trace.end
    return True


def _stillborn(data: Data) -> bool:
    """Return whether it is a length and JSON, as in safetensors, of which a load fails early, having named nothing."""
    if data[7:9] != b"\0{":
        return False
    trace = Machine(data, 0, opcodes=8).run()
    return bool(trace.broken) and trace.end <= 8 and not trace.globals


def _acts(trace: Trace) -> bool:
    names = [n for n in trace.globals if n.module.isascii() and n.path.replace(".", "_").isidentifier()]
    if not names or len(names) < len(trace.globals):
        return False
    if trace.calls or trace.builds or not trace.broken:
        return True
    return any(builtin_policy().judge(n.module, n.name).rating is Rating.DANGEROUS for n in names)


def read_pickles(data: Data, where: str, inspection: Inspection, *, start: int = 0, persistent: bool = False,
                 prefixes: tuple[str, ...] = (), raw_tail: bool = False) -> list[Trace]:  # fmt: skip
    """Examine the pickles that are stacked in ``data`` and report; return their traces.

    persistent: the format uses ids from outside. prefixes: modules that stand for the archive's own
    types. raw_tail: bytes after the last pickle belong to the format.
    """
    traces: list[Trace] = []
    arrays: list[int] = []
    position, size = start, len(data)
    while position < size and len(traces) < _MOST_PICKLES:
        if traces and data[position] not in OPENERS:
            break
        trace = _follow(data, position, inspection, lambda m, t, s: skip_array(m, t, s, arrays))
        if traces and trace.broken and not (trace.calls and _plausible(trace)):
            break
        _judge(data, trace, where, inspection, persistent, prefixes)
        traces.append(trace)
        if trace.spent or trace.broken:
            _give_up(data, trace, where, inspection)
            return traces
        position = trace.end
        # The clock of a thread is slow to ask, and most files hold one pickle.
        if position < size and inspection.expired():
            inspection.error(f"{where}@{position}", "more time than the budget allows")
            return traces
    if position < size and len(traces) >= _MOST_PICKLES:
        inspection.error(f"{where}@{position}", "more stacked pickles than the budget allows")
    if arrays and not raw_tail:
        _read_plainly(data, start, where, inspection)
    return traces


def _give_up(data: Data, trace: Trace, where: str, inspection: Inspection) -> None:
    """Say that a trace ends before its pickle, and look at the bytes behind it."""
    inspection.error(f"{where}@{trace.end}", trace.spent or trace.broken)
    if trace.spent and inspection.inflated > inspection.limits.ratio:
        inspection.bomb(where, f"a pickle of {inspection.inflated:.0f} times its packed size has no end in sight")
    _sweep(data, trace.end, where, inspection)


def _sweep(data: Data, position: int, where: str, inspection: Inspection) -> None:
    """Report dangerous names in what could not be followed, found by the bytes that would import them."""
    for count, found in enumerate(_imports(data, position, inspection)):
        if count >= _MOST_SWEPT:
            return
        module, name = (part.decode("ascii") for part in found.groups(b"") if part)
        rule = inspection.policy.judge(module, name)
        if rule.rating is Rating.DANGEROUS:
            text = f"behind what can be followed stands an import of {module}.{name}, which {rule.reason}"
            place = f"{where}@{found.start()}"
            inspection.report("pickle-dangerous-global", Severity.CRITICAL, text, place, rule.technique, _REMEDY)


def _imports(data: Data, position: int, inspection: Inspection) -> Iterator[re.Match[bytes]]:
    # Windows, so that the clock is looked at; each is longer than its part by what one import can take.
    for begun in range(position, min(len(data), position + _FARTHEST), _WINDOW):
        if inspection.expired():
            return
        for found in _IMPORT.finditer(data, begun, min(len(data), begun + _WINDOW + _LONGEST_IMPORT)):
            if found.start() < begun + _WINDOW:
                yield found


def _follow(data: Data, position: int, inspection: Inspection, hook: BuildHook | None) -> Trace:
    return Machine(data, position, opcodes=inspection.limits.opcodes, deadline=inspection.deadline, on_build=hook).run()


def _judge(
    data: Data, trace: Trace, where: str, inspection: Inspection, persistent: bool, prefixes: tuple[str, ...]
) -> None:
    Judge(inspection, data, trace, where, persistent, prefixes).report()
    if inspection.notes is not None:
        from assay.artifacts.pickle.narrate import narrate

        inspection.notes.extend(narrate(trace, where, inspection.policy))
    for at, size in trace.blobs:
        if data[at + size - 1] == _STOP and data[at] in OPENERS:
            if inspection.expired():
                inspection.error(f"{where}@{at}", "more time than the budget allows")
                break
            if not _may_be_pickle(data, at, size):
                continue
            if size > _LARGEST_NESTED:
                inspection.error(f"{where}@{at}", "a nested pickle is beyond the budget")
                break
            _nested(data[at : at + size], f"{where}@{at}!nested", inspection)
    for call in trace.calls:
        func = call.func
        if type(func) is not Global or func.name != "encode" or func.module != "_codecs":
            continue
        if isinstance(call.args, tuple) and call.args:
            text = call.args[0]
            if isinstance(text, LongText):
                text = _long_text(data, text, where, inspection)
            if isinstance(text, str) and text.endswith(".") and ord(text[0]) in OPENERS:
                _nested(text.encode("latin-1", "replace"), f"{where}@{call.at}!nested", inspection)


def _long_text(data: Data, text: LongText, where: str, inspection: Inspection) -> str:
    """Return a long text that may hold a pickle, "" for any other."""
    if data[text.at + text.size - 1] != _STOP or (data[text.at] not in OPENERS and data[text.at] not in _TWO_BYTES):
        return ""
    if text.size > _LARGEST_NESTED or inspection.expired():
        inspection.error(f"{where}@{text.at}", "a nested pickle is beyond the budget")
        return ""
    return data[text.at : text.at + text.size].decode("utf-8", "replace")


def _may_be_pickle(data: Data, at: int, size: int) -> bool:
    trace = Machine(data[at : at + min(size, _TRIAL)], opcodes=_TRIAL).run()
    return not trace.broken or (size > _TRIAL and trace.end >= _TRIAL - 64)


def _nested(data: bytes, where: str, inspection: Inspection) -> None:
    trace = Machine(data, opcodes=inspection.limits.opcodes, deadline=inspection.deadline).run()
    if trace.end < len(data) or trace.broken or not (trace.globals or trace.blobs or trace.outside):
        return
    if len(inspection.context) > inspection.limits.depth:
        inspection.error(where, "is nested deeper than the budget allows")
        return
    inspection.context.append("nested")
    _judge(data, trace, where, inspection, persistent=True, prefixes=())
    inspection.context.pop()


def _read_plainly(data: Data, start: int, where: str, inspection: Inspection) -> None:
    # pickle.load knows nothing of arrays between the opcodes and would run their bytes as opcodes.
    trace = _follow(data, start, inspection, None)
    kept = [c for c in trace.calls if isinstance(c.func, Global) and _known_danger(c.func, inspection)]
    if kept:
        trace.globals = [c.func for c in kept if isinstance(c.func, Global)]
        trace.calls, trace.builds, trace.unresolved, trace.outside, trace.bombs = kept, [], [], [], []
        Judge(inspection, data, trace, f"{where}!as-plain-pickle").report()


def _known_danger(name: Global, inspection: Inspection) -> bool:
    return inspection.policy.judge(name.module, name.name).rating is Rating.DANGEROUS


def _plausible(trace: Trace) -> bool:
    names = [c.func for c in trace.calls if isinstance(c.func, Global)]
    return bool(names) and all(n.module.isascii() and n.path.replace(".", "_").isidentifier() for n in names)
