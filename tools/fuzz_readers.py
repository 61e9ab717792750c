"""Coverage-guided fuzzing of every reader of the scanner, with atheris (pip install atheris).

    python tools/fuzz_readers.py --seconds 300
    python tools/fuzz_readers.py --seconds 300 --keep findings/

The seeds are the files of tests/bypasses. Whatever the bytes, the scanner must return a report: an exception, more than
two seconds for a file, or more than 300 MB beyond the start is a finding; its input is kept, and the exit code is not 0.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["assay.artifacts"]):
    from assay.artifacts.scan import scan_bytes

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 2.0
GROWTH_MB = 300
_LARGEST_SEED = 1 << 16


def examine(data: bytes) -> None:
    """Scan one input. Raises what the scanner must never raise, or RuntimeError when it took too long."""
    started = time.process_time()
    scan_bytes(data, "fuzzed")
    took = time.process_time() - started
    if took > LONGEST:
        raise RuntimeError(f"took {took:.1f} s for {len(data)} bytes")


def write_seeds(folder: Path) -> int:
    """Write the small hostile files of the bypass corpus as seeds, and the stored harmless ones; return how many."""
    sys.path.insert(0, str(ROOT / "tests"))
    from bypasses.families import hostile_cases

    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, case in enumerate(hostile_cases()):
            path = case.write(Path(scratch) / str(number))
            if path.is_file() and path.stat().st_size <= _LARGEST_SEED:
                (folder / f"{number:04}").write_bytes(path.read_bytes())
                count += 1
    for file in sorted((ROOT / "tests" / "bypasses" / "data" / "harmless").iterdir()):
        if file.stat().st_size <= _LARGEST_SEED:
            (folder / file.name).write_bytes(file.read_bytes())
            count += 1
    return count


def main() -> None:
    """Fuzz for the given time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-findings"), help="folder for inputs that break a reader"
    )
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as seeds:
        count = write_seeds(Path(seeds))
        limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + GROWTH_MB
        print(f"{count} seeds, {options.seconds} s, at most {limit} MB")
        arguments: list[Any] = [
            sys.argv[0], f"-max_total_time={options.seconds}", f"-rss_limit_mb={limit}", "-timeout=10", "-max_len=65536",
            f"-artifact_prefix={options.keep}/", seeds,
        ]  # fmt: skip
        atheris.Setup(arguments, examine)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
