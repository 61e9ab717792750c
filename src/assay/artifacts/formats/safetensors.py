"""safetensors: the header is checked as the format's description demands, so that no byte is unaccounted for."""

from __future__ import annotations

import json
from math import prod

from assay.artifacts.reader import EMBEDDED_CODE, Data, FormatReader, Inspection
from assay.core.finding import Severity

_LONGEST = 25_000_000
_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
         "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64,
         "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}  # fmt: skip


class Faulty(Exception):
    """The header breaks a rule of the format."""


class SafetensorsReader(FormatReader, name="safetensors", techniques=(EMBEDDED_CODE,)):
    """Check lengths, types, offsets, holes, overlaps and duplicate names."""

    def claims(self, data: Data) -> bool:
        """Return whether a length and a JSON object come first."""
        return len(data) > 9 and data[8] == 0x7B and int.from_bytes(data[:8], "little") < 1 << 40

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine the header; what breaks a rule of the format is suspicious."""
        try:
            _check(data)
        except Faulty as fault:
            inspection.report(
                "safetensors-header", Severity.HIGH, f"{fault}", where, EMBEDDED_CODE, "Get the file again"
            )
        return "safetensors"


def _header(raw: bytes) -> dict[str, object]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        record = dict(pairs)
        if len(record) != len(pairs):
            raise Faulty("a name is in the header twice")
        return record

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Faulty("the header is no valid JSON") from error
    if not isinstance(header, dict):
        raise Faulty("the header is no record")
    return header


def _check(data: Data) -> None:
    size = int.from_bytes(data[:8], "little")
    left = len(data) - 8 - size
    if size > _LONGEST or left < 0:
        raise Faulty("the header is longer than the file or than the format allows")
    header = _header(data[8 : 8 + size])
    spans = []
    for name, row in header.items():
        if not isinstance(row, dict):
            raise Faulty(f"{name[:60]!r} is no record")
        if name == "__metadata__":
            if not all(isinstance(v, str) for v in row.values()):
                raise Faulty("the metadata hold something that is no text")
            continue
        spans.append(_span(name, row))
    position = 0
    for begin, stop in sorted(spans):
        if begin != position:
            raise Faulty("tensors overlap" if begin < position else "bytes between tensors belong to none of them")
        position = stop
    if position != left:
        raise Faulty(
            "bytes after the last tensor belong to none of them" if position < left else "tensors lie beyond the end"
        )


def _span(name: str, row: dict[str, object]) -> tuple[int, int]:
    shape, offsets, bits = row.get("shape"), row.get("data_offsets"), _BITS.get(str(row.get("dtype")))
    if bits is None or set(row) != {"dtype", "shape", "data_offsets"}:
        raise Faulty(f"{name[:60]!r} has an unknown type or field")
    if (
        not isinstance(shape, list)
        or not isinstance(offsets, list)
        or len(offsets) != 2
        or not _numbers([*shape, *offsets])
    ):
        raise Faulty(f"{name[:60]!r} has no proper shape and offsets")
    if (offsets[1] - offsets[0]) * 8 != prod(shape[:64]) * bits or len(shape) > 64:
        raise Faulty(f"the size of {name[:60]!r} does not fit its shape")
    return offsets[0], offsets[1]


def _numbers(values: list[object]) -> bool:
    return all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 62 for v in values)
