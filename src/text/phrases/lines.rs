//! Reader for hearken's own phrase files: a phrase per line, definitions, `@intent`, `@include`.

use std::path::{Path, PathBuf};

use super::expression::{Alternative, Expression, Kind};
use super::fault::{Fault, Parsed, Place, characters};
use super::grammar::{Definition, Grammar, Phrase};
use super::network::DICTATION_RULE;
use super::template::{self, Context, Dialect};

/// Maximum number of files, including the first.
const MAX_FILES: usize = 100;

/// A line without its comment, including its continuation lines.
type Line = Vec<(char, Place)>;

/// Reads the text of a file, and the files that it includes, into a grammar. Without `folder`, no file can be
/// included.
///
/// # Errors
/// When a line is invalid; names line and column.
pub fn read(text: &str, file: u32, folder: Option<&Path>, grammar: &mut Grammar) -> Parsed<()> {
    let path = grammar.files.get(file as usize).cloned();
    let mut reader = Reader { grammar, intent: None, open: path.into_iter().collect() };
    reader.text(text, file, folder)
}

struct Reader<'a> {
    grammar: &'a mut Grammar,
    /// Intent of the following phrases.
    intent: Option<String>,
    /// The files that are being read, each included by the previous one.
    open: Vec<PathBuf>,
}

impl Reader<'_> {
    fn text(&mut self, text: &str, file: u32, folder: Option<&Path>) -> Parsed<()> {
        for line in lines(text, file) {
            self.line(&line, folder)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &Line, folder: Option<&Path>) -> Parsed<()> {
        let place = line[0].1;
        if line[0].0 == '@' {
            return self.directive(line, folder);
        }
        if let Some((kind, name, begin)) = definition(line)? {
            if kind == Kind::Rule && name == DICTATION_RULE {
                let problem = "`<dictation>` stands for the words of a language model and cannot be defined";
                return Err(Fault::new(place, problem).hint("choose another name"));
            }
            let value = &line[begin..];
            let expression = self.value(kind, value, end(line))?;
            return self.grammar.define(0, kind, name, Definition { expression, place });
        }
        let context = Context { dialect: Dialect::Own, scope: 0, in_list: false };
        let (weight, expression) = match template::parse(line, end(line), context)? {
            Expression::Alternatives(mut only) if only.len() == 1 => {
                let Alternative { weight, expression } = only.remove(0);
                (weight, expression)
            }
            expression => (1.0, expression),
        };
        let template = line.iter().map(|(c, _)| *c).collect::<String>();
        let intent = self.intent.clone();
        self.grammar.phrases.push(Phrase { template, intent, slots: Vec::new(), weight, expression, place });
        Ok(())
    }

    /// Parses the value of a definition, the text after `=`.
    fn value(&mut self, kind: Kind, value: &[(char, Place)], end: Place) -> Parsed<Expression> {
        let text: String = value.iter().map(|(c, _)| *c).collect();
        let begin = value.first().map_or(end, |(_, place)| *place);
        if text.trim().is_empty() {
            return Err(Fault::new(begin, "expected the definition of the name after `=`, found nothing"));
        }
        if let Some(range) = template::range(text.trim(), begin).filter(|_| kind == Kind::List) {
            return Ok(Expression::Range(range?));
        }
        let context = Context { dialect: Dialect::Own, scope: 0, in_list: kind == Kind::List };
        Ok(template::trimmed(template::parse(value, end, context)?))
    }

    fn directive(&mut self, line: &Line, folder: Option<&Path>) -> Parsed<()> {
        let text: String = line.iter().map(|(c, _)| *c).collect();
        let place = line[0].1;
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
        match name {
            "@intent" => {
                let expected = "expected `@intent` and a name";
                let name = template::checked_name(value, place)
                    .map_err(|e| Fault::new(place, format!("{expected}: {}", e.problem)))?;
                self.intent = Some(name);
                Ok(())
            }
            "@include" => self.include(value.trim(), place, folder),
            _ => Err(Fault::new(place, format!("expected `@intent` or `@include`, found `{name}`"))
                .hint("write `\\@` for the character itself")),
        }
    }

    fn include(&mut self, name: &str, place: Place, folder: Option<&Path>) -> Parsed<()> {
        let Some(folder) = folder else {
            return Err(Fault::new(place, "only phrases that stand in a file can include others"));
        };
        if name.is_empty() {
            return Err(Fault::new(place, "expected `@include` and the name of a file"));
        }
        let path = folder.join(name);
        if self.open.contains(&path) {
            return Err(Fault::new(place, format!("`{name}` includes itself")));
        }
        if self.grammar.files.len() >= MAX_FILES {
            return Err(Fault::new(place, format!("more than {MAX_FILES} files are included")));
        }
        let text = super::read_text(&path)
            .map_err(|e| Fault::new(place, format!("`{name}` cannot be included: {}", e.problem())))?;
        let file = self.grammar.files.len() as u32;
        self.grammar.files.push(path.clone());
        let intent = self.intent.clone();
        let folder = path.parent().map(Path::to_path_buf);
        self.open.push(path);
        self.text(&text, file, folder.as_deref())?;
        self.open.pop();
        // The intent of an included file does not apply to the phrases after the inclusion.
        self.intent = intent;
        Ok(())
    }
}

/// The position after the last character of a line.
fn end(line: &Line) -> Place {
    let last = line.last().map(|(_, place)| *place).unwrap_or_default();
    Place { column: last.column.saturating_add(1), ..last }
}

/// Splits a text into lines. Comments and empty lines are removed; lines that begin with `|` are continuations of the
/// previous line.
fn lines(text: &str, file: u32) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in characters(text, file).split(|(c, _)| *c == '\n') {
        let remark =
            (0..line.len()).find(|&at| line[at].0 == '#' && (at == 0 || line[at - 1].0.is_whitespace()));
        let line = &line[..remark.unwrap_or(line.len())];
        let Some(begin) = line.iter().position(|(c, _)| !c.is_whitespace() && *c != '\u{feff}') else {
            continue;
        };
        let end = line.iter().rposition(|(c, _)| !c.is_whitespace()).unwrap_or(begin);
        // A space after a backslash is escaped and not removed.
        let end = (end + 1 + usize::from(line[end].0 == '\\')).min(line.len());
        let line = &line[begin..end];
        match lines.last_mut().filter(|_| line[0].0 == '|') {
            Some(before) => before.extend(line),
            None => lines.push(line.to_vec()),
        }
    }
    lines
}

/// The kind and name of a definition and the index at which its value begins; `None` if the line is no definition.
fn definition(line: &Line) -> Parsed<Option<(Kind, String, usize)>> {
    let (kind, close) = match line[0].0 {
        '<' => (Kind::Rule, '>'),
        '{' => (Kind::List, '}'),
        _ => return Ok(None),
    };
    let Some(close) = line.iter().position(|(c, _)| *c == close) else { return Ok(None) };
    let Some(equals) = (close + 1..line.len()).find(|&at| !line[at].0.is_whitespace()) else {
        return Ok(None);
    };
    if line[equals].0 != '=' {
        return Ok(None);
    }
    let name: String = line[1..close].iter().map(|(c, _)| *c).collect();
    Ok(Some((kind, template::checked_name(&name, line[1].1)?, equals + 1)))
}
