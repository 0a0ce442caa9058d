//! Reads `hyperparameters:`: scalars and decisions, and those that hold others: named alternatives with settings
//! of their own, settings that may be left out, and groups.

use super::domains::{MAX_ALTERNATIVES, ONLY_ONE};
use super::error::nearest;
use super::reader::{At, Reader};
use super::scalar::{Kind, is_name};
use super::words::CHOICE_KEYS;
use super::yaml;
use crate::space::{Hyperparameter, HyperparameterAlternative, Hyperparameters};

/// The words that make a map a decision: no hyperparameter inside another one has such a name.
pub(super) const DECISION_WORDS: [&str; 3] = ["choice", "range", "optional"];

/// The entries of a map.
type Entries<'n> = [(&'n yaml::Key<'n>, At<'n>)];

impl Reader<'_> {
    /// `hyperparameters:`, of a spec or of one entry in it.
    pub(super) fn hyperparameters(&mut self, at: &At<'_>) -> Hyperparameters {
        let entries = self.named_entries(at, "{width: {choice: [64, 128]}}");
        let mut all = Hyperparameters::new();
        for (key, entry) in entries {
            if let Some(one) = self.hyperparameter(&entry) {
                all.insert(key.text.clone().into_owned(), one);
            }
        }
        all
    }

    fn hyperparameter(&mut self, at: &At<'_>) -> Option<Hyperparameter> {
        let Some(entries) = at.entries() else {
            return self.setting_at(at, Kind::Any).map(Hyperparameter::Setting);
        };
        match decision_word(&entries) {
            Some((_, "optional", body)) => {
                let only = entries.len() == 1;
                if !only {
                    self.wrong(at, "`optional` stands alone in its map");
                }
                let settings = self.settings_of(body, "what is optional");
                settings.filter(|_| only).map(Hyperparameter::Optional)
            }
            Some((_, "choice", body)) if body.entries().is_some() => {
                self.alternatives_with_settings(&entries, body)
            }
            Some((_, _, body)) => {
                let items = body.items().unwrap_or_default();
                if let Some(item) = items.iter().find(|item| item.entries().is_some()) {
                    self.wrong(
                        item,
                        "alternatives with settings of their own stand in a map, by their names, as \
                         {choice: {sgd: {momentum: 0.9}, adam: {}}}",
                    );
                    return None;
                }
                self.setting_at(at, Kind::Any).map(Hyperparameter::Setting)
            }
            None => self.group(at, &entries),
        }
    }

    /// Hyperparameters under one name.
    fn group(&mut self, at: &At<'_>, entries: &Entries<'_>) -> Option<Hyperparameter> {
        if let Some((key, list)) = entries.iter().find(|(_, entry)| entry.items().is_some()) {
            let message = "a value is expected here, a decision, as {choice: [...]} or {range: [low, high]}, or settings \
                 with their names";
            let suggestion = nearest(&key.text, DECISION_WORDS);
            self.error_near(key.place, &list.path, message, suggestion);
            return None;
        }
        let before = self.mistakes();
        let inside = self.hyperparameters(at);
        (before == self.mistakes()).then_some(Hyperparameter::Group(inside))
    }

    /// `{choice: {sgd: {...}, adam: {...}}, weights: {sgd: 2}}`.
    fn alternatives_with_settings(
        &mut self,
        entries: &Entries<'_>,
        choice: &At<'_>,
    ) -> Option<Hyperparameter> {
        let before = self.mistakes();
        for (key, entry) in entries {
            if !CHOICE_KEYS.contains(&key.text.as_ref()) {
                self.unknown(key.place, &entry.path, &key.text, CHOICE_KEYS.into_iter());
            }
        }
        let named = choice.entries().unwrap_or_default();
        match named.len() {
            0 => self.too_many(choice, "alternatives"),
            1 => self.warn(choice.place, &choice.path, ONLY_ONE),
            2..=MAX_ALTERNATIVES => {}
            _ => {
                self.too_many(choice, "alternatives");
                return None;
            }
        }
        let mut alternatives = Vec::with_capacity(named.len());
        for (key, entry) in &named {
            if let Err(message) = is_name(&key.text) {
                self.error(key.place, &entry.path, message);
            }
            alternatives.push(HyperparameterAlternative {
                name: key.text.clone().into_owned(),
                weight: None,
                settings: self
                    .settings_of(entry, "an alternative")
                    .unwrap_or_default(),
            });
        }
        if let Some((_, weights)) = entries.iter().find(|(key, _)| key.text == "weights") {
            let names: Vec<_> = alternatives.iter().map(|one| one.name.clone()).collect();
            for (index, weight) in self.weights(weights, &names) {
                alternatives[index].weight = Some(weight);
            }
        }
        (before == self.mistakes()).then_some(Hyperparameter::Choice(alternatives))
    }

    /// The settings that exist with `what`: maybe none.
    fn settings_of(&mut self, at: &At<'_>, what: &str) -> Option<Hyperparameters> {
        if at.node.is_null() || at.entries().is_some_and(|entries| entries.is_empty()) {
            return Some(Hyperparameters::new());
        }
        let entries = at
            .entries()
            .filter(|entries| decision_word(entries).is_none());
        if entries.is_none() {
            self.wrong(
                at,
                format!(
                    "{what} holds settings with their names, as {{rate: {{choice: [1, 2]}}, steps: 3}}, or nothing: {{}}"
                ),
            );
            return None;
        }
        Some(self.hyperparameters(at))
    }
}

/// The word that makes a map a decision, with its body.
fn decision_word<'e, 'n>(
    entries: &'e Entries<'n>,
) -> Option<(&'n yaml::Key<'n>, &'static str, &'e At<'n>)> {
    DECISION_WORDS.into_iter().find_map(|word| {
        let found = entries.iter().find(|(key, _)| key.text == word);
        found.map(|(key, body)| (*key, word, body))
    })
}
