//! Drawing of phrases in SVG: a railroad diagram of each phrase and definition.

use std::fmt::Write as _;

use super::Phrases;
use super::expression::{AtLeast, Expression, Kind};
use super::grammar::Phrase;
use super::network::DICTATION;

/// Height of a box with a line of text.
const HEIGHT: f32 = 24.0;
/// Space between boxes.
const GAP: f32 = 12.0;
/// Space between rows.
const ROW_GAP: f32 = 8.0;
/// Width of a character.
const LETTER: f32 = 7.3;
const FONT_SIZE: f32 = 12.0;
const MARGIN: f32 = 16.0;
/// Maximum number of branches of a column; the others are replaced by a note with their number.
const MAX_ROWS: usize = 24;
/// Maximum number of diagrams; the others are replaced by a note with their number.
const MAX_DIAGRAMS: usize = 200;

/// The style of a box.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    Word,
    Definition,
    /// Text without a box: a written form, or the number of omitted parts.
    Note,
}

/// A part of a diagram. Its line enters on the left and leaves on the right at the same height.
#[derive(Clone, Debug)]
enum Shape {
    Box(Look, String),
    /// A line without boxes.
    Line,
    Row(Vec<Shape>),
    /// Branches below each other; the first is at the height of the line.
    Column(Vec<Shape>),
    /// A repetition.
    Loop(std::boxed::Box<Shape>),
}

/// Width of a shape, and its heights above and below the line.
#[derive(Clone, Copy, Debug)]
struct Size {
    width: f32,
    above: f32,
    below: f32,
}

impl Shape {
    fn size(&self) -> Size {
        match self {
            Shape::Box(_, text) => {
                let width = text.chars().count() as f32 * LETTER + 16.0;
                Size { width, above: HEIGHT / 2.0, below: HEIGHT / 2.0 }
            }
            Shape::Line => Size { width: GAP, above: 2.0, below: 2.0 },
            Shape::Row(shapes) => {
                let sizes = || shapes.iter().map(Shape::size);
                let gaps = shapes.len().saturating_sub(1) as f32 * GAP;
                Size {
                    width: sizes().map(|size| size.width).sum::<f32>() + gaps,
                    above: sizes().map(|size| size.above).fold(2.0, f32::max),
                    below: sizes().map(|size| size.below).fold(2.0, f32::max),
                }
            }
            Shape::Column(shapes) => {
                let sizes: Vec<Size> = shapes.iter().map(Shape::size).collect();
                let all: f32 = sizes.iter().map(|size| size.above + size.below).sum();
                let above = sizes.first().map_or(0.0, |size| size.above);
                let gaps = ROW_GAP * sizes.len().saturating_sub(1) as f32;
                let width = sizes.iter().map(|size| size.width).fold(0.0, f32::max) + 4.0 * GAP;
                Size { width, above, below: all + gaps - above }
            }
            Shape::Loop(shape) => {
                let size = shape.size();
                Size { width: size.width + 4.0 * GAP, above: size.above, below: size.below + ROW_GAP + 4.0 }
            }
        }
    }

    /// Draws the shape; its line enters at the point (x, y).
    fn draw(&self, x: f32, y: f32, svg: &mut String) {
        match self {
            Shape::Box(look, text) => draw_box(*look, text, x, y, svg),
            Shape::Line => line(x, y, x + GAP, y, svg),
            Shape::Row(shapes) => {
                let mut at = x;
                for (place, shape) in shapes.iter().enumerate() {
                    if place > 0 {
                        line(at, y, at + GAP, y, svg);
                        at += GAP;
                    }
                    shape.draw(at, y, svg);
                    at += shape.size().width;
                }
            }
            Shape::Column(shapes) => {
                let end = x + self.size().width;
                let mut top = y - shapes.first().map_or(0.0, |shape| shape.size().above);
                for shape in shapes {
                    let size = shape.size();
                    let row = top + size.above;
                    curve(x, y, x + 2.0 * GAP, row, svg);
                    shape.draw(x + 2.0 * GAP, row, svg);
                    line(x + 2.0 * GAP + size.width, row, end - 2.0 * GAP, row, svg);
                    curve(end - 2.0 * GAP, row, end, y, svg);
                    top += size.above + size.below + ROW_GAP;
                }
            }
            Shape::Loop(shape) => {
                let size = shape.size();
                let (begin, end) = (x + 2.0 * GAP, x + 2.0 * GAP + size.width);
                line(x, y, begin, y, svg);
                shape.draw(begin, y, svg);
                line(end, y, end + 2.0 * GAP, y, svg);
                let back = y + size.below + ROW_GAP;
                let _ = write!(
                    svg,
                    "<path d=\"M{end:.1} {y:.1} q{GAP:.1} 0 {GAP:.1} {r:.1} V{low:.1} q0 {r:.1} -{GAP:.1} {r:.1} \
                     H{begin:.1} q-{GAP:.1} 0 -{GAP:.1} -{r:.1} V{high:.1} q0 -{r:.1} {GAP:.1} -{r:.1}\"/>",
                    r = 4.0,
                    low = back - 4.0,
                    high = y + 4.0
                );
            }
        }
    }
}

fn draw_box(look: Look, text: &str, x: f32, y: f32, svg: &mut String) {
    let width = text.chars().count() as f32 * LETTER + 16.0;
    if look != Look::Note {
        let (class, corner) = if look == Look::Word { ("word", HEIGHT / 2.0) } else { ("name", 2.0) };
        let top = y - HEIGHT / 2.0;
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{HEIGHT}\" rx=\"{corner}\"/>"
        );
    }
    let class = if look == Look::Note { "note" } else { "text" };
    let (middle, base) = (x + width / 2.0, y + FONT_SIZE * 0.35);
    let _ =
        write!(svg, "<text class=\"{class}\" x=\"{middle:.1}\" y=\"{base:.1}\">{}</text>", escape_xml(text));
}

fn line(x: f32, y: f32, to_x: f32, to_y: f32, svg: &mut String) {
    if to_x > x {
        let _ = write!(svg, "<path d=\"M{x:.1} {y:.1} L{to_x:.1} {to_y:.1}\"/>");
    }
}

/// Draws an S-shaped curve between two points, which is horizontal at both ends.
fn curve(x: f32, y: f32, to_x: f32, to_y: f32, svg: &mut String) {
    let middle = (x + to_x) / 2.0;
    let _ = write!(
        svg,
        "<path d=\"M{x:.1} {y:.1} C{middle:.1} {y:.1} {middle:.1} {to_y:.1} {to_x:.1} {to_y:.1}\"/>"
    );
}

/// Escapes text for XML; characters that XML does not allow become spaces.
pub(crate) fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The diagram of an expression.
fn shape(expression: &Expression) -> Shape {
    match expression {
        Expression::Text(text, _) => Shape::Box(Look::Word, text.clone()),
        Expression::Space | Expression::Value(_) => Shape::Line,
        Expression::Sequence(parts) => row(parts),
        Expression::Alternatives(parts) => {
            // The empty alternative comes first, as the straight line.
            let mut shapes: Vec<Shape> = parts.iter().map(|part| shape(&part.expression)).collect();
            shapes.sort_by_key(|shape| !matches!(shape, Shape::Line));
            column(shapes)
        }
        Expression::Permutation(parts) => {
            let mut shapes: Vec<Shape> = parts.iter().map(shape).collect();
            let note = Shape::Box(Look::Note, "in any order".into());
            shapes = shapes.into_iter().flat_map(|shape| [shape, note.clone()]).collect();
            shapes.pop();
            Shape::Row(shapes)
        }
        Expression::Reference(reference) => {
            let name = reference.kind.quote(&reference.name);
            let text = match reference.slot.as_deref().filter(|slot| *slot != reference.name) {
                Some(slot) if reference.kind == Kind::List => format!("{{{}:{slot}}}", reference.name),
                _ => name,
            };
            Shape::Box(Look::Definition, text)
        }
        Expression::Range(range) => {
            let step = if range.step == 1 { String::new() } else { format!("..{}", range.step) };
            Shape::Box(Look::Definition, format!("{}..{}{step}", range.from, range.to))
        }
        Expression::Dictation => Shape::Box(Look::Definition, DICTATION.into()),
        Expression::Written(spoken, text) => {
            Shape::Row(vec![shape(spoken), Shape::Box(Look::Note, format!("→ {text}"))])
        }
        Expression::Repeat(part, AtLeast::One) => Shape::Loop(Box::new(shape(part))),
        Expression::Repeat(part, AtLeast::Zero) => {
            Shape::Column(vec![Shape::Line, Shape::Loop(Box::new(shape(part)))])
        }
        Expression::Never => Shape::Box(Look::Note, "never".into()),
    }
}

/// The diagram of a sequence; successive words share a box.
fn row(parts: &[Expression]) -> Shape {
    let mut shapes: Vec<Shape> = Vec::new();
    let mut space = false;
    for part in parts {
        match (part, shapes.last_mut()) {
            (Expression::Space, _) => {
                space = true;
                continue;
            }
            (Expression::Text(text, _), Some(Shape::Box(Look::Word, before))) => {
                before.push_str(if space { " " } else { "" });
                before.push_str(text);
            }
            _ => match shape(part) {
                Shape::Line => {}
                shape => shapes.push(shape),
            },
        }
        space = false;
    }
    match shapes.len() {
        0 => Shape::Line,
        1 => shapes.remove(0),
        _ => Shape::Row(shapes),
    }
}

fn column(mut shapes: Vec<Shape>) -> Shape {
    if shapes.len() > MAX_ROWS {
        let more = shapes.len() - MAX_ROWS + 1;
        shapes.truncate(MAX_ROWS - 1);
        shapes.push(Shape::Box(Look::Note, format!("… {more} more")));
    }
    Shape::Column(shapes)
}

const STYLE: &str = "path{fill:none;stroke:#555;stroke-width:1.5}text{font:12px monospace;fill:#222;text-anchor:middle}\
.title{font-weight:bold;text-anchor:start}.note{fill:#777}.word{fill:#e8f1fb;stroke:#5b8fc7}\
.name{fill:#fdf3dc;stroke:#c79a3c}.page{fill:#fff}.begin{fill:#555}.end{fill:none;stroke:#555;stroke-width:2}\
@media(prefers-color-scheme:dark){path,.end{stroke:#9aa4ae}text{fill:#e3e7ea}.note{fill:#9aa4ae}.word{fill:#1b3350}\
.name{fill:#40320f}.page{fill:#14181c}.begin{fill:#9aa4ae}}";

impl Phrases {
    /// Draws the phrases and definitions as SVG. Words are in blue boxes, references to definitions in yellow ones.
    pub fn to_svg(&self) -> String {
        let titled = |phrase: &Phrase| {
            let title = phrase.intent.as_ref().map_or("phrase".into(), |intent| format!("@intent {intent}"));
            (title, shape(&phrase.expression))
        };
        let phrases = self.grammar.phrases.iter().map(titled);
        let definitions = self.grammar.definitions.iter();
        let definitions =
            definitions.map(|((_, kind, name), d)| (format!("{} =", kind.quote(name)), shape(&d.expression)));
        let mut diagrams: Vec<(String, Shape)> = phrases.chain(definitions).collect();
        if diagrams.len() > MAX_DIAGRAMS {
            let more = diagrams.len() - MAX_DIAGRAMS;
            diagrams.truncate(MAX_DIAGRAMS);
            diagrams.push((format!("… {more} more"), Shape::Line));
        }
        let mut body = String::new();
        let (mut y, mut width) = (MARGIN, 0.0_f32);
        for (at, (title, shape)) in diagrams.iter().enumerate() {
            // Successive phrases with the same intent have a common title.
            if at == 0 || diagrams[at - 1].0 != *title {
                let base = y + FONT_SIZE;
                let _ = write!(
                    body,
                    "<text class=\"title\" x=\"{MARGIN}\" y=\"{base:.1}\">{}</text>",
                    escape_xml(title)
                );
                y += FONT_SIZE + ROW_GAP + 4.0;
                width = width.max(title.chars().count() as f32 * LETTER);
            }
            let size = shape.size();
            y += size.above;
            let (begin, end) = (MARGIN + 2.0 * GAP, MARGIN + 2.0 * GAP + size.width);
            let _ = write!(body, "<circle cx=\"{MARGIN}\" cy=\"{y:.1}\" r=\"4\" class=\"begin\"/>");
            line(MARGIN, y, begin, y, &mut body);
            shape.draw(begin, y, &mut body);
            line(end, y, end + 2.0 * GAP, y, &mut body);
            let last = end + 2.0 * GAP;
            let _ = write!(body, "<circle cx=\"{last:.1}\" cy=\"{y:.1}\" r=\"4\" class=\"end\"/>");
            body.push('\n');
            y += size.below + 2.0 * ROW_GAP;
            width = width.max(last);
        }
        let (width, height) = (width + 2.0 * MARGIN, y + MARGIN);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">\n\
             <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" class=\"page\"/>\n{body}</svg>\n"
        )
    }
}
