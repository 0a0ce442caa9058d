//! Who looks on while a search is simulated: the core reads no clock and hears no signals, its caller does.

/// Work of a searcher, with the rules that a proposer puts around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It proposes.
    Ask,
    /// It learns what became of a proposal.
    Tell,
}

/// Who looks on. Nothing of what it does reaches the search, but that it may end it. `()` lets every search run
/// to its end.
pub trait Observer {
    /// The searcher begins to work.
    fn begins(&mut self, _work: Work) {}

    /// The work that it began last is done.
    fn ends(&mut self, _work: Work) {}

    /// Whether the search is to go on after so many evaluations. Asked before every moment at which something
    /// happens.
    fn goes_on(&mut self, _evaluations: usize) -> bool {
        true
    }
}

impl Observer for () {}
