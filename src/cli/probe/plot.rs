//! The diagram of `hearken probe`: norms of gradients over time, on a logarithmic axis, as SVG.

use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;

/// A line of the diagram.
pub(super) struct Line {
    /// The text at its end.
    pub label: String,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Time between two steps, ms.
    pub step_ms: f64,
    /// Norms for k = 1, 2, …
    pub norms: Vec<f64>,
}

/// Colors that remain distinct with color blindness (Okabe, Ito 2008).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
const SIZE: (u32, u32) = (960, 540);
/// Smallest share of the first norm that is drawn.
const FLOOR: f64 = 1e-8;

/// Draws the lines, each relative to its first norm.
pub(super) fn plot(lines: &[Line]) -> String {
    let mut svg = String::new();
    // Drawing into a string cannot fail but for texts without a font, which SVG leaves to the viewer.
    let _ = draw(lines, &mut svg);
    svg
}

fn draw(lines: &[Line], svg: &mut String) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let shares: Vec<Vec<f64>> = lines.iter().map(|line| relative(&line.norms)).collect();
    let all = || shares.iter().flatten().copied();
    let (low, high) = (all().fold(0.1, f64::min).max(FLOOR), all().fold(2.0, f64::max));
    let seconds = |line: &Line, k: usize| k as f64 * line.step_ms / 1000.0;
    let longest = lines.iter().map(|line| seconds(line, line.norms.len())).fold(0.01, f64::max);
    let step_ms = lines.first().map_or(0.0, |line| line.step_ms);
    let about = match lines.iter().all(|line| line.step_ms == step_ms) {
        true => format!("time before the loss, s (steps of {step_ms:.0} ms)"),
        false => "time before the loss, s".into(),
    };
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .margin_right(16)
        .caption("Gradient through time", ("sans-serif", 22))
        .x_label_area_size(44)
        .y_label_area_size(64)
        // A quarter of the width is for the labels.
        .build_cartesian_2d(0.0..longest * 1.3, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc(about)
        .y_desc("|dL/ds|, relative to the last step")
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .x_label_formatter(&|at| if *at <= longest { format!("{at:.1}") } else { String::new() })
        .y_label_formatter(&|share| if *share >= 0.01 { share.to_string() } else { format!("{share:.0e}") })
        .draw()?;
    let mut ends = Vec::new();
    for (i, (line, shares)) in lines.iter().zip(&shares).enumerate() {
        let style = COLORS[i % COLORS.len()].stroke_width(2);
        let shown: Vec<(f64, f64)> = shares
            .iter()
            .enumerate()
            .take_while(|(_, share)| **share >= low)
            .map(|(at, &share)| (seconds(line, at + 1), share))
            .collect();
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
    area.present()?;
    Ok(())
}

/// The norms as shares of the first.
fn relative(norms: &[f64]) -> Vec<f64> {
    let first = norms.first().copied().filter(|&first| first > 0.0).unwrap_or(1.0);
    norms.iter().map(|norm| norm / first).collect()
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
        let norms = |factor: f64| (0..50).map(|k| factor.powi(k)).collect();
        let line = |i: i32| Line {
            label: format!("line {i}"),
            dashed: i % 2 == 1,
            step_ms: 40.0,
            norms: norms(0.5 + f64::from(i) * 0.01),
        };
        let lines: Vec<Line> = (0..9).map(line).collect();
        let svg = plot(&lines);
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        (0..9).for_each(|i| assert!(svg.contains(&format!("line {i}"))));
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
