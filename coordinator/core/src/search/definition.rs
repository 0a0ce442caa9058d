//! What defines a search: everything the user submitted, resolved. The first event of its stream.

use espalier_common::dataset::DatasetInfo;
use espalier_common::spec::Spec;
use serde::{Deserialize, Serialize};

/// What defines a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The spec, parsed.
    pub spec: Spec,
    /// The spec as the user wrote it.
    pub text: String,
    /// What was found where the data lie; absent when the evaluator brings its own.
    pub dataset: Option<DatasetInfo>,
}
