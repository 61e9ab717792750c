"""Confinement by Landlock and seccomp, through the ``sandlock`` package: no root, no namespaces, no bubblewrap."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

from assay.training.isolation import Engine, Plan, python_folders

_SYSTEM = (
    "/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime", "/nix/store",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu", "/sys/fs/cgroup",
    "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random",
)  # fmt: skip


class Landlock(Engine, name="landlock", mitigations=("AML.M0005", "AML.M0011")):
    """Run the job under a Landlock ruleset and a seccomp filter: no network, one writable folder."""

    rank: ClassVar[int | None] = 2

    def available(self) -> str:
        """Return "" when ``sandlock`` is installed and the kernel confines a process here."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch).resolve()
            plan = Plan(("/bin/true",), (), folder, {"PATH": "/usr/bin:/bin"}, seconds=20, spare=folder)
            try:
                line = self.command(plan)
                done = subprocess.run(line, capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"landlock does not answer ({error})"
        if done.returncode == 0:
            return ""
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if said and "ModuleNotFoundError" in said[-1]:
            return "the sandlock package is not installed"
        return said[-1][:200] if said else "landlock cannot start a process here"

    def command(self, plan: Plan) -> list[str]:
        """Return the command line of the supervisor, whose plan is written beside the output folder."""
        shown = [Path(p) for p in _SYSTEM] + [Path(sys.prefix), Path(sys.base_prefix), *python_folders(), *plan.inputs]
        record = {
            "command": list(plan.command),
            "readable": [str(p) for p in dict.fromkeys(shown) if p.exists()],
            "writable": [str(plan.output), "/dev/null"],
            "environment": dict(plan.environment),
            "cwd": str(plan.output),
            "processes": plan.processes,
            "seconds": plan.seconds,
        }
        file = (plan.spare or plan.output.parent) / "confine.json"
        file.write_text(json.dumps(record), encoding="utf-8")
        return [sys.executable, "-P", "-m", "assay.training.confine", str(file)]

    def in_force(self) -> dict[str, object]:
        """Return what is confined."""
        return {
            "engine": self.name,
            "network": "none",
            "inputs": "read-only",
            "writes": "output folder only",
            "namespaces": "none",
            "processes": "bounded",
        }
