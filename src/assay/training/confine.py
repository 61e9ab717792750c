"""The supervisor of the Landlock engine: ``python -m assay.training.confine PLAN.json``.

It is the one process that loads ``sandlock``; it starts the job confined, passes its output on and ends with its
exit code. Whatever the job starts stays its descendant (PR_SET_CHILD_SUBREAPER), and ends when it ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

_SUBREAPER = 36
_ROUNDS = 50


def main(plan_file: str) -> int:
    """Run the plan and return the job's exit code: 128 + signal when it was killed, 125 when it could not start.

    SIGTERM ends the job, and everything that it started, at once.
    """
    plan = json.loads(Path(plan_file).read_bytes())
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    code: list[int] = []
    work = threading.Thread(target=lambda: code.append(_confined(plan)), daemon=True)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    work.start()
    while work.is_alive() and not stopped.is_set():
        work.join(0.05)
    end_descendants(os.getpid())
    return code[0] if code else 128 + signal.SIGTERM


def end_descendants(pid: int) -> None:
    """Kill every descendant of a process, those that have left its session too."""
    for _ in range(_ROUNDS):
        below = _below(pid)
        if not below:
            return
        for child in below:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _below(pid: int) -> list[int]:
    """Return the living descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # comm may hold anything, so the fields are counted from its closing bracket.
                state, parent = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def _confined(plan: dict[str, Any]) -> int:
    from sandlock import Sandbox, SandlockError, StdioMode

    sandbox = Sandbox(
        fs_readable=plan["readable"],
        fs_writable=plan["writable"],
        clean_env=True,
        env=plan["environment"],
        cwd=plan["cwd"],
        max_processes=plan["processes"],
        no_coredump=True,
    )
    try:
        with sandbox.popen(plan["command"], StdioMode.NULL, StdioMode.INHERIT, StdioMode.INHERIT) as process:
            result = process.wait(timeout=plan["seconds"])
    except (SandlockError, RuntimeError, OSError) as error:
        sys.stderr.write(f"landlock could not confine the job: {error}\n")
        return 125
    code, killer = int(result.exit_code), int(result.signal)
    if killer > 0:
        return 128 + killer
    return code if code >= 0 else 137


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
