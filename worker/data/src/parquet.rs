//! Tables of results as Apache Parquet files: rows of plain columns, each cell as the text that a CSV file would
//! have. Columns of lists, maps and groups are passed over.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use espalier_common::table::{MAX_COLUMNS, Table, TableBuilder, TableSpec};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

/// How a Parquet file begins.
pub(crate) const START: &[u8] = b"PAR1";
/// The largest file: it is read from its end, so all of it is held in memory.
pub(crate) const MAX_FILE_BYTES: u64 = 256 << 20;
/// The most that its columns may be when unpacked, as the file says.
const MAX_UNPACKED_BYTES: u64 = 4 << 30;

/// Reads a table.
///
/// # Errors
/// What is wrong, with the row (the first one below the header that a CSV file would have is line 2).
pub(crate) fn rows(file: Bytes, spec: &TableSpec) -> Result<Table, String> {
    // The library checks what it reads, but not in every place: a damaged file can make it panic.
    let read = catch_unwind(AssertUnwindSafe(|| read(file, spec)));
    read.unwrap_or_else(|_| Err("its Parquet data are damaged".to_owned()))
}

/// How many columns a file has. Its rows are not read.
///
/// # Errors
/// It is no Parquet file.
pub(crate) fn columns(file: Bytes) -> Result<usize, String> {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let reader = SerializedFileReader::new(file);
        let reader = reader.map_err(|error| format!("it cannot be read as Parquet: {error}"))?;
        let schema = reader.metadata().file_metadata().schema();
        Ok(schema.get_fields().len())
    }));
    read.unwrap_or_else(|_| Err("its Parquet data are damaged".to_owned()))
}

fn read(file: Bytes, spec: &TableSpec) -> Result<Table, String> {
    let damaged = |error: ParquetError| format!("it cannot be read as Parquet: {error}");
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let metadata = reader.metadata();
    let unpacked = metadata
        .row_groups()
        .iter()
        .map(|group| group.total_byte_size());
    let unpacked = unpacked.fold(0_u64, |sum, bytes| sum.saturating_add(bytes.max(0) as u64));
    if unpacked > MAX_UNPACKED_BYTES {
        return Err(format!(
            "it unpacks to {unpacked} bytes; at most {MAX_UNPACKED_BYTES} are read"
        ));
    }
    let schema = metadata.file_metadata().schema();
    let is_plain = |field: &&std::sync::Arc<Type>| field.is_primitive() && !is_repeated(field);
    let plain: Vec<_> = schema
        .get_fields()
        .iter()
        .filter(is_plain)
        .cloned()
        .collect();
    if plain.len() > MAX_COLUMNS {
        return Err(format!("it has more than {MAX_COLUMNS} columns"));
    }
    let names: Vec<String> = plain.iter().map(|field| field.name().to_owned()).collect();
    let projection = Type::group_type_builder(schema.name()).with_fields(plain);
    let projection = projection.build().map_err(damaged)?;
    let mut builder = TableBuilder::new(spec, names.iter().map(String::as_str))
        .map_err(|error| error.to_string())?;
    let rows = reader.get_row_iter(Some(projection)).map_err(damaged)?;
    for (line, row) in (2..).zip(rows) {
        let cells = cells(&row.map_err(damaged)?, line)?;
        let cells = cells.iter().map(String::as_str);
        builder
            .row(line, cells)
            .map_err(|error| error.to_string())?;
    }
    builder.finish().map_err(|error| error.to_string())
}

fn is_repeated(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.has_repetition() && info.repetition() == parquet::basic::Repetition::REPEATED
}

fn cells(row: &Row, line: u64) -> Result<Vec<String>, String> {
    let cell = |(name, field): (&String, &Field)| {
        text(field).ok_or_else(|| {
            format!(
                "line {line}, column {name:?}: bytes that are no UTF-8 text; store it as a string"
            )
        })
    };
    row.get_column_iter().map(cell).collect()
}

/// A cell as a CSV file would have it; `None` for bytes that are no text.
fn text(field: &Field) -> Option<String> {
    Some(match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).ok()?.to_owned(),
        // Of its own width: 0.1 as a number of 32 bits is 0.1 again, and not 0.10000000149.
        Field::Float(number) => format!("{number:?}"),
        Field::Double(number) => format!("{number:?}"),
        other => other.to_string(),
    })
}
