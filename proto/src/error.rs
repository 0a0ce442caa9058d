//! What is wrong with a message from the wire.

/// A message that does not mean anything in the domain.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A field is missing that must be there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field holds something it must not.
    #[error("{field}: {reason}")]
    Bad {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl WireError {
    pub(crate) fn bad(field: &'static str, reason: impl ToString) -> Self {
        Self::Bad {
            field,
            reason: reason.to_string(),
        }
    }
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}
