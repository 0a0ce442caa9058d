//! From the names of nodes to the tree of blocks they come from. A name is the path of a block in the spec
//! (`network.body#2[0].choice.plain[0]`), so the tree needs nothing but the network. Imports the network.

use std::collections::BTreeMap;

use espalier_common::network::Network;
use espalier_common::space::Space;

use super::names::definitions;

/// A node or a block.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Member {
    /// A node of the network, by its id, with the name of the block that holds nothing else.
    Node(usize, Option<String>),
    /// A block.
    Group(Group),
}

/// A block that holds several nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    /// Its name, and what was chosen for it: `["head", "hidden"]`. Empty for a block without either.
    pub(super) title: Vec<String>,
    /// Which rounds of a repeat it stands for: first and last.
    pub(super) rounds: Option<(u64, u64)>,
    /// How many equal blocks in a row it stands for.
    pub(super) times: u64,
    /// What it holds, in the order of the network.
    pub(super) members: Vec<Member>,
}

/// The blocks of a network, with the names that its space has for their definitions.
pub(super) fn blocks(network: &Network, space: Option<&Space>) -> Group {
    let mut tree = Tree::new(space);
    for (id, node) in network.nodes.iter().enumerate() {
        tree.insert(&node.name, id);
    }
    let mut root = Group {
        times: 1,
        ..Group::default()
    };
    for &child in &tree.nodes[ROOT].children {
        // The network's own name stands for all of it, and frames nothing.
        let step = &tree.nodes[child];
        if step.step == Step::Name("network".to_owned()) {
            root.members.extend(tree.group(child).members);
        } else {
            root.members.extend(tree.member(child));
        }
    }
    root
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// `.name`
    Name(String),
    /// `[index]`
    Index(String),
    /// `#round`
    Round(String),
}

/// The paths of all nodes, with what they share told once.
struct Tree<'s> {
    space: Option<&'s Space>,
    nodes: Vec<TreeNode>,
    known: BTreeMap<(usize, Step), usize>,
}

struct TreeNode {
    step: Step,
    parent: usize,
    /// In the order of the network.
    children: Vec<usize>,
    /// The node of the network whose path ends here.
    own: Option<usize>,
}

const ROOT: usize = 0;

impl<'s> Tree<'s> {
    fn new(space: Option<&'s Space>) -> Self {
        Self {
            space,
            nodes: vec![TreeNode {
                step: Step::Name(String::new()),
                parent: ROOT,
                children: Vec::new(),
                own: None,
            }],
            known: BTreeMap::new(),
        }
    }

    /// The names of the definitions that the block at a node of the tree uses.
    fn definitions(&self, at: usize) -> Vec<String> {
        let Some(space) = self.space else {
            return Vec::new();
        };
        let mut path = Vec::new();
        let mut here = at;
        while here != ROOT {
            path.push(&self.nodes[here].step);
            here = self.nodes[here].parent;
        }
        path.reverse();
        // What stands on the edges of a cell is the same on all of them.
        if let [.., Step::Name(word), _] = path[..]
            && word == "edge"
        {
            return Vec::new();
        }
        let names = definitions(space, &path);
        names.into_iter().map(str::to_owned).collect()
    }

    fn insert(&mut self, path: &str, id: usize) {
        let mut at = ROOT;
        for step in steps(path) {
            let key = (at, step);
            at = match self.known.get(&key) {
                Some(&next) => next,
                None => {
                    let next = self.nodes.len();
                    self.nodes.push(TreeNode {
                        step: key.1.clone(),
                        parent: at,
                        children: Vec::new(),
                        own: None,
                    });
                    self.nodes[at].children.push(next);
                    self.known.insert(key, next);
                    next
                }
            };
        }
        self.nodes[at].own = Some(id);
    }

    /// The block at a node of the tree, as small as it can be told: a block of one node is that node, and a
    /// block of one block is that block.
    fn member(&self, at: usize) -> Option<Member> {
        let mut group = self.group(at);
        if group.members.len() > 1 {
            return Some(Member::Group(group));
        }
        Some(match group.members.pop()? {
            Member::Node(id, inner) => {
                // The word of an alternative that is a single node says what the node says.
                let named = matches!(&self.nodes[at].step, Step::Name(_));
                let name = group.title.first().filter(|_| named).cloned();
                Member::Node(id, name.or(inner))
            }
            Member::Group(mut inner) => {
                group.title.append(&mut inner.title);
                Member::Group(Group {
                    title: group.title,
                    rounds: group.rounds.or(inner.rounds),
                    ..inner
                })
            }
        })
    }

    fn group(&self, at: usize) -> Group {
        let node = &self.nodes[at];
        let mut group = Group {
            times: 1,
            ..Group::default()
        };
        match &node.step {
            Step::Name(name) if node.own.is_none() => group.title.push(name.clone()),
            Step::Name(_) => {}
            Step::Index(_) => group.title = self.definitions(at),
            Step::Round(round) => group.rounds = round.parse().ok().map(|round| (round, round)),
        }
        group
            .members
            .extend(node.own.map(|id| Member::Node(id, None)));
        let mut words = Vec::new();
        for &child in &node.children {
            self.add(child, &mut group.members, &mut words);
        }
        // A node may come after those below its name: the projection `shortcut`, after `shortcut.relu`.
        group.members.sort_by_key(first_node);
        group.title.append(&mut words);
        group
    }

    /// Adds what is below a step of a block's path: the words of the language hold lists of blocks, every
    /// other step is a block of its own.
    fn add(&self, at: usize, members: &mut Vec<Member>, words: &mut Vec<String>) {
        let node = &self.nodes[at];
        let mut word = |word: &str| {
            if !words.iter().any(|other| other == word) {
                words.push(word.to_owned());
            }
        };
        match &node.step {
            Step::Name(name) if node.own.is_none() && !node.children.is_empty() => {
                match name.as_str() {
                    "choice" => {
                        for &alternative in &node.children {
                            if let Step::Name(name) = &self.nodes[alternative].step {
                                word(name);
                            }
                            self.add_list(alternative, members);
                        }
                        return;
                    }
                    "optional" | "residual" => {
                        word(name);
                        return self.add_list(at, members);
                    }
                    "branches" => {
                        word(name);
                        for &branch in &node.children {
                            self.add_list(branch, members);
                        }
                        return;
                    }
                    "edge" | "input" | "node" if self.is_numbered(at) => {
                        word("cell");
                        for &part in &node.children {
                            members.extend(self.part_of_cell(name, part));
                        }
                        return;
                    }
                    _ => {}
                }
            }
            Step::Round(_) => word("repeat"),
            _ => {}
        }
        members.extend(self.member(at));
    }

    fn add_list(&self, at: usize, members: &mut Vec<Member>) {
        for &child in &self.nodes[at].children {
            members.extend(self.member(child));
        }
    }

    fn is_numbered(&self, at: usize) -> bool {
        let mut children = self.nodes[at].children.iter();
        children.all(|&child| matches!(self.nodes[child].step, Step::Index(_)))
    }

    /// An edge of a cell, told by the nodes of the cell that it joins; an input or a node, by its number.
    fn part_of_cell(&self, word: &str, at: usize) -> Option<Member> {
        let Step::Index(number) = &self.nodes[at].step else {
            return self.member(at);
        };
        let label = match word {
            "edge" => edge(number),
            other => format!("{other} {number}"),
        };
        Some(match self.member(at)? {
            Member::Node(id, name) => {
                let name = name.map_or(label.clone(), |name| format!("{label} · {name}"));
                Member::Node(id, Some(name))
            }
            Member::Group(mut group) => {
                group.title.insert(0, label);
                Member::Group(group)
            }
        })
    }
}

/// `0 → 2` for `0-2`, and `0 → 2 (2)` for the second edge between the two, `0-2:2`.
fn edge(number: &str) -> String {
    match number.split_once(':') {
        None => number.replace('-', " → "),
        Some((nodes, copy)) => format!("{} ({copy})", nodes.replace('-', " → ")),
    }
}

fn first_node(member: &Member) -> usize {
    match member {
        Member::Node(id, _) => *id,
        Member::Group(group) => group.members.iter().map(first_node).min().unwrap_or(0),
    }
}

/// Whether a word says what a block is rather than what it is called.
pub(super) fn is_kind(word: &str) -> bool {
    KINDS.contains(&word)
}

/// The words that do.
const KINDS: [&str; 5] = ["residual", "branches", "cell", "repeat", "optional"];

pub(super) fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (step, after): (fn(String) -> Step, &str) = match rest.as_bytes()[0] {
            b'[' => (Step::Index, &rest[1..]),
            b'#' => (Step::Round, &rest[1..]),
            b'.' | b']' => (Step::Name, &rest[1..]),
            _ => (Step::Name, rest),
        };
        let end = after.find(['.', '[', '#', ']']).unwrap_or(after.len());
        let word = &after[..end];
        // Between `]` and what follows it there is nothing.
        if !word.is_empty() {
            steps.push(step(word.to_owned()));
        }
        rest = &after[end..];
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_its_marks() {
        let name = |word: &str| Step::Name(word.to_owned());
        let index = |word: &str| Step::Index(word.to_owned());
        assert_eq!(
            steps("network.body#12[0].edge[0-2].choice.plain[3].add"),
            [
                name("network"),
                name("body"),
                Step::Round("12".to_owned()),
                index("0"),
                name("edge"),
                index("0-2"),
                name("choice"),
                name("plain"),
                index("3"),
                name("add"),
            ]
        );
        assert_eq!(steps("][..##"), []);
    }

    #[test]
    fn the_second_edge_between_two_nodes_of_a_cell_says_so() {
        assert_eq!(edge("0-12"), "0 → 12");
        assert_eq!(edge("0-12:2"), "0 → 12 (2)");
    }
}
