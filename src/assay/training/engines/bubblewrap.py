"""Confinement by bubblewrap: own namespaces, no network, a file system of what is needed, read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from assay.training.isolation import Engine, Plan, python_folders

_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime", "/nix/store")
_UNSHARE = ("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL")


class Bubblewrap(Engine, name="bubblewrap", mitigations=("AML.M0005", "AML.M0011")):
    """Run the job in user, mount, process, network, IPC and UTS namespaces of its own."""

    rank: ClassVar[int | None] = 1

    def available(self) -> str:
        """Return "" when ``bwrap`` is on the PATH and can start a process here."""
        program = shutil.which("bwrap")
        if program is None:
            return "bwrap is not on the PATH"
        probe = [program, *_UNSHARE, *_system(), "--dev", "/dev", "--proc", "/proc", "/bin/true"]
        try:
            done = subprocess.run(probe, capture_output=True, timeout=20, check=False)
        except subprocess.TimeoutExpired:
            return "bwrap does not answer"
        return (
            "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip()[:200] or "bwrap cannot start"
        )

    def command(self, plan: Plan) -> list[str]:
        """Return the bwrap command line. The root is read-only; only the output folder can be written."""
        program = shutil.which("bwrap") or "bwrap"
        shown = [Path(sys.prefix), Path(sys.base_prefix), *python_folders(), *plan.inputs]
        line = [program, *_UNSHARE, *_system(), "--dev", "/dev", "--proc", "/proc"]
        for path in dict.fromkeys(shown):
            line += ["--ro-bind", str(path), str(path)]
        line += [
            "--bind",
            str(plan.output),
            str(plan.output),
            "--remount-ro",
            "/",
            "--chdir",
            str(plan.output),
            "--clearenv",
        ]
        # Its own user namespace counts the job's processes apart from everyone else's.
        for name, value in {**plan.environment, "ASSAY_PROCESSES": str(plan.processes)}.items():
            line += ["--setenv", name, value]
        return [*line, "--", *plan.command]

    def in_force(self) -> dict[str, object]:
        """Return what is confined."""
        return {
            "engine": self.name,
            "network": "none",
            "inputs": "read-only",
            "writes": "output folder only",
            "namespaces": "all",
            # The kernel exempts root of the machine from the bound on processes, also in a namespace.
            "processes": "bounded" if os.getuid() else "not bounded for root",
        }


def _system() -> list[str]:
    line: list[str] = []
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            line += ["--symlink", str(path.readlink()), name]
        elif path.exists():
            line += ["--ro-bind", name, name]
    return line
