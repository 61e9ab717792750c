"""The laws of scanners: every format reader holds them, ours and those of plugins.

Run them over a reader with bytes of its format::

    check_scanner(PickleReader(), [pickle.dumps({"a": 1})])
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

from assay.artifacts.pickle.policy import builtin_policy
from assay.artifacts.reader import FormatReader, Inspection, Limits
from assay.artifacts.report import FileVerdict, verdict_of
from assay.core.clock import derive_seed
from assay.core.errors import Refused

_SLACK = 2.0


def check_scanner(reader: FormatReader, samples: Sequence[bytes], *, seed: int = 0, mutations: int = 40) -> None:
    """Hold a reader to the laws of scanners on harmless samples of its format.

    Laws: it claims its samples and not the empty file; samples are clean; the same bytes give the same
    findings; damaged bytes never raise, never take longer than the budget, and truncation never turns
    something that was not examined into a clean verdict of a different format. Raises Refused that
    names the law.
    """
    if reader.claims(b""):
        raise _broken(reader, "claims the empty file")
    for sample in samples:
        if not reader.claims(sample):
            raise _broken(reader, "does not claim a sample of its own format")
        first, second = _run(reader, sample), _run(reader, sample)
        if _outcome(first) != _outcome(second):
            raise _broken(reader, "finds different things in the same bytes")
        if verdict_of(first.findings, first.failed, first.unsupported) is not FileVerdict.CLEAN:
            found = [f.message for f in first.findings] + [n.why for n in first.not_checked]
            raise _broken(reader, f"does not pass a harmless sample ({found[:2]})")
        for damaged in _damage(sample, random.Random(derive_seed(seed, reader.name)), mutations):  # noqa: S311 - no secret
            if reader.claims(damaged):
                _run(reader, damaged)


def _run(reader: FormatReader, data: bytes) -> Inspection:
    limits = Limits()
    begun = time.thread_time()
    inspection = Inspection(builtin_policy(), limits, begun + limits.seconds, context=[reader.name])
    reader.read(data, "sample", inspection)
    if time.thread_time() - begun > limits.seconds + _SLACK:
        raise _broken(reader, "takes longer than the budget")
    return inspection


def _outcome(inspection: Inspection) -> tuple[object, ...]:
    return tuple(inspection.findings), tuple(inspection.not_checked), inspection.failed, inspection.unsupported


def _damage(sample: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        cut = chance.randrange(1, len(sample) + 1)
        yield sample[:cut]
        changed = bytearray(sample)
        changed[chance.randrange(len(sample))] = chance.randrange(256)
        yield bytes(changed)
        yield sample[:cut] + chance.randbytes(16) + sample[cut:]


def _broken(reader: FormatReader, why: str) -> Refused:
    return Refused(f"the reader {reader.name!r} breaks a law of scanners: it {why}")


__all__ = ["check_scanner"]
