//! Tables of results where they lie: finds the file, reads it once, and takes its fingerprint.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use espalier_common::ids::Digest;
use espalier_common::table::{
    MAX_CELL, MAX_COLUMNS, Table, TableBuilder, TableError, TableInfo, TableSpec,
};
use flate2::read::MultiGzDecoder;

use crate::error::DataError;
use crate::parquet;
use crate::source::check_path;

/// The largest file that is read, as it lies on disk.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// The most that is unpacked from it.
const MAX_UNPACKED_BYTES: u64 = 4 << 30;
/// One for a decision, one for a metric.
const LEAST_COLUMNS: usize = 2;
/// How what gzip packed begins.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// The longest row: as many of the longest cells as there may be columns, and what the reader has read ahead.
const MAX_ROW_BYTES: u64 = (MAX_COLUMNS * (MAX_CELL + 3)) as u64 + (1 << 20);

/// Looks for a table below `root`, then beside the spec in `beside`, and reads it.
///
/// # Errors
/// [`DataError`] names the file, the line and the column.
pub fn inspect_table(
    root: &Path,
    beside: &Path,
    spec: &TableSpec,
) -> Result<(TableInfo, Table), DataError> {
    check_path("table", &spec.path)?;
    let below = root.join(&spec.path);
    // Workers look below their own data root first; what lies beside the spec they find on this machine
    // only, by its absolute path.
    let (path, named) = if below.is_file() {
        (below, spec.path.clone())
    } else {
        let path = beside.join(&spec.path);
        if !path.is_file() {
            return Err(DataError::NoTable {
                below,
                beside: path,
            });
        }
        let absolute = path
            .canonicalize()
            .map_err(|error| DataError::source("find", &path, error))?;
        let named = absolute.to_str().map(str::to_owned);
        let named = named.ok_or_else(|| DataError::BadPath {
            what: "table",
            path: absolute.to_string_lossy().chars().take(200).collect(),
            why: "is not valid UTF-8; rename the folder",
        })?;
        (path, named)
    };
    let (fingerprint, table) = read(&path, spec)?;
    let info = TableInfo {
        path: named,
        fingerprint,
        rows: table.len() as u64,
    };
    Ok((info, table))
}

/// A table as a file: where it lies, and what it is known by. Its rows are not read, only how it begins: that needs no
/// spec, and tells a file of another kind.
///
/// # Errors
/// [`DataError`]; also when it is no table.
pub fn identify_table(root: &Path, path: &str) -> Result<(PathBuf, Digest), DataError> {
    check_path("table", path)?;
    let path = root.join(path);
    let columns = |found: usize| {
        if found < LEAST_COLUMNS {
            return Err(bad(
                &path,
                format!(
                    "it has no {LEAST_COLUMNS} columns; a table is CSV with a header, CSV packed by gzip, or Parquet"
                ),
            ));
        }
        Ok(())
    };
    let (fingerprint, ()) = read_by(
        &path,
        |text| {
            let since = Cell::new(0);
            let mut reader = csv::Reader::from_reader(Bounded::new(text, &since));
            let header = reader.headers().map_err(|error| csv_error(&path, &error))?;
            columns(header.len())
        },
        |file| columns(parquet::columns(file).map_err(|why| bad(&path, why))?),
    )?;
    Ok((path, fingerprint))
}

/// Reads the table that a search was submitted with, on a worker whose data lie in `root`.
///
/// # Errors
/// [`DataError`]; also when the file is not the one that the search was submitted with.
pub fn load_table(root: &Path, info: &TableInfo, spec: &TableSpec) -> Result<Table, DataError> {
    check_path("table", &info.path)?;
    let path = root.join(&info.path);
    if !path.is_file() {
        // Named by an absolute path of another machine, it may yet lie below the root here.
        check_path("table", &spec.path)?;
        let below = root.join(&spec.path);
        if !below.is_file() {
            return Err(DataError::NoTable {
                below,
                beside: path,
            });
        }
        return same(read(&below, spec)?, info, below);
    }
    same(read(&path, spec)?, info, path)
}

fn same(
    (found, table): (Digest, Table),
    info: &TableInfo,
    path: PathBuf,
) -> Result<Table, DataError> {
    if found == info.fingerprint {
        return Ok(table);
    }
    Err(DataError::OtherData {
        path,
        expected: info.fingerprint,
        found,
    })
}

/// Reads a file from front to back, while hashing what lies on disk.
fn read(path: &Path, spec: &TableSpec) -> Result<(Digest, Table), DataError> {
    read_by(
        path,
        |text| rows(path, text, spec),
        |file| parquet::rows(file, spec).map_err(|why| bad(path, why)),
    )
}

/// Reads a file as what it is, and hashes all of it, whatever was read.
fn read_by<T>(
    path: &Path,
    text: impl FnOnce(&mut dyn Read) -> Result<T, DataError>,
    parquet: impl FnOnce(Bytes) -> Result<T, DataError>,
) -> Result<(Digest, T), DataError> {
    let io = |action| move |error| DataError::source(action, path, error);
    let mut file = File::open(path).map_err(io("open"))?;
    let length = file.metadata().map_err(io("look at"))?.len();
    if length > MAX_FILE_BYTES {
        return Err(bad(
            path,
            format!("it has {length} bytes; at most {MAX_FILE_BYTES} are read"),
        ));
    }
    let mut start = Vec::with_capacity(parquet::START.len());
    let most = parquet::START.len() as u64;
    (&mut file)
        .take(most)
        .read_to_end(&mut start)
        .map_err(io("read"))?;
    file.rewind().map_err(io("read"))?;
    let mut hashed = Hashed {
        inner: BufReader::new(file),
        hasher: blake3::Hasher::new_derive_key("espalier table, version 1"),
    };
    // By what it is, not by what it is called.
    let read = if start.starts_with(GZIP) {
        text(&mut MultiGzDecoder::new(&mut hashed))?
    } else if start == parquet::START {
        // It is read from its end, so all of it is held.
        if length > parquet::MAX_FILE_BYTES {
            let most = parquet::MAX_FILE_BYTES;
            return Err(bad(
                path,
                format!("it has {length} bytes; of Parquet at most {most} are read"),
            ));
        }
        let mut all = Vec::new();
        hashed.read_to_end(&mut all).map_err(io("read"))?;
        parquet(all.into())?
    } else {
        text(&mut hashed)?
    };
    // What follows the end of the archive belongs to the file, too.
    std::io::copy(&mut hashed, &mut std::io::sink()).map_err(io("read to the end of"))?;
    Ok((Digest(*hashed.hasher.finalize().as_bytes()), read))
}

fn rows(path: &Path, text: impl Read, spec: &TableSpec) -> Result<Table, DataError> {
    let wrong = |error: TableError| bad(path, error.to_string());
    let since = Cell::new(0);
    let bounded = Bounded::new(text, &since);
    // Lengths of rows are checked by the builder, whose words name both.
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(bounded);
    let header = reader.headers().map_err(|error| csv_error(path, &error))?;
    let names = header
        .iter()
        .enumerate()
        // A byte order mark is how some spreadsheets begin a file.
        .map(|(place, name)| match place {
            0 => name.trim_start_matches('\u{feff}'),
            _ => name,
        });
    let mut builder = TableBuilder::new(spec, names).map_err(wrong)?;
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(csv_error(path, &error)),
        }
        since.set(0);
        let line = record.position().map_or(0, csv::Position::line);
        builder.row(line, Fields(record.iter())).map_err(wrong)?;
    }
    builder.finish().map_err(wrong)
}

/// The fields of a record, whose number is known.
struct Fields<'r>(csv::StringRecordIter<'r>);

impl<'r> Iterator for Fields<'r> {
    type Item = &'r str;

    fn next(&mut self) -> Option<&'r str> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Fields<'_> {}

fn csv_error(path: &Path, error: &csv::Error) -> DataError {
    let line = error.position().map_or_else(String::new, |position| {
        format!("line {}: ", position.line())
    });
    let why = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8 text".to_owned(),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    };
    bad(path, format!("{line}{why}"))
}

fn bad(path: &Path, why: String) -> DataError {
    DataError::BadTable {
        path: path.to_owned(),
        why,
    }
}

/// Hashes what is read through it.
struct Hashed<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Ends a text that is too long, or a row of it: a row is held in memory, and a quote that is never closed
/// would make one of the whole rest.
struct Bounded<'s, R> {
    inner: R,
    total: u64,
    /// Bytes since the last row ended.
    since: &'s Cell<u64>,
}

impl<'s, R> Bounded<'s, R> {
    fn new(inner: R, since: &'s Cell<u64>) -> Self {
        Self {
            inner,
            total: 0,
            since,
        }
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.total += read as u64;
        self.since.set(self.since.get() + read as u64);
        let long = |what: &str, most: u64| {
            Err(std::io::Error::other(format!(
                "{what} of more than {most} bytes is not read"
            )))
        };
        if self.total > MAX_UNPACKED_BYTES {
            return long("a table", MAX_UNPACKED_BYTES);
        }
        if self.since.get() > MAX_ROW_BYTES {
            return long("a row (or a quote that is not closed)", MAX_ROW_BYTES);
        }
        Ok(read)
    }
}
