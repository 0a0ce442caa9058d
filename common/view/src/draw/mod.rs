//! Drawings of networks, top to bottom: nodes grouped into frames by the blocks they come from, equal blocks
//! in a row folded into one, chains of nodes stacked into one box. May import the network, dagre and serde.
//!
//! A drawing is made in steps, one file each: node names become a tree of blocks ([`mod@blocks`]), equal
//! blocks are folded ([`mod@fold`]), what is left becomes units and the wires between them ([`mod@scene`]),
//! every frame is laid out by itself ([`mod@layout`]), and the result is written as [`mod@svg`]. DOT
//! ([`mod@dot`]) is written from the scene, without a layout.

mod blocks;
mod dot;
mod fold;
mod layout;
mod measure;
mod names;
mod placed;
mod scene;
mod svg;
mod text;
mod words;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use espalier_common::network::Network;
use espalier_common::space::Space;

/// The most boxes of one drawing, folded blocks counted once: beyond, nobody sees anything in it, and the
/// layout takes minutes.
pub const MAX_BOXES: usize = 2_000;

/// The most often that wires of one drawing pass a rank of boxes: about a second's work for the layout.
pub const MAX_PASSES: usize = 5_000;

/// What stands above a drawing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heading {
    /// What it shows.
    pub title: String,
    /// More about it, smaller.
    pub subtitle: String,
}

/// Why a network cannot be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotDraw {
    /// More boxes than anybody can see.
    #[error(
        "the drawing would have {boxes} boxes after folding equal blocks, more than the {MAX_BOXES} that a person can follow"
    )]
    TooLarge {
        /// How many.
        boxes: usize,
    },
    /// More wires side by side than anybody can follow.
    #[error(
        "its wires would pass {passes} times by other boxes, more than the {MAX_PASSES} times that a drawing can show; DOT is written without a layout"
    )]
    TooTangled {
        /// How often.
        passes: usize,
    },
    /// A network from outside that is none.
    #[error("it is no network: {0}")]
    Invalid(String),
}

/// A network as an SVG document. With the space that it is of, blocks without a name of their own have that
/// of the definition they use.
///
/// # Errors
/// [`CannotDraw`] when the network is damaged or too large to be seen.
pub fn svg(
    network: &Network,
    space: Option<&Space>,
    heading: &Heading,
) -> Result<String, CannotDraw> {
    let scene = scene::Scene::of(network, space)?;
    let passes = scene.frames.iter().map(scene::Frame::passes).sum();
    if passes > MAX_PASSES {
        return Err(CannotDraw::TooTangled { passes });
    }
    Ok(svg::write(&layout::place(&scene), heading))
}

/// A network in the DOT language of Graphviz, with the names as in [`svg`].
///
/// # Errors
/// [`CannotDraw`] when the network is damaged or too large to be seen.
pub fn dot(
    network: &Network,
    space: Option<&Space>,
    heading: &Heading,
) -> Result<String, CannotDraw> {
    Ok(dot::write(&scene::Scene::of(network, space)?, heading))
}
