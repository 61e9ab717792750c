"""What Assay's scanner and its peers say of the bypass corpus, side by side: flagged, not passed, false alarms, by family.

Each tool has one setting for all files and looks at one file at a time, through its documented interface, in a process of its
own; a file that takes longer than the limit, or ends the process, counts as an error. Assay runs in an interpreter that should
have nothing but its base install (which the output says); the corpus is made by the interpreter of this script, which needs
scikit-learn, torch, xgboost, lightgbm, onnx, skl2onnx, skops and pandas::

    python -m venv BARE && BARE/bin/pip install assay
    python -m venv PEERS && PEERS/bin/pip install picklescan==1.0.5 modelscan==0.8.8 fickling==0.1.12 modelaudit==0.2.54 \\
        typing_extensions py7zr h5py numpy
    python benchmarks/scanner_detection.py --assay BARE/bin/python --peers PEERS/bin/python [--limit 30] [--only assay,fickling]

"Flagged" is the answer of an unsafe file, "not passed" that or an error. The corpus was written from descriptions of
techniques and not from any scanner's tables, but Assay was corrected where it missed; the peers never saw it.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

TOOLS = ("assay", "picklescan", "picklescan-strict", "modelscan", "fickling", "modelaudit")
MEMORY = 8 << 30
Scanner = Callable[[str], str]


def assay_scanner() -> Scanner:
    """Answers of Assay."""
    from assay.artifacts.scan import scan_paths

    answers = {"malicious": "flag", "suspicious": "flag", "clean": "pass"}
    return lambda path: answers.get(scan_paths([path]).verdict.value, "error")


def picklescan_scanner(strict: bool) -> Scanner:
    """Answers of picklescan, by default or with ``--strict``."""
    from picklescan import scanner

    def run(path: str) -> str:
        found = scanner.scan_file_path(path, strict=True) if strict else scanner.scan_file_path(path)
        return "flag" if found.issues_count else "error" if found.scan_err else "pass"

    return run


def modelscan_scanner() -> Scanner:
    """Answers of modelscan."""
    from modelscan.modelscan import ModelScan

    made = ModelScan()

    def run(path: str) -> str:
        found = made.scan(path)
        if found["summary"]["total_issues"]:
            return "flag"
        return "pass" if found["summary"]["scanned"]["total_scanned"] and not found["errors"] else "error"

    return run


def fickling_scanner() -> Scanner:
    """Answers of fickling."""
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import Pickled

    def run(path: str) -> str:
        with open(path, "rb") as stream:
            return "pass" if check_safety(Pickled.load(stream)).severity <= Severity.LIKELY_SAFE else "flag"

    return run


def modelaudit_scanner() -> Scanner:
    """Answers of modelaudit, by its exit codes."""
    from modelaudit.core import determine_exit_code, scan_model_directory_or_file

    codes = {0: "pass", 1: "flag"}
    return lambda path: codes.get(determine_exit_code(scan_model_directory_or_file(path)), "error")


SCANNERS: dict[str, Callable[[], Scanner]] = {
    "assay": assay_scanner, "picklescan": lambda: picklescan_scanner(False), "picklescan-strict": lambda: picklescan_scanner(True),
    "modelscan": modelscan_scanner, "fickling": fickling_scanner, "modelaudit": modelaudit_scanner,
}  # fmt: skip


def work(tool: str) -> None:
    """Answer one path a line, as a process of its own."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    scanner = SCANNERS[tool]()
    known = [n for n in ("numpy", "torch", "sklearn", "onnx", "tensorflow", "h5py") if importlib.util.find_spec(n)]
    print("ready", *known, file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = scanner(line.rstrip("\n"))
        except Exception:  # whatever a scanner may raise is an error of its own
            answer = "error"
        print(answer, file=answers, flush=True)


class Worker:
    """A tool in a process, started again when it takes too long or dies."""

    def __init__(self, python: str, tool: str, limit: float) -> None:
        self._command = [python, __file__, "--work", tool]
        self._limit = limit
        self._process: subprocess.Popen[str] | None = None
        self.known = ""

    def ask(self, path: Path) -> str:
        """Return flag, pass or error."""
        process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        try:
            print(path, file=process.stdin, flush=True)
        except BrokenPipeError:
            return self._end()
        ready, _, _ = select.select([process.stdout], [], [], self._limit)
        answer = process.stdout.readline().strip() if ready else ""
        return answer or self._end()

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._end()

    def _start(self) -> subprocess.Popen[str]:
        settings = {**os.environ, "PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1", "PYTHONWARNINGS": "ignore"}
        self._process = made = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=settings,
        )
        assert made.stdout
        self.known = " ".join(made.stdout.readline().split()[1:])
        return made

    def _end(self) -> str:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None
        return "error"


def corpus(folder: Path) -> Iterator[tuple[str, bool, Path]]:
    """Write the corpus; yield family, whether it is hostile, and path of every file."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "bypasses"))
    from families import harmless_cases, hostile_cases

    for bad, cases in ((True, hostile_cases()), (False, harmless_cases())):
        for number, case in enumerate(cases):
            yield case.family, bad, case.write(folder / f"{'bad' if bad else 'good'}{number}")


def table(files: list[tuple[str, bool, Path]], answers: dict[str, list[str]]) -> None:
    """Print the sums and a row for each family: flagged/errors."""
    print(f"{'':34}", *(f"{t:>18}" for t in answers))
    for label, bad, counted in (("flagged of hostile", True, {"flag"}), ("not passed of hostile", True, {"flag", "error"}),
                                ("false alarms of harmless", False, {"flag"}), ("not passed of harmless", False, {"flag", "error"})):  # fmt: skip
        cells = []
        for given in answers.values():
            asked = [a for (_, b, _), a in zip(files, given, strict=True) if b is bad]
            hits = sum(a in counted for a in asked)
            cells.append(f"{hits}/{len(asked)} = {hits / len(asked):.1%}")
        print(f"{label:34}", *(f"{c:>18}" for c in cells))
    for bad in (True, False):
        for family, size in sorted(Counter(f for f, b, _ in files if b is bad).items()):
            cells = []
            for given in answers.values():
                asked = Counter(a for (f, b, _), a in zip(files, given, strict=True) if b is bad and f == family)
                cells.append(f"{asked['flag']}/{asked['error']}")
            label = f"{'hostile' if bad else 'harmless'} {family} ({size})"
            print(f"{label:34}", *(f"{c:>18}" for c in cells))


def main() -> None:
    """Ask every tool about every file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", default=sys.executable, help="interpreter with Assay's base install")
    parser.add_argument("--peers", help="interpreter with the peers")
    parser.add_argument("--only", default=",".join(TOOLS))
    parser.add_argument("--limit", type=float, default=30.0, help="seconds for one file")
    parser.add_argument("--every", type=int, default=1, help="take only every Nth file")
    parser.add_argument("--work", choices=TOOLS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(chosen.work)
        return
    tools = [t for t in chosen.only.split(",") if t == "assay" or chosen.peers]
    answers: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = list(corpus(Path(folder)))[:: chosen.every]
        for tool in tools:
            worker = Worker(chosen.assay if tool == "assay" else chosen.peers, tool, chosen.limit)
            begun = time.monotonic()
            answers[tool] = [worker.ask(path) for _, _, path in files]
            print(
                f"{tool}: {time.monotonic() - begun:.0f} s; beside it are installed: {worker.known or 'no library of a format'}",
                flush=True,
            )
            worker.close()
    table(files, answers)


if __name__ == "__main__":
    main()
