//! Reader of YAML, by `saphyr-parser`; without the feature `yaml` all files are refused.

#[cfg(feature = "yaml")]
pub use parser::read;

#[cfg(not(feature = "yaml"))]
pub use refusal::read;

#[cfg(not(feature = "yaml"))]
mod refusal {
    use crate::text::phrases::fault::{Fault, Parsed, Place};
    use crate::text::phrases::yaml::Node;

    /// Refuses the text.
    ///
    /// # Errors
    /// Always.
    pub fn read(_: &str, file: u32) -> Parsed<Node> {
        let fault =
            Fault::new(Place { file, line: 1, column: 1 }, "this build does not read phrases in YAML");
        Err(fault.hint("the cargo feature `yaml` adds it"))
    }
}

#[cfg(feature = "yaml")]
mod parser {
    use saphyr_parser::{Event, Parser, ScalarStyle, Span};

    use crate::text::phrases::fault::{Fault, Parsed, Place};
    use crate::text::phrases::yaml::{Node, OneLine, Value};

    /// Maximum depth of a tree.
    const MAX_DEPTH: usize = 32;

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
                    return Err(Fault::new(
                        place,
                        "aliases (`*name`) are not read here: write the value itself",
                    ));
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
}
