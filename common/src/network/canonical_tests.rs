use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A graph as its parts, so that it can be renumbered.
#[derive(Clone, Debug)]
struct Sample {
    labels: Vec<u64>,
    edges: Vec<Edge>,
}

impl Sample {
    fn relation(&self) -> Relation {
        Relation::new(self.labels.len(), &self.edges)
    }

    /// The canonical text, or `None` when `work` did not suffice.
    fn canonical(&self, work: u64) -> Option<Vec<u64>> {
        let order = canonical_order(&self.relation(), self.labels.clone(), work).ok()?;
        Some(text(&self.relation(), &self.labels, &order))
    }

    /// The same graph with its nodes in another topological order, drawn by `priorities`.
    fn renumbered(&self, priorities: &[u64]) -> Self {
        let nodes = self.labels.len();
        let mut new = vec![u32::MAX; nodes];
        let mut labels = Vec::new();
        while labels.len() < nodes {
            let ready = |node: usize| {
                new[node] == u32::MAX
                    && (self.edges.iter())
                        .all(|e| e.to as usize != node || new[e.from as usize] != u32::MAX)
            };
            let next = (0..nodes)
                .filter(|&node| ready(node))
                .max_by_key(|&node| mix(priorities[node % priorities.len()], node as u64))
                .unwrap();
            new[next] = labels.len() as u32;
            labels.push(self.labels[next]);
        }
        let mut edges: Vec<Edge> = (self.edges.iter())
            .map(|e| edge(new[e.from as usize], new[e.to as usize], e.tag))
            .collect();
        edges.sort_unstable_by_key(|e| mix(priorities[0], u64::from(e.from ^ e.to << 16)));
        Self { labels, edges }
    }
}

fn edge(from: u32, to: u32, tag: u32) -> Edge {
    Edge { from, to, tag }
}

/// The nth graph on `nodes` nodes: every pair of nodes has no edge or one of `tags` kinds.
fn nth(nodes: u32, tags: u32, labels: Vec<u64>, mut n: u32) -> Sample {
    let mut edges = Vec::new();
    for to in 0..nodes {
        for from in 0..to {
            if !n.is_multiple_of(tags + 1) {
                edges.push(edge(from, to, n % (tags + 1) - 1));
            }
            n /= tags + 1;
        }
    }
    Sample { labels, edges }
}

#[test]
fn the_canonical_texts_of_all_small_graphs_count_the_isomorphism_classes() {
    // Acyclic digraphs on n unlabelled nodes, OEIS A003087. Each has a numbering in topological order, so
    // the upper triangular matrices show all of them.
    for (nodes, classes) in [(2, 2), (3, 6), (4, 31), (5, 302), (6, 5984)] {
        let texts: BTreeSet<_> = (0..1 << (nodes * (nodes - 1) / 2))
            .map(|n| nth(nodes, 1, vec![0; nodes as usize], n).canonical(MAX_WORK))
            .collect();
        assert!(!texts.contains(&None));
        assert_eq!(texts.len(), classes, "{nodes} nodes");
    }
}

#[test]
fn labels_and_tags_tell_graphs_apart_as_a_brute_force_check_does() {
    let permutations = permutations(4);
    let mut brute_of = BTreeMap::new();
    let mut texts_of = BTreeMap::new();
    for labels in 0..16_u64 {
        let labels: Vec<u64> = (0..4).map(|bit| labels >> bit & 1).collect();
        for n in 0..3_u32.pow(6) {
            let sample = nth(4, 2, labels.clone(), n);
            let brute = permutations
                .iter()
                .map(|p| {
                    let mut edges: Vec<_> = (sample.edges.iter())
                        .map(|e| (p[e.from as usize], p[e.to as usize], e.tag))
                        .collect();
                    edges.sort_unstable();
                    let mut labels = vec![0; 4];
                    for (node, &label) in sample.labels.iter().enumerate() {
                        labels[p[node] as usize] = label;
                    }
                    (labels, edges)
                })
                .min()
                .unwrap();
            let text = sample.canonical(MAX_WORK).unwrap();
            let known = brute_of.entry(text.clone()).or_insert(brute.clone());
            assert_eq!(*known, brute, "one text for two graphs");
            let known = texts_of.entry(brute).or_insert(text.clone());
            assert_eq!(*known, text, "two texts for one graph");
        }
    }
    assert!(brute_of.len() > 1_000);
}

fn permutations(n: u32) -> Vec<Vec<u32>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    let with_last = |p: &Vec<u32>, at: usize| {
        let mut p = p.clone();
        p.insert(at, n - 1);
        p
    };
    (shorter.iter())
        .flat_map(|p| (0..=p.len()).map(move |at| with_last(p, at)))
        .collect()
}

fn samples() -> impl Strategy<Value = Sample> {
    let edges = proptest::collection::vec((0_u32..16, 0_u32..16, 0_u32..2), 0..40);
    (2_usize..16, edges, 1_u64..4).prop_map(|(nodes, edges, labels)| Sample {
        labels: (0..nodes as u64).map(|node| node % labels).collect(),
        edges: (edges.into_iter())
            .map(|(a, b, tag)| (a % nodes as u32, b % nodes as u32, tag))
            .filter(|(a, b, _)| a != b)
            .map(|(a, b, tag)| edge(a.min(b), a.max(b), tag))
            .collect(),
    })
}

proptest! {
    #[test]
    fn the_numbering_does_not_matter(
        sample in samples(),
        priorities in proptest::collection::vec(any::<u64>(), 4),
    ) {
        let other = sample.renumbered(&priorities);
        prop_assert_eq!(sample.canonical(MAX_WORK), other.canonical(MAX_WORK));
    }

    #[test]
    fn whether_the_work_suffices_does_not_depend_on_the_numbering(
        sample in samples(),
        priorities in proptest::collection::vec(any::<u64>(), 4),
        work in 0_u64..2_000,
    ) {
        let other = sample.renumbered(&priorities);
        prop_assert_eq!(sample.canonical(work), other.canonical(work));
    }
}

/// `sizes` rings: each `a` is read by its own and the next `b` of its ring; all `b` are read by one node.
fn rings(sizes: &[u32]) -> Sample {
    let half: u32 = sizes.iter().sum();
    let mut edges = Vec::new();
    let mut first = 0;
    for &size in sizes {
        for at in 0..size {
            edges.push(edge(first + at, half + first + at, 0));
            edges.push(edge(first + at, half + first + (at + 1) % size, 0));
        }
        first += size;
    }
    edges.extend((half..2 * half).map(|b| edge(b, 2 * half, 0)));
    Sample {
        labels: vec![0; 2 * half as usize + 1],
        edges,
    }
}

#[test]
fn rings_that_refinement_cannot_tell_apart_are_told_apart() {
    let texts: BTreeSet<_> = [&[12][..], &[6, 6], &[4, 8], &[4, 4, 4], &[3, 3, 3, 3]]
        .map(|sizes| rings(sizes).canonical(MAX_WORK).unwrap())
        .into();
    assert_eq!(texts.len(), 5);
    let reordered =
        |a: &[u32], b: &[u32]| rings(a).canonical(MAX_WORK) == rings(b).canonical(MAX_WORK);
    assert!(reordered(&[4, 8], &[8, 4]));
}

/// `stages` of `width` equal branches of `length` nodes each, joined after every stage.
fn stages(stages: u32, width: u32, length: u32) -> Sample {
    let (mut labels, mut edges) = (vec![0], Vec::new());
    let mut start = 0;
    for _ in 0..stages {
        let mut ends = Vec::new();
        for _ in 0..width {
            let mut last = start;
            for depth in 0..length {
                let node = labels.len() as u32;
                labels.push(u64::from(depth) + 1);
                edges.push(edge(last, node, 0));
                last = node;
            }
            ends.push(last);
        }
        start = labels.len() as u32;
        labels.push(0);
        edges.extend(ends.into_iter().map(|end| edge(end, start, 0)));
    }
    Sample { labels, edges }
}

#[test]
fn parallel_branches_take_a_few_visits_a_node() {
    for (n, width, length) in [(20, 8, 3), (1, 3_000, 3), (100, 30, 3), (3_000, 3, 1)] {
        let sample = stages(n, width, length);
        let work = 12 * sample.relation().size();
        assert!(sample.canonical(work).is_some(), "{n} {width} {length}");
    }
}

#[test]
fn branches_within_branches_take_a_few_visits_a_node() {
    // A complete tree of 4^5 leaves that comes together again in the same way.
    let (mut labels, mut edges) = (vec![0_u64], Vec::new());
    let mut level = vec![0_u32];
    let mut parents = Vec::new();
    for depth in 1..=5 {
        let mut next = Vec::new();
        for &parent in &level {
            for _ in 0..4 {
                let node = labels.len() as u32;
                labels.push(depth);
                edges.push(edge(parent, node, 0));
                next.push(node);
            }
        }
        parents.push(std::mem::replace(&mut level, next));
    }
    while level.len() > 1 {
        level = (level.chunks(4))
            .map(|four| {
                let node = labels.len() as u32;
                labels.push(9);
                edges.extend(four.iter().map(|&child| edge(child, node, 0)));
                node
            })
            .collect();
    }
    let sample = Sample { labels, edges };
    assert!(sample.canonical(20 * sample.relation().size()).is_some());
}

/// Every pair of `width` nodes is read by a node of its own: too symmetric for the bound when wide.
fn pairs(width: u32) -> Sample {
    let mut sample = Sample {
        labels: vec![0; width as usize],
        edges: Vec::new(),
    };
    for a in 0..width {
        for b in 0..a {
            let node = sample.labels.len() as u32;
            sample.labels.push(1);
            sample.edges.extend([edge(a, node, 0), edge(b, node, 0)]);
        }
    }
    sample
}

#[test]
fn what_is_too_symmetric_gives_colours_that_do_not_depend_on_the_numbering() {
    assert!(pairs(5).canonical(MAX_WORK).is_some());
    let sample = pairs(12);
    let colours = |sample: &Sample| {
        let mut colours =
            canonical_order(&sample.relation(), sample.labels.clone(), MAX_WORK).unwrap_err();
        colours.sort_unstable();
        colours
    };
    assert_eq!(colours(&sample), colours(&sample.renumbered(&[7, 1, 5])));
}

#[test]
fn a_graph_of_nothing_but_equal_nodes_is_ordered() {
    let sample = Sample {
        labels: vec![0; 1_000],
        edges: vec![],
    };
    assert!(sample.canonical(MAX_WORK).is_some());
    assert!(canonical_order(&Relation::new(0, &[]), vec![], 0).is_ok());
}
