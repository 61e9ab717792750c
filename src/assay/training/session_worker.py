"""What runs inside a session's sandbox: ``python -m assay.training.session_worker TASK.json``."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from assay.core.errors import AssayError
from assay.training.arrays import receive, send
from assay.training.worker import limit_resources


def main(task_file: str) -> int:
    """Open what the task names, then answer calls until the pipe closes."""
    limit_resources()
    # Whatever the model prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    task = json.loads(Path(task_file).read_bytes())
    module, _, name = task["function"].partition(":")
    try:
        handler, about = getattr(importlib.import_module(module), name)(task["arguments"])
    except BaseException as error:  # noqa: BLE001 - the model is not ours: whatever it raises is reported
        send(answers, _told(error), {})
        return 1
    send(answers, {"about": about}, {})
    while True:
        if not questions.peek(1):
            return 0
        head, arrays = receive(questions)
        try:
            found = handler(head["method"], arrays)
            send(answers, {}, found)
        except BaseException as error:  # noqa: BLE001 - as above
            send(answers, _told(error), {})


def _told(error: BaseException) -> dict[str, object]:
    if isinstance(error, AssayError):
        return {"error": error.message, "remedy": error.remedy, "kind": type(error).__name__}
    return {"error": " ".join(f"the model failed: {type(error).__name__}: {error}".split())[:500], "kind": "JobError"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
