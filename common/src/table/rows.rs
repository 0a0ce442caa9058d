//! The rows of a table: read once, field after field, then looked up by the cells of a candidate.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::TableSpec;
use super::cells::Cell;

/// The most rows that are read: more than any published table has.
pub const MAX_ROWS: u64 = 10_000_000;
/// The most columns that a table may have, read or not.
pub const MAX_COLUMNS: usize = 10_000;
/// The most cells that are kept, rows times columns that are read: about 320 MB.
pub const MAX_CELLS: u64 = 20_000_000;
/// The longest cell that is read, in bytes.
pub const MAX_CELL: usize = 1024;

/// What is wrong with a table's text. Lines count from 1, the header's is the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A column that the spec names is not there.
    #[error("there is no column {column:?}{}; its columns are {columns}", near(.nearest.as_deref()))]
    NoColumn {
        /// What the spec says.
        column: String,
        /// The column meant, perhaps.
        nearest: Option<String>,
        /// The first columns there are.
        columns: String,
    },
    /// There is no header, and nothing else.
    #[error("it is empty; the names of its columns are expected in the first line")]
    NoHeader,
    /// A column that is read is there twice.
    #[error("the column {0:?} is there twice; rename one of them")]
    TwoColumns(String),
    /// Too much of something.
    #[error("it has more than {most} {what}; a larger table is not read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How much is read.
        most: u64,
    },
    /// A row has more or fewer fields than the header.
    #[error("line {line} has {found} fields, and the header has {expected}")]
    Ragged {
        /// The row's line.
        line: u64,
        /// Its fields.
        found: usize,
        /// The header's.
        expected: usize,
    },
    /// A cell is too long to mean anything.
    #[error("line {line}, column {column:?}: a cell of more than {MAX_CELL} bytes")]
    LongCell {
        /// The row's line.
        line: u64,
        /// The column.
        column: String,
    },
    /// A metric or a time is no number.
    #[error(
        "line {line}, column {column:?}: {cell:?} is not a number; leave the cell empty where there is no result"
    )]
    NotANumber {
        /// The row's line.
        line: u64,
        /// The column.
        column: String,
        /// What stands there, cut.
        cell: String,
    },
    /// A time is negative or not finite.
    #[error("line {line}, column {column:?}: {cell:?} is no time in seconds")]
    NotATime {
        /// The row's line.
        line: u64,
        /// The column.
        column: String,
        /// What stands there, cut.
        cell: String,
    },
    /// Two rows are about one candidate.
    #[error(
        "lines {first} and {line} are about the same candidate ({key}); keep one of them, or their mean, unless a decision without a column tells them apart"
    )]
    Duplicate {
        /// The first row's line.
        first: u64,
        /// The second row's line.
        line: u64,
        /// The cells that they share.
        key: String,
    },
    /// There is a header and nothing else.
    #[error("it has no rows below its header")]
    Empty,
}

fn near(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |word| format!(" (did you mean {word:?}?)"))
}

/// What a cell of a decision's column means: numbers are equal however they are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Empty,
    Number(u64),
    Text(String),
}

impl Key {
    fn of(cell: &str) -> Self {
        let cell = cell.trim();
        if cell.is_empty() {
            return Self::Empty;
        }
        match number(cell).filter(|number| number.is_finite()) {
            Some(number) => Self::of_number(number),
            None => Self::Text(cell.to_owned()),
        }
    }

    fn of_number(number: f64) -> Self {
        // 0 and -0 are one number.
        Self::Number((number + 0.0).to_bits())
    }
}

/// A number as tables write them: also `nan` and `inf`, in any case.
fn number(cell: &str) -> Option<f64> {
    cell.trim().parse().ok()
}

/// A column that says which candidate a row is about.
#[derive(Clone, Debug)]
struct KeyColumn {
    name: String,
    /// The number of every cell's meaning.
    cells: HashMap<Key, u32>,
    /// Whether every cell that is not empty is a number.
    numbers: bool,
}

impl KeyColumn {
    fn intern(&mut self, cell: &str) -> u32 {
        let key = Key::of(cell);
        self.numbers &= !matches!(key, Key::Text(_));
        // At most MAX_ROWS different ones.
        let next = u32::try_from(self.cells.len()).unwrap_or(u32::MAX);
        *self.cells.entry(key).or_insert(next)
    }

    /// The number of what `cell` looks like in this column; `None` when no row has it.
    fn find(&self, cell: &Cell) -> Option<u32> {
        let get = |key: &Key| self.cells.get(key).copied();
        match cell {
            Cell::Empty => get(&Key::Empty),
            Cell::Exactly(text) => get(&Key::of(text)),
            Cell::Number(value) => get(&Key::of_number(*value)),
            // A column of numbers holds the places of alternatives, unless one is called by that number.
            Cell::Named { name, index } => get(&Key::of(name)).or_else(|| {
                let place = Key::of_number(f64::from(*index));
                get(&place).filter(|_| self.numbers)
            }),
            Cell::Flag(flag) => ["true", "True", "TRUE"]
                .iter()
                .zip(["false", "False", "FALSE"])
                .find_map(|(yes, no)| get(&Key::Text((if *flag { *yes } else { no }).to_owned())))
                .or_else(|| {
                    get(&Key::of_number(f64::from(u8::from(*flag)))).filter(|_| self.numbers)
                }),
        }
    }
}

/// A table of results.
#[derive(Clone, Debug)]
pub struct Table {
    /// In the order of the columns' names.
    keys: Vec<KeyColumn>,
    /// The row of every candidate.
    rows: HashMap<Box<[u32]>, u32>,
    /// Metrics and times; an empty cell is `None`.
    numbers: BTreeMap<String, Vec<Option<f64>>>,
}

impl Table {
    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows; never true of one that was built.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row with these cells, by column; `None` when there is none.
    #[must_use]
    pub fn find(&self, cells: &BTreeMap<String, Cell>) -> Option<u32> {
        let key: Option<Box<[u32]>> = self
            .keys
            .iter()
            .map(|column| column.find(cells.get(&column.name)?))
            .collect();
        self.rows.get(&key?).copied()
    }

    /// A number of a row; `None` when the cell is empty, or there is no such column or row.
    #[must_use]
    pub fn number(&self, column: &str, row: u32) -> Option<f64> {
        *self.numbers.get(column)?.get(row as usize)?
    }

    /// The numbers of a column, by row.
    #[must_use]
    pub fn column(&self, column: &str) -> &[Option<f64>] {
        self.numbers.get(column).map_or(&[], Vec::as_slice)
    }
}

/// Where a column that is read stands, and what it is for.
struct Place {
    field: usize,
    name: String,
    use_: Use,
}

enum Use {
    Key(usize),
    Number,
    Time,
}

/// Takes a table's rows in.
pub struct TableBuilder {
    fields: usize,
    places: Vec<Place>,
    table: Table,
    /// The line of every row, for errors about two of them.
    lines: Vec<u64>,
}

impl TableBuilder {
    /// From the header: finds every column that `spec` names.
    ///
    /// # Errors
    /// A column is not there, or twice, or there are too many.
    pub fn new<'h>(
        spec: &TableSpec,
        header: impl IntoIterator<Item = &'h str>,
    ) -> Result<Self, TableError> {
        let names: Vec<&str> = header
            .into_iter()
            .map(str::trim)
            .take(MAX_COLUMNS + 1)
            .collect();
        if names.iter().all(|name| name.is_empty()) {
            return Err(TableError::NoHeader);
        }
        if names.len() > MAX_COLUMNS {
            return Err(TableError::TooMany {
                what: "columns",
                most: MAX_COLUMNS as u64,
            });
        }
        let times: BTreeSet<&str> = spec.cost.iter().map(|cost| cost.column.as_str()).collect();
        let mut builder = Self {
            fields: names.len(),
            places: Vec::new(),
            table: Table {
                keys: Vec::new(),
                rows: HashMap::new(),
                numbers: BTreeMap::new(),
            },
            lines: Vec::new(),
        };
        for column in spec.columns() {
            let field = place_of(column, &names)?;
            // A column may be both: a decision that is measured as well.
            if spec.decisions.contains_key(column) {
                let use_ = Use::Key(builder.table.keys.len());
                builder.table.keys.push(KeyColumn {
                    name: column.to_owned(),
                    cells: HashMap::new(),
                    numbers: true,
                });
                builder.place(field, column, use_);
            }
            let is_metric = spec
                .metrics
                .values()
                .any(|columns| columns.values().any(|name| name == column));
            if times.contains(column) || is_metric {
                let use_ = if times.contains(column) {
                    Use::Time
                } else {
                    Use::Number
                };
                builder.table.numbers.insert(column.to_owned(), Vec::new());
                builder.place(field, column, use_);
            }
        }
        Ok(builder)
    }

    fn place(&mut self, field: usize, name: &str, use_: Use) {
        self.places.push(Place {
            field,
            name: name.to_owned(),
            use_,
        });
    }

    /// Takes the next row; `line` is where it begins in the file.
    ///
    /// # Errors
    /// A field is missing, too long or no number, or the candidate had a row before.
    pub fn row<'f>(
        &mut self,
        line: u64,
        fields: impl ExactSizeIterator<Item = &'f str>,
    ) -> Result<(), TableError> {
        let fields: Vec<&str> = fields.collect();
        if fields.len() != self.fields {
            return Err(TableError::Ragged {
                line,
                found: fields.len(),
                expected: self.fields,
            });
        }
        let cells = (self.lines.len() as u64 + 1) * self.places.len() as u64;
        if self.lines.len() as u64 >= MAX_ROWS || cells > MAX_CELLS {
            return Err(TableError::TooMany {
                what: if cells > MAX_CELLS {
                    "cells that are read"
                } else {
                    "rows"
                },
                most: if cells > MAX_CELLS {
                    MAX_CELLS
                } else {
                    MAX_ROWS
                },
            });
        }
        let mut key = vec![0; self.table.keys.len()];
        for Place { field, name, use_ } in &self.places {
            let cell = fields[*field];
            if cell.len() > MAX_CELL {
                let column = name.clone();
                return Err(TableError::LongCell { line, column });
            }
            match use_ {
                Use::Key(index) => key[*index] = self.table.keys[*index].intern(cell),
                Use::Number | Use::Time => {
                    let time = matches!(use_, Use::Time);
                    let number = read_number(line, name, cell, time)?;
                    self.table
                        .numbers
                        .entry(name.clone())
                        .or_default()
                        .push(number);
                }
            }
        }
        self.keep(line, key, &fields)
    }

    fn keep(&mut self, line: u64, key: Vec<u32>, fields: &[&str]) -> Result<(), TableError> {
        // Bounded by MAX_ROWS above.
        let row = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        if let Some(before) = self.table.rows.insert(key.into(), row) {
            let parts: Vec<String> = self
                .places
                .iter()
                .filter(|place| matches!(place.use_, Use::Key(_)))
                .take(20)
                .map(|place| format!("{}={}", place.name, shown(fields[place.field])))
                .collect();
            return Err(TableError::Duplicate {
                first: self.lines[before as usize],
                line,
                key: parts.join(" "),
            });
        }
        self.lines.push(line);
        Ok(())
    }

    /// The table.
    ///
    /// # Errors
    /// There was no row.
    pub fn finish(self) -> Result<Table, TableError> {
        if self.lines.is_empty() {
            return Err(TableError::Empty);
        }
        Ok(self.table)
    }
}

fn place_of(column: &str, names: &[&str]) -> Result<usize, TableError> {
    let mut places = (0..).zip(names).filter(|(_, name)| **name == column);
    match (places.next(), places.next()) {
        (Some((place, _)), None) => Ok(place),
        (Some(_), Some(_)) => Err(TableError::TwoColumns(column.to_owned())),
        (None, _) => {
            let mut columns: Vec<String> = names.iter().take(40).map(|name| shown(name)).collect();
            if names.len() > columns.len() {
                columns.push(format!("and {} more", names.len() - columns.len()));
            }
            Err(TableError::NoColumn {
                column: column.to_owned(),
                nearest: crate::spec::nearest(column, names.iter().copied()),
                columns: columns.join(", "),
            })
        }
    }
}

fn read_number(line: u64, column: &str, cell: &str, time: bool) -> Result<Option<f64>, TableError> {
    if cell.trim().is_empty() {
        return Ok(None);
    }
    let (column, shown) = (column.to_owned(), shown(cell));
    match number(cell) {
        None => Err(TableError::NotANumber {
            line,
            column,
            cell: shown,
        }),
        Some(number) if time && !(number.is_finite() && number >= 0.0) => {
            Err(TableError::NotATime {
                line,
                column,
                cell: shown,
            })
        }
        Some(number) => Ok(Some(number)),
    }
}

/// A cell as an error shows it.
fn shown(cell: &str) -> String {
    cell.chars().take(40).collect()
}
