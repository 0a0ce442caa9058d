//! The words of a table of results, the evaluator that looks up instead of training.

use super::scalar::Kind;
use super::words::Shape::{Scalar, Structure};
use super::words::{Table, count, optional, required};

/// A number of epochs.
pub(super) const EPOCHS: Kind = count(1, 100_000);
/// The length of an axis.
pub(super) const LENGTH: Kind = count(1, 1_000_000);

pub(super) static TABLE: Table = Table {
    name: "table",
    about: "Results that were measured before: a CSV or Parquet file with one row for each candidate.",
    keys: &[
        required(
            "path",
            Scalar(Kind::Text),
            "A CSV file, packed by gzip or not, or a Parquet file: below the data root, beside the spec, or an absolute path.",
        ),
        required(
            "decisions",
            Structure("table_decisions"),
            "Which column stands for which decision.",
        ),
        required(
            "metrics",
            Structure("table_metrics"),
            "The column of each metric, or its columns by epochs.",
        ),
        optional(
            "cost",
            Structure("table_cost"),
            "The column of seconds; one second for each candidate by default.",
        ),
        optional(
            "input",
            Structure("table_input"),
            "Shape of one example of the data behind the table, for a network without a `dataset`.",
        ),
        optional(
            "classes",
            Scalar(count(1, 1_000_000)),
            "Number of classes of those data.",
        ),
    ],
};

pub(super) static TABLE_DECISION: Table = Table {
    name: "table_decision",
    about: "The decision that a column stands for, and what stands in the column for its values.",
    keys: &[
        required("decision", Scalar(Kind::Text), "The decision's path."),
        optional(
            "values",
            Structure("table_values"),
            "What stands in the column for each value; a value that is left out stands for itself.",
        ),
    ],
};

pub(super) static TABLE_COST: Table = Table {
    name: "table_cost",
    about: "The column of seconds.",
    keys: &[
        required("column", Scalar(Kind::Text), "Its name."),
        optional(
            "at",
            Scalar(EPOCHS),
            "The epochs that take so long; the most that the table names by default.",
        ),
    ],
};
