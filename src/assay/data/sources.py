"""Where data comes from: table files, read whole or refused in one line, and named by their content."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from assay.contract import table as _table
from assay.core.digest import Digest, digest_tree
from assay.core.errors import DataError


def read_table(path: str | os.PathLike[str]) -> Any:
    """Return a CSV or Parquet file as a pyarrow.Table of plain columns; the content decides which it is.

    Raises DataError, one line, when the file is missing, empty, truncated, or of another type.
    """
    return _table.read_table(path)


def dataset_digest(path: str | os.PathLike[str]) -> Digest:
    """Return the digest of a data file, or of a folder of them. Raises DataError when there is nothing to read."""
    if not Path(path).exists():
        raise DataError("does not exist", where=str(path), remedy="Give the path of a data file")
    return digest_tree(path)
