//! Reads the blocks that connect others: cells, uses of definitions, and earlier outputs.

use std::collections::BTreeMap;

use super::blocks::MAX_BRANCHES;
use super::names::UseOf;
use super::reader::{At, Fields, Reader, is_decision};
use super::scalar::Kind;
use crate::candidate::Value;
use crate::space::{
    BlockKind, Cell, CellOutput, Inputs, Join, MAX_SETS, Setting, Use, combinations_count,
    multisets_count,
};

impl Reader<'_> {
    pub(super) fn cell(&mut self, fields: &Fields<'_>) -> Option<BlockKind> {
        let nodes: Option<u64> = self.scalar(fields, "nodes");
        let inputs = self.scalar(fields, "inputs").unwrap_or(1);
        let choose: Option<u64> = self.scalar(fields, "choose");
        let distinct = self.scalar(fields, "distinct").unwrap_or(true);
        let output = match self.text(fields, "output").as_deref() {
            Some("concat") => CellOutput::Concat,
            Some("loose") => CellOutput::Loose,
            _ => CellOutput::Last,
        };
        let channels = self.setting(fields, "channels");
        let reduction = self.setting_or(fields, "reduction", false);
        let edge = fields.get("edge").and_then(|at| {
            self.names.edges += 1;
            let edge = self.body(at);
            self.names.edges -= 1;
            edge
        });
        let cell = Cell {
            nodes: nodes?,
            inputs,
            choose,
            distinct,
            edge: edge?,
            output,
            channels,
            reduction,
        };
        self.check_cell(fields, &cell);
        Some(BlockKind::Cell(Box::new(cell)))
    }

    fn check_cell(&mut self, fields: &Fields<'_>, cell: &Cell) {
        let &Cell {
            nodes,
            inputs,
            distinct,
            ..
        } = cell;
        if let Some(at) = fields.get("nodes").filter(|_| nodes <= inputs) {
            let message = format!(
                "a cell of {nodes} nodes, {inputs} of them inputs, has nothing to compute; nodes are counted with the inputs"
            );
            self.wrong(at, message);
            return;
        }
        let (Some(choose), Some(at)) = (cell.choose, fields.get("choose")) else {
            if let Some(at) = fields.get("distinct").filter(|_| !distinct) {
                self.wrong(at, "without `choose` each node takes all nodes before it, each once; give it, or leave this out".to_owned());
            }
            return;
        };
        // The last node has the most to choose from.
        let most = nodes - 1;
        let sets = (inputs..nodes)
            .map(|node| match distinct {
                true => combinations_count(node, choose),
                false => multisets_count(node, choose),
            })
            .max();
        if distinct && choose >= most {
            self.wrong(at, format!("no node has more than {most} nodes before it, so this chooses nothing; leave it out"));
        } else if sets.is_some_and(|sets| sets > MAX_SETS as u128) {
            self.wrong(at, format!("the last node would have more than {MAX_SETS} sets of {choose} nodes to choose among"));
        }
    }

    /// `use:` with what stands beside it.
    pub(super) fn use_of(
        &mut self,
        at: &At<'_>,
        with: Option<&At<'_>>,
        shared: Option<&At<'_>>,
    ) -> Option<BlockKind> {
        let shared = match shared.map(|at| self.value(at, Kind::Flag)) {
            None => false,
            Some(flag) => flag? == Value::Boolean(true),
        };
        let Value::Text(block) = self.value(at, Kind::Name)? else {
            return None;
        };
        let Some(header) = self.names.definitions.get(&block) else {
            let known = self.names.definitions.keys().map(String::as_str);
            let suggestion = self.nearest(&block, known);
            let message = format!("there is no block {block:?} under `blocks:`");
            self.error_near(at.place, &at.path, message, suggestion);
            return None;
        };
        let parameters = header.parameters.clone();
        self.names.uses.push(UseOf {
            block: block.clone(),
            inside: self.names.inside.clone(),
            shared,
            place: at.place,
            path: at.path.to_string(),
        });
        let with = self.arguments(at, &block, &parameters, with)?;
        Some(BlockKind::Use(Use {
            block,
            with,
            shared,
        }))
    }

    /// The arguments of a use: one for each parameter.
    fn arguments(
        &mut self,
        at: &At<'_>,
        block: &str,
        parameters: &[String],
        with: Option<&At<'_>>,
    ) -> Option<BTreeMap<String, Setting<Value>>> {
        let entries = with.map_or(Some(Vec::new()), At::entries);
        let Some(entries) = entries else {
            let message = "values for the parameters are expected here, as {channels: 16}";
            with.iter().for_each(|with| self.wrong(with, message));
            return None;
        };
        let before = self.mistakes();
        let mut arguments = BTreeMap::new();
        for (key, entry) in entries {
            if !parameters.iter().any(|parameter| *parameter == key.text) {
                let suggestion = self.nearest(&key.text, parameters.iter().map(String::as_str));
                let message = format!("`{block}` has no such parameter");
                self.error_near(key.place, &entry.path, message, suggestion);
            } else if let Some(setting) = self.setting_at(&entry, Kind::Any) {
                self.argument(&entry, block, &key.text, &setting);
                arguments.insert(key.text.clone().into_owned(), setting);
            }
        }
        if before != self.mistakes() {
            return None;
        }
        let missing = parameters.iter().find(|one| !arguments.contains_key(*one));
        if let Some(parameter) = missing {
            self.wrong(
                at,
                format!("`{block}` needs a value for its parameter `{parameter}`; write `with: {{{parameter}: ...}}` beside it"),
            );
            return None;
        }
        Some(arguments)
    }

    /// `from:`, the name of an earlier block or a decision among such.
    pub(super) fn from(&mut self, at: &At<'_>) -> Option<BlockKind> {
        if !is_decision(at) {
            let name = self.output_name(at)?;
            return Some(BlockKind::From(Setting::Fixed(Value::Text(name))));
        }
        let domain = self.domain(at, Kind::Name)?;
        let entries = at.entries().unwrap_or_default();
        let names = entries.iter().find(|(key, _)| key.text == "choice");
        for name in names
            .and_then(|(_, names)| names.items())
            .unwrap_or_default()
        {
            self.output_name(&name)?;
        }
        Some(BlockKind::From(Setting::Decide(domain)))
    }

    pub(super) fn inputs(&mut self, fields: &Fields<'_>) -> Option<BlockKind> {
        let join = self.setting_or(fields, "join", Join::Add);
        let choose = match self.scalar::<Value>(fields, "choose") {
            None => Some(1),
            Some(Value::Integer(choose)) => u64::try_from(choose).ok(),
            Some(_) => None,
        };
        let at = fields.get("of")?;
        let items = at.items().unwrap_or_default();
        if items.is_empty() || items.len() > MAX_BRANCHES {
            self.wrong(at, format!("a list of 1 to {MAX_BRANCHES} names of earlier blocks is expected here, as [stem, previous]"));
            return None;
        }
        let mut of: Vec<String> = Vec::with_capacity(items.len());
        for item in &items {
            let name = self.output_name(item)?;
            if of.contains(&name) {
                self.wrong(item, format!("{name:?} is given twice"));
                return None;
            }
            of.push(name);
        }
        let all = of.len() as u64;
        let sets = match choose {
            Some(choose) if choose > all => {
                let message = format!("{choose} of {all} cannot be chosen");
                fields
                    .get("choose")
                    .iter()
                    .for_each(|at| self.wrong(at, message.clone()));
                return None;
            }
            Some(choose) => combinations_count(all, choose),
            None => (1_u128 << all) - 1,
        };
        if sets > MAX_SETS as u128 {
            self.wrong(
                at,
                format!("this makes {sets} sets to choose among; at most {MAX_SETS} are allowed"),
            );
        }
        Some(BlockKind::Inputs(Inputs { of, choose, join }))
    }
}
