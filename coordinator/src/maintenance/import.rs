//! A journal from the text of an export.

use std::io::{BufRead, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use super::lines::{First, Last, RecordLine, Totals, VERSION};
use super::{Checked, MaintenanceError, check};
use crate::journal::{Import, StoredRecord, StreamId};

/// The longest line: far above the largest event, which defines a search.
const MAX_LINE_BYTES: u64 = 256 * 1024 * 1024;

/// What was read. Its JSON is what `--output json` prints.
#[derive(Debug, Serialize)]
pub struct Imported {
    /// The journal that was made.
    #[serde(flatten)]
    pub checked: Checked,
}

/// Makes a journal in `folder`, which must not have one, from the text of an export. Every hash is checked, and
/// the whole as `check` does it; before that there is no journal.
///
/// # Errors
/// The first line that is damaged, missing or newer, or a folder that cannot be used.
pub fn import(from: &mut dyn BufRead, folder: &Path) -> Result<Imported, MaintenanceError> {
    let mut lines = Lines {
        from,
        line: 0,
        text: Vec::new(),
    };
    let first: First<'_> = lines.next()?;
    if first.espalier_journal > VERSION {
        let found = first.espalier_journal;
        return Err(lines.wrong(format!(
            "this is an export of version {found}, and this espalier knows versions up to {VERSION}; use the newer \
             espalier that wrote it"
        )));
    }
    let mut import = Import::begin(folder, first.cluster)?;
    let mut found = Totals::default();
    let mut last = None;
    loop {
        lines.read()?;
        if lines.is_last() {
            let Last { end } = lines.parsed()?;
            lines.check_end(found, end)?;
            break;
        }
        let line: RecordLine<'_> = lines.parsed()?;
        let stream: StreamId = line
            .stream
            .parse()
            .map_err(|error| lines.wrong(format!("{:?} is no stream: {error}", line.stream)))?;
        let record = StoredRecord {
            sequence: line.sequence,
            time_ms: line.time_ms,
            schema: line.schema,
            hash: line.hash.0,
            body: line.body.get(),
        };
        import.add(stream, &record)?;
        found.records += 1;
        if last.replace(stream) != Some(stream) {
            found.streams += 1;
        }
    }
    let mut imported = None;
    import.finish(|reader| {
        let checked = check(reader)?;
        if !checked.is_sound() {
            return Err(MaintenanceError::Unsound {
                path: reader.path().to_owned(),
                problems: checked.problems,
            });
        }
        imported = Some(checked);
        Ok(())
    })?;
    let checked = imported.map(|checked| Checked {
        journal: folder.join(crate::journal::FILE),
        ..checked
    });
    checked
        .map(|checked| Imported { checked })
        .ok_or_else(|| lines.wrong("the journal was not checked".to_owned()))
}

/// The lines of a text, one at a time.
struct Lines<'r> {
    from: &'r mut dyn BufRead,
    /// The number of the line that was read last.
    line: u64,
    text: Vec<u8>,
}

impl Lines<'_> {
    fn next<'s, T: Deserialize<'s>>(&'s mut self) -> Result<T, MaintenanceError> {
        self.read()?;
        self.parsed()
    }

    /// Reads a line.
    fn read(&mut self) -> Result<(), MaintenanceError> {
        self.text.clear();
        self.line += 1;
        (&mut *self.from)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut self.text)
            .map_err(|source| MaintenanceError::Text {
                what: "read",
                source,
            })?;
        match self.text.pop() {
            Some(b'\n') => Ok(()),
            Some(_) if self.text.len() as u64 >= MAX_LINE_BYTES - 1 => {
                Err(self.wrong(format!("it has more than {MAX_LINE_BYTES} bytes")))
            }
            _ => Err(self.wrong(
                "the text ends here, before the line that says that it is whole; get all of it"
                    .to_owned(),
            )),
        }
    }

    fn parsed<'s, T: Deserialize<'s>>(&'s self) -> Result<T, MaintenanceError> {
        serde_json::from_slice(&self.text)
            .map_err(|error| self.wrong(format!("this is no line of an export: {error}")))
    }

    fn is_last(&self) -> bool {
        self.text.starts_with(br#"{"end":"#)
    }

    /// The counts agree, and nothing follows.
    fn check_end(&mut self, found: Totals, said: Totals) -> Result<(), MaintenanceError> {
        if found != said {
            return Err(self.wrong(format!(
                "there should be {} records of {} streams, and there are {} of {}; get all of the export",
                said.records, said.streams, found.records, found.streams
            )));
        }
        let mut more = [0];
        let read = self.from.read(&mut more);
        match read {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.line += 1;
                Err(self.wrong("something follows the last line".to_owned()))
            }
            Err(source) => Err(MaintenanceError::Text {
                what: "read",
                source,
            }),
        }
    }

    fn wrong(&self, what: String) -> MaintenanceError {
        MaintenanceError::Line {
            line: self.line,
            what,
        }
    }
}
