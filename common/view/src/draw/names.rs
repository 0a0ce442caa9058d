//! The definitions that blocks use, found by the path of a block: a path says where a block stands, and only
//! the space says what it is called under `blocks:`. Imports the space.

use espalier_common::space::{Block, BlockKind, Body, Space};

use super::blocks::Step;

/// Where a walk along a path is.
#[derive(Clone, Copy)]
enum Place<'s> {
    /// At a list, of which the next step names a block.
    List(&'s [Block]),
    /// At a block.
    Block(&'s Block),
}

/// The names of the definitions that the block at a path uses, the outer one first.
pub(super) fn definitions<'s>(space: &'s Space, path: &[&Step]) -> Vec<&'s str> {
    let mut names = Vec::new();
    if let Some(Place::Block(mut block)) = walk(space, path) {
        // A definition may be nothing but the use of another one. As many as there are end every ring.
        for _ in 0..=space.blocks.len() {
            let BlockKind::Use(used) = &block.kind else {
                break;
            };
            names.push(used.block.as_str());
            match space.blocks.get(&used.block).map(|one| body(&one.body)) {
                Some(Place::Block(inner)) => block = inner,
                _ => break,
            }
        }
    }
    names
}

fn walk<'s>(space: &'s Space, path: &[&Step]) -> Option<Place<'s>> {
    let (first, mut rest) = path.split_first()?;
    if **first != Step::Name("network".to_owned()) {
        return None;
    }
    let mut place = Place::List(space.network.as_deref()?);
    while let Some((step, after)) = rest.split_first() {
        let (next, used) = match place {
            Place::List(blocks) => (Place::Block(member(blocks, step)?), 1),
            Place::Block(block) => inside(space, block, step, after.first().copied())?,
        };
        place = next;
        rest = rest.get(used..)?;
    }
    Some(place)
}

/// The block of a list that a step names.
fn member<'s>(blocks: &'s [Block], step: &Step) -> Option<&'s Block> {
    match step {
        Step::Name(name) => blocks
            .iter()
            .find(|block| block.name.as_ref() == Some(name)),
        Step::Index(index) => blocks.get(index.parse::<usize>().ok()?),
        Step::Round(_) => None,
    }
}

/// What a block holds at the next step or two, and how many steps that took.
fn inside<'s>(
    space: &'s Space,
    block: &'s Block,
    step: &Step,
    after: Option<&Step>,
) -> Option<(Place<'s>, usize)> {
    let word = match step {
        Step::Name(word) => word.as_str(),
        Step::Index(_) | Step::Round(_) => "",
    };
    Some(match (&block.kind, word, after) {
        (BlockKind::Choice(alternatives), "choice", Some(Step::Name(name))) => {
            let taken = alternatives.iter().find(|one| one.name == *name)?;
            (Place::List(&taken.blocks), 2)
        }
        (BlockKind::Optional(blocks), "optional", _)
        | (BlockKind::Residual(blocks), "residual", _) => (Place::List(blocks), 1),
        (BlockKind::Shortcut(both), "residual", _) => (Place::List(&both.body), 1),
        (BlockKind::Shortcut(both), "shortcut", _) => (Place::List(&both.shortcut), 1),
        (BlockKind::Branches(branches), "branches", Some(Step::Index(index))) => (
            Place::List(branches.of.get(index.parse::<usize>().ok()?)?),
            2,
        ),
        (BlockKind::Cell(cell), "edge", Some(Step::Index(_))) => (body(&cell.edge), 2),
        (BlockKind::Repeat(repeat), _, _) if matches!(step, Step::Round(_)) => {
            (Place::List(&repeat.block), 1)
        }
        (BlockKind::Sequence(blocks), _, _) => (Place::Block(member(blocks, step)?), 1),
        (BlockKind::Use(used), _, _) => match body(&space.blocks.get(&used.block)?.body) {
            Place::List(blocks) => (Place::Block(member(blocks, step)?), 1),
            // The one block of a definition has the path of its use.
            Place::Block(inner) if matches!(inner.kind, BlockKind::Use(_)) => return None,
            Place::Block(inner) => return inside(space, inner, step, after),
        },
        _ => return None,
    })
}

fn body(body: &Body) -> Place<'_> {
    match body {
        Body::One(block) if block.name.is_none() => Place::Block(block),
        body => Place::List(body.blocks()),
    }
}
