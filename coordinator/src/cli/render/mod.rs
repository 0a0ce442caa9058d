//! From wire messages to what is printed: words and numbers, JSON views, tables. Pure, so that tests fix
//! every line. May import the wire types, comfy-table and serde.

mod decisions;
#[cfg(test)]
pub(super) mod samples;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod words;

pub(super) use decisions::short_decisions;
pub(super) use table::{
    best_table, charged, cluster_text, counts_text, failures_table, finish, metrics_text,
    phase_text, searches_table, status_line, status_text, table, trials_table, wishes_table,
};
pub(super) use view::{ClusterView, SearchView, TrialView, UpdateView, short_id, uuid_text};
pub(super) use words::{best_score, clean, duration, metric_value, quantity, seconds, utc};
