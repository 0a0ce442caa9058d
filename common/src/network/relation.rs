//! Edges of a graph, to be looked up from both of their ends. Pure; knows nothing of networks.

/// Edges of a graph whose nodes are in topological order, grouped by reader and by what is read.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    inputs: Adjacency,
    readers: Adjacency,
}

/// An edge: `to` reads `from` at the place `tag`; places that may be swapped have one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) tag: u32,
}

impl Relation {
    /// A relation over nodes `0..nodes`. Every edge must lead from a lower to a higher number.
    pub(super) fn new(nodes: usize, edges: &[Edge]) -> Self {
        Self {
            inputs: Adjacency::grouped(nodes, edges.iter().map(|e| (e.to, e.from, e.tag))),
            readers: Adjacency::grouped(nodes, edges.iter().map(|e| (e.from, e.to, e.tag))),
        }
    }

    /// The relation in which every node reads what `inputs` says.
    pub(super) fn of_inputs(inputs: Adjacency) -> Self {
        let edges = edges(&inputs).map(|e| (e.from, e.to, e.tag));
        let readers = Adjacency::grouped(inputs.nodes(), edges);
        Self { inputs, readers }
    }

    /// What `node` reads: node and tag, in the order the edges were given.
    pub(super) fn inputs(&self, node: usize) -> &[(u32, u32)] {
        self.inputs.of(node)
    }

    /// Who reads `node`: node and tag.
    pub(super) fn readers(&self, node: usize) -> &[(u32, u32)] {
        self.readers.of(node)
    }

    pub(super) fn nodes(&self) -> usize {
        self.inputs.nodes()
    }

    pub(super) fn edges(&self) -> impl Iterator<Item = Edge> + Clone {
        edges(&self.inputs)
    }

    /// The cost of one visit to everything.
    pub(super) fn size(&self) -> u64 {
        (self.nodes() + self.inputs.ends.len()) as u64
    }
}

fn edges(inputs: &Adjacency) -> impl Iterator<Item = Edge> + Clone {
    (0_u32..).zip(0..inputs.nodes()).flat_map(|(to, node)| {
        (inputs.of(node).iter()).map(move |&(from, tag)| Edge { from, to, tag })
    })
}

/// The neighbours of every node.
#[derive(Clone, Debug)]
pub(super) struct Adjacency {
    /// Node `v`'s neighbours are `ends[start[v]..start[v + 1]]`.
    start: Vec<u32>,
    /// Neighbour and tag.
    ends: Vec<(u32, u32)>,
}

impl Adjacency {
    /// No nodes, with room for some.
    pub(super) fn with_room(nodes: usize, edges: usize) -> Self {
        let mut start = Vec::with_capacity(nodes + 1);
        start.push(0);
        let ends = Vec::with_capacity(edges);
        Self { start, ends }
    }

    /// Adds a node with its neighbours and their tags.
    pub(super) fn push(&mut self, neighbours: impl IntoIterator<Item = (u32, u32)>) {
        self.ends.extend(neighbours);
        // Fits: a network has at most 100,000 edges.
        self.start.push(self.ends.len() as u32);
    }

    /// Groups edges, given as node, neighbour and tag, by their nodes.
    fn grouped(nodes: usize, edges: impl Iterator<Item = (u32, u32, u32)> + Clone) -> Self {
        // Two places ahead: counting moves each number one place, and filling in another.
        let mut start = vec![0_u32; nodes + 2];
        let mut count = 0;
        for (node, ..) in edges.clone() {
            start[node as usize + 2] += 1;
            count += 1;
        }
        for node in 2..start.len() {
            start[node] += start[node - 1];
        }
        let mut ends = vec![(0, 0); count];
        for (node, neighbour, tag) in edges {
            let slot = &mut start[node as usize + 1];
            ends[*slot as usize] = (neighbour, tag);
            *slot += 1;
        }
        start.pop();
        Self { start, ends }
    }

    fn nodes(&self) -> usize {
        self.start.len() - 1
    }

    fn of(&self, node: usize) -> &[(u32, u32)] {
        &self.ends[self.start[node] as usize..self.start[node + 1] as usize]
    }
}
