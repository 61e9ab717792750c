"""What a scan, a signature and a hostile file cost, beside the peers, in one run.

Assay runs in the interpreter of this script (with scikit-learn, which only makes the pickles); the peers in another::

    python -m venv PEERS && PEERS/bin/pip install picklescan==1.0.5 modelscan==0.8.8 fickling==0.1.12 modelaudit==0.2.54 \\
        model-signing==1.1.1 pyopenssl typing_extensions py7zr
    python benchmarks/scanner_speed.py --peers PEERS/bin/python [--rounds 7] [--only small,start,sign,joblib,again,hostile]

Every round runs each tool once, one after another, so that what else the machine does meets all of them; the best round
counts. Seconds are those of the clock, in brackets those on a processor. modelaudit looks at 20 of the 1,000 pickles.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "bypasses"))
import bombs

SCANNERS = ("assay", "picklescan", "modelscan", "fickling", "modelaudit")
COMMANDS = {
    "picklescan": ("picklescan", "-p"), "modelscan": ("modelscan", "-p"),
    "fickling": ("fickling", "--check-safety"), "modelaudit": ("modelaudit", "scan"),
}  # fmt: skip
_LIMIT_S = 60


# -- one tool, in a process of its own --------------------------------------------------------------------------------


def scanner(name: str) -> Callable[[str], str]:
    """Return a function from a path to ``flag``, ``pass`` or ``error``."""
    if name == "assay":
        from assay.artifacts.scan import scan_paths

        answers = {"malicious": "flag", "suspicious": "flag", "clean": "pass"}
        return lambda path: answers.get(scan_paths([path]).verdict.value, "error")
    if name == "picklescan":
        from picklescan.scanner import scan_file_path

        def picklescan(path: str) -> str:
            found = scan_file_path(path)
            return "flag" if found.issues_count else "error" if found.scan_err else "pass"

        return picklescan
    if name == "modelscan":
        from modelscan.modelscan import ModelScan

        inner = ModelScan()

        def modelscan(path: str) -> str:
            found = inner.scan(path)
            if found["summary"]["total_issues"]:
                return "flag"
            return "pass" if found["summary"]["scanned"]["total_scanned"] and not found["errors"] else "error"

        return modelscan
    if name == "fickling":
        from fickling.analysis import Severity, check_safety
        from fickling.fickle import Pickled

        def fickling(path: str) -> str:
            with open(path, "rb") as stream:
                return "pass" if check_safety(Pickled.load(stream)).severity <= Severity.LIKELY_SAFE else "flag"

        return fickling
    from modelaudit.core import scan_file

    def modelaudit(path: str) -> str:
        found = scan_file(path)
        return (
            "flag"
            if any(i.severity.value in {"warning", "critical"} for i in found.issues)
            else "pass"
            if found.success
            else "error"
        )

    return modelaudit


def work(name: str, job: str, *paths: str) -> dict[str, object]:
    """Do one job with one tool in this process; return seconds and answers."""
    if job == "sign":
        from assay.flows.sign import sign

        begun, used = time.perf_counter(), time.process_time()
        sign(paths[0], paths[1], paths[2], scan=True)
        return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - used}
    ask = scanner(name)

    def answer(path: str) -> str:
        try:
            return ask(path)
        except Exception:
            return "error"

    files = (
        sorted(str(p) for p in Path(paths[0]).iterdir())[: 20 if name == "modelaudit" else None]
        if job == "small"
        else list(paths)
    )
    answer(files[0] if job == "small" else paths[-1])
    spent = cpu = float("inf")
    for _ in range(3 if job == "small" and name != "fickling" else 1):
        begun, used = time.perf_counter(), time.process_time()
        answers = [answer(f) for f in (files if job == "small" else files[:1])]
        spent, cpu = min(spent, time.perf_counter() - begun), min(cpu, time.process_time() - used)
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    scale = 1000 / len(files) if job == "small" else 1
    return {"seconds": spent * scale, "cpu": cpu * scale, "answers": {a: answers.count(a) for a in set(answers)},
            "megabytes": int(peak[1]) >> 10 if peak else 0}  # fmt: skip


# -- the comparison ---------------------------------------------------------------------------------------------------


class Bench:
    """The files, the interpreters and the table."""

    def __init__(self, root: Path, peers: Path, rounds: int) -> None:
        self.root, self.peers, self.rounds = root, peers, rounds
        # Compiled modules of everybody are kept here, so that nobody compiles during a measurement.
        self.env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {
            "PYTHONPYCACHEPREFIX": str(root / "pyc"), "NO_ANALYTICS": "1", "MODELAUDIT_TELEMETRY": "0", "DO_NOT_TRACK": "1",
        }  # fmt: skip

    def python(self, tool: str) -> str:
        return sys.executable if tool == "assay" else str(self.peers)

    def worker(self, tool: str, job: str, *paths: object) -> dict[str, object]:
        command = [self.python(tool), __file__, "--worker", tool, job, *map(str, paths)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False, env=self.env)
            return json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            return {"seconds": float("inf"), "cpu": float("inf"), "answers": {"hung": 1}, "megabytes": 0}
        except (IndexError, ValueError):
            return {"seconds": float("nan"), "cpu": float("nan"), "answers": {"crash": 1}, "megabytes": 0}

    def command(self, *command: object) -> dict[str, object]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        subprocess.run([str(c) for c in command], capture_output=True, check=False, env=self.env)
        spent = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"seconds": spent, "cpu": cpu}

    def best(self, title: str, jobs: dict[str, Callable[[], dict[str, object]]], base: str, rounds: int = 0) -> None:
        """Run all jobs in turn for some rounds and print the best of each, and its ratio to ``base``."""
        for job in jobs.values():
            job()
        seen: dict[str, list[dict[str, object]]] = {name: [] for name in jobs}
        for _ in range(rounds or self.rounds):
            for name, job in jobs.items():
                seen[name].append(job())
        least = {n: min(float(r["seconds"]) for r in rows) for n, rows in seen.items()}
        cpu = {n: min(float(r["cpu"]) for r in rows) for n, rows in seen.items()}
        print(
            f"\n## {title}\n\n| | s | on a processor | ratio to {base} | ratio on a processor | answers |\n| --- | --- | --- | --- | --- | --- |"
        )
        for name in jobs:
            answers = seen[name][-1].get("answers", "")
            print(
                f"| {name} | {least[name]:.3f} | {cpu[name]:.3f} | {least[name] / least[base]:.2f} | {cpu[name] / cpu[base]:.2f} | {answers} |",
                flush=True,
            )


def small_models(folder: Path) -> None:
    """Write a thousand fitted scikit-learn models of about 1 KB."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    kinds = (LogisticRegression, Ridge, StandardScaler, lambda: DecisionTreeClassifier(max_depth=2), GaussianNB,
             lambda: make_pipeline(StandardScaler(), LogisticRegression()))  # fmt: skip
    folder.mkdir()
    for i in range(1000):
        rows = np.random.default_rng(i).normal(size=(40, 4))
        (folder / f"{i:04}.pkl").write_bytes(pickle.dumps(kinds[i % 6]().fit(rows, (rows[:, 0] > 0).astype(int))))


def torch_zip(path: Path, tensors: int = 16, size: int = 1 << 26) -> None:
    """Write what ``torch.save`` writes of a dictionary of tensors, without torch."""
    data = b"\x80\x02}("
    for i in range(tensors):
        data += (
            bombs.text(f"layer{i}.weight").replace(b"\x8c", b"X", 1)[:1]
            + struct.pack("<I", len(f"layer{i}.weight"))
            + f"layer{i}.weight".encode()
        )
        data += b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
        data += (
            b"X"
            + struct.pack("<I", len(str(i)))
            + str(i).encode()
            + b"X\x03\0\0\0cpuJ"
            + struct.pack("<i", size >> 2)
            + b"tQK\0"
        )
        data += b"J" + struct.pack("<i", size >> 2) + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("m/data.pkl", data + b"u.")
        archive.writestr("m/byteorder", b"little")
        for i in range(tensors):
            archive.writestr(f"m/data/{i}", os.urandom(1 << 20) * (size >> 20))
        archive.writestr("m/version", b"3\n")


def large_joblib(path: Path, size: int) -> None:
    """Write a raw array of ``size`` bytes as joblib does, and a call of os.system behind it."""
    with open(path, "wb") as stream:
        stream.write(bombs.P4 + bombs.wrapper("u1", size))
        stream.writelines(os.urandom(1 << 20) for _ in range(size >> 20))
        stream.write(b"0" + bombs.name("os", "system") + bombs.text("true") + b"\x85R.")


def hostile(bench: Bench) -> None:
    rows: dict[str, list[tuple[str, float, float, int, str]]] = {n: [] for n in ("assay", "picklescan", "fickling")}
    path = bench.root / "hostile"
    for family, make in bombs.FAMILIES.items():
        for title, made in make(0.5):
            bombs.write(made, path)
            for name, seen in rows.items():
                if name == "assay" or family == "pickle":
                    found = bench.worker(name, "one", path, bench.root / "tiny.pkl")
                    seen.append(
                        (
                            f"{family}/{title}",
                            float(found["seconds"]),
                            float(found["cpu"]),
                            int(found["megabytes"]),
                            str(found["answers"]),
                        )
                    )
    print(
        "\n## Hostile files: the dearest\n\n| | files | most s | most on a processor | most MB | beyond 2 s or 300 MB |\n| --- | --- | --- | --- | --- | --- |"
    )
    for name, seen in rows.items():
        over = [t for t, _, cpu, mb, _ in seen if not (cpu <= 2 and mb <= 300)]
        print(
            f"| {name} | {len(seen)} | {max(s[1] for s in seen):.2f} | {max(s[2] for s in seen):.2f} | {max(s[3] for s in seen)} | {len(over)}: {', '.join(over[:8])} |"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peers", type=Path, required=True, help="the peers' interpreter")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--only", default="small,start,sign,joblib,again,hostile")
    chosen = options.parse_args()
    only = set(chosen.only.split(","))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bench = Bench(root, chosen.peers, chosen.rounds)
        bin_, peer_bin = Path(sys.executable).parent, chosen.peers.parent
        small_models(root / "small")
        tiny = root / "tiny.pkl"
        tiny.write_bytes((root / "small" / "0000.pkl").read_bytes())
        if "small" in only:
            jobs = {n: (lambda n=n: bench.worker(n, "small", root / "small")) for n in SCANNERS[:4]}
            bench.best("1,000 scikit-learn pickles of 0.8 KB, one process", jobs, "picklescan")
        if "start" in only:
            jobs = {"python -c pass": lambda: bench.command(sys.executable, "-c", "pass")}
            jobs["assay scan"] = lambda: bench.command(bin_ / "assay", "scan", tiny)
            for name, (program, option) in COMMANDS.items():
                if name != "modelaudit":
                    jobs[name] = lambda p=program, o=option: bench.command(peer_bin / p, o, tiny)
            bench.best("Start-up and one small file, command line", jobs, "fickling", 3 * chosen.rounds)
        if only & {"sign", "again"}:
            model = root / "model"
            model.mkdir()
            torch_zip(model / "model.pt")
            subprocess.run([bin_ / "assay", "keygen", root / "k"], check=True, capture_output=True)
        if "sign" in only:
            file = model / "model.pt"
            jobs = {
                "openssl dgst -sha256": lambda: bench.command("openssl", "dgst", "-sha256", file),
                "assay sign": lambda: bench.command(bin_ / "assay", "sign", "--key", root / "k", "--bundle", root / "a.sig", file),
                "assay, the same from Python": lambda: bench.worker("assay", "sign", file, root / "k", root / "b.sig"),
                "picklescan": lambda: bench.command(peer_bin / "picklescan", "-p", file),
                "model_signing sign": lambda: bench.command(peer_bin / "model_signing", "sign", "key", "--private_key", root / "k", "--signature", root / "c.sig", file),
            }  # fmt: skip
            bench.best("Scan, SHA-256 and signature of a torch zip of 1.07 GB", jobs, "openssl dgst -sha256", 5)
        if "again" in only:
            sign = [bin_ / "assay", "sign", "--key", root / "k", "--digests", root / "digests.db", model]
            (model / "README.md").write_text("one\n")
            subprocess.run(sign, check=True, capture_output=True)
            time.sleep(2.5)
            subprocess.run(sign, check=True, capture_output=True)
            (model / "README.md").write_text("two\n")
            subprocess.run(sign, check=True, capture_output=True)
            print(f"\n## Verified again after an edit of the README: {again(root):.4f} s from Python, best of 20")
            jobs = {
                "assay verify-model --digests": lambda: bench.command(bin_ / "assay", "verify-model", model, "--key", root / "k.pub", "--digests", root / "digests.db"),
                "assay verify-model": lambda: bench.command(bin_ / "assay", "verify-model", model, "--key", root / "k.pub"),
                "model_signing verify": lambda: bench.command(peer_bin / "model_signing", "verify", "key", "--public_key", root / "k.pub", "--signature", model / "model.sig", model),
            }  # fmt: skip
            bench.best("The same from the command line", jobs, "model_signing verify", 3)
        if "joblib" in only:
            file = root / "large.joblib"
            large_joblib(file, 512 << 20)
            jobs = {"openssl dgst -sha256": lambda: bench.command("openssl", "dgst", "-sha256", file)}
            jobs |= {n: (lambda n=n: bench.worker(n, "one", file, tiny)) for n in SCANNERS[:4]}
            bench.best("An uncompressed joblib of 512 MB with a call behind its array", jobs, "openssl dgst -sha256", 3)
        if "hostile" in only:
            hostile(bench)


def again(root: Path) -> float:
    """Return the seconds that verifying the model takes in this process when all but its README is known."""
    from assay.flows.sign import confirm

    best = float("inf")
    for _ in range(20):
        begun = time.perf_counter()
        confirm(root / "model", keys=[root / "k.pub"], digests=root / "digests.db")
        best = min(best, time.perf_counter() - begun)
    return best


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(work(*sys.argv[2:])))
    else:
        main()
