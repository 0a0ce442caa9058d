//! The journal as text: lines of JSON that another program, or a later version, can read.

use std::cell::RefCell;
use std::io::Write;

use espalier_common::ids::Digest;
use serde::Serialize;
use serde_json::value::RawValue;

use super::lines::{First, Last, RecordLine, Totals, VERSION};
use super::{MaintenanceError, sound_log};
use crate::journal::{JournalReader, Moment, StoredRecord, StreamId};

/// What was written. Its JSON is what `--output json` prints.
pub type Exported = Totals;

/// Writes the whole journal as it is at one moment; every record is checked on the way.
///
/// # Errors
/// A record that is damaged, or text that cannot be written. What was written until then has no last line.
pub fn export(reader: &JournalReader, to: &mut dyn Write) -> Result<Exported, MaintenanceError> {
    sound_log(reader)?;
    // An error of the text is none of the journal's: it is kept apart.
    reader.moment(|moment| {
        let mut text = Text { to };
        let written = text.all(moment);
        match written {
            Err(MaintenanceError::Journal(error)) => Err(error),
            other => Ok(other),
        }
    })?
}

struct Text<'w> {
    to: &'w mut dyn Write,
}

impl Text<'_> {
    fn all(&mut self, moment: &Moment<'_>) -> Result<Totals, MaintenanceError> {
        self.line(&First {
            espalier_journal: VERSION,
            release: env!("CARGO_PKG_VERSION").into(),
            cluster: moment.reader().cluster(),
        })?;
        let mut end = Totals::default();
        for stream in moment.streams()? {
            end.streams += 1;
            end.records += self.stream(moment, stream)?;
        }
        self.line(&Last { end })?;
        self.to.flush().map_err(unwritable)?;
        Ok(end)
    }

    fn stream(&mut self, moment: &Moment<'_>, stream: StreamId) -> Result<u64, MaintenanceError> {
        let failed = RefCell::new(None);
        let name = stream.to_string();
        let read = moment.records(stream, |record| {
            self.record(stream, &name, record).map_err(|error| {
                let text = error.to_string();
                failed.replace(Some(error));
                text.into()
            })
        });
        match (failed.into_inner(), read) {
            (Some(error), _) => Err(error),
            (None, read) => Ok(read?.sequence),
        }
    }

    fn record(
        &mut self,
        stream: StreamId,
        name: &str,
        record: &StoredRecord<'_>,
    ) -> Result<(), MaintenanceError> {
        let line = serde_json::from_str::<&RawValue>(record.body)
            .ok()
            // It gives the value without what is around it, which the hash covers too.
            .filter(|body| body.get() == record.body && !record.body.contains(['\n', '\r']));
        let Some(body) = line else {
            return Err(MaintenanceError::NoLine {
                stream,
                sequence: record.sequence,
            });
        };
        self.line(&RecordLine {
            stream: name.into(),
            sequence: record.sequence,
            time_ms: record.time_ms,
            schema: record.schema,
            hash: Digest(record.hash),
            body,
        })
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), MaintenanceError> {
        serde_json::to_writer(&mut self.to, line)
            .map_err(|error| unwritable(error.into()))
            .and_then(|()| self.to.write_all(b"\n").map_err(unwritable))
    }
}

fn unwritable(source: std::io::Error) -> MaintenanceError {
    MaintenanceError::Text {
        what: "written",
        source,
    }
}
