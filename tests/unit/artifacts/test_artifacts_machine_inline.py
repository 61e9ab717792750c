"""Opcodes that the machine follows in place do what their handlers do."""

from __future__ import annotations

import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.artifacts.pickle.handlers import HANDLERS
from assay.artifacts.pickle.machine import Broken, Machine, Stopped
from assay.artifacts.pickle.values import UNKNOWN, show

# Streams that reach far: mostly what is followed in place, between opcodes that look at the same stack and memo.
_PIECES = [b"\x94", b"\x8c\x02os", b"\x8c\x00", b"\x8c\x01\xff", b"\x8c\xfaab", b"K\x07", b"h\x00", b"h\x01", b"h\xff",
           b"q\x01", b"N", b"(", b"0", b"1", b"2", b"]", b"}", b"\x85", b"\x86", b"\x87", b"t", b"\x93", b"R", b"b", b"a",
           b"C\x08aaaaaaaa", b"Jabcd", b"Mab", b"Gabcdefgh", b".", b"K", b"h", b"\x8c"]  # fmt: skip


def by_handlers(data: bytes) -> Machine:
    """Follow a stream by the table of handlers alone."""
    machine = Machine(data)
    trace = machine.trace
    try:
        while True:
            machine.at = machine.pos
            machine.pos += 1
            HANDLERS[data[machine.at]](machine)
    except Stopped:
        trace.result = machine.stack[-1] if machine.stack else UNKNOWN
        if len(machine.stack) <= (machine.marks[-1] if machine.marks else 0):
            machine.soft("a STOP without a value")
    except (Broken, LookupError, ValueError, struct.error) as error:
        trace.broken = trace.broken or type(error).__name__
    return machine


def told(machine: Machine) -> tuple[object, ...]:
    trace = machine.trace
    return (
        [show(v) for v in machine.stack],
        {k: show(v) for k, v in machine.memo.items()},
        machine.marks,
        machine.at,
        [(g.path, g.at) for g in trace.globals],
        [(show(c), c.at, c.kind) for c in trace.calls],
        [(show(b.target), show(b.state), b.at) for b in trace.builds],
        trace.blobs,
        trace.unresolved and [(a, show(b), show(c)) for a, b, c in trace.unresolved],
        show(trace.result),
        bool(trace.broken),
        trace.sound,
    )


@given(st.lists(st.sampled_from(_PIECES) | st.binary(min_size=1, max_size=3), max_size=40).map(b"".join))
def test_any_stream(data):
    machine = Machine(data)
    machine.run()
    assert told(machine) == told(by_handlers(data))


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(protocol):
    value = {"a": [1, 2.5, None, True, "x" * 300, b"y" * 9, (1, 2, 3), ("é", 70000, 2**80)], "b": {1, 2}}
    data = pickle.dumps([value, value], protocol)
    machine = Machine(data)
    trace = machine.run()
    assert not trace.broken
    assert trace.end == len(data)
    assert told(machine) == told(by_handlers(data))


@pytest.mark.parametrize("data", [b"\x94", b"K", b"h\x00.", b"\x8c", b"\x8c\x05ab", b"N\x94h", b"\x8c\x01a"])
def test_a_stream_that_ends_early_tells_where(data):
    trace = Machine(data).run()
    assert trace.broken
    assert trace.end <= len(data)
