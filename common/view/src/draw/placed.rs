//! A drawing whose parts have places. Imports the scene.

use super::scene::Stack;

/// A point.
pub(super) type Point = (f64, f64);

/// A box in its place.
#[derive(Debug)]
pub(super) struct PlacedBox<'s> {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) stack: &'s Stack,
}

/// A frame in its place.
#[derive(Debug)]
pub(super) struct PlacedFrame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) title: String,
    /// Where wires cross its upper border, from its left side.
    pub(super) crossings: Vec<f64>,
    /// How many frames are around it.
    pub(super) depth: usize,
}

/// A wire in its place.
#[derive(Debug)]
pub(super) struct PlacedWire {
    /// From top to bottom.
    pub(super) points: Vec<Point>,
    /// Whether it ends at a box, with an arrow.
    pub(super) arrow: bool,
    /// What stands beside its beginning.
    pub(super) label: Option<String>,
}

/// A drawing.
#[derive(Debug, Default)]
pub(super) struct Placed<'s> {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) boxes: Vec<PlacedBox<'s>>,
    /// Outer ones before inner ones.
    pub(super) frames: Vec<PlacedFrame>,
    pub(super) wires: Vec<PlacedWire>,
}

impl Placed<'_> {
    /// Moves everything.
    pub(super) fn shift(&mut self, x: f64, y: f64) {
        for one in &mut self.boxes {
            one.left += x;
            one.top += y;
        }
        for frame in &mut self.frames {
            frame.left += x;
            frame.top += y;
        }
        for point in self.wires.iter_mut().flat_map(|wire| &mut wire.points) {
            point.0 += x;
            point.1 += y;
        }
    }
}
