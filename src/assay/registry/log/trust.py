"""Which key speaks for a log, as a person gives it: its text, a file that holds it, or the record ``trust.json``."""

from __future__ import annotations

import os
from pathlib import Path

from assay.core.canonical import parse
from assay.core.errors import FormatError
from assay.core.files import read_bytes
from assay.registry.log.note import NOTE_LIMIT, Checkpoint, VerifierKey

TRUST = "trust.json"
_LIMIT = 1 << 20


def trusted_key(given: str, folder: str | os.PathLike[str]) -> VerifierKey:
    """Return the key written in ``given``, in the file of that name, or in ``trust.json`` beside the log's folder.

    A file holds the key's text, or a JSON record with the text under "log". Raises DataError or FormatError.
    """
    if given.count("+") >= 2 and not Path(given).is_file():
        return VerifierKey.parse(given)
    place = Path(given) if given else Path(os.path.abspath(folder)).parent / TRUST
    data = read_bytes(place, limit=_LIMIT)
    if not data.lstrip().startswith(b"{"):
        return _parsed(_text(data, place).removesuffix("\n"), place)
    record = parse(data, where=str(place))
    text = record.get("log") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise FormatError('has no key under "log"', where=str(place), remedy="Write the log's key there as text")
    return _parsed(text, place)


def read_checkpoint(path: str | os.PathLike[str], key: VerifierKey) -> Checkpoint:
    """Return the authenticated checkpoint in a file. Raises DataError, FormatError or VerificationError."""
    place = Path(path)
    return key.open(_text(read_bytes(place, limit=4 * NOTE_LIMIT), place), where=str(place))


def _parsed(text: str, place: Path) -> VerifierKey:
    try:
        return VerifierKey.parse(text)
    except FormatError as error:
        raise FormatError(error.message, where=str(place), remedy=error.remedy) from error


def _text(data: bytes, place: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("not text in UTF-8", where=str(place)) from error
