//! The diagrams of `hearken probe`, below each other, on logarithmic axes, as SVG.

use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;

use crate::train::report::chart::COLORS;

/// A line of a diagram.
pub(super) struct Line {
    /// The text at its end.
    pub label: String,
    /// Whether it is dashed.
    pub dashed: bool,
    /// The points, from left to right; values are above 0.
    pub points: Vec<(f64, f64)>,
}

/// A diagram.
pub(super) struct Diagram {
    pub title: &'static str,
    /// What the axes show, with their units.
    pub x: String,
    pub y: &'static str,
    pub lines: Vec<Line>,
}

/// Size of a diagram.
const SIZE: (u32, u32) = (960, 540);
/// Smallest value that is drawn.
pub(super) const FLOOR: f64 = 1e-8;

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Draws the diagrams that have lines.
pub(super) fn plot(diagrams: &[Diagram]) -> String {
    let diagrams: Vec<&Diagram> = diagrams.iter().filter(|diagram| !diagram.lines.is_empty()).collect();
    let mut svg = String::new();
    let rows = diagrams.len().max(1);
    let height = SIZE.1 * rows as u32;
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, height)).into_drawing_area();
        // Drawing into a string cannot fail but for texts without a font, which SVG leaves to the viewer.
        let _ = area.fill(&WHITE);
        for (diagram, part) in diagrams.iter().zip(area.split_evenly((rows, 1))) {
            let _ = draw(diagram, &part);
        }
        let _ = area.present();
    }
    svg
}

fn draw(diagram: &Diagram, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Drawn {
    let lines = &diagram.lines;
    let all = || lines.iter().flat_map(|line| &line.points).copied();
    let (low, high) =
        all().fold((0.1, 2.0), |(low, high): (f64, f64), (_, y)| (low.min(y.max(FLOOR)), high.max(y)));
    let longest = all().map(|(x, _)| x).fold(0.01, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .margin_right(16)
        .caption(diagram.title, ("sans-serif", 22))
        .x_label_area_size(44)
        .y_label_area_size(64)
        // A quarter of the width is for the labels.
        .build_cartesian_2d(0.0..longest * 1.3, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc(&diagram.x)
        .y_desc(diagram.y)
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .x_label_formatter(&|at| match *at {
            at if at > longest => String::new(),
            at if longest >= 10.0 => format!("{at:.0}"),
            at => format!("{at:.1}"),
        })
        .y_label_formatter(&|value| {
            if (0.01..1e4).contains(value) { value.to_string() } else { format!("{value:.0e}") }
        })
        .draw()?;
    let mut ends = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let style = COLORS[i % COLORS.len()].stroke_width(2);
        let shown: Vec<(f64, f64)> = line.points.iter().take_while(|(_, y)| *y >= low).copied().collect();
        ends.extend(shown.last().map(|&end| (end, i)));
        if line.dashed {
            chart.draw_series(DashedLineSeries::new(shown, 6, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(shown, style))?;
        }
    }
    for ((x, y), text_at, i) in spread(ends, low, high) {
        let color = COLORS[i % COLORS.len()];
        let style = ("sans-serif", 15).into_font().color(&color);
        let end = longest * 1.02;
        chart.draw_series([PathElement::new(vec![(x, y), (end, text_at)], color.mix(0.4))])?;
        let pos = plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Left,
            plotters::style::text_anchor::VPos::Center,
        );
        chart.draw_series([Text::new(lines[i].label.clone(), (end * 1.005, text_at), style.pos(pos))])?;
    }
    Ok(())
}

/// Heights for the labels at the ends of lines, so that none covers another.
fn spread(mut ends: Vec<((f64, f64), usize)>, low: f64, high: f64) -> Vec<((f64, f64), f64, usize)> {
    ends.sort_by(|a, b| b.0.1.total_cmp(&a.0.1));
    // At most 22 labels fit below each other.
    let gap = ((high / low).ln() / 22.0).exp();
    let mut above = high * gap;
    let mut placed = Vec::new();
    for (end, i) in ends {
        let at = end.1.min(above / gap);
        above = at;
        placed.push((end, at, i));
    }
    // Labels below the axis move up, and those above them too.
    let mut below = low * gap.sqrt();
    for (_, at, _) in placed.iter_mut().rev() {
        *at = at.max(below);
        below = *at * gap;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagram_has_every_label_and_none_covers_another() {
        let line = |i: i32| Line {
            label: format!("line {i}"),
            dashed: i % 2 == 1,
            points: (0..50).map(|k| (f64::from(k), (0.5 + f64::from(i) * 0.01).powi(k))).collect(),
        };
        let diagram = |title, lines| Diagram { title, x: "time, s".into(), y: "share", lines };
        let lines: Vec<Line> = (0..9).map(line).collect();
        let svg = plot(&[diagram("first", lines), diagram("empty", vec![]), diagram("last", vec![line(9)])]);
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("height=\"1080\"") && svg.contains("first") && !svg.contains("empty"));
        (0..10).for_each(|i| assert!(svg.contains(&format!("line {i}"))));
        let ends = (0..9).map(|i| ((1.0, FLOOR), i)).collect();
        let mut heights: Vec<f64> = spread(ends, FLOOR, 1.0).into_iter().map(|(_, at, _)| at).collect();
        heights.sort_by(f64::total_cmp);
        assert!(heights.windows(2).all(|pair| pair[1] / pair[0] > 2.0), "{heights:?}");
    }

    #[test]
    fn no_lines_are_an_empty_diagram() {
        assert!(plot(&[]).contains("</svg>"));
    }
}
