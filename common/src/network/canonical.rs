//! Canonical order of a labelled directed acyclic graph: two graphs written down in their canonical orders
//! are equal text exactly when they are isomorphic. Pure; knows nothing of networks. The graphs' order of
//! nodes must be topological.
//!
//! 1. **Refinement.** Every node gets a colour from its label; sweeps from the inputs and from the readers
//!    mix the colours of neighbours in, until no more nodes are told apart. Colours are 64-bit hashes; a
//!    collision makes the partition coarser, never the result wrong, since the colours of isomorphic graphs
//!    collide alike. If all colours differ, they are the order.
//! 2. **Components.** Where every node of one colour is joined in the same way to every node of another, the
//!    colours say all about those edges, and they are dropped. What is left falls apart (parallel branches
//!    do), and each part is ordered by itself; equal parts are interchangeable, so it does not matter which
//!    comes first. This makes symmetric networks cheap, without a search.
//! 3. **Individualisation.** In a part that does not fall apart, each node of the smallest shared colour is
//!    tried as "the first one", and the least text wins. Tries whose refined colours are not the least are
//!    left out; this choice, too, does not depend on how the nodes were numbered.
//!
//! The work is counted in nodes and edges visited. The count, like everything here, depends on the graph
//! and not on its numbering, so whether it runs out is a property of the graph: see [`canonical_order`].

use super::by_colour::ByColour;
use super::relation::{Edge, Relation};

/// The most nodes and edges visited for one graph, about 50 ms on one core. Networks that people draw need
/// fewer than 20 visits a node; only dense symmetric wiring (say, a node for every pair of eight equal
/// branches) needs more than this.
pub(super) const MAX_WORK: u64 = 2_000_000;
/// The deepest nesting of steps 2 and 3; each level is a frame on the stack.
const MAX_DEPTH: usize = 200;

/// The work ran out.
struct Exhausted;

/// Work left.
struct Work(u64);

impl Work {
    fn spend(&mut self, units: u64) -> Result<(), Exhausted> {
        self.0 = self.0.checked_sub(units).ok_or(Exhausted)?;
        Ok(())
    }
}

/// The nodes in canonical order, given a colour for each node's label.
///
/// # Errors
/// When `work` does not suffice, the colours as far as they were refined. They are the same for isomorphic
/// graphs, but may be the same for others too.
pub(super) fn canonical_order(
    relation: &Relation,
    mut colours: Vec<u64>,
    work: u64,
) -> Result<Vec<u32>, Vec<u64>> {
    let mut work = Work(work);
    match refine(relation, &mut colours, &mut work)
        .and_then(|sorted| solve(relation, &colours, &sorted, &mut work, 0))
    {
        Ok(order) => Ok(order),
        Err(Exhausted) => Err(colours),
    }
}

/// Mixes two numbers into one (the finaliser of SplitMix64). Part of every stored identity: never change it.
pub(super) fn mix(state: u64, value: u64) -> u64 {
    let mut x = state
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(value)
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Salts that keep the three uses of a colour apart.
const FROM_INPUTS: u64 = 1;
const FROM_READERS: u64 = 2;
const CHOSEN: u64 = 3;

/// Step 1: sweeps until no more nodes are told apart. Gives the nodes in the order of their new colours.
fn refine(
    relation: &Relation,
    colours: &mut [u64],
    work: &mut Work,
) -> Result<ByColour, Exhausted> {
    let nodes = relation.nodes();
    let mut classes = 0;
    let mut sorted = ByColour::default();
    loop {
        work.spend(relation.size())?;
        for node in 0..nodes {
            colours[node] = recoloured(colours, node, relation.inputs(node), FROM_INPUTS);
        }
        sorted.sort(colours);
        if sorted.classes == nodes {
            return Ok(sorted);
        }
        work.spend(relation.size())?;
        for node in (0..nodes).rev() {
            colours[node] = recoloured(colours, node, relation.readers(node), FROM_READERS);
        }
        sorted.sort(colours);
        if sorted.classes <= classes || sorted.classes == nodes {
            return Ok(sorted);
        }
        classes = sorted.classes;
    }
}

fn recoloured(colours: &[u64], node: usize, neighbours: &[(u32, u32)], salt: u64) -> u64 {
    // A sum, so that the order of the neighbours does not matter; their tags say what order means.
    let around = neighbours.iter().fold(0_u64, |sum, &(other, tag)| {
        sum.wrapping_add(mix(colours[other as usize], u64::from(tag)))
    });
    mix(mix(colours[node], salt), around)
}

/// Steps 2 and 3: the canonical order of a graph whose colours are refined.
fn solve(
    relation: &Relation,
    colours: &[u64],
    sorted: &ByColour,
    work: &mut Work,
    depth: usize,
) -> Result<Vec<u32>, Exhausted> {
    work.spend(relation.size())?;
    if depth > MAX_DEPTH {
        return Err(Exhausted);
    }
    if sorted.classes == relation.nodes() {
        return Ok(sorted.nodes().collect());
    }
    let cells = Cells::new(sorted);
    let kept = edges_that_colours_do_not_say(relation, &cells);
    let parts = components(relation.nodes(), &kept);
    if parts.count == 1 {
        individualise(
            &Relation::new(relation.nodes(), &kept),
            colours,
            &cells,
            work,
            depth,
        )
    } else {
        order_parts(&parts, &kept, colours, work, depth)
    }
}

/// Nodes grouped by colour.
struct Cells {
    /// All nodes, sorted by colour.
    by_colour: Vec<u32>,
    /// The number of each node's cell; cells are numbered by colour.
    of: Vec<u32>,
    /// Where each cell lies in `by_colour`.
    members: Vec<std::ops::Range<usize>>,
}

impl Cells {
    fn new(sorted: &ByColour) -> Self {
        let by_colour: Vec<u32> = sorted.nodes().collect();
        let mut of = vec![0; by_colour.len()];
        let mut members = Vec::with_capacity(sorted.classes);
        let mut start = 0;
        let runs = sorted.pairs.chunk_by(|(a, _), (b, _)| a == b);
        for (cell, run) in (0_u32..).zip(runs) {
            for &(_, node) in run {
                of[node as usize] = cell;
            }
            members.push(start..start + run.len());
            start += run.len();
        }
        Self {
            by_colour,
            of,
            members,
        }
    }

    fn size(&self, cell: u32) -> usize {
        self.members[cell as usize].len()
    }
}

/// Drops the edges between two cells when each node of one is joined to each node of the other by edges of
/// the same tags.
fn edges_that_colours_do_not_say(relation: &Relation, cells: &Cells) -> Vec<Edge> {
    let cell_pair = |edge: &Edge| (cells.of[edge.from as usize], cells.of[edge.to as usize]);
    let ends = |edge: &Edge| (edge.from, edge.to);
    let tags = |bundle: &[Edge]| bundle.iter().map(|edge| edge.tag).collect::<Vec<_>>();
    let mut edges: Vec<Edge> = relation.edges().collect();
    edges.sort_unstable_by_key(|edge| (cell_pair(edge), *edge));
    let mut kept = Vec::with_capacity(edges.len());
    for join in edges.chunk_by(|a, b| cell_pair(a) == cell_pair(b)) {
        let (from, to) = cell_pair(&join[0]);
        let pairs = cells.size(from) * cells.size(to);
        // Checked first, because it is cheap and says no most of the time.
        let enough = join.len() >= pairs;
        let complete = enough && {
            let mut bundles = join.chunk_by(|a, b| ends(a) == ends(b));
            let first = bundles.next().map(tags);
            let rest = bundles.try_fold(1, |count, bundle| {
                (Some(tags(bundle)) == first).then_some(count + 1)
            });
            rest == Some(pairs)
        };
        if !complete {
            kept.extend_from_slice(join);
        }
    }
    kept
}

/// Which part of a graph each node is in.
struct Parts {
    count: usize,
    of: Vec<u32>,
}

/// The connected components, edges taken both ways.
fn components(nodes: usize, edges: &[Edge]) -> Parts {
    fn root(parent: &mut [u32], mut node: u32) -> u32 {
        while parent[node as usize] != node {
            // Halving the path keeps later walks short.
            parent[node as usize] = parent[parent[node as usize] as usize];
            node = parent[node as usize];
        }
        node
    }
    let mut parent: Vec<u32> = (0_u32..).take(nodes).collect();
    for edge in edges {
        let (a, b) = (root(&mut parent, edge.from), root(&mut parent, edge.to));
        // The lower number stays root, so a part's root is its first node.
        parent[a.max(b) as usize] = a.min(b);
    }
    let mut of = vec![0; nodes];
    let mut count = 0;
    for (node, number) in (0_u32..).zip(0..nodes) {
        let root = root(&mut parent, node) as usize;
        of[number] = if root == number {
            count += 1;
            count - 1
        } else {
            of[root]
        };
    }
    Parts {
        count: count as usize,
        of,
    }
}

/// Step 2: orders each part by itself, and the parts by their texts.
fn order_parts(
    parts: &Parts,
    kept: &[Edge],
    colours: &[u64],
    work: &mut Work,
    depth: usize,
) -> Result<Vec<u32>, Exhausted> {
    let mut nodes_of: Vec<Vec<u32>> = vec![Vec::new(); parts.count];
    let mut local = vec![0_u32; colours.len()];
    for ((node, &part), local) in (0_u32..).zip(&parts.of).zip(&mut local) {
        let nodes = &mut nodes_of[part as usize];
        *local = nodes.len() as u32;
        nodes.push(node);
    }
    let mut edges_of: Vec<Vec<Edge>> = vec![Vec::new(); parts.count];
    for edge in kept {
        edges_of[parts.of[edge.from as usize] as usize].push(Edge {
            from: local[edge.from as usize],
            to: local[edge.to as usize],
            tag: edge.tag,
        });
    }
    let mut texts = Vec::new();
    // Nodes alone share rank 0: those of one colour are interchangeable.
    let mut places = vec![(0_usize, 0_usize); colours.len()];
    for (nodes, edges) in nodes_of.iter().zip(&edges_of).filter(|(n, _)| n.len() > 1) {
        let relation = Relation::new(nodes.len(), edges);
        let own: Vec<u64> = nodes.iter().map(|&node| colours[node as usize]).collect();
        let order = solve(&relation, &own, &ByColour::of(&own), work, depth + 1)?;
        texts.push((text(&relation, &own, &order), order, nodes));
    }
    texts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for (rank, (_, order, nodes)) in texts.iter().enumerate() {
        for (place, &node) in order.iter().enumerate() {
            places[nodes[node as usize] as usize] = (rank + 1, place);
        }
    }
    let mut order: Vec<u32> = (0_u32..).take(colours.len()).collect();
    order.sort_unstable_by_key(|&node| (colours[node as usize], places[node as usize]));
    Ok(order)
}

/// Step 3: tries each node of the smallest shared cell as the first one.
fn individualise(
    relation: &Relation,
    colours: &[u64],
    cells: &Cells,
    work: &mut Work,
    depth: usize,
) -> Result<Vec<u32>, Exhausted> {
    let target = (cells.members.iter())
        .filter(|members| members.len() > 1)
        .min_by_key(|members| members.len())
        .cloned()
        // There is one: the caller has returned when all cells have one node.
        .unwrap_or(0..1);
    let mut tries = Vec::with_capacity(target.len());
    for &node in &cells.by_colour[target] {
        let mut refined = colours.to_vec();
        refined[node as usize] = mix(refined[node as usize], CHOSEN);
        refine(relation, &mut refined, work)?;
        let sum = (refined.iter()).fold(0_u64, |sum, &colour| sum.wrapping_add(mix(colour, 0)));
        tries.push((sum, refined));
    }
    let least = tries.iter().map(|(sum, _)| *sum).min();
    let mut best: Option<(Vec<u64>, Vec<u32>)> = None;
    for (_, refined) in tries.iter().filter(|(sum, _)| Some(*sum) == least) {
        let order = solve(relation, refined, &ByColour::of(refined), work, depth + 1)?;
        let text = text(relation, colours, &order);
        if best.as_ref().is_none_or(|(known, _)| text < *known) {
            best = Some((text, order));
        }
    }
    best.map(|(_, order)| order).ok_or(Exhausted)
}

/// A coloured graph written down in an order of its nodes.
fn text(relation: &Relation, colours: &[u64], order: &[u32]) -> Vec<u64> {
    let place = places(order);
    let mut text = Vec::with_capacity(relation.nodes() + relation.size() as usize);
    let mut inputs = Vec::new();
    for &node in order {
        inputs.clear();
        inputs.extend(
            (relation.inputs(node as usize).iter())
                .map(|&(from, tag)| u64::from(tag) << 32 | u64::from(place[from as usize])),
        );
        inputs.sort_unstable();
        text.push(colours[node as usize]);
        text.push(inputs.len() as u64);
        text.extend_from_slice(&inputs);
    }
    text
}

/// The place of every node in an order.
pub(super) fn places(order: &[u32]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, &node) in (0_u32..).zip(order) {
        places[node as usize] = place;
    }
    places
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
