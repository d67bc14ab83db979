//! A small writer of SVG.

use std::fmt::Write as _;

use crate::text::phrases::escape_xml;

/// Number of colors of a palette.
const LEVELS: usize = 16;

/// The colors of a heat map, from low to high values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Palette {
    /// White to blue, for inputs.
    Blue,
    /// Brown over white to green, for states from -1 to 1.
    BrownGreen,
    /// White to red, for probabilities.
    Red,
    /// White to violet, for gates.
    Violet,
}

impl Palette {
    /// The color of a level from 0 to 1.
    fn color(self, level: f32) -> String {
        let mix = |a: [f32; 3], b: [f32; 3], share: f32| {
            let part = |i: usize| (a[i] + (b[i] - a[i]) * share).round() as u8;
            format!("#{:02x}{:02x}{:02x}", part(0), part(1), part(2))
        };
        let white = [255.0; 3];
        match self {
            Self::Blue => mix(white, [8.0, 69.0, 148.0], level),
            Self::Red => mix(white, [165.0, 15.0, 21.0], level),
            Self::Violet => mix(white, [84.0, 39.0, 143.0], level),
            Self::BrownGreen if level < 0.5 => mix([140.0, 81.0, 10.0], white, level * 2.0),
            Self::BrownGreen => mix(white, [1.0, 102.0, 94.0], level * 2.0 - 1.0),
        }
    }
}

/// A rectangle, px.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// Which side of a text is at its position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture.
pub(super) struct Svg(String);

impl Svg {
    /// Creates a picture with a white background, with `title` for screen readers.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let mut svg = Self(String::new());
        svg.push(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"14\" role=\"img\">"
        ));
        svg.push(&format!("<title>{}</title>", escape_xml(title)));
        svg.push(
            "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
             markerHeight=\"7\" orient=\"auto-start-reverse\"><path d=\"M0 0L8 4L0 8z\" fill=\"#333\"/></marker></defs>",
        );
        svg.push("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>");
        svg
    }

    /// Creates a part of a picture, which is inserted into another.
    pub fn part() -> Self {
        Self(String::new())
    }

    /// The elements of a part.
    pub fn into_elements(self) -> String {
        self.0
    }

    /// Begins a group that a script can find, moved to the right by `x`.
    pub fn begin(&mut self, id: &str, x: f64) {
        self.push(&format!("<g id=\"{id}\" transform=\"translate({x:.1} 0)\">"));
    }

    /// Ends a group.
    pub fn end(&mut self) {
        self.push("</g>");
    }

    fn push(&mut self, element: &str) {
        self.0.push_str(element);
        self.0.push('\n');
    }

    /// Ends the picture.
    pub fn finish(mut self) -> String {
        self.push("</svg>");
        self.0
    }

    /// Adds text in a color.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, size: u32, color: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{color}\">{}</text>",
            escape_xml(text)
        ));
    }

    /// Adds a rectangle with rounded corners.
    pub fn frame(&mut self, area: Area, radius: f64, stroke: &str, width: f64) {
        let Area { x, y, width: w, height: h } = area;
        self.push(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"{radius}\" fill=\"none\" \
             stroke=\"{stroke}\" stroke-width=\"{width}\"/>"
        ));
    }

    /// Adds a filled rectangle.
    pub fn bar(&mut self, area: Area, fill: &str) {
        let Area { x, y, width: w, height: h } = area;
        self.push(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"{fill}\"/>"
        ));
    }

    /// Adds a path, with an arrow head at its end if `arrow`.
    pub fn path(&mut self, d: &str, stroke: &str, width: f64, arrow: bool) {
        let marker = if arrow { " marker-end=\"url(#head)\"" } else { "" };
        self.push(&format!(
            "<path d=\"{d}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"{width}\"{marker}/>"
        ));
    }

    /// Adds a heat map: `columns` of values from 0 to 1, each from the bottom up. Equal neighbors share a rectangle, and
    /// all rectangles of a color are one path, which keeps the file small.
    pub fn heat_map(&mut self, area: Area, columns: &[Vec<f32>], palette: Palette) {
        let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
        if rows == 0 {
            return;
        }
        let level = |column: usize, row: usize| {
            let value = columns[column].get(row).copied().unwrap_or(0.0);
            (value.clamp(0.0, 1.0) * (LEVELS - 1) as f32).round() as usize
        };
        let mut paths = vec![String::new(); LEVELS];
        for row in 0..rows {
            let mut column = 0;
            while column < columns.len() {
                let (start, here) = (column, level(column, row));
                while column < columns.len() && level(column, row) == here {
                    column += 1;
                }
                let run = column - start;
                let _ = write!(paths[here], "M{start} {}h{run}v1h-{run}z", rows - 1 - row);
            }
        }
        let (x_scale, y_scale) = (area.width / columns.len() as f64, area.height / rows as f64);
        self.push(&format!(
            "<g transform=\"translate({:.1} {:.1}) scale({x_scale:.4} {y_scale:.4})\" shape-rendering=\"crispEdges\">",
            area.x, area.y
        ));
        for (level, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            let color = palette.color(level as f32 / (LEVELS - 1) as f32);
            self.push(&format!("<path d=\"{path}\" fill=\"{color}\"/>"));
        }
        self.push("</g>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbors_of_a_heat_map_share_a_rectangle() {
        let mut svg = Svg::new(10.0, 10.0, "a < b");
        let area = Area { x: 0.0, y: 0.0, width: 10.0, height: 10.0 };
        svg.heat_map(area, &[vec![0.0, 1.0], vec![0.0, 1.0], vec![1.0, 1.0]], Palette::Red);
        let svg = svg.finish();
        assert!(svg.contains("<title>a &lt; b</title>"));
        // The lower row: two columns of 0, one of 1; the upper row: three of 1.
        assert!(svg.contains("\"M0 1h2v1h-2z\"") && svg.contains("\"M2 1h1v1h-1zM0 0h3v1h-3z\""), "{svg}");
    }
}
