//! A copy of the journal at one moment, also while a coordinator writes it.

use std::path::Path;

use rusqlite::Connection;

use super::error::JournalError;
use super::reader::JournalReader;
use super::schema;

impl JournalReader {
    /// Writes the journal as it is now into `file`, which must be empty or not there. The copy is one file
    /// without a log. It is not synced to the disk: that is for the caller.
    ///
    /// `VACUUM INTO` reads within one transaction, beside which a coordinator goes on writing; SQLite's back-up
    /// interface would begin again with every commit of the coordinator, which is another process.
    ///
    /// # Errors
    /// What SQLite says: a full disk, say.
    pub fn copy_into(&self, file: &Path) -> Result<(), JournalError> {
        let connection: Connection = schema::open_reader(self.path()).map_err(self.at())?;
        // A path that is no UTF-8 cannot be named in a statement.
        let Some(name) = file.to_str() else {
            return Err(JournalError::Name {
                path: file.to_owned(),
            });
        };
        connection
            .execute("VACUUM INTO ?1", [name])
            .map(drop)
            .map_err(JournalError::at(file))
    }
}
