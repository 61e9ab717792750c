"""What a source may cost, and the deadline that holds even when the other side says nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from assay.core.errors import BudgetError
from assay.core.settings import Within, check_settings, setting

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """How much may be fetched from one URL; everything is a hard limit."""

    bytes: int = setting(20 << 30, Within(1, None), "Bytes of all files together.")
    file_bytes: int = setting(10 << 30, Within(1, None), "Bytes of one file.")
    files: int = setting(2000, Within(1, 1_000_000), "Files of one model.")
    seconds: float = setting(3600.0, Within(0, None, open_low=True), "Wall-clock seconds of the whole fetch.")
    silence: float = setting(60.0, Within(0, None, open_low=True), "Seconds that the other side may say nothing.")

    def __post_init__(self) -> None:
        check_settings(self)


class Deadline:
    """The end of a fetch. Calls made through it return in time or raise, whatever they wait for."""

    def __init__(self, limits: SourceLimits, where: str) -> None:
        self._end = time.monotonic() + limits.seconds
        self._limits = limits
        self._where = where

    def left(self) -> float:
        """Return the seconds that one call may take. Raises BudgetError when the time is over."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise BudgetError(
                f"took more than {self._limits.seconds:g} seconds",
                where=self._where,
                remedy="Raise the limit on seconds",
                reason="source-time",
            )
        return min(left, self._limits.silence)

    def run(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns or raise what it raises. Raises BudgetError when it takes too long.

        The call runs in a thread of its own, which is left behind when it does not come back.
        """
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(call())
            except BaseException as error:  # noqa: BLE001 - it is raised again, by result()
                answer.set_exception(error)

        seconds = self.left()
        threading.Thread(target=work, daemon=True).start()
        if not _finished(answer, seconds):
            answer.add_done_callback(_discard)
            self.left()
            raise BudgetError(
                f"said nothing for {self._limits.silence:g} seconds",
                where=self._where,
                remedy="Try again later, or raise the limit on silence",
                reason="source-time",
            )
        return answer.result()


def _discard(late: Future[T]) -> None:
    close = None if late.exception() else getattr(late.result(), "close", None)
    if close is not None:
        close()


def _finished(answer: Future[T], seconds: float) -> bool:
    done = threading.Event()
    answer.add_done_callback(lambda _: done.set())
    return done.wait(seconds)
