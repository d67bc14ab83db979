//! Grammar: the phrases and definitions of phrase files, before they are compiled to a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::expression::{Expression, Kind, Reference};
use super::fault::{Fault, Parsed, Place};
use crate::text::normalize;

/// A phrase: a template with its intent and slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Phrase {
    /// The template as it is written in the file.
    pub template: String,
    /// Name of the intent, if the phrase has one.
    pub intent: Option<String>,
    /// Slots with fixed values.
    pub slots: Vec<(String, String)>,
    /// Relative probability of the phrase, a positive number.
    pub weight: f32,
    pub expression: Expression,
    pub place: Place,
}

/// A definition: the expression of a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub expression: Expression,
    pub place: Place,
}

/// Content of one or more phrase files.
#[derive(Clone, Debug, Default)]
pub struct Grammar {
    pub phrases: Vec<Phrase>,
    /// Definitions by scope (0 is the whole file), kind and name.
    pub definitions: BTreeMap<(u32, Kind, String), Definition>,
    /// The files, in the order of reading.
    pub files: Vec<PathBuf>,
    /// Warnings about unsupported or suspicious parts of the files.
    pub warnings: Vec<Fault>,
}

impl Grammar {
    /// Adds a definition.
    ///
    /// # Errors
    /// When the name is already defined.
    pub fn define(&mut self, scope: u32, kind: Kind, name: String, definition: Definition) -> Parsed<()> {
        let place = definition.place;
        match self.definitions.insert((scope, kind, name.clone()), definition) {
            None => Ok(()),
            Some(first) => {
                let problem =
                    format!("`{}` is defined in line {} already", kind.quote(&name), first.place.line);
                Err(Fault::new(place, problem))
            }
        }
    }

    /// The definition of a reference.
    ///
    /// # Errors
    /// When the name is not defined.
    pub fn definition(&self, reference: &Reference) -> Parsed<&Definition> {
        let find = |scope| self.definitions.get(&(scope, reference.kind, reference.name.clone()));
        if let Some(found) = find(reference.scope).or_else(|| find(0)) {
            return Ok(found);
        }
        let quoted = reference.kind.quote(&reference.name);
        let fault = Fault::new(reference.place, format!("`{quoted}` is not defined"));
        let close = self.definitions.keys().find(|(_, kind, name)| {
            *kind == reference.kind && name.to_lowercase() == reference.name.to_lowercase()
        });
        let names = |kind: Kind| self.definitions.keys().filter(move |key| key.1 == kind).map(|key| &*key.2);
        Err(match close {
            Some((_, kind, name)) => fault.hint(format!("there is `{}`", kind.quote(name))),
            None => {
                match names(reference.kind).take(8).map(|name| reference.kind.quote(name)).collect::<Vec<_>>()
                {
                    names if names.is_empty() => fault.hint(format!("define it in a line `{quoted} = …`")),
                    names => fault.hint(format!("there are {}", names.join(", "))),
                }
            }
        })
    }

    /// Checks that every name is defined and no definition is recursive; adds warnings about unused definitions.
    ///
    /// # Errors
    /// When there are no phrases, a name is not defined, a definition is recursive, or a chain of definitions is too
    /// long.
    pub fn check(&mut self) -> Parsed<()> {
        if self.phrases.is_empty() {
            let place = Place { file: 0, line: 1, column: 1 };
            return Err(Fault::new(place, "expected phrases, found none").hint("a line is a phrase"));
        }
        let mut uses = Uses { grammar: self, done: BTreeMap::new(), path: Vec::new() };
        for phrase in &self.phrases {
            uses.follow(&phrase.expression)?;
        }
        let used: Vec<Place> = uses.done.into_keys().collect();
        // Unused definitions are also checked.
        let mut uses = Uses { grammar: self, done: BTreeMap::new(), path: Vec::new() };
        for definition in self.definitions.values() {
            uses.follow(&definition.expression)?;
        }
        let unused = self.definitions.iter().filter(|(_, d)| !used.contains(&d.place));
        let warnings: Vec<Fault> = unused
            .map(|((_, kind, name), d)| Fault::new(d.place, format!("nothing uses `{}`", kind.quote(name))))
            .collect();
        self.warnings.extend(warnings);
        self.warnings.extend(self.unspoken_symbols());
        Ok(())
    }

    /// A warning for each file with symbols that have no spoken name.
    fn unspoken_symbols(&self) -> Vec<Fault> {
        let mut places: BTreeMap<u32, BTreeMap<Place, char>> = BTreeMap::new();
        let phrases = self.phrases.iter().map(|phrase| &phrase.expression);
        for expression in phrases.chain(self.definitions.values().map(|definition| &definition.expression)) {
            expression.for_each_text(&mut |text, place| {
                for (at, symbol) in
                    text.chars().enumerate().filter(|&(_, c)| normalize::is_unspoken_symbol(c))
                {
                    let column = place.column.saturating_add(at as u32);
                    places.entry(place.file).or_default().insert(Place { column, ..place }, symbol);
                }
            });
        }
        places.values().filter_map(unspoken_symbols_of_file).collect()
    }
}

/// The warning about symbols in a file that have no spoken name, by their positions.
fn unspoken_symbols_of_file(symbols: &BTreeMap<Place, char>) -> Option<Fault> {
    /// Maximum number of lines that are named.
    const MAX_NAMED: usize = 20;
    let (first, _) = symbols.first_key_value()?;
    let distinct: BTreeSet<char> = symbols.values().copied().collect();
    let distinct = distinct.iter().map(|symbol| format!("`{symbol}`")).collect::<Vec<_>>().join(", ");
    let lines: BTreeSet<u32> = symbols.keys().map(|place| place.line).collect();
    let mut problem = format!("{distinct}: symbols without a spoken name are left out");
    if lines.len() > 1 {
        let named = lines.iter().take(MAX_NAMED).map(u32::to_string).collect::<Vec<_>>().join(", ");
        let more = if lines.len() > MAX_NAMED { ", …" } else { "" };
        problem += &format!(" (lines {named}{more})");
    }
    Some(Fault::new(*first, problem).hint("write the word that is said"))
}

/// Traversal of the references between definitions.
struct Uses<'a> {
    grammar: &'a Grammar,
    /// Definitions that were visited, by their positions.
    done: BTreeMap<Place, ()>,
    /// Definitions on the current path, with their names.
    path: Vec<(Place, String)>,
}

impl<'a> Uses<'a> {
    fn follow(&mut self, expression: &'a Expression) -> Parsed<()> {
        /// Maximum length of a chain of references between definitions.
        const MAX_CHAIN: usize = 100;
        let mut references = Vec::new();
        expression.for_each_reference(&mut |reference| references.push(reference));
        for reference in references {
            let definition = self.grammar.definition(reference)?;
            let name = reference.kind.quote(&reference.name);
            if let Some(begin) = self.path.iter().position(|(place, _)| *place == definition.place) {
                let mut names: Vec<&str> = self.path[begin..].iter().map(|(_, name)| name.as_str()).collect();
                names.push(&name);
                let problem = format!("`{name}` uses itself: {}", names.join(" → "));
                return Err(Fault::new(reference.place, problem)
                    .hint("a phrase that goes on without end cannot be a graph"));
            }
            if self.path.len() == MAX_CHAIN {
                let problem = format!("more than {MAX_CHAIN} definitions that use each other");
                return Err(Fault::new(reference.place, problem));
            }
            if self.done.contains_key(&definition.place) {
                continue;
            }
            self.path.push((definition.place, name));
            self.follow(&definition.expression)?;
            self.path.pop();
            self.done.insert(definition.place, ());
        }
        Ok(())
    }
}
