//! What a template means: the tree that all readers of phrase files make.

use super::fault::Place;

/// A piece of a template. Words are made of the texts between two [`Expression::Space`]s, so that
/// `light[s]` is one word.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// Characters of one word.
    Text(String),
    /// The space between two words.
    Space,
    /// One after the other.
    Sequence(Vec<Expression>),
    /// One of them; `[a]` is `a` or nothing.
    Alternatives(Vec<Alternative>),
    /// All of them in any order.
    Permutation(Vec<Expression>),
    /// What a definition says.
    Reference(Reference),
    /// A number.
    Range(Range),
    /// Spoken words, and the text that is written for them.
    Written(Box<Expression>, String),
    /// The fixed value of the slot around, which does not depend on the words.
    Value(String),
    /// Again and again: at least once, or any number of times.
    Repeat(Box<Expression>, AtLeast),
    /// An expression that allows no sentence.
    Never,
}

/// How often a repetition is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLeast {
    Zero,
    One,
}

/// One of several expressions.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// How likely it is beside the others, a positive number; 1 where nothing is written.
    pub weight: f32,
    pub expression: Expression,
}

impl From<Expression> for Alternative {
    fn from(expression: Expression) -> Self {
        Self { weight: 1.0, expression }
    }
}

/// The two kinds of definitions, which have names of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `<name>`, a part of a phrase.
    Rule,
    /// `{name}`, the values of a slot.
    List,
}

impl Kind {
    /// A name as it is written in a template.
    pub fn quote(self, name: &str) -> String {
        match self {
            Kind::Rule => format!("<{name}>"),
            Kind::List => format!("{{{name}}}"),
        }
    }
}

/// The use of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub kind: Kind,
    pub name: String,
    /// The slot that is filled; only lists fill one.
    pub slot: Option<String>,
    /// Where the definition is looked up first: 0 for those of the whole file.
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
    /// Nothing.
    pub fn empty() -> Self {
        Expression::Sequence(Vec::new())
    }

    /// An expression or nothing.
    pub fn optional(expression: Expression) -> Self {
        Expression::Alternatives(vec![expression.into(), Expression::empty().into()])
    }

    /// The expressions directly inside this one.
    pub fn parts(&self) -> Vec<&Expression> {
        match self {
            Expression::Sequence(parts) | Expression::Permutation(parts) => parts.iter().collect(),
            Expression::Alternatives(parts) => parts.iter().map(|part| &part.expression).collect(),
            Expression::Written(part, _) | Expression::Repeat(part, _) => vec![part],
            _ => Vec::new(),
        }
    }

    /// Calls `visit` with every use of a definition.
    pub fn for_each_reference<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        if let Expression::Reference(reference) = self {
            visit(reference);
        }
        self.parts().into_iter().for_each(|part| part.for_each_reference(visit));
    }
}
