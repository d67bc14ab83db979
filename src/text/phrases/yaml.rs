//! YAML as a tree whose nodes have their positions in the file.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::fault::{Fault, Parsed, Place};

/// Maximum depth of a tree.
const MAX_DEPTH: usize = 32;

/// A node of a YAML file.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    /// Position of its first character; for quoted text, of that after the quote.
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any scalar, also `on` and `5`.
    Text(String, OneLine),
    List(Vec<Node>),
    Map(Vec<(String, Place, Node)>),
}

/// Whether a text is on one line of the file. If it is not, all of its characters have the position of the first.
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

    /// Creates the error that `what` was expected instead of this node.
    pub fn expected(&self, what: &str) -> Fault {
        Fault::new(self.place, format!("expected {what}, found {}", self.kind()))
    }

    /// The text of a scalar.
    ///
    /// # Errors
    /// When the node is no scalar.
    pub fn text(&self, what: &str) -> Parsed<&str> {
        match &self.value {
            Value::Text(text, _) => Ok(text),
            _ => Err(self.expected(what)),
        }
    }

    /// The characters of a scalar with their positions, and the position after them.
    ///
    /// # Errors
    /// When the node is no scalar.
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
    /// When the node is no list.
    pub fn list(&self, what: &str) -> Parsed<&[Node]> {
        match &self.value {
            Value::List(items) => Ok(items),
            _ => Err(self.expected(what)),
        }
    }

    /// The entries of a mapping.
    ///
    /// # Errors
    /// When the node is no mapping.
    pub fn map(&self, what: &str) -> Parsed<&[(String, Place, Node)]> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.expected(what)),
        }
    }
}

/// A list or mapping that has begun and has not ended.
enum Open {
    List(Vec<Node>),
    Map(Vec<(String, Place, Node)>, Option<(String, Place)>),
}

/// Reads the first document of a text.
///
/// # Errors
/// When the text is not YAML, is nested too deeply, or has aliases; names line and column.
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
