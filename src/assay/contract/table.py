"""Tables from anywhere as one Arrow table of plain columns: numbers, booleans, texts and times.

Accepted: a path of a CSV or Parquet file, a pandas or polars frame, an Arrow table or anything that speaks
the Arrow C stream protocol, and a mapping of names to arrays. What a file is, its content decides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.core.digest import Digest, digest_file
from assay.core.errors import DataError

_FORMATS = (
    (b"PAR1", "parquet"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"ARROW1", "arrow"),
    (b"\x80", "pickle"),
)


def as_table(source: object, *, where: str = "table") -> Any:
    """Return ``source`` as a pyarrow.Table of plain columns.

    Dictionaries become texts, decimals floats, times naive UTC microseconds. Raises DataError on what is
    no table, on nested columns, on a repeated column name, and on a table without columns.
    """
    if isinstance(source, (str, os.PathLike)):
        return read_table(source)
    return plain(_arrow(source, where), where=where)


def read_table(path: str | os.PathLike[str]) -> Any:
    """Return a CSV or Parquet file as a pyarrow.Table. Raises DataError: missing, empty, truncated, unknown type."""
    import pyarrow as pa

    kind = table_format(path)
    try:
        if kind == "parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(path, partitioning=None)
        else:
            from pyarrow import csv

            options = csv.ConvertOptions(strings_can_be_null=True, null_values=["", "NA", "NaN", "nan", "null", "NULL"])
            table = csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"cannot be read as {kind} ({first_line(error)})", where=str(path), remedy="Check that the file is complete"
        ) from error
    if table.num_rows == 0:
        raise DataError("holds no rows", where=str(path), remedy="Give a table with rows")
    return plain(table, where=str(path))


def table_format(path: str | os.PathLike[str]) -> str:
    """Return "parquet" or "csv" by the file's content. Raises DataError for anything else."""
    file = Path(path)
    where = str(file)
    if not file.is_file():
        problem = "is a folder, not a table file" if file.is_dir() else "does not exist"
        raise DataError(problem, where=where, remedy="Give the path of a CSV or Parquet file")
    try:
        with file.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=where) from error
    if not head:
        raise DataError("is empty", where=where, remedy="Give a table with rows")
    kind = next((name for magic, name in _FORMATS if head.startswith(magic)), "")
    if kind == "parquet":
        return kind
    if kind or b"\0" in head:
        raise DataError(
            f"is {f'a {kind} file' if kind else 'a binary file'}, not a table",
            where=where,
            remedy="Save it as CSV or Parquet",
        )
    if file.suffix.lower() in {".parquet", ".pq"}:
        raise DataError("is named Parquet but is none", where=where, remedy="Check that the file is complete")
    return "csv"


def plain(table: Any, *, where: str = "table") -> Any:
    """Return a pyarrow.Table whose columns are int, float, bool, text, timestamp (us, naive UTC) or null."""
    import pyarrow as pa

    names = table.column_names
    if not names:
        raise DataError("has no columns", where=where)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError("the column name occurs twice", where=twice, remedy="Rename one of them")
    columns = [_plain_column(table.column(i), name) for i, name in enumerate(names)]
    return pa.table(columns, names=names)


def table_digest(table: Any) -> Digest:
    """Return the SHA-256 digest of a pyarrow.Table's names, types and values, whatever its chunks."""
    import hashlib

    import pyarrow as pa

    class _Sink:
        """A write-only stream into a hash."""

        closed = False
        state = hashlib.sha256()

        def write(self, data: bytes) -> int:
            self.state.update(data)
            return len(data)

        def flush(self) -> None:
            """Nothing is held back."""

        def close(self) -> None:
            """There is nothing to close."""

    sink = _Sink()
    bare = table.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), bare.schema) as writer:
        writer.write_table(bare, max_chunksize=1 << 16)
    return Digest("sha256", sink.state.hexdigest())


def source_digest(source: object) -> Digest:
    """Return the digest of what a table came from: the file's bytes, or the values of a table in memory."""
    if isinstance(source, (str, os.PathLike)):
        return digest_file(source)
    return table_digest(as_table(source))


def as_text(column: Any) -> Any:
    """Return a pyarrow column as text, whole floats without a point, as categories and classes are written."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
        safe = pc.if_else(pc.less(pc.abs(column), 2.0**53), column, 0.0)
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
        as_whole = pc.cast(pc.cast(pc.floor(safe), pa.int64()), pa.string())
        return pc.if_else(whole, as_whole, pc.cast(column, pa.string()))
    return pc.cast(column, pa.string())


def as_column(values: Any) -> Any:
    """Return values (n,) as an Arrow array; a mixed column (texts among numbers) becomes text."""
    import pyarrow as pa

    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        missing = (None, "")
        return pa.array([None if v in missing or str(v) == "nan" else str(v) for v in values], type=pa.string())


def first_line(error: BaseException) -> str:
    """Return the first line of an error of a foreign library, at most 200 characters."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")


def _arrow(source: object, where: str) -> Any:
    import pyarrow as pa

    if isinstance(source, pa.Table):
        return source
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    kind = type(source).__module__.partition(".")[0]
    try:
        if kind == "pandas" and hasattr(source, "columns"):
            return _from_pandas(source)
        if isinstance(source, Mapping):
            return pa.table({str(name): as_column(values) for name, values in source.items()})
        if kind == "polars" and hasattr(source, "collect"):
            source = source.collect()
        if hasattr(source, "__arrow_c_stream__"):
            return pa.table(source)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(f"cannot be read as a table ({first_line(error)})", where=where) from error
    raise DataError(
        f"a {type(source).__module__}.{type(source).__qualname__} is no table",
        where=where,
        remedy="Give a CSV or Parquet path, a pandas or polars frame, an Arrow table or a dict of arrays",
    )


def _from_pandas(frame: Any) -> Any:
    import pyarrow as pa

    names = [str(name) for name in frame.columns]
    return pa.table([as_column(frame.iloc[:, i]) for i in range(len(names))], names=names)


def _plain_column(column: Any, name: str) -> Any:
    import pyarrow as pa

    if isinstance(column.type, pa.ExtensionType):
        column = column.cast(column.type.storage_type)
    kinds = pa.types
    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if (
        kinds.is_integer(kind)
        or kinds.is_boolean(kind)
        or kinds.is_null(kind)
        or kind in (pa.string(), pa.float64(), pa.float32())
    ):
        return column
    if kinds.is_large_string(kind) or kinds.is_string_view(kind):
        return column.cast(pa.string())
    if kinds.is_floating(kind) or kinds.is_decimal(kind):
        return column.cast(pa.float64())
    if kinds.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.timestamp("us"))
    if kinds.is_date(kind):
        return column.cast(pa.timestamp("us"))
    raise DataError(
        f"holds values of type {kind}", where=name, remedy="Keep one number, text, boolean or time per cell"
    )
