"""LightGBM's text models: trees in numbers, then the parameters of the training, then nothing."""

from __future__ import annotations

import re

from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.reader import Data, Inspection

_HEAD = re.compile(rb"tree\r?\n(?:[^\n]{0,200}\n){0,3}?version=v")
_LARGEST = 512 << 20
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_TREES = re.compile(rb"(?:(?:(?!end of trees)[a-z_ ]{1,40}|[\w.]{1,80}=[^\n]*|[ \t]{0,80})\r?\n)*+")
_AFTER = re.compile(
    rb"(?:(?:end of trees|feature[ _]importances:|(?:loaded_)?parameters:|end of (?:loaded_)?parameters"
    rb"|[^\s=]{1,4096}=\d{1,20}|\[[\w ]{1,80}:[^\n]{0,65536}\]|pandas_categorical:[^\n]*|[ \t]{1,80}(?=\n)|(?=\r?\n))"
    rb"\r?(?:\n|\Z))*+"
)


def is_lightgbm(data: Data) -> bool:
    """Return whether the content begins as such a model."""
    return _HEAD.match(data) is not None


def check_lightgbm(data: Data, where: str, inspection: Inspection) -> str:
    """Report what is no text, and what follows the parameters. Returns the name of the format."""
    if len(data) > _LARGEST:
        inspection.error(where, "is longer than the budget for text allows")
        return "lightgbm-text"
    trees, stop = _TREES.match(data), 0
    if trees and data[trees.end() : trees.end() + 12] == b"end of trees":
        after = _AFTER.match(data, trees.end())
        stop = after.end() if after else trees.end()
    elif trees:
        stop = trees.end()
        inspection.error(where, "the model ends early")
    if found := _BINARY.search(data, 0, stop):
        stop = found.start()
    check_tail(data, stop, where, inspection)
    return "lightgbm-text"
