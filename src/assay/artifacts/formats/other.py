"""Content that is told apart only to say that it is not read, and plain media that hold no code."""

from __future__ import annotations

from assay.artifacts.reader import Data, FormatReader, Inspection

_UNREAD: dict[bytes, str] = {
    b"\x02\x21\x4c\x18": "lz4-legacy", b"\x7fELF": "elf", b"MZ": "windows-program",
    b"\xca\xfe\xba\xbe": "java-class",
}  # fmt: skip
_MEDIA: dict[bytes, str] = {
    b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"PAR1": "parquet", b"ARROW1\x00\x00": "arrow",
}  # fmt: skip


class UnreadReader(FormatReader, name="unread"):
    """Name formats that Assay knows and cannot examine: they are unsupported, never clean."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as one of them."""
        return data[:8].startswith(tuple(_UNREAD))

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Say that the content was not examined."""
        label = next(name for magic, name in _UNREAD.items() if data[:8].startswith(magic))
        inspection.cannot(where, f"{label} content is not read")
        return label


class MediaReader(FormatReader, name="media"):
    """Pictures and column files: data without a way to name code."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as one of them."""
        return data[:8].startswith(tuple(_MEDIA))

    def read(self, data: Data, where: str, inspection: Inspection) -> str:  # noqa: ARG002 - nothing to say
        """Return the name of the format."""
        return next(name for magic, name in _MEDIA.items() if data[:8].startswith(magic))
