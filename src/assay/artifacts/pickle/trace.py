"""The trace of one pickle: what a load would import, call, change and fetch, in the order of the stream."""

from __future__ import annotations

from assay.artifacts.pickle.values import UNKNOWN, Build, Call, Global, Outside, Value


class Broken(Exception):
    """The stream cannot be followed any further."""


class Spent(Exception):
    """A budget ran out within an opcode."""


class Stopped(Exception):
    """The stream reached its STOP."""


class Trace:
    """What one pickle would do, in the order of the stream.

    end: the offset after the last opcode followed. broken: why a load fails ("" when it does not).
    sound: the offset of the first break that was stepped over (-1: none was).
    spent: the budget that ran out ("" when none did). bombs: demands on memory out of all proportion.
    """

    __slots__ = ("blobs", "bombs", "broken", "builds", "calls", "end", "globals", "opcodes", "outside", "protocol",
                 "result", "sound", "spent", "start", "unresolved")  # fmt: skip

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.globals: list[Global] = []
        self.calls: list[Call] = []
        self.builds: list[Build] = []
        self.outside: list[Outside] = []
        self.blobs: list[tuple[int, int]] = []
        self.unresolved: list[tuple[int, Value, Value]] = []
        self.bombs: list[tuple[int, str]] = []
        self.broken = self.spent = ""
        self.result: Value = UNKNOWN
        self.opcodes = self.protocol = 0
        self.sound = -1
