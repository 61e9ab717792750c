"""Offline proofs that an entry is in a log: the ``.tlog-proof`` file, https://c2sp.org/tlog-proof@v1.

Text: the line ``c2sp.org/tlog-proof@v1``, optionally ``extra <base64>``, ``index <number>``, the hashes in base64
one a line, an empty line, and the checkpoint as the log signed it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from assay.core.errors import DataError, FormatError, VerificationError
from assay.registry.log.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from assay.registry.log.note import NOTE_LIMIT, Checkpoint, VerifierKey, decode_base64, parse_number, split_note
from assay.registry.log.tiles import logged_form

HEADER = "c2sp.org/tlog-proof@v1"
_HASHES = 63
_EXTRA_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof for one entry. index: of the entry, from 0; hashes: from the leaf's sibling upwards, 32 bytes each.

    checkpoint: the signed note that ``verify`` opens; extra: data of the application, which nothing authenticates.
    Round trip: ``Proof.parse(text).text() == text`` and ``Proof.parse(p.text()) == p``.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.index < 10**18:
            raise FormatError("an index has 1 to 18 digits and no sign")
        if len(self.hashes) > _HASHES:
            raise FormatError(f"a proof has at most {_HASHES} hashes")
        if any(len(h) != HASH_SIZE for h in self.hashes):
            raise FormatError(f"a hash in a proof has {HASH_SIZE} bytes")
        if len(self.extra) > _EXTRA_LIMIT:
            raise FormatError(f"the extra data of a proof have at most {_EXTRA_LIMIT} bytes")
        split_note(self.checkpoint)

    @classmethod
    def parse(cls, text: str) -> Proof:
        """Return the proof in the text of a ``.tlog-proof`` file, not verified yet. Raises FormatError."""
        if len(text) > NOTE_LIMIT + 2 * _EXTRA_LIMIT:
            raise FormatError("too long for a proof")
        head, empty, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if lines.pop(0) != HEADER or not empty:
            raise FormatError("not a proof", remedy=f"Its first line is {HEADER}")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0).removeprefix("extra "))
            if not extra:
                raise FormatError("a proof without extra data has no line for them")
        if not lines or not lines[0].startswith("index "):
            raise FormatError("a proof names the index of its entry")
        index = parse_number(lines.pop(0).removeprefix("index "))
        return cls(index, tuple(decode_base64(line) for line in lines), checkpoint, extra)

    def text(self) -> str:
        """Return the text of the ``.tlog-proof`` file."""
        extra = [f"extra {base64.b64encode(self.extra).decode()}"] if self.extra else []
        hashes = [base64.b64encode(h).decode() for h in self.hashes]
        return "\n".join([HEADER, *extra, f"index {self.index}", *hashes, "", self.checkpoint])

    def verify(self, entry: bytes, key: VerifierKey) -> Checkpoint:
        """Return the authenticated checkpoint of a log that holds ``entry`` at this index.

        Raises VerificationError: the checkpoint is not the log's, the index lies outside it, the number of hashes
        is wrong, or the entry is another one.
        """
        checkpoint = key.open(self.checkpoint)
        try:
            form = logged_form(entry)
        except DataError as error:
            raise VerificationError(f"no log holds such an entry: {error.message}") from error
        verify_inclusion(leaf_hash(form), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint
