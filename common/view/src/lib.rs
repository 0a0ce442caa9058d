//! Spaces, candidates and networks as people see them: the tree of decisions, what a sample of a space
//! holds, what differs between two candidates, and drawings. Pure: it turns the words of
//! `espalier-common` into text, and imports them, the layout of graphs (dagre) and serde; no I/O, no clock.

pub mod diff;
pub mod draw;
pub mod sample;
pub mod survey;
pub mod tree;
