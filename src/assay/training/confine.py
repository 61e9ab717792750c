"""The supervisor of the Landlock engine: ``python -m assay.training.confine PLAN.json``.

It is the one process that loads ``sandlock``; it starts the job confined, passes its output on and ends with its
exit code. It is separate from the caller, so that killing its process group ends the whole job.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(plan_file: str) -> int:
    """Run the plan and return the job's exit code: 128 + signal when it was killed, 125 when it could not start."""
    from sandlock import Sandbox, SandlockError, StdioMode

    plan = json.loads(Path(plan_file).read_bytes())
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
