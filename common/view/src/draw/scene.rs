//! What a drawing shows, before anything has a place: frames that hold boxes and other frames, and the wires
//! between them. Imports the network and the folded tree of blocks.
//!
//! A wire that crosses the border of a frame is one wire in each frame on its way: to the border on one side
//! of it, from the border on the other. So every frame can be laid out by itself.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::network::{Network, Shape};
use espalier_common::space::Space;

use super::blocks::{Group, Member, blocks, is_kind};
use super::fold::{Folded, fold};
use super::words::{Kind, Words, shape, words};
use super::{CannotDraw, MAX_BOXES};

/// A drawing without places. Frame 0 is the network.
#[derive(Debug)]
pub(super) struct Scene {
    /// A frame comes before the frames that it holds.
    pub(super) frames: Vec<Frame>,
    /// The wires from box to box.
    pub(super) edges: Vec<Edge>,
}

/// A wire from box to box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// The frame and the unit in it that it comes from.
    pub(super) from: (usize, usize),
    /// The frame and the unit in it that it goes to.
    pub(super) to: (usize, usize),
    /// The node whose output it carries.
    pub(super) source: usize,
}

/// A block that holds several boxes.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Its name.
    pub(super) title: String,
    /// What it holds, in the order of the network.
    pub(super) units: Vec<Unit>,
    /// Between its units, and between them and its border.
    pub(super) wires: BTreeSet<Wire>,
}

/// What a frame holds.
#[derive(Debug)]
pub(super) enum Unit {
    /// A box.
    Stack(Stack),
    /// Another frame, by its index.
    Frame(usize),
}

/// A chain of nodes in one box.
#[derive(Debug, Default)]
pub(super) struct Stack {
    /// The name of the block that it is all of.
    pub(super) caption: String,
    /// Its nodes, each reading the one above it alone.
    pub(super) rows: Vec<Row>,
    /// The shape of what it gives, when that is not what it takes.
    pub(super) gives: Option<String>,
}

/// A node in a box.
#[derive(Debug)]
pub(super) struct Row {
    /// What it computes.
    pub(super) words: Words,
    /// The name that its block has in the spec.
    pub(super) name: String,
    /// The shape of its output, where it is news.
    pub(super) shape: Option<String>,
}

/// Where a wire begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// At the frame's upper border, coming from this node.
    Above(usize),
    /// At a unit of the frame.
    Unit(usize),
    /// At the frame's lower border, coming from this node.
    Below(usize),
}

/// A wire within a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wire {
    /// Where it begins.
    pub(super) from: End,
    /// Where it ends.
    pub(super) to: End,
    /// The node whose output it carries.
    pub(super) source: usize,
}

impl Scene {
    /// The scene of a network, with the names of its space.
    pub(super) fn of(network: &Network, space: Option<&Space>) -> Result<Self, CannotDraw> {
        let ordered = |(id, node): (usize, &espalier_common::network::Node)| {
            node.inputs.iter().all(|&input| input < id)
        };
        if network.output >= network.nodes.len() || !network.nodes.iter().enumerate().all(ordered) {
            return Err(CannotDraw::Invalid(
                "a node reads one that does not come before it, or the output is no node"
                    .to_owned(),
            ));
        }
        let folded = fold(network, blocks(network, space));
        let mut staging = Staging::new(network, &folded);
        staging.frame(&folded.root, None);
        staging.output();
        let boxes = staging.boxes();
        if boxes > MAX_BOXES {
            return Err(CannotDraw::TooLarge { boxes });
        }
        let edges = staging.wires();
        Ok(Self {
            frames: staging.frames,
            edges,
        })
    }
}

impl Frame {
    /// How often a wire of the frame passes a rank of boxes on its way: each time takes the layout as much work
    /// as a box does.
    pub(super) fn passes(&self) -> usize {
        let mut ranks: BTreeMap<End, usize> = BTreeMap::new();
        // Wires are in the order of the units they come from, and those are in the order of the network.
        for wire in &self.wires {
            let rank = ranks.get(&wire.from).copied().unwrap_or(0) + 1;
            let to = ranks.entry(wire.to).or_default();
            *to = rank.max(*to);
        }
        let rank = |end: &End| ranks.get(end).copied().unwrap_or(0);
        let passed = |wire: &Wire| rank(&wire.to).saturating_sub(rank(&wire.from) + 1);
        self.wires.iter().map(passed).sum()
    }
}

/// A scene that is being made.
struct Staging<'n> {
    network: &'n Network,
    /// The wires to draw, from node to node.
    edges: BTreeSet<(usize, usize)>,
    /// By node, how many read it, and which nodes it reads.
    readers: BTreeMap<usize, usize>,
    reads: BTreeMap<usize, Vec<usize>>,
    drawn_output: usize,
    frames: Vec<Frame>,
    /// By frame, the frame around it and its place there.
    around: Vec<Option<(usize, usize)>>,
    /// By node, the frame and the unit that shows it.
    home: BTreeMap<usize, (usize, usize)>,
}

impl<'n> Staging<'n> {
    fn new(network: &'n Network, folded: &Folded) -> Self {
        let drawn = |id: usize| folded.drawn_as[id];
        let mut edges = BTreeSet::new();
        for (id, node) in network.nodes.iter().enumerate() {
            if drawn(id) == id {
                edges.extend(node.inputs.iter().map(|&input| (drawn(input), id)));
            }
        }
        let drawn_output = drawn(network.output);
        let mut readers = BTreeMap::from([(drawn_output, 1)]);
        let mut reads: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for &(from, to) in &edges {
            *readers.entry(from).or_default() += 1;
            reads.entry(to).or_default().push(from);
        }
        Self {
            network,
            edges,
            readers,
            reads,
            drawn_output,
            frames: Vec::new(),
            around: Vec::new(),
            home: BTreeMap::new(),
        }
    }

    /// Makes the frame of a block and gives its index.
    fn frame(&mut self, group: &Group, around: Option<(usize, usize)>) -> usize {
        let frame = self.frames.len();
        self.frames.push(Frame {
            title: title(group),
            ..Frame::default()
        });
        self.around.push(around);
        let mut stack: Vec<(usize, &Option<String>)> = Vec::new();
        for member in &group.members {
            match member {
                Member::Node(id, name) => {
                    if !stack
                        .last()
                        .is_some_and(|&(above, _)| self.continues(above, *id))
                    {
                        self.finish(frame, &mut stack, String::new());
                    }
                    stack.push((*id, name));
                }
                Member::Group(inner) => {
                    self.finish(frame, &mut stack, String::new());
                    self.inner(frame, inner);
                }
            }
        }
        self.finish(frame, &mut stack, String::new());
        frame
    }

    /// Puts a block into a frame: one that is a single chain becomes a box with a caption.
    fn inner(&mut self, frame: usize, group: &Group) {
        let mut chain: Vec<(usize, &Option<String>)> = Vec::new();
        for member in &group.members {
            match member {
                Member::Node(id, name)
                    if chain
                        .last()
                        .is_none_or(|&(above, _)| self.continues(above, *id)) =>
                {
                    chain.push((*id, name));
                }
                _ => {
                    let place = self.frames[frame].units.len();
                    // Its place is taken before it is made, since it knows what is around it.
                    self.frames[frame].units.push(Unit::Frame(0));
                    let made = self.frame(group, Some((frame, place)));
                    self.frames[frame].units[place] = Unit::Frame(made);
                    return;
                }
            }
        }
        self.finish(frame, &mut chain, title(group));
    }

    /// Whether a node reads the one above it alone, and is its only reader.
    fn continues(&self, above: usize, id: usize) -> bool {
        self.reads
            .get(&id)
            .is_some_and(|reads| reads[..] == [above])
            && self.readers.get(&above) == Some(&1)
            && above != 0
    }

    /// Makes a box of a chain of nodes.
    fn finish(&mut self, frame: usize, chain: &mut Vec<(usize, &Option<String>)>, caption: String) {
        let (Some(&(first, _)), Some(&(last, _))) = (chain.first(), chain.last()) else {
            return;
        };
        let place = self.frames[frame].units.len();
        let rows = chain
            .drain(..)
            .enumerate()
            .map(|(index, (id, name))| {
                self.home.insert(id, (frame, place));
                let node = &self.network.nodes[id];
                let news = index == 0 || self.input_shape(id) != Some(&node.shape);
                Row {
                    words: words(&node.op),
                    name: name.clone().unwrap_or_default(),
                    shape: news.then(|| shape(&node.shape)),
                }
            })
            .collect();
        let given = &self.network.nodes[last].shape;
        // The box of the input says its shape and nothing else.
        let input = self.input_shape(first);
        let gives = input.filter(|input| *input != given).map(|_| shape(given));
        self.frames[frame].units.push(Unit::Stack(Stack {
            caption,
            rows,
            gives,
        }));
    }

    /// The shape of the first input of a node.
    fn input_shape(&self, id: usize) -> Option<&'n Shape> {
        let input = *self.network.nodes[id].inputs.first()?;
        Some(&self.network.nodes[input].shape)
    }

    /// The end of the network, as one more box.
    fn output(&mut self) {
        let node = &self.network.nodes[self.drawn_output];
        let end = self.network.nodes.len();
        self.home.insert(end, (0, self.frames[0].units.len()));
        self.edges.insert((self.drawn_output, end));
        self.frames[0].units.push(Unit::Stack(Stack {
            rows: vec![Row {
                words: Words {
                    title: "output".to_owned(),
                    settings: String::new(),
                    kind: Kind::Ends,
                },
                name: String::new(),
                shape: Some(shape(&node.shape)),
            }],
            ..Stack::default()
        }));
    }

    fn boxes(&self) -> usize {
        self.frames.iter().map(|frame| frame.units.len()).sum()
    }

    /// Leads every wire through the frames on its way.
    fn wires(&mut self) -> Vec<Edge> {
        let mut edges = Vec::with_capacity(self.edges.len());
        for (source, to) in std::mem::take(&mut self.edges) {
            let (Some(&from), Some(&to)) = (self.home.get(&source), self.home.get(&to)) else {
                continue;
            };
            // Within one box the rows show it.
            if from != to {
                let edge = Edge { from, to, source };
                self.wire(edge);
                edges.push(edge);
            }
        }
        edges
    }

    fn wire(&mut self, edge: Edge) {
        let source = edge.source;
        let (mut below, mut above) = (self.way_out(edge.from), self.way_out(edge.to));
        // What is around both of them does not see the wire.
        while below.last() == above.last() && !below.is_empty() {
            below.pop();
            above.pop();
        }
        let (Some((meeting, from)), Some((_, to))) = (below.pop(), above.pop()) else {
            return;
        };
        let mut add = |frame: usize, from, to| {
            self.frames[frame].wires.insert(Wire { from, to, source });
        };
        add(meeting, End::Unit(from), End::Unit(to));
        for (frame, unit) in below {
            add(frame, End::Unit(unit), End::Below(source));
        }
        for (frame, unit) in above {
            add(frame, End::Above(source), End::Unit(unit));
        }
    }

    /// The frames around a unit, the innermost first, each with the unit in it.
    fn way_out(&self, unit: (usize, usize)) -> Vec<(usize, usize)> {
        let mut way = vec![unit];
        while let Some(around) = way.last().and_then(|&(frame, _)| self.around[frame]) {
            way.push(around);
        }
        way
    }
}

/// What stands on a frame: `body · plain × 3`, `round 2 · plain`.
fn title(group: &Group) -> String {
    let repeated = group.times > 1 || group.rounds.is_some();
    let named = group.title.iter().any(|word| !is_kind(word));
    // What a block is matters where it has no name; that it is repeated, its number says.
    let idle = |word: &str| is_kind(word) && (named || (repeated && word == "repeat"));
    let mut words: Vec<&String> = group.title.iter().filter(|word| !idle(word)).collect();
    // An alternative may be called as the definition that it is.
    words.dedup();
    let mut parts: Vec<String> = match group.rounds {
        Some((first, last)) if first == last => vec![format!("round {first}")],
        Some((first, last)) => vec![format!("rounds {first}–{last}")],
        None => Vec::new(),
    };
    parts.extend(words.into_iter().cloned());
    let name = parts.join(" · ");
    match (group.times, name.is_empty()) {
        (1, _) => name,
        (times, true) => format!("× {times}"),
        (times, false) => format!("{name}  × {times}"),
    }
}
