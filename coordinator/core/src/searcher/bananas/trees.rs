//! Boosted regression trees (Friedman 2001) over a table of numbers: small trees, each fitted to what the ones
//! before it leave. Deterministic: what is random comes from the generator that is handed in.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Trees of one model.
const TREES: usize = 80;
/// The share of a tree's prediction that is taken: small steps generalise.
const RATE: f64 = 0.12;
/// Questions from the root to a leaf: interactions of four features.
const DEPTH: usize = 4;
/// The fewest rows in a leaf.
const LEAST_ROWS: usize = 2;
/// The share of columns that each tree may ask about, and of rows that it sees.
const COLUMNS: f64 = 0.4;
const ROWS: f64 = 0.8;
/// Thresholds tried for a column: between so many quantiles of its values.
const THRESHOLDS: usize = 12;
/// Between and beyond them: strides are rounded up, so there is never one more.
const BINS: usize = THRESHOLDS + 1;
/// Added to the number of rows of a leaf: keeps small leaves near zero.
const SHRINK: f64 = 1.0;

/// Rows of numbers, all of one length.
pub(super) type Table = [Vec<f64>];

/// A model.
#[derive(Clone, Debug)]
pub(super) struct Boosted {
    base: f64,
    trees: Vec<Tree>,
}

#[derive(Clone, Debug)]
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
enum Node {
    Leaf(f64),
    /// Rows with less than the threshold go to the first, the others to the second.
    Split {
        column: usize,
        threshold: f64,
        less: usize,
        rest: usize,
    },
}

impl Boosted {
    /// Fits a model to rows (by index, some of them several times) and their targets.
    pub(super) fn fit(
        table: &Table,
        targets: &[f64],
        rows: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let base = mean(rows.iter().map(|&row| targets[row]));
        let mut left: Vec<f64> = targets.iter().map(|target| target - base).collect();
        let width = table.first().map_or(0, Vec::len);
        let all: Vec<Column> = (0..width).map(|at| Column::new(table, rows, at)).collect();
        let open: Vec<&Column> = all
            .iter()
            .filter(|one| !one.thresholds.is_empty())
            .collect();
        let mut trees = Vec::with_capacity(TREES);
        for _ in 0..TREES {
            let seen: Vec<usize> = rows
                .iter()
                .copied()
                .filter(|_| rng.random_bool(ROWS))
                .collect();
            let columns: Vec<&Column> = open
                .iter()
                .copied()
                .filter(|_| rng.random_bool(COLUMNS))
                .collect();
            let mut growth = Growth {
                left: &left,
                columns: &columns,
                nodes: Vec::new(),
            };
            growth.grow(&seen, DEPTH);
            let tree = Tree {
                nodes: growth.nodes,
            };
            for (left, row) in left.iter_mut().zip(table) {
                *left -= RATE * tree.predict(row);
            }
            trees.push(tree);
        }
        Self { base, trees }
    }

    pub(super) fn predict(&self, row: &[f64]) -> f64 {
        let sum: f64 = self.trees.iter().map(|tree| tree.predict(row)).sum();
        self.base + RATE * sum
    }
}

impl Tree {
    fn predict(&self, row: &[f64]) -> f64 {
        let mut at = 0;
        loop {
            match self.nodes.get(at) {
                Some(&Node::Split {
                    column,
                    threshold,
                    less,
                    rest,
                }) => {
                    let value = row.get(column).copied().unwrap_or(0.0);
                    at = if value < threshold { less } else { rest };
                }
                Some(&Node::Leaf(value)) => return value,
                None => return 0.0,
            }
        }
    }
}

/// A column of the table.
struct Column {
    /// Its place in the table.
    at: usize,
    /// Where it may be split: between its values, or between quantiles of them where they are many. Ascending.
    thresholds: Vec<f64>,
    /// For each row how many of the thresholds its value has reached.
    bins: Vec<u8>,
}

impl Column {
    /// `rows` are those that say where it may be split.
    fn new(table: &Table, rows: &[usize], at: usize) -> Self {
        let mut values: Vec<f64> = rows.iter().map(|&row| table[row][at]).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let gaps: Vec<f64> = values
            .windows(2)
            .map(|pair| f64::midpoint(pair[0], pair[1]))
            .collect();
        let stride = gaps.len().div_ceil(THRESHOLDS).max(1);
        let thresholds: Vec<f64> = gaps.into_iter().skip(stride / 2).step_by(stride).collect();
        let reached = |row: &Vec<f64>| thresholds.partition_point(|one| *one <= row[at]) as u8;
        let bins = table.iter().map(reached).collect();
        Self {
            at,
            thresholds,
            bins,
        }
    }
}

struct Growth<'a> {
    left: &'a [f64],
    columns: &'a [&'a Column],
    nodes: Vec<Node>,
}

impl<'a> Growth<'a> {
    /// Grows a node over these rows; its place.
    fn grow(&mut self, rows: &[usize], depth: usize) -> usize {
        let place = self.nodes.len();
        let sum: f64 = rows.iter().map(|&row| self.left[row]).sum();
        self.nodes
            .push(Node::Leaf(sum / (rows.len() as f64 + SHRINK)));
        if depth == 0 {
            return place;
        }
        let Some((column, reached)) = self.best_split(rows, sum) else {
            return place;
        };
        let (less, rest): (Vec<usize>, Vec<usize>) = rows
            .iter()
            .partition(|&&row| usize::from(column.bins[row]) <= reached);
        let less = self.grow(&less, depth - 1);
        let rest = self.grow(&rest, depth - 1);
        self.nodes[place] = Node::Split {
            column: column.at,
            threshold: column.thresholds[reached],
            less,
            rest,
        };
        place
    }

    /// The column, and the number of its threshold, whose two sides differ the most.
    fn best_split(&self, rows: &[usize], sum: f64) -> Option<(&'a Column, usize)> {
        let score = |sum: f64, count: usize| sum * sum / (count as f64 + SHRINK);
        let whole = score(sum, rows.len());
        // Below this a gain is rounding.
        let mut best = (1e-9 * (1.0 + whole), None);
        for &column in self.columns {
            let mut bins = [(0.0, 0_usize); BINS];
            for &row in rows {
                let bin = &mut bins[usize::from(column.bins[row])];
                *bin = (bin.0 + self.left[row], bin.1 + 1);
            }
            let (mut less, mut count) = (0.0, 0);
            for (reached, bin) in bins[..column.thresholds.len()].iter().enumerate() {
                (less, count) = (less + bin.0, count + bin.1);
                let others = rows.len() - count;
                if count < LEAST_ROWS || others < LEAST_ROWS {
                    continue;
                }
                let gain = score(less, count) + score(sum - less, others) - whole;
                if gain > best.0 {
                    best = (gain, Some((column, reached)));
                }
            }
        }
        best.1
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn made(rows: usize, rng: &mut ChaCha8Rng) -> (Vec<Vec<f64>>, Vec<f64>) {
        let table: Vec<Vec<f64>> = (0..rows)
            .map(|_| (0..6).map(|_| rng.random::<f64>()).collect())
            .collect();
        // An interaction of two columns and one more; three columns mean nothing.
        let target =
            |row: &Vec<f64>| f64::from(u8::from(row[0] > 0.5) ^ u8::from(row[1] > 0.4)) + row[2];
        let targets = table.iter().map(target).collect();
        (table, targets)
    }

    #[test]
    fn boosted_trees_predict_what_they_have_not_seen() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (table, targets) = made(300, &mut rng);
        let rows: Vec<usize> = (0..300).collect();
        let model = Boosted::fit(&table, &targets, &rows, &mut rng);
        let (fresh, truth) = made(200, &mut rng);
        let average = mean(truth.iter().copied());
        let (mut error, mut spread) = (0.0, 0.0);
        for (row, truth) in fresh.iter().zip(&truth) {
            error += (model.predict(row) - truth).powi(2);
            spread += (truth - average).powi(2);
        }
        assert!(error < 0.5 * spread, "{}", error / spread);
    }

    #[test]
    fn equal_targets_and_no_columns_give_the_mean() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let model = Boosted::fit(&[vec![1.0], vec![2.0]], &[3.0, 3.0], &[0, 1, 1], &mut rng);
        assert!((model.predict(&[9.0]) - 3.0).abs() < 1e-12);
        let model = Boosted::fit(&[vec![], vec![]], &[1.0, 2.0], &[0, 1], &mut rng);
        // Each tree sees a part of the rows.
        assert!((model.predict(&[]) - 1.5).abs() < 0.5);
    }
}
