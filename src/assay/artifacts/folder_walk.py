"""What lies below a folder that is scanned: its files, and the links and folders that need a word.

A link that leads out of the folder is told, since what stands at its end can change without the folder changing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

# Where huggingface_hub keeps a repository: snapshots/REVISION/FILE is a link to blobs/DIGEST.
_SNAPSHOTS, _BLOBS = "snapshots", "blobs"


@dataclass(frozen=True, slots=True)
class Met:
    """A file, or what stands for one. outside: where a link leads that leaves the folder; unread: why it is not entered.

    folder: it is a folder, of which nothing is looked at.
    """

    path: str
    outside: str = ""
    unread: str = ""
    folder: bool = False


def walk(root: str) -> Iterator[Met]:
    """Yield every file below a folder, the files of a folder before those below it, by name.

    A link to a file is met as that file. A link to a folder is never entered: inside of ``root`` that folder is met
    where it lies, and one that leads out is yielded itself. Links within one repository of a Hugging Face cache do
    not lead out.
    """
    top = os.path.realpath(root)
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda e: e.name)
        except OSError as error:
            yield Met(folder, unread=error.strerror or "unknown error", folder=True)
            continue
        below = []
        for entry in entries:
            linked = entry.is_symlink()
            outside = _outside(entry.path, top) if linked else ""
            if not _is_folder(entry):
                yield Met(entry.path, outside)
            elif outside:
                yield Met(entry.path, outside, folder=True)
            elif not linked:
                below.append(entry.path)
        folders += reversed(below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads in a circle; opening it says so.
        return False


def _outside(link: str, top: str) -> str:
    """Return where a link leads, "" when that is below ``top`` or in the same repository of a cache."""
    target = os.path.realpath(link)
    if target == top or target.startswith(os.path.join(top, "")):
        return ""
    repository, divider, _ = os.path.realpath(os.path.dirname(link)).rpartition(f"{os.sep}{_SNAPSHOTS}{os.sep}")
    return "" if divider and os.path.dirname(target) == os.path.join(repository, _BLOBS) else target
