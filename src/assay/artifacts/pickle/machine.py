"""The pickle machine: a real stack, marks and memo over symbolic values, for every opcode of protocols 0 to 5.

It follows the stream exactly as CPython's unpickler does, but a GLOBAL becomes a name and a REDUCE a
record. Where a loader would stop with an error the machine stops too, or goes on if it can: seeing
more than a loader is safe, seeing less is not. Nothing is imported and nothing is called.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from mmap import mmap
from typing import TypeAlias

from assay.artifacts.pickle.handlers import HANDLERS
from assay.artifacts.pickle.opcodes import CODES
from assay.artifacts.pickle.trace import Broken, Spent, Stopped, Trace
from assay.artifacts.pickle.values import UNKNOWN, Call, Global, Value

Data: TypeAlias = "bytes | mmap"
BuildHook: TypeAlias = "Callable[[Machine, Value, Value], None]"

_LONGEST_LINE = 1 << 20
_MEMO_BOMB = 1 << 24
_CHUNK = 1 << 13
_MOST_STEPS = 250_000
_LONG = 1 << 12
_MOST_BOMBS = 50
_MOST_KEPT = 48 << 20
_MEMOIZE, _SHORT_TEXT = CODES["MEMOIZE"], CODES["SHORT_BINUNICODE"]
_BYTE, _GET_SHORT = CODES["BININT1"], CODES["BINGET"]


class Machine:
    """Follow one pickle in ``data`` from ``start``; ``run`` returns its Trace and never raises.

    opcodes: how many to follow at most. deadline: a ``time.thread_time`` value. on_build: called after
    every BUILD, for formats that put data between the opcodes; it may move ``pos``.
    """

    __slots__ = (
        "at", "data", "deadline", "depth", "end", "kept", "limit", "marks", "memo", "on_build", "pos", "stack", "trace",
    )  # fmt: skip

    def __init__(
        self,
        data: Data,
        start: int = 0,
        *,
        opcodes: int = 1_500_000,
        deadline: float = float("inf"),
        on_build: BuildHook | None = None,
    ) -> None:
        self.data = data
        self.pos = self.at = start
        self.end = len(data)
        self.limit = opcodes
        self.deadline = deadline
        self.on_build = on_build
        self.kept = self.depth = 0
        self.stack: list[Value] = []
        self.marks: list[int] = []
        self.memo: dict[int, Value] = {}
        self.trace = Trace(start)

    def run(self) -> Trace:
        """Follow the stream to its STOP, its break or the end of a budget."""
        trace = self.trace
        try:
            self._follow()
            trace.spent = trace.spent or "more opcodes than the budget allows"
        except Stopped:
            trace.result = self.stack[-1] if self.stack else UNKNOWN
            if len(self.stack) <= (self.marks[-1] if self.marks else 0):
                self.soft("a STOP without a value")
        except Spent as error:
            trace.spent = trace.spent or str(error)
        except Broken as error:
            trace.broken = trace.broken or f"{error} at offset {self.at}"
        except (IndexError, KeyError, struct.error, ValueError, OverflowError, MemoryError) as error:
            why = "the stream ends without STOP" if self.at >= self.end else _REASONS.get(type(error), "bad operand")
            trace.broken = trace.broken or f"{why} at offset {self.at}"
        trace.end = min(self.pos, self.end)
        return trace

    def _follow(self) -> None:
        # A scan of many small files is spent here. The most frequent opcodes are followed in place, as their handlers
        # would, with the position in a local: `at` and `pos` are written before anything else looks at them.
        data, handlers, trace, end = self.data, HANDLERS, self.trace, self.end
        stack, memo, pos, kept = self.stack, self.memo, self.pos, 0
        push = stack.append
        try:
            while trace.opcodes < self.limit:
                for _ in range(min(_CHUNK, self.limit - trace.opcodes)):
                    code = data[pos]
                    if code == _MEMOIZE:
                        memo[len(memo)] = stack[-1]
                        pos += 1
                    elif code == _SHORT_TEXT and (stop := pos + 2 + data[pos + 1]) <= end:
                        try:
                            push(data[pos + 2 : stop].decode())
                        except UnicodeDecodeError:
                            self.at, self.pos = pos, pos + 1
                            handlers[code](self)
                        kept += stop - pos
                        pos = stop
                        if data[pos] == _MEMOIZE:
                            memo[len(memo)] = stack[-1]
                            pos += 1
                    elif code == _BYTE:
                        push(data[pos + 1])
                        pos += 2
                    elif code == _GET_SHORT:
                        push(memo[data[pos + 1]])
                        pos += 2
                    else:
                        self.at, self.pos = pos, pos + 1
                        handlers[code](self)
                        pos = self.pos
                trace.opcodes += _CHUNK
                self.keep(kept)
                kept = 0
                if self.spent():
                    return
        finally:
            self.at, self.pos = pos, max(self.pos, pos)

    def spent(self) -> bool:
        """Return whether a budget has run out, after noting which."""
        trace = self.trace
        if len(trace.globals) + len(trace.calls) + len(trace.builds) + len(trace.blobs) > _MOST_STEPS:
            trace.spent = "more imports and calls than the budget allows"
        elif time.thread_time() > self.deadline:
            trace.spent = "more time than the budget allows"
        return bool(trace.spent)

    # -- operands ----------------------------------------------------------------------------------

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes of the stream. Raises Broken at its end."""
        start, stop = self.pos, self.pos + size
        if stop > self.end:
            if size > _MEMO_BOMB:
                self.bomb(f"announces {size} bytes where {self.end - start} are left")
            raise Broken("the stream ends within an operand")
        self.pos = stop
        return self.data[start:stop]

    def line(self) -> bytes:
        """Return the text up to the next line end. Raises Broken without one."""
        start = self.pos
        stop = self.data.find(b"\n", start, min(self.end, start + _LONGEST_LINE))
        if stop < 0:
            raise Broken("the stream ends within a line")
        self.pos = stop + 1
        return self.data[start:stop]

    def count(self, form: struct.Struct) -> int:
        """Return the little-endian number that comes next."""
        number: int = form.unpack(self.take(form.size))[0]
        return number

    def since_mark(self) -> list[Value]:
        """Return and remove what is above the last mark. Raises IndexError without one."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    # -- effects -----------------------------------------------------------------------------------

    def name(self, module: Value, name: Value) -> None:
        """Push the global of that module and name; both may be symbolic."""
        if type(module) is str and type(name) is str:
            found = Global(module, name, self.at)
            self.trace.globals.append(found)
            self.stack.append(found)
        else:
            self.trace.unresolved.append((self.at, module, name))
            self.stack.append(UNKNOWN)

    def call(self, func: Value, args: Value, kind: str) -> None:
        """Push the record of a call."""
        made = Call(func, args, self.at, kind)
        self.trace.calls.append(made)
        self.stack.append(made)

    def put(self, index: int) -> None:
        """Store the top of the stack in the memo."""
        if index > _MEMO_BOMB and index > 64 * self.end:
            self.bomb(f"memo index {index} makes a load reserve memory for it")
        self.memo[index] = self.stack[-1]

    def keep(self, size: int, cells: int = 0) -> None:
        """Count what a value holds beside itself: bytes of text or number, cells of a copy. Raises Spent."""
        self.kept += size + 8 * cells
        if self.kept > _MOST_KEPT:
            raise Spent("more memory than the budget allows")
        # Few opcodes with long operands take as long as many: the clock cannot wait for the next round of them.
        if size > _LONG and time.thread_time() > self.deadline:
            raise Spent("more time than the budget allows")

    @property
    def bombed(self) -> bool:
        """Whether enough is known against this pickle, so that what is dear to look at can be left."""
        return len(self.trace.bombs) >= _MOST_BOMBS

    def bomb(self, why: str) -> None:
        """Note that a load would demand memory or time out of all proportion."""
        if not self.bombed:
            self.trace.bombs.append((self.at, why))

    def soft(self, why: str) -> None:
        """Note that a load would fail here, and go on."""
        if not self.trace.broken:
            self.trace.broken = f"{why} at offset {self.at}"
            self.trace.sound = self.at


_REASONS: dict[type[Exception], str] = {
    IndexError: "stack or mark underflow", KeyError: "a memo entry that was never set", struct.error: "a short operand",
}  # fmt: skip

__all__ = ["Broken", "BuildHook", "Data", "Machine", "Stopped", "Trace"]
