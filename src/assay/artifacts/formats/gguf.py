"""GGUF: the header's settings, where a chat template is a program that the host runs."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from assay.artifacts.formats.templates import check_template
from assay.artifacts.reader import CODE_EXECUTION, Data, FormatReader, Inspection

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_MOST_SETTINGS, _MOST_ITEMS = 20_000, 4_000_000


class _Broken(Exception):
    """The header cannot be followed."""


class GgufReader(FormatReader, name="gguf", techniques=(CODE_EXECUTION,)):
    """Walk the settings of the header; judge templates. Tensors hold numbers only."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as GGUF."""
        return data[:4] == b"GGUF"

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine every setting."""
        try:
            for key, value in _settings(data):
                if b"template" in key:
                    check_template(value, key[:60].decode("utf-8", "replace"), where, inspection)
        except (_Broken, struct.error) as error:
            inspection.error(where, f"the header cannot be followed ({error})"[:200])
        return "gguf"


def _settings(data: Data) -> Iterator[tuple[bytes, bytes]]:
    version, _, count = struct.unpack_from("<IQQ", data[4:24]) if len(data) >= 24 else (0, 0, 0)
    if version not in {2, 3} or count > _MOST_SETTINGS:
        raise _Broken(f"version {version} with {count} settings")
    position = 24
    for _ in range(count):
        key, position = _text(data, position)
        (kind,) = struct.unpack("<I", data[position : position + 4])
        value, position = _value(data, position + 4, kind)
        yield key, value


def _value(data: Data, position: int, kind: int) -> tuple[bytes, int]:
    if kind == _STRING:
        return _text(data, position)
    if kind == _ARRAY:
        inner, count = struct.unpack("<IQ", data[position : position + 12])
        position += 12
        if inner in _SIZES:
            return b"", _inside(data, position + count * _SIZES[inner])
        if inner != _STRING or count > _MOST_ITEMS:
            raise _Broken(f"a list of {count} values of type {inner}")
        for _ in range(count):
            _, position = _text(data, position)
        return b"", position
    if kind not in _SIZES:
        raise _Broken(f"a value of type {kind}")
    return b"", _inside(data, position + _SIZES[kind])


def _text(data: Data, position: int) -> tuple[bytes, int]:
    (size,) = struct.unpack("<Q", data[position : position + 8])
    end = _inside(data, position + 8 + size)
    return bytes(data[position + 8 : end]), end


def _inside(data: Data, position: int) -> int:
    if position > len(data):
        raise _Broken("it points beyond its end")
    return position
