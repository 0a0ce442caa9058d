//! What is checked of a journal's file beside its records: SQLite's own structure, records that no stream has,
//! and the rows for listings against those that the records give.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, Rows};

use super::error::JournalError;
use super::reader::Moment;
use super::rebuild::make_rows;
use super::schema;
use super::stream::{StreamId, sequence_bits};

/// Of a file that is damaged in many places the first few say enough.
const MOST_FAULTS: u32 = 10;

/// The tables of the listings, with the columns by which their rows are told apart.
const LISTINGS: [(&str, &[&str]); 4] = [
    ("trial", &["row"]),
    ("weights", &["stream"]),
    ("result", &["key"]),
    ("measurement", &["trial", "attempt", "step"]),
];

impl Moment<'_> {
    /// What SQLite finds wrong with the structure of the file: pages, trees, indexes.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub fn faults_of_the_file(&self) -> Result<Vec<String>, JournalError> {
        let at = self.reader().at();
        let mut statement = self
            .connection()
            .prepare(&format!("PRAGMA integrity_check({MOST_FAULTS})"))
            .map_err(&at)?;
        let lines = statement
            .query_map([], |row| row.get::<_, String>(0))
            .map_err(&at)?;
        let lines: Vec<String> = lines.collect::<Result<_, _>>().map_err(&at)?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// How many records belong to no stream.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn strays(&self) -> Result<u64, JournalError> {
        let count = self.connection().query_row(
            "SELECT count(*) FROM record WHERE (row >> ?1) NOT IN (SELECT number FROM stream)",
            [sequence_bits()],
            |row| row.get::<_, i64>(0),
        );
        Ok(count.map_err(self.reader().at())? as u64)
    }

    /// Whether the rows for listings are there and of this version. If not, they are made when a coordinator
    /// next opens the journal.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn has_listings(&self) -> Result<bool, JournalError> {
        schema::projections_are_current(self.connection(), self.reader().path())
    }

    /// The first place where the rows for listings are not what the records give.
    ///
    /// # Errors
    /// A broken record, or what SQLite says.
    pub fn wrong_listing(&self) -> Result<Option<String>, JournalError> {
        let at = self.reader().at();
        // A database without a name is a temporary file of SQLite's.
        let made = Connection::open("").map_err(&at)?;
        schema::create_projections(&made).map_err(&at)?;
        let transaction = made.unchecked_transaction().map_err(&at)?;
        for stream in self.streams()? {
            if let StreamId::Search(_) = stream {
                make_rows(&transaction, self, stream)?;
            }
        }
        for (table, keys) in LISTINGS {
            let found = difference(self.connection(), &transaction, table, keys).map_err(&at)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The first row of a table that differs between two databases.
fn difference(
    stored: &Connection,
    made: &Connection,
    table: &str,
    keys: &[&str],
) -> Result<Option<String>, rusqlite::Error> {
    let order = keys.join(", ");
    let all = format!("SELECT * FROM {table} ORDER BY {order}");
    let (mut stored, mut made) = (stored.prepare(&all)?, made.prepare(&all)?);
    if !stored.column_names().eq(made.column_names()) {
        return Ok(Some(format!("table {table} has other columns")));
    }
    let places: Vec<usize> = keys
        .iter()
        .map(|key| stored.column_index(key))
        .collect::<Result<_, _>>()?;
    let columns = stored.column_count();
    let (mut stored, mut made) = (stored.query([])?, made.query([])?);
    loop {
        let (stored, made) = (next(&mut stored, columns)?, next(&mut made, columns)?);
        if stored == made {
            if stored.is_none() {
                return Ok(None);
            }
            continue;
        }
        let Some(row) = stored.or(made) else {
            return Ok(None);
        };
        let place: Vec<String> = keys
            .iter()
            .zip(&places)
            .map(|(key, place)| format!("{key} {}", shown(&row[*place])))
            .collect();
        return Ok(Some(format!("table {table}, {}", place.join(", "))));
    }
}

fn next(rows: &mut Rows<'_>, columns: usize) -> Result<Option<Vec<Value>>, rusqlite::Error> {
    let read = |row: &Row<'_>| (0..columns).map(|column| row.get(column)).collect();
    rows.next()?.map(read).transpose()
}

/// A key, as a person can look for it with `sqlite3`.
fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        other => format!("{other:?}"),
    }
}
