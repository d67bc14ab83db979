//! Reader for grammars in JSGF (JSpeech Grammar Format), which are interpreted as by PocketSphinx.

use super::expression::{Alternative, AtLeast, Expression, Kind, Reference};
use super::fault::{Fault, Parsed, Place, characters};
use super::grammar::{Definition, Grammar, Phrase};
use super::template;

/// Maximum depth of nested brackets.
const MAX_DEPTH: usize = 64;

/// Whether a text has the header of JSGF.
pub fn is_jsgf(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').starts_with("#JSGF")
}

/// Reads the text of a file into a grammar. Every public rule becomes a phrase, with its name as the intent.
///
/// # Errors
/// When the text is not valid JSGF, has an import, or has no public rule; names line and column.
pub fn read(text: &str, file: u32, grammar: &mut Grammar) -> Parsed<()> {
    let tokens = tokens(text, file)?;
    let end = tokens.last().map_or(Place { file, line: 1, column: 1 }, |(_, place)| *place);
    let mut parser = Parser { tokens, at: 0, end, depth: 0, grammar, name: String::new() };
    parser.header(text)?;
    while parser.peek().is_some() {
        parser.rule()?;
    }
    if parser.grammar.phrases.is_empty() {
        return Err(Fault::new(end, "expected a `public` rule, found none")
            .hint("write `public` before the rule that is to be recognized"));
    }
    Ok(())
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `<name>`.
    Rule(String),
    /// `{anything}`.
    Tag,
    /// `/3/`.
    Weight(f32),
    /// One of `;=|()[]*+`.
    Sign(char),
}

impl Token {
    fn quote(&self) -> String {
        match self {
            Token::Word(word) => format!("`{word}`"),
            Token::Rule(name) => format!("`<{name}>`"),
            Token::Tag => "a tag".into(),
            Token::Weight(weight) => format!("`/{weight}/`"),
            Token::Sign(sign) => format!("`{sign}`"),
        }
    }
}

/// Splits a text into tokens; comments are removed.
fn tokens(text: &str, file: u32) -> Parsed<Vec<(Token, Place)>> {
    let all = characters(text.trim_start_matches('\u{feff}'), file);
    let mut tokens = Vec::new();
    let mut at = 0;
    let is = |at: usize, c: char| all.get(at).is_some_and(|(found, _)| *found == c);
    // The text between the character at `at` and the next `close`; moves `at` after the latter.
    let between = |at: &mut usize, close: char| -> Parsed<String> {
        let open = all[*at];
        let begin = *at + 1;
        let mut end = begin;
        while end < all.len() && !is(end, close) {
            end += 1 + usize::from(is(end, '\\'));
        }
        if end >= all.len() {
            return Err(Fault::new(open.1, format!("`{}` has no `{close}`", open.0)));
        }
        *at = end + 1;
        Ok(all[begin..end].iter().map(|(c, _)| *c).collect())
    };
    while at < all.len() {
        let (c, place) = all[at];
        let token = match c {
            _ if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '/' if is(at + 1, '/') => {
                while at < all.len() && !is(at, '\n') {
                    at += 1;
                }
                continue;
            }
            '/' if is(at + 1, '*') => {
                at += 2;
                while at < all.len() && !(is(at, '*') && is(at + 1, '/')) {
                    at += 1;
                }
                if at >= all.len() {
                    return Err(Fault::new(place, "the remark `/*` has no `*/`"));
                }
                at += 2;
                continue;
            }
            '/' => Token::Weight(template::weight(&between(&mut at, '/')?, place)?),
            '<' => Token::Rule(between(&mut at, '>')?.trim().to_string()),
            '{' => {
                between(&mut at, '}')?;
                Token::Tag
            }
            '"' => Token::Word(between(&mut at, '"')?.replace('\\', "")),
            ';' | '=' | '|' | '(' | ')' | '[' | ']' | '*' | '+' => {
                at += 1;
                Token::Sign(c)
            }
            '>' | '}' => return Err(Fault::new(place, format!("`{c}` closes nothing"))),
            _ => {
                let mut word = String::new();
                while at < all.len() {
                    let c = all[at].0;
                    if c.is_whitespace() || ";=|()[]*+<>{}/\"".contains(c) {
                        break;
                    }
                    at += usize::from(c == '\\' && at + 1 < all.len());
                    word.push(all[at].0);
                    at += 1;
                }
                Token::Word(word)
            }
        };
        tokens.push((token, place));
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: Vec<(Token, Place)>,
    at: usize,
    end: Place,
    depth: usize,
    grammar: &'a mut Grammar,
    /// Name of the grammar.
    name: String,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn place(&self) -> Place {
        self.tokens.get(self.at).map_or(self.end, |(_, place)| *place)
    }

    fn expected(&self, what: &str) -> Fault {
        let found = self.peek().map_or("the end of the file".into(), Token::quote);
        Fault::new(self.place(), format!("expected {what}, found {found}"))
    }

    fn sign(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn word(&mut self) -> Option<String> {
        let Some(Token::Word(word)) = self.peek() else { return None };
        let word = word.clone();
        self.at += 1;
        Some(word)
    }

    /// Parses the header `#JSGF V1.0 UTF-8 en; grammar name;`.
    fn header(&mut self, text: &str) -> Parsed<()> {
        if !is_jsgf(text) {
            return Err(self.expected("`#JSGF V1.0;`"));
        }
        while self.word().is_some() {}
        if !self.sign(';') {
            return Err(self.expected("`;` after `#JSGF V1.0`"));
        }
        let named = self.word().filter(|word| word == "grammar").and_then(|_| self.word());
        self.name = named.ok_or_else(|| self.expected("`grammar` and its name"))?;
        if !self.sign(';') {
            return Err(self.expected("`;`"));
        }
        Ok(())
    }

    fn rule(&mut self) -> Parsed<()> {
        let place = self.place();
        let public = match self.peek() {
            Some(Token::Word(word)) if word == "public" => true,
            Some(Token::Word(word)) if word == "import" => {
                return Err(
                    Fault::new(place, "`import` is not read here").hint("copy the rules into this file")
                );
            }
            Some(Token::Rule(_)) => false,
            _ => return Err(self.expected("a rule `<name> = …;`")),
        };
        self.at += usize::from(public);
        let Some(Token::Rule(name)) = self.peek().cloned() else {
            return Err(self.expected("the name of a rule"));
        };
        let name = template::checked_name(&name, self.place())?;
        self.at += 1;
        if !self.sign('=') {
            return Err(self.expected("`=`"));
        }
        let expression = self.alternatives()?;
        if !self.sign(';') {
            return Err(self.expected("`;` after the rule"));
        }
        if public {
            let reference = self.reference(&name, place);
            self.grammar.phrases.push(Phrase {
                template: format!("<{name}>"),
                intent: Some(name.clone()),
                slots: Vec::new(),
                weight: 1.0,
                expression: reference,
                place,
            });
        }
        self.grammar.define(0, Kind::Rule, name, Definition { expression, place })
    }

    fn reference(&self, name: &str, place: Place) -> Expression {
        let own = name.strip_prefix(&self.name).and_then(|name| name.strip_prefix('.'));
        let name = own.unwrap_or(name).to_string();
        Expression::Reference(Reference { kind: Kind::Rule, name, slot: None, scope: 0, place })
    }

    fn alternatives(&mut self) -> Parsed<Expression> {
        let mut all = vec![self.alternative()?];
        while self.sign('|') {
            all.push(self.alternative()?);
        }
        Ok(match all.len() {
            1 => all.remove(0).expression,
            _ => Expression::Alternatives(all),
        })
    }

    fn alternative(&mut self) -> Parsed<Alternative> {
        let mut weight = 1.0;
        if let Some(Token::Weight(found)) = self.peek() {
            weight = *found;
            self.at += 1;
        }
        let mut parts = Vec::new();
        while let Some(item) = self.item()? {
            parts.extend([Expression::Space, item, Expression::Space]);
        }
        if parts.is_empty() {
            return Err(self.expected("words").hint("`<NULL>` stands for nothing"));
        }
        Ok(Alternative { weight, expression: Expression::Sequence(parts) })
    }

    /// Parses a word, rule or bracket, and the repetition signs and tags after it.
    fn item(&mut self) -> Parsed<Option<Expression>> {
        let place = self.place();
        let mut item = match self.peek().cloned() {
            Some(Token::Word(word)) => {
                self.at += 1;
                let words = word.split_whitespace();
                let parts = words.flat_map(|word| [Expression::Text(word.into(), place), Expression::Space]);
                Expression::Sequence(parts.collect())
            }
            Some(Token::Rule(name)) => {
                self.at += 1;
                match name.as_str() {
                    "NULL" => Expression::empty(),
                    "VOID" => Expression::Never,
                    _ => self.reference(&template::checked_name(&name, place)?, place),
                }
            }
            Some(Token::Sign('(')) => self.bracket(')')?,
            Some(Token::Sign('[')) => Expression::optional(self.bracket(']')?),
            Some(Token::Weight(_)) => {
                return Err(self.expected("a weight at the beginning of an alternative alone"));
            }
            _ => return Ok(None),
        };
        loop {
            if self.sign('*') {
                item = Expression::Repeat(Box::new(item), AtLeast::Zero);
            } else if self.sign('+') {
                item = Expression::Repeat(Box::new(item), AtLeast::One);
            } else if self.peek() == Some(&Token::Tag) {
                let problem = "tags are left out".to_string();
                if !self.grammar.warnings.iter().any(|fault| fault.problem == problem) {
                    self.grammar.warnings.push(Fault::new(self.place(), problem));
                }
                self.at += 1;
            } else {
                return Ok(Some(item));
            }
        }
    }

    fn bracket(&mut self, close: char) -> Parsed<Expression> {
        if self.depth == MAX_DEPTH {
            let problem = format!("more than {MAX_DEPTH} brackets inside each other");
            return Err(Fault::new(self.place(), problem));
        }
        let open = self.place();
        self.at += 1;
        self.depth += 1;
        let inner = self.alternatives()?;
        self.depth -= 1;
        if !self.sign(close) {
            let line = open.line;
            let what = format!("`{close}` for the bracket in line {line}, column {}", open.column);
            return Err(self.expected(&what));
        }
        Ok(inner)
    }
}
