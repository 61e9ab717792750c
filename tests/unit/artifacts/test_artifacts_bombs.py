"""What a hostile file may cost: processor time, memory and steps are bounded whatever it holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bypasses"))
import bombs

from assay.artifacts.pickle.machine import Machine
from assay.artifacts.scan import scan_bytes

# Memory is measured in a process of its own, since a test's own process has grown before.
_SCAN = """
import json, os, re, sys, time
from pathlib import Path
from assay.artifacts.scan import scan_bytes, scan_paths
scan_bytes(b"N.")
for path in map(str.strip, sys.stdin):
    # A child for each file, so that each has a peak of its own, and none has to start Python again.
    if not (child := os.fork()):
        begun = time.thread_time()
        report = scan_paths([path]).files[0]
        spent = time.thread_time() - begun
        peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        print(json.dumps({"seconds": spent, "megabytes": peak >> 10, "verdict": report.verdict.value}), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(json.dumps({"seconds": 1e9, "megabytes": 1e9, "verdict": "crash"}), flush=True)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("family", bombs.FAMILIES)
def test_full_size(family, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", _SCAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as scanner:
        for title, made in bombs.FAMILIES[family](0.5):
            bombs.write(made, tmp_path / "x")
            scanner.stdin.write(f"{tmp_path / 'x'}\n")
            scanner.stdin.flush()
            cost = json.loads(scanner.stdout.readline())
            assert cost["megabytes"] <= 300, (title, cost)
            # 1.6 seconds is the budget of files up to 200 MB; what is beyond is the step in which it ran out.
            assert cost["seconds"] <= 2.5, (title, cost)


@pytest.mark.parametrize(("title", "made"), list(bombs.pickles(0.01)), ids=lambda v: v if isinstance(v, str) else "")
def test_pickles_of_small_size_never_raise_and_steps_are_bounded(title, made):
    scan_bytes(made, title)
    machine = Machine(made, opcodes=20_000)
    trace = machine.run()
    assert trace.opcodes <= 30_000
    assert len(trace.bombs) <= 50
    assert machine.kept <= (48 << 20) + (1 << 20)
