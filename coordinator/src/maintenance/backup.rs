//! A copy of the journal, checked before it has its name.

use std::path::Path;

use serde::Serialize;

use super::{Checked, MaintenanceError, check, create_file, sound_log};
use crate::journal::JournalReader;

/// What was copied. Its JSON is what `--output json` prints.
#[derive(Debug, Serialize)]
pub struct BackedUp {
    /// How large the copy is.
    pub bytes: u64,
    /// What is in it.
    #[serde(flatten)]
    pub checked: Checked,
}

/// Copies the journal into a new file, also while a coordinator writes it, and checks the copy.
///
/// # Errors
/// The file is there, cannot be written, or the journal is not sound: then there is no copy.
pub fn back_up(reader: &JournalReader, file: &Path) -> Result<BackedUp, MaintenanceError> {
    sound_log(reader)?;
    create_file(file, |temporary| {
        reader.copy_into(temporary)?;
        let mut checked = check(&JournalReader::open_file(temporary)?)?;
        if !checked.is_sound() {
            return Err(MaintenanceError::Unsound {
                path: reader.path().to_owned(),
                problems: checked.problems,
            });
        }
        checked.journal = file.to_owned();
        let bytes = std::fs::metadata(temporary)
            .map_err(super::io_error("read", temporary))?
            .len();
        Ok(BackedUp { bytes, checked })
    })
}
