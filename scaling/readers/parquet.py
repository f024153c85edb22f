"""Parquet, by pyarrow: an extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scaling.errors import TableError
from scaling.readers.bounds import MOST_BYTES, MOST_COLUMNS, said
from scaling.readers.delimited import of_table
from scaling.readers.log import Format, Log

EXTRA = "parquet"
MAGIC = b"PAR1"


def read_parquet(path: Path) -> Log:
    """A table as it stands; columns of nested values are left out."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise TableError(
            f"{path} is Parquet: install the extra that reads it, pip install 'scaling-sweeps[{EXTRA}]'"
        ) from None
    with said(str(path), "Parquet"):
        try:
            file = parquet.ParquetFile(path)
            schema, told = file.schema_arrow, file.metadata
            if len(schema) > MOST_COLUMNS:
                raise TableError(f"{path} has {len(schema):,} columns; a table may have {MOST_COLUMNS:,}")
            size = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
            if max(size, 8 * told.num_rows) > MOST_BYTES:
                raise TableError(f"{path} holds more than {MOST_BYTES:,} bytes unpacked; write the columns you need")
            names = [f.name for f in schema if not pa.types.is_nested(f.type)]
            table = file.read(columns=names).to_pandas()
        except pa.ArrowException as error:
            raise TableError(f"cannot read {path} as Parquet: {' '.join(str(error).split())}") from None
    nested = len(schema) - len(names)
    table.attrs.clear()
    if nested:
        table.attrs["notes"] = (f"{nested} columns of nested values were left out",)
    if table.columns.has_duplicates:
        raise TableError(f"{path} has two columns of one name")
    if not isinstance(table.index.name, str | None.__class__) or table.index.name:
        table = table.reset_index()
    return of_table(table)


def _knows(path: Path, files: Sequence[Path]) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == MAGIC


PARQUET = Format("parquet", f"a Parquet file (the extra {EXTRA})", _knows, read_parquet)
