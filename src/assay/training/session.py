"""A session: a sandboxed process that stays, opens something once and then answers calls with arrays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from assay.core import errors
from assay.core.errors import AssayError, JobError
from assay.core.files import write_record
from assay.training.arrays import receive, send
from assay.training.isolation import Limits, Plan, choose, job_environment

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORKER = "assay.training.session_worker"


class Session:
    """A running sandbox in which Assay's ``module:function(arguments)`` made a handler that answers calls.

    The process has no network and may write to a folder of its own only, which goes with it. limits.seconds bounds
    each call. Raises JobError, or the error that the function itself raised, when it cannot be opened.
    """

    def __init__(
        self,
        function: str,
        arguments: Mapping[str, object],
        *,
        inputs: tuple[Path, ...],
        engine: str = "auto",
        limits: Limits | None = None,
    ) -> None:
        confinement, self._limits = choose(engine), limits or Limits()
        self._folder = Path(tempfile.mkdtemp(prefix="assay-session-")).resolve()
        self._lock = threading.Lock()
        task, output = self._folder / "task.json", self._folder / "out"
        output.mkdir()
        write_record(task, {"function": function, "arguments": dict(arguments)})
        environment = job_environment(output, self._limits, lasting=True)
        command = (sys.executable, "-P", "-m", _WORKER, str(task))
        plan = Plan(command, (task, *inputs), output, environment, 86_400.0, self._limits.processes)
        self._process = subprocess.Popen(
            confinement.command(plan), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, cwd=output, start_new_session=True,
        )  # fmt: skip
        self.isolation: Mapping[str, object] = confinement.in_force()
        try:
            self.about = self._answer()[0]
        except AssayError:
            self.close()
            raise

    def call(self, method: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the arrays that the handler answers with. Raises JobError; after one of time the session is over."""
        with self._lock:
            if self._process.poll() is not None or self._process.stdin is None:
                raise JobError("the sandbox has ended", remedy="Open the model again")
            try:
                send(self._process.stdin, {"method": method}, arrays)
            except OSError as error:
                raise JobError("the sandbox has ended", remedy="Open the model again") from error
            return self._answer()[1]

    def close(self) -> None:
        """End the process and remove its folder."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _answer(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        stream = self._process.stdout
        if stream is None:
            raise JobError("the sandbox has ended", remedy="Open the model again")
        # The pipe's end wakes the reader: no thread is left waiting on a process that does not answer.
        timer = threading.Timer(self._limits.seconds, self._process.kill)
        timer.start()
        try:
            head, arrays = receive(stream, limit=self._limits.output_mb << 20)
        finally:
            timer.cancel()
        if "error" in head:
            kind = getattr(errors, str(head.get("kind", "")), JobError)
            sound = isinstance(kind, type) and issubclass(kind, AssayError)
            raise (kind if sound else JobError)(str(head["error"])[:2000], remedy=str(head.get("remedy", ""))[:500])
        return head, arrays
