//! A chart of the report: an SVG drawn by plotters, whose colors the page's style sheet sets for light and dark, in a
//! `figure` with title and legend.

use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::combinators::IntoLogRange;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::text::phrases::escape_xml;

/// Size of a chart, px; the page scales it to its columns.
const SIZE: (u32, u32) = (480, 280);
/// Maximum number of points of a line: more are averaged.
const MAX_POINTS: usize = 240;
/// Maximum number of values of a chart that can be read by pointing at them.
const MAX_TARGETS: usize = 360;
/// Maximum number of lines: the colors that can be told apart.
const MAX_LINES: usize = COLORS.len();
/// Colors that remain distinct with color blindness (Okabe, Ito 2008); report.css has those for dark pages.
pub(crate) const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
const GRID: RGBColor = RGBColor(221, 221, 221);
/// From this ratio of the largest to the smallest value on, the axis is logarithmic.
const LOG_RATIO: f64 = 30.0;

/// A line of a chart.
pub(super) struct Line {
    pub name: String,
    /// Number of updates, and the value after them.
    pub points: Vec<(f64, f64)>,
}

/// What a chart shows.
pub(super) struct Chart<'a> {
    pub title: &'a str,
    /// What the values are, with their unit.
    pub about: &'a str,
    pub lines: Vec<Line>,
    /// Whether each value has a dot: for few of them.
    pub dots: bool,
    /// Whether the axis begins at 0, for shares and rates.
    pub from_zero: bool,
}

impl Chart<'_> {
    /// The chart as HTML; nothing if it has no values.
    pub fn html(&self) -> String {
        let lines: Vec<Line> =
            self.lines.iter().map(averaged).filter(|line| !line.points.is_empty()).collect();
        if lines.is_empty() {
            return String::new();
        }
        let more = lines.len().saturating_sub(MAX_LINES);
        let lines = &lines[..lines.len() - more];
        let (title, about) = (escape_xml(self.title), escape_xml(self.about));
        let mut svg = String::new();
        // Drawing into a string cannot fail but for texts without a font, which SVG leaves to the viewer.
        let _ = self.draw(lines, &mut svg);
        let svg = svg.trim_end().replacen(
            "<svg ",
            &format!("<svg role=\"img\" aria-label=\"{title}: {about}\" "),
            1,
        );
        let mut legend = String::new();
        if lines.len() > 1 {
            let item = |(i, line): (usize, &Line)| {
                format!("<li><i class=\"c{i}\"></i>{}</li>", escape_xml(&line.name))
            };
            let rest = if more > 0 { format!("<li>{more} more in log.jsonl</li>") } else { String::new() };
            legend = format!("<ul>{}{rest}</ul>", lines.iter().enumerate().map(item).collect::<String>());
        }
        format!(
            "<figure><figcaption><b>{title}</b> <span>{about}</span></figcaption>{svg}{legend}</figure>\n"
        )
    }

    fn draw(&self, lines: &[Line], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let values = || lines.iter().flat_map(|line| &line.points).map(|&(_, value)| value);
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
        if !self.from_zero && low > 0.0 && high / low >= LOG_RATIO {
            let (low, high) = (low * 0.9, high * 1.1);
            let ticks = log_ticks(low, high);
            return self.draw_on(lines, svg, (low..high).log_scale().with_key_points(ticks));
        }
        let low = if self.from_zero { low.min(0.0) } else { low };
        let margin = (high - low).max(high.abs() * 0.05).max(1e-9) * 0.06;
        let bottom = if self.from_zero && low >= 0.0 { low } else { low - margin };
        self.draw_on(lines, svg, bottom..high + margin)
    }

    fn draw_on<Y>(&self, lines: &[Line], svg: &mut String, range: Y) -> Result<(), Box<dyn std::error::Error>>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let last = lines.iter().filter_map(|line| line.points.last()).map(|&(at, _)| at).fold(1.0, f64::max);
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .margin_right(18)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last, range)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_desc("updates")
            .axis_desc_style(("sans-serif", 16))
            .x_labels(6)
            .y_labels(6)
            .label_style(("sans-serif", 17))
            .x_label_formatter(&|at| number(*at))
            .y_label_formatter(&|value| number(*value))
            .draw()?;
        for (i, line) in lines.iter().enumerate() {
            let color = COLORS[i % MAX_LINES];
            chart.draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)))?;
            if self.dots || line.points.len() == 1 {
                let dot = |&at: &(f64, f64)| Circle::new(at, 3, color.filled());
                chart.draw_series(line.points.iter().map(dot))?;
            }
        }
        let mut targets = String::new();
        let every = lines.iter().map(|line| line.points.len()).sum::<usize>().div_ceil(MAX_TARGETS);
        for line in lines {
            // From the end, so that the last value has one.
            for &(at, value) in line.points.iter().rev().step_by(every.max(1)) {
                let (x, y) = chart.backend_coord(&(at, value));
                let name = if lines.len() > 1 { format!("{}, ", line.name) } else { String::new() };
                let text = escape_xml(&format!("{name}update {at:.0}: {}", number(value)));
                targets += &format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"6\"><title>{text}</title></circle>");
            }
        }
        area.present()?;
        drop(chart);
        drop(area);
        // Invisible targets for the pointer, with the values.
        *svg = svg.replacen("</svg>", &format!("<g class=\"targets\">{targets}</g></svg>"), 1);
        Ok(())
    }
}

/// The ticks of a logarithmic axis: powers of ten, with 2 and 5 between them if there are few.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let factors: &[f64] = if decades < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = (decades / 8.0).ceil().max(1.0) as usize;
    let powers = (low.log10().floor() as i32..=high.log10().ceil() as i32).step_by(every);
    let ticks = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    ticks.filter(|tick| (low..=high).contains(tick)).collect()
}

/// The line with at most [`MAX_POINTS`] points, each the mean of its neighbors.
fn averaged(line: &Line) -> Line {
    let finite: Vec<(f64, f64)> =
        line.points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    let size = finite.len().div_ceil(MAX_POINTS).max(1);
    let mean = |points: &[(f64, f64)]| {
        let count = points.len() as f64;
        let sum = points.iter().map(|(_, value)| value).sum::<f64>();
        (points.last().map_or(0.0, |&(at, _)| at), sum / count)
    };
    Line { name: line.name.clone(), points: finite.chunks(size).map(mean).collect() }
}

/// A number with three significant digits.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if size < 1e-3 {
        let text = format!("{value:.1e}");
        text.replace(".0e", "e")
    } else if size < 100.0 {
        let digits = (2 - size.log10().floor() as i32).max(0) as usize;
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').into(),
            false => text,
        }
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (12.0, "12"),
            (99.96, "100"),
            (1.234, "1.23"),
            (0.012_34, "0.0123"),
            (0.0005, "5e-4"),
            (0.000_123, "1.2e-4"),
            (24_000.0, "24000"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn logarithmic_axes_have_several_ticks() {
        let equal = |ticks: Vec<f64>, expected: &[f64]| {
            ticks.len() == expected.len()
                && ticks.iter().zip(expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-9)
        };
        assert!(equal(log_ticks(0.15, 6.0), &[0.2, 0.5, 1.0, 2.0, 5.0]));
        assert!(equal(log_ticks(0.5e-3, 20.0), &[1e-3, 1e-2, 0.1, 1.0, 10.0]));
        assert!(log_ticks(1e-30, 1.0).len() < 9);
    }

    #[test]
    fn long_lines_are_averaged_and_charts_have_titles_legends_and_values() {
        let points = (0..1000).map(|i| (f64::from(i), f64::from(i % 2))).chain([(1001.0, f64::NAN)]);
        let long = averaged(&Line { name: "a".into(), points: points.collect() });
        assert_eq!((long.points.len(), long.points.last().copied()), (200, Some((999.0, 0.6))));
        let line = |name: &str| Line { name: name.into(), points: vec![(10.0, 3.0), (20.0, 0.01)] };
        let (title, about) = ("Loss < 1", "nats");
        let chart = |lines| Chart { title, about, lines, dots: true, from_zero: false };
        let html = chart(vec![line("a"), line("b & c")]).html();
        for part in ["Loss &lt; 1", "b &amp; c", "a, update 20: 0.01", "</svg><ul>", "class=\"c1\""] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert_eq!(chart(vec![Line { name: "a".into(), points: Vec::new() }]).html(), "");
        let many = chart((0..9).map(|i| line(&format!("{i}"))).collect()).html();
        assert!(many.contains("class=\"c6\"") && many.contains("<li>2 more in log.jsonl</li>"));
        // A single value has a range too.
        assert!(chart(vec![Line { name: "a".into(), points: vec![(10.0, 0.0)] }]).html().contains("<svg"));
    }
}
