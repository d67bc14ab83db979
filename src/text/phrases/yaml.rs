//! YAML as a tree whose nodes have their positions in the file.
#![cfg_attr(not(feature = "yaml"), allow(dead_code))]

use super::fault::{Fault, Parsed, Place};

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
pub struct OneLine(pub bool);

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
