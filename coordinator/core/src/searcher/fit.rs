//! Whether a candidate may be tried in a search, and what it is there. May import `espalier-common` and the events
//! of a search.

use espalier_common::candidate::Candidate;
use espalier_common::ids::Digest;
use espalier_common::observation::Origin;
use espalier_common::spec::Repeat;

use super::book::assignment_id;
use crate::search::{Definition, Prepared};

/// What a candidate comes to.
pub(super) struct Fit {
    /// Its identity, when it can be built.
    pub(super) candidate_id: Option<Digest>,
    /// Its size, or why it may not be tried.
    pub(super) verdict: Result<Size, String>,
}

/// The size of a candidate's network, if there is one.
pub(super) struct Size {
    pub(super) parameters: Option<u64>,
    pub(super) macs: Option<u64>,
}

/// Builds a candidate of the search's space and holds it against the constraints.
pub(super) fn fit(definition: &Definition, candidate: &Candidate, assignment: Digest) -> Fit {
    let spec = &definition.spec;
    let built = match spec.space.build(candidate, definition.dataset.as_ref()) {
        Ok(built) => built,
        Err(infeasible) => {
            return Fit {
                candidate_id: None,
                verdict: Err(infeasible.to_string()),
            };
        }
    };
    let candidate_id = match spec.repeat {
        Repeat::Never => built.candidate_id,
        Repeat::ByDecisions => assignment,
    };
    let mut constraints = spec.constraints.iter();
    let broken = constraints.find_map(|constraint| constraint.check(&built).err());
    Fit {
        candidate_id: Some(candidate_id),
        verdict: match broken {
            Some(violation) => Err(violation.to_string()),
            None => Ok(Size {
                parameters: built.parameters,
                macs: built.macs,
            }),
        },
    }
}

/// A candidate of the search's space that somebody else than its searcher proposes.
///
/// # Errors
/// Why it may not be tried: it cannot be built, or breaks a constraint.
pub fn prepare(
    definition: &Definition,
    candidate: Candidate,
    origin: Origin,
) -> Result<Prepared, String> {
    let Fit {
        candidate_id,
        verdict,
    } = fit(definition, &candidate, assignment_id(&candidate));
    let Size { parameters, macs } = verdict?;
    Ok(Prepared {
        // Whatever fits was built.
        candidate_id: candidate_id.unwrap_or_else(|| assignment_id(&candidate)),
        candidate,
        origin,
        memo: None,
        parameters,
        macs,
    })
}
