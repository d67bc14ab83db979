//! Pictures in SVG: charts of lines and maps of colored cells.

use std::fmt::Write as _;
use std::path::Path;

use hearken::Result;
use hearken::error::{Stage, io};

/// Colors of lines, in the order in which they are used.
pub const COLORS: [&str; 4] = ["#1f6fb4", "#d1661a", "#3b8a3e", "#6b6b6b"];

/// A picture in progress.
pub struct Picture {
    size: (f64, f64),
    body: String,
}

/// A rectangle of a picture with the ranges of its axes.
pub struct Axes {
    /// Left, top, width, height.
    pub place: [f64; 4],
    pub x: (f64, f64),
    pub y: (f64, f64),
}

impl Axes {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [left, top, width, height] = self.place;
        // What is outside is drawn at the edge.
        let share = |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(0.0, 1.0);
        (left + width * share(x, self.x), top + height * (1.0 - share(y, self.y)))
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The number at a share of an axis.
fn number((low, high): (f64, f64), share: f64) -> String {
    let decimals = [40.0, 4.0].iter().filter(|wide| high - low < **wide).count();
    format!("{:.decimals$}", low + (high - low) * share)
}

impl Picture {
    /// An empty picture with a title.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let mut picture = Self { size: (width, height), body: String::new() };
        picture.rect([0.0, 0.0, width, height], "#ffffff");
        picture.text(width / 2.0, 20.0, "middle", 15.0, title);
        picture
    }

    pub fn rect(&mut self, [x, y, width, height]: [f64; 4], fill: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"/>"#
        );
    }

    /// Text whose `anchor` (start, middle, end) is at x.
    pub fn text(&mut self, x: f64, y: f64, anchor: &str, size: f64, text: &str) {
        let text = escape(text);
        let _ = writeln!(
            self.body,
            r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="#222">{text}</text>"##
        );
    }

    /// A frame with numbers at the axes, a label below, and one above at the left.
    pub fn axes(&mut self, axes: &Axes, x_label: &str, y_label: &str) {
        let names: [String; 5] = std::array::from_fn(|i| number(axes.x, i as f64 / 4.0));
        self.axes_named(axes, &names, x_label, y_label);
    }

    /// The same with names at equal distances along the horizontal axis.
    pub fn axes_named(&mut self, axes: &Axes, names: &[String], x_label: &str, y_label: &str) {
        let [left, top, width, height] = axes.place;
        let _ = writeln!(
            self.body,
            r##"<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>"##
        );
        for (i, name) in names.iter().enumerate() {
            let x = left + width * i as f64 / (names.len() - 1).max(1) as f64;
            self.text(x, top + height + 16.0, "middle", 11.0, name);
        }
        for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
            self.text(left - 6.0, top + height * (1.0 - share) + 4.0, "end", 11.0, &number(axes.y, share));
        }
        self.text(left + width / 2.0, top + height + 34.0, "middle", 12.0, x_label);
        self.text(left, top - 6.0, "start", 12.0, y_label);
    }

    /// A line through points.
    pub fn line(&mut self, axes: &Axes, points: &[(f64, f64)], color: &str, dashes: &str) {
        let points = self.points(axes, points.iter().copied());
        let _ = writeln!(
            self.body,
            r#"<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6" stroke-dasharray="{dashes}"/>"#
        );
    }

    /// The area between two lines.
    pub fn band(&mut self, axes: &Axes, low: &[(f64, f64)], high: &[(f64, f64)], fill: &str) {
        let points = self.points(axes, low.iter().chain(high.iter().rev()).copied());
        let _ = writeln!(self.body, r#"<polygon points="{points}" fill="{fill}"/>"#);
    }

    fn points(&self, axes: &Axes, points: impl Iterator<Item = (f64, f64)>) -> String {
        let text = |point| {
            let (x, y) = axes.at(point);
            format!("{x:.1},{y:.1} ")
        };
        points.map(text).collect()
    }

    /// The meaning of colors, side by side from `x` on.
    pub fn legend(&mut self, mut x: f64, y: f64, entries: &[(&str, &str)]) {
        for (color, name) in entries {
            self.rect([x, y - 9.0, 14.0, 9.0], color);
            self.text(x + 19.0, y, "start", 12.0, name);
            x += 34.0 + 6.6 * name.len() as f64;
        }
    }

    /// A map of `values[row][column]` from -1 (orange) over 0 (white) to 1 (blue).
    pub fn cells(&mut self, [left, top, width, height]: [f64; 4], values: &[Vec<f64>]) {
        let high = height / values.len().max(1) as f64;
        for (row, values) in values.iter().enumerate() {
            let wide = width / values.len().max(1) as f64;
            for (column, value) in values.iter().enumerate() {
                let (end, share) = (if *value < 0.0 { [209, 102, 26] } else { [31, 111, 180] }, value.abs());
                let [r, g, b] = end.map(|c| (255.0 + (f64::from(c) - 255.0) * share.min(1.0)) as u8);
                let place = [left + column as f64 * wide, top + row as f64 * high, wide + 0.3, high + 0.3];
                self.rect(place, &format!("#{r:02x}{g:02x}{b:02x}"));
            }
        }
    }

    /// Writes the picture.
    pub fn save(&self, path: &Path) -> Result<()> {
        let ((width, height), body) = (self.size, &self.body);
        let head = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">"#
        );
        hearken::fs::write(path, format!("{head}\n{body}</svg>\n").as_bytes())
            .map_err(|e| io(Stage::Output, path, e))
    }
}
