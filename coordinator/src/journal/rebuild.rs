//! Makes the rows for listings again from the records, in their place or beside it.

use std::cell::RefCell;

use espalier_core::search::Event;
use rusqlite::Connection;

use super::error::{JournalError, Refusal};
use super::projection::{Listing, rows};
use super::reader::{JournalReader, Moment, head_of};
use super::rows::{At, RowStatements};
use super::schema;
use super::stream::StreamId;
use crate::steps::{Step, done};

/// Why a stream gives no rows.
#[derive(Debug, thiserror::Error)]
#[error("the first event of a search must say what defines it")]
struct NotCreated;

/// Throws the rows away and makes them again. When this is cut off, the journal says that its rows are of
/// no version, and the next start begins anew.
pub(super) fn rebuild(
    connection: &mut Connection,
    reader: &JournalReader,
) -> Result<(), JournalError> {
    let streams = reader.streams()?;
    tracing::info!(
        path = %reader.path().display(),
        streams = streams.len(),
        "rebuilding the listings from the journal"
    );
    schema::drop_projections(connection).map_err(reader.at())?;
    done(Step::RebuildEmptied);
    for stream in streams {
        if let StreamId::Search(_) = stream {
            let transaction = connection.unchecked_transaction().map_err(reader.at())?;
            reader.moment(|moment| make_rows(&transaction, moment, stream))?;
            transaction.commit().map_err(reader.at())?;
            done(Step::RebuildSearch);
        }
    }
    done(Step::RebuildMade);
    schema::mark_projections_current(connection).map_err(reader.at())?;
    done(Step::RebuildMarked);
    Ok(())
}

/// Makes the rows of one search in `target`, which has the tables for listings.
pub(super) fn make_rows(
    target: &Connection,
    moment: &Moment<'_>,
    stream: StreamId,
) -> Result<(), JournalError> {
    let at = moment.reader().at();
    let head = head_of(moment.connection(), stream)
        .map_err(&at)?
        .ok_or(JournalError::NoStream(stream))?;
    let mut statements = RowStatements::prepare(target).map_err(&at)?;
    let mut listing: Option<Listing> = None;
    // An SQLite error is no fault of the record's: it is kept apart from what `visit` may refuse.
    let failed = RefCell::new(None);
    let result = moment.replay(stream, |sequence, time_ms, body| {
        let event: Event = serde_json::from_str(body)?;
        if let Event::SearchCreated { definition } = &event {
            listing = Some(Listing::of(definition));
        }
        let listing = listing.as_ref().ok_or(NotCreated)?;
        let place = At {
            stream: head.number,
            sequence,
            time_ms,
        };
        for change in rows(listing, &event) {
            if let Err(error) = statements.apply(place, &change) {
                failed.replace(Some(error));
                return Err(Refusal::from("the listings cannot be written"));
            }
        }
        Ok(())
    });
    if let Some(error) = failed.into_inner() {
        return Err(at(error));
    }
    result.map(drop)
}
