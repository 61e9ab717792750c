"""NumPy .npy files: the header is read as a literal by our own parser; arrays of objects are pickles."""

from __future__ import annotations

import re

from assay.artifacts.pickle.stream import read_pickles
from assay.artifacts.reader import CODE_EXECUTION, Data, FormatReader, Inspection

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 1 << 20
_LITERAL = r"'[^'\\]*'|True|False|\([0-9,\sL]*\)|\[[^\[\]{}\\]*(?:\[[^\[\]{}\\]*\][^\[\]{}\\]*)*\]"
_HEADER = re.compile(rf"\s*\{{(?:\s*'(?:descr|fortran_order|shape)'\s*:\s*(?:{_LITERAL})\s*,?)+\s*\}}\s*")
_SHAPE = re.compile(r"'shape'\s*:\s*\(([0-9,\sL]*)\)")
_DESCR = re.compile(r"'descr'\s*:\s*('[^']*'|\[.*\])", re.DOTALL)
_TYPE = re.compile(r"'[<>=|]?([a-zA-Z?])(\d*)(?:\[[^\]]*\])?'")
_OBJECTS = re.compile(r"'[<>=|]?O\d*'")


class NpyReader(FormatReader, name="npy", techniques=(CODE_EXECUTION,)):
    """Check the header of an array file and follow the pickle of an array of objects."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a .npy file."""
        return data[:6] == _MAGIC

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine the array; np.load with allow_pickle would unpickle arrays of objects."""
        wide = len(data) > 6 and data[6] >= 2
        start = 12 if wide else 10
        size = int.from_bytes(data[8:start], "little")
        if len(data) < start or size > _LONGEST_HEADER or start + size > len(data) or data[6] not in {1, 2, 3}:
            inspection.error(where, "the header is damaged")
            return "npy"
        header = " ".join(data[start : start + size].decode("latin-1").split())
        body = start + size
        described = _DESCR.search(header)
        if len(header) > 1 << 16 or not _HEADER.fullmatch(header) or not described:
            inspection.error(where, "the header is no plain description of an array")
            return "npy"
        if _OBJECTS.search(described.group(1)):
            read_pickles(data, where, inspection, start=body)
            return "npy"
        self._check_size(header, described.group(1), len(data) - body, where, inspection)
        return "npy"

    @staticmethod
    def _check_size(header: str, described: str, left: int, where: str, inspection: Inspection) -> None:
        count = 1
        shape = _SHAPE.search(header)
        for length in re.findall(r"\d+", shape.group(1) if shape else ""):
            count *= int(length[:20])
        found = _TYPE.fullmatch(described)
        size = (4 if found[1] == "U" else 1) * int(found[2] or 1) if found else 0
        if found and count * size > left:
            inspection.error(where, "the array is longer than the file")
