//! Places for everything in a scene. Every frame is laid out by itself, the inner ones first, and then stands
//! in the frame around it like a box. Within a frame dagre ranks the boxes, orders them and gives them
//! their place across; wires keep to the gaps between ranks, where nothing stands. May import the scene, the
//! widths of texts and dagre.

use std::collections::BTreeMap;

use dagre::graph::{Graph, GraphOptions};
use dagre::{EdgeLabel, LayoutOptions, NodeLabel};

use super::measure::{INSET, SMALL, box_size};
use super::placed::{Placed, PlacedBox, PlacedFrame, PlacedWire, Point};
use super::scene::{End, Frame, Scene, Stack, Unit, Wire};
use super::text::{Weight, width};

/// Between two ranks: room for an arrow, a frame's title and the shape on a wire.
const RANK_GAP: f64 = 26.0;
/// Between two boxes of a rank.
const BOX_GAP: f64 = 22.0;
/// Between wires that pass through a rank.
const WIRE_GAP: f64 = 14.0;
/// Between the border of a frame and what it holds, at the sides.
const FRAME_SIDE: f64 = 14.0;
/// Above the ports of a frame: its title, which only the straight beginnings of wires cross.
const TITLE_BAND: f64 = 16.0;
/// Between the border and what a frame holds, where wires run straight.
const FRAME_EDGE: f64 = 12.0;
/// A wire that runs straight for so long has room for a shape beside it.
pub(super) const LABEL_ROOM: f64 = 15.0;
/// Differences that are none.
const TOLERANCE: f64 = 0.5;

/// Gives everything a place.
pub(super) fn place(scene: &Scene) -> Placed<'_> {
    // A frame comes before those in it, so backwards every inner frame is there when it is needed.
    let mut done: BTreeMap<usize, Laid<'_>> = BTreeMap::new();
    for (index, frame) in scene.frames.iter().enumerate().rev() {
        let laid = Laying::new(frame, &mut done).lay(index == 0);
        done.insert(index, laid);
    }
    done.remove(&0).map(|laid| laid.placed).unwrap_or_default()
}

/// A frame with everything in it, measured from its own upper left corner.
#[derive(Default)]
struct Laid<'s> {
    placed: Placed<'s>,
    /// Where wires cross its upper border, by source.
    above: BTreeMap<usize, f64>,
    /// Where they cross its lower border.
    below: BTreeMap<usize, f64>,
}

impl Laid<'_> {
    /// Where the main line of the frame runs: in the middle, unless one wire comes in and one goes out.
    fn spine(&self) -> f64 {
        let one = |ports: &BTreeMap<usize, f64>| match ports.len() {
            1 => ports.values().next().copied(),
            _ => None,
        };
        match (one(&self.above), one(&self.below)) {
            (Some(above), Some(below)) => f64::midpoint(above, below),
            _ => self.placed.width / 2.0,
        }
    }
}

/// What stands for a unit while a frame is laid out.
enum Piece<'s> {
    Box(&'s Stack, f64, f64),
    Frame(Laid<'s>),
}

impl Piece<'_> {
    fn size(&self) -> Point {
        match self {
            Self::Box(_, width, height) => (*width, *height),
            Self::Frame(laid) => (laid.placed.width, laid.placed.height),
        }
    }

    /// The distance from its left side to the line that runs through it.
    fn spine(&self) -> f64 {
        match self {
            Self::Box(_, width, _) => width / 2.0,
            Self::Frame(laid) => laid.spine(),
        }
    }
}

struct Laying<'s> {
    frame: &'s Frame,
    pieces: Vec<Piece<'s>>,
}

/// Where dagre has put the nodes of a frame.
struct Found {
    /// The middle of each unit's spine, by unit.
    units: Vec<Point>,
    above: BTreeMap<usize, Point>,
    below: BTreeMap<usize, Point>,
    /// The points between the ends of each wire.
    ways: Vec<Vec<Point>>,
    /// Upper and lower end of each rank, from top to bottom.
    ranks: Vec<(f64, f64)>,
}

impl<'s> Laying<'s> {
    fn new(frame: &'s Frame, done: &mut BTreeMap<usize, Laid<'s>>) -> Self {
        let pieces = frame
            .units
            .iter()
            .map(|unit| match unit {
                Unit::Stack(stack) => {
                    let (width, height) = box_size(stack);
                    Piece::Box(stack, width, height)
                }
                Unit::Frame(index) => Piece::Frame(done.remove(index).unwrap_or_default()),
            })
            .collect();
        Self { frame, pieces }
    }

    fn lay(self, whole: bool) -> Laid<'s> {
        let mut found = self.find();
        self.draw_in_borders(&mut found);
        let wires: Vec<PlacedWire> = self
            .frame
            .wires
            .iter()
            .zip(&found.ways)
            .map(|(wire, way)| self.wire(wire, way, &found))
            .collect();
        let mut laid = Laid::default();
        for ((x, y), piece) in found.units.iter().zip(self.pieces) {
            let (left, top) = (x - piece.spine(), y - piece.size().1 / 2.0);
            add(&mut laid.placed, piece, left, top);
        }
        laid.placed.wires.extend(wires);
        laid.above = across(&found.above);
        laid.below = across(&found.below);
        let upper = found
            .above
            .values()
            .map(|at| at.1)
            .fold(f64::INFINITY, f64::min);
        let lower = found
            .below
            .values()
            .map(|at| at.1)
            .fold(f64::NEG_INFINITY, f64::max);
        enclose(&mut laid, whole, &self.frame.title, (upper, lower));
        laid
    }

    /// Brings both borders nearer where no wire needs the room to run across.
    fn draw_in_borders(&self, found: &mut Found) {
        let Some((highest, lowest)) = found.ranks.first().zip(found.ranks.last()) else {
            return;
        };
        let (highest, lowest) = (highest.0, lowest.1);
        // Whether all wires at one border run straight; one from border to border runs across.
        let straight = |upper: bool| {
            self.frame.wires.iter().all(|wire| {
                let (ports, unit, source) = match (wire.from, wire.to) {
                    (End::Above(source), End::Unit(unit)) if upper => (&found.above, unit, source),
                    (End::Unit(unit), End::Below(source)) if !upper => (&found.below, unit, source),
                    (End::Above(_), End::Below(_)) => return false,
                    _ => return true,
                };
                let across = self.port(unit, source, found, upper).0;
                let port = ports.get(&source);
                port.is_some_and(|port| (port.0 - across).abs() < TOLERANCE)
            })
        };
        let (top_is_straight, bottom_is_straight) = (straight(true), straight(false));
        if top_is_straight {
            for port in found.above.values_mut() {
                port.1 = port.1.max(highest - FRAME_EDGE);
            }
        }
        if bottom_is_straight {
            for port in found.below.values_mut() {
                port.1 = port.1.min(lowest + FRAME_EDGE);
            }
        }
    }

    /// Lets dagre find places.
    fn find(&self) -> Found {
        let mut graph: Graph<NodeLabel, EdgeLabel> = Graph::with_options(GraphOptions {
            directed: true,
            multigraph: true,
            compound: false,
        });
        for (unit, piece) in self.pieces.iter().enumerate() {
            let (width, height) = piece.size();
            let spine = piece.spine();
            // As wide on both sides of the spine, so that the spines of a column are one line.
            let wide = 2.0 * spine.max(width - spine);
            graph.set_node(key(End::Unit(unit)), Some(node(wide, height)));
        }
        for (index, wire) in self.frame.wires.iter().enumerate() {
            for end in [wire.from, wire.to] {
                if !matches!(end, End::Unit(_)) {
                    graph.set_node(key(end), Some(node(2.0, 0.0)));
                }
            }
            let edge = EdgeLabel::default();
            graph.set_edge(
                key(wire.from),
                key(wire.to),
                Some(edge),
                Some(&index.to_string()),
            );
        }
        self.keep_borders(&mut graph);
        dagre::layout(
            &mut graph,
            Some(LayoutOptions {
                nodesep: BOX_GAP,
                edgesep: WIRE_GAP,
                ranksep: RANK_GAP,
                ..LayoutOptions::default()
            }),
        );
        self.read(&graph)
    }

    /// Wires that cross a border do so in one line: dagre ranks what has no rank of its own near its
    /// neighbours, so several ports hang on one node that is not drawn.
    fn keep_borders(&self, graph: &mut Graph<NodeLabel, EdgeLabel>) {
        let ports = |above: bool| {
            let mut ports: Vec<End> = self
                .frame
                .wires
                .iter()
                .flat_map(|wire| [wire.from, wire.to])
                .filter(|end| match end {
                    End::Above(_) => above,
                    End::Below(_) => !above,
                    End::Unit(_) => false,
                })
                .collect();
            ports.sort_unstable();
            ports.dedup();
            ports
        };
        let tight = || EdgeLabel {
            weight: 1_000,
            ..EdgeLabel::default()
        };
        let above = ports(true);
        if above.len() > 1 {
            graph.set_node("top", Some(node(0.0, 0.0)));
            for &port in &above {
                graph.set_edge("top", key(port), Some(tight()), None);
            }
        }
        let below = ports(false);
        if below.len() > 1 {
            graph.set_node("bottom", Some(node(0.0, 0.0)));
            for &port in &below {
                graph.set_edge(key(port), "bottom", Some(tight()), None);
            }
        }
    }

    fn read(&self, graph: &Graph<NodeLabel, EdgeLabel>) -> Found {
        let at = |end: End| {
            let node = graph.node(&key(end));
            node.and_then(|node| node.x.zip(node.y)).unwrap_or_default()
        };
        let units: Vec<Point> = (0..self.pieces.len())
            .map(|unit| at(End::Unit(unit)))
            .collect();
        let (mut above, mut below) = (BTreeMap::new(), BTreeMap::new());
        let mut ways = Vec::with_capacity(self.frame.wires.len());
        for (index, wire) in self.frame.wires.iter().enumerate() {
            if let End::Above(source) = wire.from {
                above.insert(source, at(wire.from));
            }
            if let End::Below(source) = wire.to {
                below.insert(source, at(wire.to));
            }
            let edge = graph.edge(&key(wire.from), &key(wire.to), Some(&index.to_string()));
            let points = edge.map(|edge| edge.points.as_slice()).unwrap_or_default();
            let inner = points.len().saturating_sub(1);
            ways.push(
                points
                    .iter()
                    .take(inner)
                    .skip(1)
                    .map(|point| (point.x, point.y))
                    .collect(),
            );
        }
        let heights = units
            .iter()
            .zip(&self.pieces)
            .map(|(at, piece)| (at.1, piece.size().1));
        Found {
            ranks: ranks(heights),
            units,
            above,
            below,
            ways,
        }
    }

    /// The way of a wire: straight down through the ranks, across only between them.
    fn wire(&self, wire: &Wire, way: &[Point], found: &Found) -> PlacedWire {
        let (start, mut label) = match wire.from {
            End::Above(source) | End::Below(source) => (found.above.get(&source).copied(), None),
            End::Unit(unit) => (
                Some(self.port(unit, wire.source, found, false)),
                self.label(unit),
            ),
        };
        let end = match wire.to {
            End::Above(source) | End::Below(source) => found.below.get(&source).copied(),
            End::Unit(unit) => Some(self.port(unit, wire.source, found, true)),
        };
        // The shape is told once, by the first of the wires from a box.
        let first = self
            .frame
            .wires
            .iter()
            .find(|other| other.from == wire.from);
        if first.is_some_and(|first| first != wire) {
            label = None;
        }
        let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
        let mut points = Vec::new();
        if matches!(wire.from, End::Above(_)) {
            points.push((start.0, start.1 - TITLE_BAND));
        }
        points.push(start);
        // A box that is lower than its rank stands in the middle of it.
        points.extend(rank_at(&found.ranks, start.1).map(|(_, lower)| (start.0, lower)));
        for &(x, y) in way {
            if let Some((upper, lower)) = rank_at(&found.ranks, y) {
                points.extend([(x, upper), (x, lower)]);
            }
        }
        points.extend(rank_at(&found.ranks, end.1).map(|(upper, _)| (end.0, upper)));
        points.push(end);
        points.dedup_by(|a, b| (a.0 - b.0).abs() < TOLERANCE && (a.1 - b.1).abs() < TOLERANCE);
        PlacedWire {
            points,
            arrow: matches!(wire.to, End::Unit(unit) if matches!(self.pieces[unit], Piece::Box(..))),
            label,
        }
    }

    /// Where a wire leaves a unit at its lower side, or reaches it at its upper one.
    fn port(&self, unit: usize, source: usize, found: &Found, upper: bool) -> Point {
        let (piece, (x, y)) = (&self.pieces[unit], found.units[unit]);
        let half = piece.size().1 / 2.0;
        let across = match piece {
            Piece::Box(..) => x,
            Piece::Frame(laid) => {
                let ports = if upper { &laid.above } else { &laid.below };
                x - piece.spine() + ports.get(&source).copied().unwrap_or(piece.spine())
            }
        };
        (across, if upper { y - half } else { y + half })
    }

    fn label(&self, unit: usize) -> Option<String> {
        match self.pieces[unit] {
            Piece::Box(stack, ..) => stack.gives.clone(),
            Piece::Frame(_) => None,
        }
    }
}

fn across(ports: &BTreeMap<usize, Point>) -> BTreeMap<usize, f64> {
    ports.iter().map(|(&source, at)| (source, at.0)).collect()
}

fn key(end: End) -> String {
    match end {
        End::Above(source) => format!("above {source}"),
        End::Unit(unit) => format!("unit {unit}"),
        End::Below(source) => format!("below {source}"),
    }
}

fn node(width: f64, height: f64) -> NodeLabel {
    NodeLabel {
        width,
        height,
        ..NodeLabel::default()
    }
}

/// The ranks from the middles and heights of what stands in them.
fn ranks(units: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut units: Vec<_> = units.collect();
    units.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranks: Vec<(f64, f64)> = Vec::new();
    for (middle, height) in units {
        let (upper, lower) = (middle - height / 2.0, middle + height / 2.0);
        match ranks.last_mut() {
            Some(last) if ((last.0 + last.1) / 2.0 - middle).abs() < TOLERANCE => {
                *last = (last.0.min(upper), last.1.max(lower));
            }
            _ => ranks.push((upper, lower)),
        }
    }
    ranks
}

fn rank_at(ranks: &[(f64, f64)], y: f64) -> Option<(f64, f64)> {
    let rank = |&&(upper, lower): &&(f64, f64)| upper - TOLERANCE <= y && y <= lower + TOLERANCE;
    ranks.iter().find(rank).copied()
}

/// Puts a piece with everything in it at its place.
fn add<'s>(placed: &mut Placed<'s>, piece: Piece<'s>, left: f64, top: f64) {
    match piece {
        Piece::Box(stack, width, height) => placed.boxes.push(PlacedBox {
            left,
            top,
            width,
            height,
            stack,
        }),
        Piece::Frame(laid) => {
            let mut inner = laid.placed;
            inner.shift(left, top);
            for frame in &mut inner.frames {
                frame.depth += 1;
            }
            placed.boxes.append(&mut inner.boxes);
            placed.frames.append(&mut inner.frames);
            placed.wires.append(&mut inner.wires);
        }
    }
}

/// Draws the frame around what is in it: at the ports above and below, and with room at the sides.
fn enclose(laid: &mut Laid<'_>, whole: bool, title: &str, ports: (f64, f64)) {
    let placed = &mut laid.placed;
    let (mut left, mut right) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut top, mut bottom) = ports;
    for one in &placed.boxes {
        (left, right) = (left.min(one.left), right.max(one.left + one.width));
        (top, bottom) = (top.min(one.top), bottom.max(one.top + one.height));
    }
    for frame in &placed.frames {
        (left, right) = (left.min(frame.left), right.max(frame.left + frame.width));
        (top, bottom) = (top.min(frame.top), bottom.max(frame.top + frame.height));
    }
    for &(x, _) in placed.wires.iter().flat_map(|wire| &wire.points) {
        (left, right) = (left.min(x), right.max(x));
    }
    if !whole {
        top -= TITLE_BAND;
    }
    if !left.is_finite() {
        return;
    }
    let side = if whole { 0.0 } else { FRAME_SIDE };
    let title_width = width(title, SMALL, Weight::Bold) + 2.0 * INSET;
    let wide = (right - left + 2.0 * side).max(title_width);
    placed.shift(side - left, -top);
    for port in laid.above.values_mut().chain(laid.below.values_mut()) {
        *port += side - left;
    }
    placed.width = wide;
    placed.height = bottom - top;
    if !whole {
        placed.frames.insert(
            0,
            PlacedFrame {
                left: 0.0,
                top: 0.0,
                width: wide,
                height: placed.height,
                title: title.to_owned(),
                crossings: laid.above.values().copied().collect(),
                depth: 0,
            },
        );
    }
}
