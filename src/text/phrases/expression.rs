//! Syntax tree of templates, which the readers of all formats produce.

use super::fault::Place;

/// An expression of a template. All texts between two [`Expression::Space`]s form one word, so that `light[s]` is one
/// word.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// Characters of one word, and the position of the first.
    Text(String, Place),
    /// The space between two words.
    Space,
    /// Expressions in this order.
    Sequence(Vec<Expression>),
    /// One of several expressions; `[a]` is `a` or the empty expression.
    Alternatives(Vec<Alternative>),
    /// Expressions in any order.
    Permutation(Vec<Expression>),
    /// The value of a definition.
    Reference(Reference),
    /// A number of a range.
    Range(Range),
    /// One or more words of a language model.
    Dictation,
    /// Spoken words and their written form.
    Written(Box<Expression>, String),
    /// A fixed value of the enclosing slot, instead of its words.
    Value(String),
    /// Repetition with a minimum number of times.
    Repeat(Box<Expression>, AtLeast),
    /// An expression that allows no sentence.
    Never,
}

/// Minimum number of repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLeast {
    Zero,
    One,
}

/// One of several expressions.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// Relative probability, a positive number; 1 by default.
    pub weight: f32,
    pub expression: Expression,
}

impl From<Expression> for Alternative {
    fn from(expression: Expression) -> Self {
        Self { weight: 1.0, expression }
    }
}

/// The two kinds of definitions, each with its own namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `<name>`, a part of a phrase.
    Rule,
    /// `{name}`, the values of a slot.
    List,
}

impl Kind {
    /// A name in the syntax of templates.
    pub fn quote(self, name: &str) -> String {
        match self {
            Kind::Rule => format!("<{name}>"),
            Kind::List => format!("{{{name}}}"),
        }
    }
}

/// A reference to a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub kind: Kind,
    pub name: String,
    /// The slot that is filled; only lists fill slots.
    pub slot: Option<String>,
    /// The scope in which the definition is looked up first; 0 is that of the whole file.
    pub scope: u32,
    pub place: Place,
}

/// Whole numbers `from`, `from + step`, … up to `to`.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    pub from: i64,
    pub to: i64,
    pub step: i64,
    /// The slot that is filled.
    pub slot: Option<String>,
    pub place: Place,
}

impl Expression {
    /// The empty expression.
    pub fn empty() -> Self {
        Expression::Sequence(Vec::new())
    }

    /// An optional expression.
    pub fn optional(expression: Expression) -> Self {
        Expression::Alternatives(vec![expression.into(), Expression::empty().into()])
    }

    /// The direct subexpressions.
    pub fn parts(&self) -> Vec<&Expression> {
        match self {
            Expression::Sequence(parts) | Expression::Permutation(parts) => parts.iter().collect(),
            Expression::Alternatives(parts) => parts.iter().map(|part| &part.expression).collect(),
            Expression::Written(part, _) | Expression::Repeat(part, _) => vec![part],
            _ => Vec::new(),
        }
    }

    /// Calls `visit` with the characters of every text and the position of the first.
    pub fn for_each_text<'a>(&'a self, visit: &mut impl FnMut(&'a str, Place)) {
        if let Expression::Text(text, place) = self {
            visit(text, *place);
        }
        self.parts().into_iter().for_each(|part| part.for_each_text(visit));
    }

    /// Calls `visit` with every reference to a definition.
    pub fn for_each_reference<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        if let Expression::Reference(reference) = self {
            visit(reference);
        }
        self.parts().into_iter().for_each(|part| part.for_each_reference(visit));
    }
}
