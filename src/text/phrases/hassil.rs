//! Reader for sentence files of Home Assistant (hassil), and for the simpler ones of wyoming-vosk and
//! speech-to-phrase.

use super::expression::{Alternative, Expression, Kind};
use super::fault::{Fault, Parsed, Place};
use super::grammar::{Definition, Grammar, Phrase};
use super::template::{self, Context, Dialect};
use super::yaml::{Node, Value};
use super::yaml_reader;

/// Reads the text of a file into a grammar.
///
/// # Errors
/// When the text is not YAML of one of these formats, or a template is invalid; names line and column.
pub fn read(text: &str, file: u32, grammar: &mut Grammar) -> Parsed<()> {
    let root = yaml_reader::read(text, file)?;
    let mut reader = Reader { grammar, scopes: 0 };
    for (key, place, value) in root.map("`intents:` or `sentences:`")? {
        match key.as_str() {
            "language" | "responses" | "settings" => {}
            "sentences" => reader.sentences(value, &Data::default())?,
            "intents" => reader.intents(value)?,
            "lists" => reader.lists(value, 0)?,
            "expansion_rules" => reader.rules(value, 0)?,
            "skip_words" => reader.warn(
                *place,
                "`skip_words` are not skipped: write `[please]` into the sentences where it may be said",
            ),
            _ => reader.warn(*place, &format!("`{key}` is not known and left out")),
        }
    }
    Ok(())
}

/// Properties of the sentences of a block.
#[derive(Clone, Debug, Default)]
struct Data {
    intent: Option<String>,
    slots: Vec<(String, String)>,
    scope: u32,
}

struct Reader<'a> {
    grammar: &'a mut Grammar,
    /// Number of scopes so far. Each block has its own scope for definitions.
    scopes: u32,
}

impl Reader<'_> {
    fn warn(&mut self, place: Place, problem: &str) {
        self.grammar.warnings.push(Fault::new(place, problem));
    }

    fn intents(&mut self, intents: &Node) -> Parsed<()> {
        for (name, _, intent) in intents.map("intents by their names")? {
            for (key, place, value) in intent.map("`data:` with sentences")? {
                match key.as_str() {
                    "data" => {
                        for block in value.list("a list of blocks with `sentences:`")? {
                            self.block(name, block)?;
                        }
                    }
                    "response" | "metadata" | "description" | "domain" | "platforms" => {}
                    _ => self.warn(*place, &format!("`{key}` is not known and left out")),
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, intent: &str, block: &Node) -> Parsed<()> {
        let entries = block.map("a block with `sentences:`")?;
        self.scopes += 1;
        let mut data = Data { intent: Some(intent.into()), scope: self.scopes, ..Data::default() };
        for (key, place, value) in entries {
            match key.as_str() {
                "slots" => {
                    for (name, _, value) in value.map("slots with their values")? {
                        data.slots.push((name.clone(), value.text("a value")?.into()));
                    }
                }
                "lists" => self.lists(value, data.scope)?,
                "expansion_rules" => self.rules(value, data.scope)?,
                "requires_context" | "excludes_context" => {
                    self.warn(*place, &format!("`{key}` is left out: nothing is known of a context here"));
                }
                "sentences" | "response" | "metadata" | "name_domains" => {}
                _ => self.warn(*place, &format!("`{key}` is not known and left out")),
            }
        }
        match entries.iter().find(|(key, ..)| key == "sentences") {
            Some((_, _, sentences)) => self.sentences(sentences, &data),
            None => Err(block.expected("a block with `sentences:`")),
        }
    }

    fn sentences(&mut self, sentences: &Node, data: &Data) -> Parsed<()> {
        for sentence in sentences.list("a list of sentences")? {
            let (templates, written) = match &sentence.value {
                Value::Map(entries) => {
                    let spoken = entries.iter().find(|(key, ..)| key == "in").map(|(.., node)| node);
                    let Some(spoken) = spoken else {
                        return Err(Fault::new(sentence.place, "expected `in:`, what is said, found none"));
                    };
                    let written = entries.iter().find(|(key, ..)| key == "out").map(|(.., node)| node);
                    let written = written.map(|node| node.text("a text")).transpose()?;
                    match &spoken.value {
                        Value::List(templates) => (templates.iter().collect(), written),
                        _ => (vec![spoken], written),
                    }
                }
                _ => (vec![sentence], None),
            };
            for template in templates {
                let expression = self.template(template, data.scope, false)?;
                let expression = match written {
                    Some(written) => Expression::Written(Box::new(expression), written.into()),
                    None => expression,
                };
                self.grammar.phrases.push(Phrase {
                    template: template.text("a sentence")?.into(),
                    intent: data.intent.clone(),
                    slots: data.slots.clone(),
                    weight: 1.0,
                    expression,
                    place: template.place,
                });
            }
        }
        Ok(())
    }

    fn template(&self, node: &Node, scope: u32, in_list: bool) -> Parsed<Expression> {
        let (text, end) = node.characters("a sentence")?;
        template::parse(&text, end, Context { dialect: Dialect::Hassil, scope, in_list })
    }

    fn rules(&mut self, rules: &Node, scope: u32) -> Parsed<()> {
        for (name, place, value) in rules.map("rules by their names")? {
            let name = template::checked_name(name, *place)?;
            let expression = self.template(value, scope, false)?;
            self.grammar.define(scope, Kind::Rule, name, Definition { expression, place: *place })?;
        }
        Ok(())
    }

    fn lists(&mut self, lists: &Node, scope: u32) -> Parsed<()> {
        for (name, place, value) in lists.map("lists by their names")? {
            let name = template::checked_name(name, *place)?;
            let expression = self.list(&name, value, scope)?;
            self.grammar.define(scope, Kind::List, name, Definition { expression, place: *place })?;
        }
        Ok(())
    }

    fn list(&mut self, name: &str, list: &Node, scope: u32) -> Parsed<Expression> {
        let mut found = None;
        for (key, place, value) in list.map("`values:` or `range:`")? {
            match key.as_str() {
                "values" => {
                    let values = value.list("a list of values")?;
                    let values: Vec<Alternative> = values
                        .iter()
                        .map(|value| Ok(self.value(value, scope)?.into()))
                        .collect::<Parsed<_>>()?;
                    if values.is_empty() {
                        return Err(Fault::new(
                            value.place,
                            format!("expected values of `{{{name}}}`, found none"),
                        ));
                    }
                    found = Some(Expression::Alternatives(values));
                }
                "range" => found = Some(range(value)?),
                "wildcard" => {
                    let problem =
                        format!("`{{{name}}}` stands for any words: sentences with it are left out");
                    self.warn(*place, &problem);
                    found = Some(Expression::Never);
                }
                "metadata" => {}
                _ => self.warn(*place, &format!("`{key}` is not known and left out")),
            }
        }
        found.ok_or_else(|| Fault::new(list.place, "expected `values:` or `range:`, found neither"))
    }

    fn value(&mut self, value: &Node, scope: u32) -> Parsed<Expression> {
        let Value::Map(entries) = &value.value else { return self.template(value, scope, true) };
        let (mut spoken, mut written) = (None, None);
        for (key, place, node) in entries {
            match key.as_str() {
                "in" => spoken = Some(self.template(node, scope, true)?),
                "out" => written = Some(Expression::Value(node.text("a value")?.into())),
                "metadata" => {}
                "context" | "requires_context" => {
                    self.warn(*place, &format!("`{key}` is left out: nothing is known of a context here"));
                }
                _ => self.warn(*place, &format!("`{key}` is not known and left out")),
            }
        }
        let spoken =
            spoken.ok_or_else(|| Fault::new(value.place, "expected `in:`, what is said, found none"))?;
        Ok(Expression::Sequence([Some(spoken), written].into_iter().flatten().collect()))
    }
}

fn range(range: &Node) -> Parsed<Expression> {
    let entries = range.map("`from:` and `to:`")?;
    let number = |name: &str| match entries.iter().find(|(key, ..)| key == name) {
        None => Ok(None),
        Some((.., node)) => {
            let text = node.text("a whole number")?;
            let problem = || Fault::new(node.place, format!("expected a whole number, found `{text}`"));
            text.parse::<i64>().map(Some).map_err(|_| problem())
        }
    };
    let needed = |name: &str| {
        number(name)?.ok_or_else(|| Fault::new(range.place, format!("expected `{name}:`, found none")))
    };
    let (from, to, step) = (needed("from")?, needed("to")?, number("step")?.unwrap_or(1));
    Ok(Expression::Range(template::checked_range(from, to, step, range.place)?))
}
