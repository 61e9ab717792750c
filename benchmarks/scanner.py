"""Assay's scanner beside picklescan, modelscan and fickling: detection on the bypass corpus, false alarms, speed.

Run it with an interpreter that has the peers; Assay needs nothing::

    PYTHONPATH=src python benchmarks/scanner.py [--extra FOLDER_OF_BENIGN_MODELS]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "bypasses"))
import corpus

Scanner = Callable[[str], str]  # -> flag | pass | error


def assay_scanner() -> Scanner:
    from assay.artifacts.scan import scan_paths

    answers = {"malicious": "flag", "suspicious": "flag", "clean": "pass"}
    return lambda path: answers.get(scan_paths([path]).verdict.value, "error")


def picklescan_scanner() -> Scanner:
    from picklescan.scanner import scan_file_path

    def run(path: str) -> str:
        found = scan_file_path(path)
        return "flag" if found.issues_count else "error" if found.scan_err else "pass"

    return run


def modelscan_scanner() -> Scanner:
    from modelscan.modelscan import ModelScan

    scanner = ModelScan()

    def run(path: str) -> str:
        found = scanner.scan(path)
        if found["summary"]["total_issues"]:
            return "flag"
        return "pass" if found["summary"]["scanned"]["total_scanned"] and not found["errors"] else "error"

    return run


def fickling_scanner() -> Scanner:
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import Pickled

    def run(path: str) -> str:
        with open(path, "rb") as stream:
            return "pass" if check_safety(Pickled.load(stream)).severity <= Severity.LIKELY_SAFE else "flag"

    return run


SCANNERS = {
    "assay": assay_scanner,
    "picklescan": picklescan_scanner,
    "modelscan": modelscan_scanner,
    "fickling": fickling_scanner,
}


def ask(scanner: Scanner, path: Path) -> str:
    try:
        return scanner(str(path))
    except Exception:
        return "error"


def small_pickles(folder: Path, count: int) -> list[Path]:
    """Write pickles of about 1 KB that look like small fitted models."""
    folder.mkdir()
    body = corpus.sglob("sklearn.linear_model._logistic", "LogisticRegression") + b")\x81}("
    for i in range(40):
        body += corpus.u(f"parameter_{i}") + b"\x94" + pickle.dumps(i * 0.5, 4)[2:-1].replace(b"\x95", b"")[-9:]
    for i in range(count):
        (folder / f"{i}.pkl").write_bytes(b"\x80\x04" + body + b"ub.")
    return sorted(folder.iterdir())


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def large_joblib(path: Path, size: int) -> None:
    head = (
        b"\x80\x04"
        + corpus.sglob("joblib.numpy_pickle", "NumpyArrayWrapper")
        + b")\x81}("
        + corpus.u("shape")
        + b"J"
        + size.to_bytes(4, "little")
    )
    head += b"\x85" + corpus.u("dtype") + corpus.sglob("numpy", "dtype") + corpus.u("i1") + b"\x89\x88\x87Rub"
    with open(path, "wb") as stream:
        stream.write(head)
        stream.writelines(bytes(1 << 20) for _ in range(size >> 20))
        stream.write(b"0" + corpus.EVIL[2:])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--extra", type=Path, help="folder of benign models to add to the harmless files")
    options.add_argument("--megabytes", type=int, default=512, help="size of the large joblib file")
    chosen = options.parse_args()
    logging.disable(logging.CRITICAL)
    names = [n for n in SCANNERS if n == "assay" or importlib.util.find_spec(n)]
    made = {n: SCANNERS[n]() for n in names}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bad = [
            (f, root / f"{i}.pkl")
            for i, (f, _, data) in enumerate(corpus.hostile())
            if (root / f"{i}.pkl").write_bytes(data) >= 0
        ]
        good = [
            root / f"good{i}.pkl"
            for i, (_, data) in enumerate(corpus.harmless())
            if (root / f"good{i}.pkl").write_bytes(data) >= 0
        ]
        good += [p for p in chosen.extra.rglob("*") if p.is_file()] if chosen.extra else []
        smalls = small_pickles(root / "small", 1000)
        large = root / "large.joblib"
        large_joblib(large, chosen.megabytes << 20)
        rows: dict[str, list[str]] = {}
        for name, scanner in made.items():
            skip = {"bomb"} if name != "assay" else set()  # peers do not return from them
            answers = [(family, "error" if family in skip else ask(scanner, path)) for family, path in bad]
            fine = [ask(scanner, path) for path in good]
            ask(scanner, smalls[0])
            quick = min(seconds(lambda s=scanner: [ask(s, p) for p in smalls]) for _ in range(3))
            rows.setdefault("flagged", []).append(f"{sum(a == 'flag' for _, a in answers)}/{len(answers)}")
            rows.setdefault("not passed", []).append(f"{sum(a != 'pass' for _, a in answers)}/{len(answers)}")
            rows.setdefault("false alarms", []).append(f"{sum(a == 'flag' for a in fine)}/{len(fine)}")
            rows.setdefault("benign not passed", []).append(f"{sum(a != 'pass' for a in fine)}/{len(fine)}")
            rows.setdefault("1000 small pickles, s", []).append(f"{quick:.3f}")
            begun = time.perf_counter()
            answer = ask(scanner, large)
            rows.setdefault("large joblib, payload at its end", []).append(
                f"{answer} {time.perf_counter() - begun:.3f} s"
            )
            worst = max(seconds(lambda s=scanner, p=p: ask(s, p)) for f, p in bad if f not in skip)
            rows.setdefault("slowest hostile file, s", []).append(f"{worst:.2f}")
        reference = seconds(lambda: hashlib.file_digest(large.open("rb"), "sha256"))
        one = "from assay.artifacts.scan import scan_paths; import sys; scan_paths(sys.argv[1:])"
        bare = min(seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(3))
        start = min(
            seconds(lambda: subprocess.run([sys.executable, "-c", one, str(smalls[0])], check=True)) for _ in range(3)
        )
    width = max(map(len, rows))
    print(" " * width, *(f"{n:>16}" for n in names))
    for label, cells in rows.items():
        print(f"{label:<{width}}", *(f"{c:>16}" for c in cells))
    print(f"sha256 of the large joblib: {reference:.3f} s; start and one file over bare Python: {start - bare:.3f} s")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


if __name__ == "__main__":
    main()
