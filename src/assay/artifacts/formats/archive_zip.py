"""Zip archives and what lives in them: torch, npz, Keras, skops and plain ones; every member is read by its content."""

from __future__ import annotations

import re

from assay.artifacts.formats.archive_member import escapes, is_source, scan_source
from assay.artifacts.formats.compressed import pieces, unpack_and_scan
from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.pickle.stream import read_pickles
from assay.artifacts.reader import DENIAL, EMBEDDED_CODE, Data, FormatReader, Inspection
from assay.artifacts.zip_directory import Member, ZipDamage, directory, local_mismatch
from assay.core.finding import Severity

_STORED, _DEFLATED = 0, 8
_LARGEST_PICKLE = 64 << 20
_METHODS = {_DEFLATED: "raw-deflate", 12: "bz2", 14: "zip-lzma", 93: "zstd", 95: "xz"}
_TORCH_RAW = re.compile(r"(?:[^/]*/)?(?:data|constants|xl_model_data|tensors)/\d+")
_TORCH_NOTES = re.compile(r"(?:[^/]*/)?(?:version|byteorder|\.data/[^/]+|\.format_version|\.storage_alignment)")
_TORCH_PACKAGE = re.compile(r"[^/]+/\.data/(?:extern_modules|python_version)")
_PACKAGE_RAW = re.compile(r"[^/]+/\.data/\d+\.storage")
_EXPORT_RAW = re.compile(r"[^/]+/data/(?:weights/weight_|constants/tensor_)\d+")
_RAW = {"torch-zip": _TORCH_RAW, "torchscript": _TORCH_RAW, "torch-package": _PACKAGE_RAW, "torch-export": _EXPORT_RAW}
_TORCH = {"torch-zip", "torchscript", "torch-package"}
_END_SIZE = 22
_REMEDY = "Repack the archive, or ask its author for a safe format"


class ZipReader(FormatReader, name="zip", techniques=(EMBEDDED_CODE,)):
    """Read every member of an archive, also those that other readers would not see."""

    def claims(self, data: Data) -> bool:
        """Return whether the content ends with a directory of members, or begins as an archive."""
        return data[:4] == b"PK\x03\x04" or data.find(b"PK\x05\x06", max(0, len(data) - 65557)) >= 0

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine all members, and whether readers can disagree on what they are."""
        try:
            found = directory(data, inspection.limits.members)
        except ZipDamage as damage:
            # It may be chance, but no other reader looks at content that this one claims.
            inspection.error(where, str(damage))
            return "zip"
        members = found.members
        # Offsets can be written so that what lies before the first member counts as a part of the archive.
        empty = data[:4] == b"PK\x05\x06" and len(data) == _END_SIZE + int.from_bytes(data[20:22], "little")
        alone = 0 if empty else len(data)
        prefix = max(found.prefix, min((m.header for m in members), default=alone))
        if prefix:
            text = f"{prefix} bytes lie before the archive; some readers skip them and others do not"
            inspection.report("zip-prefix", Severity.MEDIUM, text, where, EMBEDDED_CODE, _REMEDY)
        if found.decoys:
            text = "the archive has several directories; readers disagree on which one counts"
            inspection.report("zip-ambiguous", Severity.HIGH, text, where, EMBEDDED_CODE, _REMEDY)
        if _overlap(members):
            text = "members of the archive share bytes, so that it unpacks to more than it holds"
            inspection.report("zip-overlap", Severity.HIGH, text, where, DENIAL, _REMEDY)
        names = [m.name for m in members]
        label = _label(names)
        self._check_names(names, where, inspection)
        for member in members:
            self._member(data, member, label, where, inspection)
            if inspection.expired():
                inspection.error(where, "takes more time than the budget allows")
                return label
        if found.stop < len(data):
            check_tail(data, found.stop, where, inspection)
        return label

    @staticmethod
    def _check_names(names: list[str], where: str, inspection: Inspection) -> None:
        folded: set[str] = set()
        for name in names:
            if name.lower() in folded:
                text = f"{name!r} is in the archive twice; readers disagree on which one counts"
                inspection.report("zip-ambiguous", Severity.HIGH, text, f"{where}!{name}", EMBEDDED_CODE, _REMEDY)
            folded.add(name.lower())
            if escapes(name):
                text = f"{name!r} would be unpacked outside of its folder"
                inspection.report(
                    "archive-traversal", Severity.CRITICAL, text, f"{where}!{name}", EMBEDDED_CODE, _REMEDY
                )

    def _member(self, data: Data, member: Member, label: str, where: str, inspection: Inspection) -> None:
        place = f"{where}!{member.name}"
        if member.name.endswith("/") and not member.size:
            return
        if member.link:
            inspection.report("archive-link", Severity.HIGH, "the member is a link", place, EMBEDDED_CODE, _REMEDY)
        if why := local_mismatch(data, member):
            inspection.report("zip-mismatch", Severity.HIGH, why, place, EMBEDDED_CODE, _REMEDY)
        if member.encrypted:
            inspection.error(place, "is encrypted")
            return
        if _is_numbers(member, label):
            return
        # What TorchScript keeps below code/ is a language of its own, which reaches tensors only.
        script = label == "torchscript" and "/code/" in member.name
        if member.name.lower().endswith((".pyc", ".pyd", ".so", ".dll", ".sh")) and not script:
            text = f"{member.name!r} is code that is run when the archive is used as a model"
            inspection.report("code-in-archive", Severity.HIGH, text, place, EMBEDDED_CODE, _REMEDY)
            return
        if member.start + member.packed > len(data):
            inspection.error(place, "lies beyond the end of the file")
        elif is_source(member.name) and not script:
            self._source(data, member, place, inspection)
        elif member.method == _STORED:
            self._stored(data, member, label, place, inspection)
        elif member.method in _METHODS:
            unpack_and_scan(
                data, member.start, member.start + member.packed, _METHODS[member.method], place, inspection
            )
        else:
            inspection.cannot(place, f"uses compression method {member.method}")

    @staticmethod
    def _source(data: Data, member: Member, place: str, inspection: Inspection) -> None:
        kind = {_STORED: "stored", **_METHODS}.get(member.method, "")
        if not kind:
            inspection.cannot(place, f"uses compression method {member.method}")
        made = pieces(data, member.start, member.start + member.packed, kind) if kind else ()
        scan_source(member.name, made, member.packed, place, inspection, empty=not member.size or not kind)

    @staticmethod
    def _stored(data: Data, member: Member, label: str, place: str, inspection: Inspection) -> None:
        stop = member.start + member.packed
        if label in _TORCH and member.name.lower().endswith(".pkl"):
            prefixes = ("__torch__",) if label == "torchscript" else ()
            if member.packed > _LARGEST_PICKLE:
                inspection.error(place, "is larger than the budget allows")
                return
            inspection.unpacked += member.packed
            read_pickles(data[member.start : stop], place, inspection, persistent=True, prefixes=prefixes)
        elif member.packed:
            unpack_and_scan(data, member.start, stop, "stored", place, inspection)


def _overlap(members: list[Member]) -> bool:
    """Return whether the bytes of one member lie within those of another."""
    end = 0
    for member in sorted(members, key=lambda m: m.header):
        if member.header < end and member.packed:
            return True
        end = max(end, member.start + member.packed)
    return False


def _is_numbers(member: Member, label: str) -> bool:
    """Return whether a format keeps raw numbers, or a note of a few bytes, under a member's name."""
    if label in {"torch-zip", "torchscript", "torch-export"} and _TORCH_NOTES.fullmatch(member.name):
        return True
    raw = _RAW.get(label)
    return member.method == _STORED and raw is not None and raw.fullmatch(member.name) is not None


def _label(names: list[str]) -> str:
    last = {n.rpartition("/")[2].lower() for n in names}
    if any(_TORCH_PACKAGE.fullmatch(n) for n in names):
        return "torch-package"
    if "archive_format" in last and "archive_version" in last:
        return "torch-export"
    if "MAR-INF/MANIFEST.json" in names:
        return "torchserve-mar"
    if "data.pkl" in last:
        return "torchscript" if "constants.pkl" in last and any("/code/" in n for n in names) else "torch-zip"
    if "schema.json" in last:
        return "skops"
    if {"config.json", "metadata.json"} <= last:
        return "keras"
    return "npz" if names and all(n.endswith(".npy") for n in names) else "zip"
