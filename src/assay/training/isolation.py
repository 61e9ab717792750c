"""Isolation: running code that is not trusted without network, with read-only inputs and one folder to write to.

An engine turns a plan into a command line; limits of time, memory and file size hold under every engine.
Nothing runs unconfined unless that is asked for by name, and what was in force is recorded.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import sysconfig
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from assay.core.discovery import Control, discover, named
from assay.core.errors import JobError, MissingError
from assay.core.settings import Within, check_settings, setting

_TAIL = 4000
_TAIL_CHUNKS = 64
_GRACE = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use. memory_mb bounds its address space; file_mb the size of any one file."""

    seconds: float = setting(600.0, Within(0.1, 86_400), "Wall-clock seconds.")
    memory_mb: int = setting(8192, Within(64, None), "Address space in MiB.")
    file_mb: int = setting(4096, Within(1, None), "Largest file in MiB.")
    output_mb: int = setting(8192, Within(1, None), "All that is left in the output folder, in MiB.")
    processes: int = setting(512, Within(1, None), "Processes at one time; held by the confining engines.")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """One confined run: a command, what it may read, the one folder it may write, and its environment.

    seconds, processes: limits that the engine itself may hold. spare: a folder for the engine's own files.
    """

    command: tuple[str, ...]
    inputs: tuple[Path, ...]
    output: Path
    environment: Mapping[str, str]
    seconds: float = 600.0
    processes: int = 512
    spare: Path | None = None


class Engine(Control, package="assay.training.engines"):
    """A way to confine a process. rank: order of preference, lower first; None: only when asked for by name."""

    rank: ClassVar[int | None] = None

    @abstractmethod
    def available(self) -> str:
        """Return "" when the engine works on this machine, else why not; found by trying it."""

    @abstractmethod
    def command(self, plan: Plan) -> list[str]:
        """Return the command line that runs the plan confined."""

    @abstractmethod
    def in_force(self) -> dict[str, object]:
        """Return what the engine confines, for the provenance record."""


def choose(name: str = "auto") -> Engine:
    """Return the engine of that name, or the best that works here. Raises MissingError when none does."""
    if name != "auto":
        engine = named(Engine, name)()
        why = engine.available()
        if why:
            raise MissingError(
                f"isolation by {name} does not work here: {why}", remedy="Choose another with --isolation"
            )
        return engine
    engines = sorted((e() for e in discover(Engine).values() if e.rank is not None), key=lambda e: e.rank or 0)
    reasons = []
    for engine in engines:
        why = engine.available()
        if not why:
            return engine
        reasons.append(f"{engine.name}: {why}")
    raise MissingError(
        f"no way to isolate the job works here ({'; '.join(reasons)})",
        remedy="Install bubblewrap, or give --isolation none to run unconfined, which is recorded",
    )


def run_isolated(
    module: str, task: Path, *, inputs: tuple[Path, ...], output: Path, limits: Limits, engine: Engine
) -> str:
    """Run ``python -m module task`` confined; return the end of what it printed.

    Raises JobError when it runs out of time or ends otherwise than with exit code 0.
    """
    scratch = output / ".tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    environment = job_environment(scratch, limits)
    plan = Plan(
        (sys.executable, "-P", "-m", module, str(task)),
        (task, *inputs),
        output,
        environment,
        limits.seconds + 5,
        limits.processes,
    )
    process = subprocess.Popen(
        engine.command(plan),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=output,
        start_new_session=True,
    )
    tail: deque[bytes] = deque(maxlen=_TAIL_CHUNKS)
    reader = threading.Thread(target=_drain, args=(process, tail), daemon=True)
    reader.start()
    try:
        process.wait(timeout=limits.seconds)
    except subprocess.TimeoutExpired as error:
        raise JobError(
            f"the job ran longer than {limits.seconds:g} seconds and was stopped",
            remedy="Raise the limit, or train on less",
        ) from error
    finally:
        _stop(process)
        reader.join(timeout=5)
        if process.stdout:
            process.stdout.close()
    said = b"".join(tail).decode(errors="replace")[-_TAIL:]
    _check_output(output, limits)
    if process.returncode == -signal.SIGKILL or process.returncode == 128 + signal.SIGKILL:
        raise JobError("the job was killed, most likely for its memory", remedy=f"It may use {limits.memory_mb} MiB")
    if process.returncode not in (0, 1):
        last = said.strip().splitlines()[-1:] or ["no output"]
        raise JobError(f"the job ended with code {process.returncode}: {last[0][:300]}")
    return said


def job_environment(scratch: Path, limits: Limits, *, lasting: bool = False) -> dict[str, str]:
    """Return the job's whole environment: nothing of the caller's, so no secret of it, reaches the job.

    lasting: the process answers many calls, so its processor time is not bounded by the seconds of one.
    """
    seconds = 86_400 if lasting else int(limits.seconds) + 1
    threads = str(os.cpu_count() or 1)
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": threads,
        "LOKY_MAX_CPU_COUNT": threads,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(map(str, python_folders())),
        "ASSAY_LIMITS": f"{seconds},{limits.memory_mb},{limits.file_mb}",
    }


def python_folders() -> tuple[Path, ...]:
    """Return the folders that hold Assay and the installed libraries."""
    paths = sysconfig.get_paths()
    own = Path(__file__).resolve().parents[2]
    return tuple(dict.fromkeys((own, Path(paths["purelib"]), Path(paths["platlib"]))))


def _drain(process: subprocess.Popen[bytes], tail: deque[bytes]) -> None:
    """Keep the end of what the job prints, whatever its length."""
    stream = process.stdout
    while stream is not None and (chunk := os.read(stream.fileno(), 4096)):
        tail.append(chunk)


def _check_output(output: Path, limits: Limits) -> None:
    """Refuse what is no plain file (a link would make us read another place) and more than may be left."""
    total = 0
    for folder, folders, files in os.walk(output):
        for name in (*folders, *files):
            found = os.lstat(os.path.join(folder, name))
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                raise JobError(f"the job left {name[:80]!r}, which is no plain file", remedy="Write plain files only")
            total += found.st_size
    if total > limits.output_mb << 20:
        raise JobError(f"the job left more than {limits.output_mb} MiB", remedy="Raise the limit, or write less")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the job and all that it left running: first asked, so that a supervisor can do it, then killed."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
