//! Parser for templates: `turn (on|off) [the] {room} light[s]`.

use super::expression::{Alternative, Expression, Kind, Range, Reference};
use super::fault::{Fault, Parsed, Place};
use super::network::DICTATION_RULE;

/// Maximum depth of nested brackets.
const MAX_DEPTH: usize = 64;

/// The dialect of a template, which determines the syntax that it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// hearken's own dialect, which also has ranges `{0..10}`, weights `/3/ a`, and `spoken -> written`.
    Own,
    /// The dialect of Home Assistant (hassil).
    Hassil,
}

/// The context of a template.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub dialect: Dialect,
    /// The scope in which its definitions are looked up first.
    pub scope: u32,
    /// Whether it is the value of a list. Numbers in it belong to the slot of the list and have no slot of their own.
    pub in_list: bool,
}

/// Parses a template; `end` is the position after it.
///
/// # Errors
/// When brackets, names, weights or ranges are invalid; names line and column.
pub fn parse(text: &[(char, Place)], end: Place, context: Context) -> Parsed<Expression> {
    let mut parser = Parser { text, at: 0, end, context, depth: 0 };
    let expression = parser.body()?;
    match parser.peek() {
        None => Ok(expression),
        Some(c) => Err(parser
            .fault(format!("`{c}` closes nothing"))
            .hint(format!("write `\\{c}` for the character itself"))),
    }
}

/// Parses a range `from..to` or `from..to..step`; `None` if the text is no range.
pub fn range(text: &str, place: Place) -> Option<Parsed<Range>> {
    let parts: Vec<&str> = text.split("..").map(str::trim).collect();
    let number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(|part| number(part)) {
        return None;
    }
    let numbers: Option<Vec<i64>> = parts.iter().map(|part| part.parse().ok()).collect();
    let Some(numbers) = numbers else {
        return Some(Err(Fault::new(place, format!("the numbers of `{text}` are too large"))));
    };
    let (from, to, step) = (numbers[0], numbers[1], numbers.get(2).copied().unwrap_or(1));
    Some(checked_range(from, to, step, place))
}

/// Creates a range.
///
/// # Errors
/// When the range is empty, its step is not positive, or it has too many numbers.
pub fn checked_range(from: i64, to: i64, step: i64, place: Place) -> Parsed<Range> {
    /// Maximum number of numbers of a range.
    const MAX_NUMBERS: i128 = 10_000;
    if from > to || step < 1 {
        let problem = format!("expected numbers that go up, found `{from}..{to}` in steps of {step}");
        return Err(Fault::new(place, problem));
    }
    let numbers = (i128::from(to) - i128::from(from)) / i128::from(step) + 1;
    if numbers > MAX_NUMBERS {
        let problem = format!("expected at most {MAX_NUMBERS} numbers, found {numbers}");
        return Err(Fault::new(place, problem));
    }
    Ok(Range { from, to, step, slot: None, place })
}

struct Parser<'a> {
    text: &'a [(char, Place)],
    at: usize,
    end: Place,
    context: Context,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).map(|(c, _)| *c)
    }

    fn next_is(&self, text: &str) -> bool {
        let rest = &self.text[self.at.min(self.text.len())..];
        text.chars().count() <= rest.len() && text.chars().zip(rest).all(|(c, (found, _))| c == *found)
    }

    fn place(&self) -> Place {
        self.text.get(self.at).map_or(self.end, |(_, place)| *place)
    }

    fn fault(&self, problem: String) -> Fault {
        Fault::new(self.place(), problem)
    }

    fn own(&self) -> bool {
        self.context.dialect == Dialect::Own
    }

    /// Parses alternatives or a permutation, up to a closing bracket or the end.
    fn body(&mut self) -> Parsed<Expression> {
        let mut parts = vec![self.alternative()?];
        let mut separator = None;
        while let Some(c) = self.peek().filter(|c| matches!(c, '|' | ';')) {
            if *separator.get_or_insert(c) != c {
                return Err(self
                    .fault("`|` and `;` stand side by side".into())
                    .hint("put the one or the other in parentheses"));
            }
            self.at += 1;
            parts.push(self.alternative()?);
        }
        if separator == Some(';') {
            return Ok(Expression::Permutation(parts.into_iter().map(|part| part.expression).collect()));
        }
        if parts.len() == 1 && parts[0].weight == 1.0 {
            return Ok(parts.remove(0).expression);
        }
        Ok(Expression::Alternatives(parts))
    }

    fn alternative(&mut self) -> Parsed<Alternative> {
        let weight = if self.own() { self.weight()? } else { 1.0 };
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut begin = self.place();
        loop {
            let c = self.peek();
            if text.is_empty() {
                begin = self.place();
            }
            let special = match c {
                None | Some('|' | ';' | ')' | ']' | '}' | '>' | '(' | '[' | '<' | '{') => true,
                Some('-') => self.own() && self.next_is("->"),
                Some(c) => c.is_whitespace(),
            };
            if !special {
                if c == Some('\\') {
                    self.at += 1;
                }
                let Some(c) = self.peek() else {
                    return Err(self.fault("expected a character after `\\`".into()));
                };
                text.push(c);
                self.at += 1;
                continue;
            }
            if !text.is_empty() {
                parts.push(Expression::Text(std::mem::take(&mut text), begin));
            }
            match c {
                Some('(') => parts.push(self.bracket('(', ')')?),
                Some('[') => parts.push(Expression::optional(self.bracket('[', ']')?)),
                Some('<') => parts.push(self.rule()?),
                Some('{') => parts.push(self.list()?),
                Some('-') => {
                    self.at += 2;
                    let spoken = Box::new(trimmed(Expression::Sequence(std::mem::take(&mut parts))));
                    parts.push(Expression::Written(spoken, self.written()?));
                }
                Some(c) if c.is_whitespace() => {
                    self.at += 1;
                    if parts.last() != Some(&Expression::Space) {
                        parts.push(Expression::Space);
                    }
                }
                _ => break,
            }
        }
        let expression = if parts.len() == 1 { parts.remove(0) } else { Expression::Sequence(parts) };
        Ok(Alternative { weight, expression })
    }

    /// Parses an optional weight `/3/` at the beginning of an alternative.
    fn weight(&mut self) -> Parsed<f32> {
        let begin = self.at;
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        if self.peek() != Some('/') {
            self.at = begin;
            return Ok(1.0);
        }
        let place = self.place();
        self.at += 1;
        let text = self.until('/', place)?;
        weight(&text, place)
    }

    /// The text up to the character `close`, which is consumed.
    fn until(&mut self, close: char, open: Place) -> Parsed<String> {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            if c == close {
                return Ok(text);
            }
            text.push(c);
        }
        Err(Fault::new(open, format!("expected `{close}` after this, found none")))
    }

    /// Parses an expression in brackets.
    fn bracket(&mut self, open: char, close: char) -> Parsed<Expression> {
        let place = self.place();
        if self.depth == MAX_DEPTH {
            return Err(self.fault(format!("more than {MAX_DEPTH} brackets inside each other")));
        }
        self.at += 1;
        self.depth += 1;
        let inner = self.body()?;
        self.depth -= 1;
        match self.peek() {
            Some(c) if c == close => self.at += 1,
            Some(c) => {
                let line = place.line;
                let problem = format!(
                    "expected `{close}` for the `{open}` in line {line}, column {}, found `{c}`",
                    place.column
                );
                return Err(self.fault(problem));
            }
            None => return Err(Fault::new(place, format!("`{open}` has no `{close}`"))),
        }
        // The weight of a single alternative has no effect.
        Ok(inner)
    }

    fn rule(&mut self) -> Parsed<Expression> {
        let place = self.place();
        self.at += 1;
        let name = self.until('>', place)?;
        let name = checked_name(&name, place)?;
        if self.own() && name == DICTATION_RULE {
            return Ok(Expression::Dictation);
        }
        let scope = self.context.scope;
        Ok(Expression::Reference(Reference { kind: Kind::Rule, name, slot: None, scope, place }))
    }

    fn list(&mut self) -> Parsed<Expression> {
        let place = self.place();
        self.at += 1;
        let text = self.until('}', place)?;
        let (name, slot) = match text.split_once(':') {
            Some((name, slot)) => (name, Some(checked_name(slot, place)?)),
            None => (text.as_str(), None),
        };
        if let Some(range) = range(name, place).filter(|_| self.own()) {
            let unnamed = (!self.context.in_list).then(|| "number".to_string());
            return Ok(Expression::Range(Range { slot: slot.or(unnamed), ..range? }));
        }
        let name = checked_name(name, place)?;
        let slot = slot.or_else(|| Some(name.clone()));
        let scope = self.context.scope;
        Ok(Expression::Reference(Reference { kind: Kind::List, name, slot, scope, place }))
    }

    /// Parses the written form after `->`.
    fn written(&mut self) -> Parsed<String> {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| !matches!(c, '|' | ';' | ')' | ']')) {
            if matches!(c, '(' | '[' | '{' | '<' | '}' | '>') || self.next_is("->") {
                return Err(self
                    .fault(format!("`{c}` cannot stand after `->`, where plain text is written"))
                    .hint(format!("write `\\{c}` for the character itself")));
            }
            self.at += 1;
            if c == '\\' {
                let Some(c) = self.peek() else {
                    return Err(self.fault("expected a character after `\\`".into()));
                };
                text.push(c);
                self.at += 1;
            } else {
                text.push(c);
            }
        }
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// Removes spaces at the beginning and end of all alternatives, so that `{drink}[s]` is one word for each value of
/// `{drink} = tea | coffee`.
pub fn trimmed(expression: Expression) -> Expression {
    match expression {
        Expression::Sequence(mut parts) => {
            while parts.last() == Some(&Expression::Space) {
                parts.pop();
            }
            let begin = parts.iter().take_while(|part| **part == Expression::Space).count();
            parts.drain(..begin);
            Expression::Sequence(parts)
        }
        Expression::Alternatives(parts) => Expression::Alternatives(
            parts
                .into_iter()
                .map(|part| Alternative { expression: trimmed(part.expression), ..part })
                .collect(),
        ),
        other => other,
    }
}

/// Parses the number of a weight.
///
/// # Errors
/// When it is not a number from 0.000001 to 1000000.
pub fn weight(text: &str, place: Place) -> Parsed<f32> {
    let weight: Option<f32> = text.trim().parse().ok();
    weight.filter(|weight| (1e-6..=1e6).contains(weight)).ok_or_else(|| {
        Fault::new(place, format!("expected a weight from 0.000001 to 1000000 between `/`, found `{text}`"))
            .hint("write `\\/` for the character itself")
    })
}

/// Checks that a name consists of letters, digits, `_`, `-` and `.`, and removes spaces around it.
///
/// # Errors
/// When the name is empty, too long, or has other characters.
pub fn checked_name(name: &str, place: Place) -> Parsed<String> {
    let name = name.trim();
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 200 || !name.chars().all(good) {
        let problem = format!("expected a name of letters, digits, `_`, `-` and `.`, found `{name}`");
        return Err(Fault::new(place, problem));
    }
    Ok(name.into())
}
