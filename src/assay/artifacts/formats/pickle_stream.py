"""Plain pickles, joblib files and torch's legacy files: a stream of opcodes from the first byte."""

from __future__ import annotations

from assay.artifacts.pickle.machine import Trace
from assay.artifacts.pickle.stream import looks_like_pickle, read_pickles
from assay.artifacts.reader import CODE_EXECUTION, Data, FormatReader, Inspection

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_HEAD = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


class PickleReader(FormatReader, name="pickle", techniques=(CODE_EXECUTION,)):
    """Follow the opcodes of a pickle, whatever wrote it."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a pickle."""
        return looks_like_pickle(data)

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine all stacked pickles; a torch legacy file is known by its magic number."""
        legacy = _LEGACY_HEAD in data[:32]
        traces = read_pickles(data, where, inspection, persistent=legacy, raw_tail=legacy)
        if legacy or (traces and traces[0].result == _TORCH_MAGIC):
            return "torch-legacy"
        return "joblib" if any(_joblib(t) for t in traces) else "pickle"


def _joblib(trace: Trace) -> bool:
    return any(g.module.startswith("joblib.numpy_pickle") for g in trace.globals)
