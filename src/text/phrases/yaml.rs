//! YAML as a tree whose every piece knows its place.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::fault::{Fault, Parsed, Place};

/// Deeper trees are refused.
const MAX_DEPTH: usize = 32;

/// A piece of a YAML file.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    /// Where it begins; for quoted text behind the quote.
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any scalar: `on` and `5` are texts too. Its characters stand in one line, or all have one place.
    Text(String, OneLine),
    List(Vec<Node>),
    Map(Vec<(String, Place, Node)>),
}

/// Whether a text stands in one line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneLine(bool);

impl Node {
    fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(..) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a table",
        }
    }

    /// A complaint that this should be something else.
    pub fn expected(&self, what: &str) -> Fault {
        Fault::new(self.place, format!("expected {what}, found {}", self.kind()))
    }

    /// The text.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(&self, what: &str) -> Parsed<&str> {
        match &self.value {
            Value::Text(text, _) => Ok(text),
            _ => Err(self.expected(what)),
        }
    }

    /// The characters of a text with their places, and the place behind them.
    ///
    /// # Errors
    /// When it is none.
    pub fn characters(&self, what: &str) -> Parsed<(Vec<(char, Place)>, Place)> {
        let Value::Text(text, OneLine(one_line)) = &self.value else { return Err(self.expected(what)) };
        let at = |i: usize| {
            let column = self.place.column.saturating_add(if *one_line { i as u32 } else { 0 });
            Place { column, ..self.place }
        };
        let characters: Vec<(char, Place)> = text.chars().enumerate().map(|(i, c)| (c, at(i))).collect();
        let end = at(characters.len());
        Ok((characters, end))
    }

    /// The items of a list.
    ///
    /// # Errors
    /// When it is none.
    pub fn list(&self, what: &str) -> Parsed<&[Node]> {
        match &self.value {
            Value::List(items) => Ok(items),
            _ => Err(self.expected(what)),
        }
    }

    /// The keys and values of a table.
    ///
    /// # Errors
    /// When it is none.
    pub fn map(&self, what: &str) -> Parsed<&[(String, Place, Node)]> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.expected(what)),
        }
    }
}

/// What has begun and not yet ended.
enum Open {
    List(Vec<Node>),
    Map(Vec<(String, Place, Node)>, Option<(String, Place)>),
}

/// Reads the first document of a text.
///
/// # Errors
/// When it is no YAML, is too deep, or has aliases; names the place.
pub fn read(text: &str, file: u32) -> Parsed<Node> {
    let at = |line: usize, column: usize| Place { file, line: line as u32, column: column as u32 + 1 };
    let mut open: Vec<(Open, Place)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| {
            let place = at(e.marker().line(), e.marker().col());
            Fault::new(place, format!("expected YAML: {}", e.info()))
        })?;
        let place = at(span.start.line(), span.start.col());
        let node = match event {
            Event::Alias(_) => {
                return Err(Fault::new(place, "aliases (`*name`) are not read here: write the value itself"));
            }
            Event::Scalar(text, style, ..) => scalar(text.into_owned(), style, span, place),
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() == MAX_DEPTH => {
                return Err(Fault::new(place, format!("more than {MAX_DEPTH} levels")));
            }
            Event::SequenceStart(..) => {
                open.push((Open::List(Vec::new()), place));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((Open::Map(Vec::new(), None), place));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((Open::List(items), place)) => Node { value: Value::List(items), place },
                Some((Open::Map(entries, _), place)) => Node { value: Value::Map(entries), place },
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(node),
            Some((Open::List(items), _)) => items.push(node),
            Some((Open::Map(entries, key), _)) => match key.take() {
                Some((name, place)) => entries.push((name, place, node)),
                None => {
                    let name = node.text("a name")?.to_string();
                    if let Some((_, first, _)) = entries.iter().find(|(other, ..)| *other == name) {
                        let problem = format!("`{name}` stands in line {} already", first.line);
                        return Err(Fault::new(node.place, problem));
                    }
                    *key = Some((name, node.place));
                }
            },
        }
    }
    Err(Fault::new(at(1, 0), "expected phrases, found an empty file"))
}

fn scalar(text: String, style: ScalarStyle, span: Span, mut place: Place) -> Node {
    let one_line = span.start.line() == span.end.line();
    if matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted) {
        place.column += 1;
    }
    Node { value: Value::Text(text, OneLine(one_line)), place }
}
