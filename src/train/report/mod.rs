//! The report of a run: one HTML page without anything from elsewhere, made from the lines of the log and the data.

pub(crate) mod chart;
mod spectrogram;
mod utterances;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::log::{History, ScoresLine, StepLine};
use super::progress::Ended;
use super::recipe::{Measure, Recipe};
use super::score::DevSet;
use crate::error::Result;
use crate::text::phrases::escape_xml;
use crate::units::counted;
use chart::{Chart, Line, number};

/// Maximum number of recordings left out that the page lists; the file in the run's folder lists all.
const MAX_LEFT_OUT: usize = 200;
/// Maximum number of evaluations in the table.
const MAX_ROWS: usize = 8;

/// What the page shows besides the log.
pub(super) struct Context<'a> {
    pub recipe: &'a Recipe,
    /// The recipe as TOML, with every default.
    pub text: String,
    /// The run's folder.
    pub out: &'a Path,
    pub dev: &'a [DevSet],
    /// Recordings that are left out: manifest, line, and reason.
    pub left_out: &'a [String],
    pub notes: &'a [String],
}

/// The state of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Status {
    Running,
    Done,
    /// It was interrupted and can be resumed.
    Stopped,
    Failed(String),
}

impl Status {
    /// The state after the end of a run of `steps` updates.
    pub fn of(result: &Result<Ended>, steps: u64) -> Self {
        match result {
            Ok(ended) if ended.step < steps && !ended.ended_early => Self::Stopped,
            Ok(_) => Self::Done,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// The page.
pub(super) fn page(history: &History, context: &Context<'_>, status: &Status) -> String {
    let name = context.out.canonicalize().ok();
    let name = name.as_deref().unwrap_or(context.out).file_name().unwrap_or_default().to_string_lossy();
    let name = escape_xml(&name);
    let sections: String = [
        section("Training", &grid(&training_charts(history))),
        section("Dev sets", &(grid(&dev_charts(history, context)) + &evaluations(history, context))),
        section("Norms by layer", &grid(&norm_charts(history))),
        utterances::sections(history, context),
        section("Data", &data(history, context)),
        section(
            "Recipe",
            &format!(
                "<details><summary>All settings, with the defaults</summary><pre>{}</pre></details>",
                escape_text(&context.text)
            ),
        ),
    ]
    .concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{name}: training</title>\
         <link rel=\"icon\" href=\"data:,\"><style>\n{css}</style></head>\n\
         <body{running}><header><h1>{name}</h1>{head}</header>\n<main>\n{sections}</main>\n\
         <script>\n{script}</script></body></html>\n",
        css = include_str!("report.css"),
        script = include_str!("report.js"),
        running = if *status == Status::Running { " class=\"running\"" } else { "" },
        head = head(history, context, status),
    )
}

fn section(title: &str, content: &str) -> String {
    match content {
        "" => String::new(),
        _ => format!("<section><h2>{title}</h2>\n{content}</section>\n"),
    }
}

fn grid(charts: &[Chart<'_>]) -> String {
    let charts: String = charts.iter().map(Chart::html).collect();
    if charts.is_empty() { charts } else { format!("<div class=\"grid\">{charts}</div>\n") }
}

/// Text for HTML with its line breaks.
fn escape_text(text: &str) -> String {
    text.lines().map(|line| escape_xml(line) + "\n").collect()
}

/// A duration in words.
fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        _ if seconds < 59.5 => format!("{seconds:.0} s"),
        0..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// The state, the time, and the most important numbers.
fn head(history: &History, context: &Context<'_>, status: &Status) -> String {
    let steps = context.recipe.schedule.steps;
    let times = history.times();
    let start = history.starts.last().map_or(0, |line| line.step);
    let ends = [history.steps.last().map(|line| line.step), history.scores.last().map(|line| line.step)];
    let step = ends.into_iter().flatten().fold(start, u64::max);
    let elapsed = times.first().zip(times.last()).map_or(0.0, |(first, last)| last.1 - first.1);
    let since = if start > 0 { format!(" since update {start}") } else { String::new() };
    let (state, problem) = match status {
        Status::Running => ("Training", String::new()),
        Status::Done => ("Done", String::new()),
        Status::Stopped => {
            ("Stopped", "<p class=\"note\">It can be continued: <code>--resume</code>.</p>".into())
        }
        Status::Failed(error) => {
            ("Ended by an error", format!("<p class=\"note bad\">{}</p>", escape_text(error).trim_end()))
        }
    };
    let mut text = format!(
        "<p class=\"state\"><b>{state}</b> · update {step} of {steps} · {}{since} · written <time data-seconds=\"{}\">\
         </time></p>\n<progress value=\"{step}\" max=\"{steps}\" aria-label=\"updates done\"></progress>{problem}\n",
        duration(elapsed),
        super::log::now(),
    );
    for line in &history.notes {
        let _ = writeln!(text, "<p class=\"note\">Update {}: {}.</p>", line.step, escape_xml(&line.note));
    }
    let mut tiles: Vec<(&str, String, String)> = Vec::new();
    if let Some(line) = history.steps.last() {
        tiles.push(("loss", number(line.loss), "CTC, per label".into()));
    }
    if let Some(line) = history.scores.last() {
        let rates: Vec<f64> = line.dev.iter().filter_map(|set| set.wer).collect();
        if let ([rate], [set]) = (&rates[..], &line.dev[..]) {
            tiles.push(("word error rate", percent(*rate), escape_xml(&set.manifest)));
        }
    }
    if let Some((line, score)) = history.best().and_then(|line| Some((line, line.score?))) {
        tiles.push(("best score", number(score), format!("update {}", line.step)));
    }
    if let Some(line) = history.steps.last() {
        tiles.push(("speed", number(line.utterances_per_second), "utterances per second".into()));
    }
    if let Some(left) = history.seconds_left().filter(|_| *status == Status::Running) {
        tiles.push(("time left", duration(left), "with evaluations".into()));
    }
    if !tiles.is_empty() {
        text += "<dl class=\"tiles\">";
        for (name, value, about) in tiles {
            let _ = write!(text, "<div><dt>{name}</dt><dd>{value}</dd><span>{about}</span></div>");
        }
        text += "</dl>\n";
    }
    text
}

fn percent(rate: f64) -> String {
    number(100.0 * rate) + " %"
}

/// A line of the numbers that `value` finds.
fn line(name: &str, history: &History, value: impl Fn(&StepLine) -> Option<f64>) -> Line {
    let points = history.steps.iter().filter_map(|step| Some((step.step as f64, value(step)?)));
    Line { name: name.into(), points: points.collect() }
}

fn training_charts(history: &History) -> Vec<Chart<'static>> {
    let chart = |title, about, lines, from_zero| Chart { title, about, lines, dots: false, from_zero };
    let one = |value: fn(&StepLine) -> f64| vec![line("", history, |step| Some(value(step)))];
    let mut losses = vec![line("CTC", history, |step| Some(step.loss))];
    losses.push(line("auxiliary output", history, |step| step.auxiliary_loss));
    losses.push(line("disagreement of views", history, |step| step.consistency_loss));
    vec![
        chart("Loss", "per label, nats", losses, false),
        chart("MMI loss", "per utterance, nats", vec![line("", history, |step| step.mmi_loss)], false),
        chart("Blanks", "share of steps, %", one(|step| 100.0 * step.blank_share), true),
        chart("Gradient norm", "before clipping, mean", one(|step| step.gradient_norm), false),
        chart("Learning rate", "of the last update", one(|step| step.learning_rate), true),
        chart("Speed", "utterances per second", one(|step| step.utterances_per_second), true),
    ]
}

fn dev_charts(history: &History, context: &Context<'_>) -> Vec<Chart<'static>> {
    let sets = &context.recipe.data.dev;
    let lines = |is_shown: &dyn Fn(usize) -> bool, value: &dyn Fn(&ScoresLine, usize) -> Option<f64>| {
        let shown = (0..sets.len()).filter(|&i| is_shown(i));
        let line = |i: usize| Line {
            name: sets[i].manifest.clone(),
            points: history
                .scores
                .iter()
                .filter_map(|scores| Some((scores.step as f64, value(scores, i)?)))
                .collect(),
        };
        shown.map(line).collect::<Vec<_>>()
    };
    let chart = |title, about, lines, from_zero| Chart { title, about, lines, dots: true, from_zero };
    let all = |_: usize| true;
    let rejection = |i: usize| sets[i].measure == Measure::Rejection;
    let score = history.scores.iter().filter_map(|line| Some((line.step as f64, line.score?))).collect();
    let mut charts = vec![
        chart(
            "Word error rate",
            "%",
            lines(&all, &|line: &ScoresLine, i| Some(100.0 * line.dev.get(i)?.wer?)),
            true,
        ),
        chart(
            "Character error rate",
            "%",
            lines(&all, &|line: &ScoresLine, i| Some(100.0 * line.dev.get(i)?.cer?)),
            true,
        ),
        chart(
            "False words",
            "per hour",
            lines(&rejection, &|line: &ScoresLine, i| line.dev.get(i)?.false_words_per_hour),
            true,
        ),
    ];
    if sets.len() > 1 {
        let lines = vec![Line { name: String::new(), points: score }];
        charts.push(chart("Score", "weighted sum of the sets; the lowest is the best", lines, true));
    }
    charts
}

fn norm_charts(history: &History) -> Vec<Chart<'static>> {
    let names: Vec<String> = match history.steps.last() {
        Some(step) => step.layers.iter().map(|layer| layer.name.clone()).collect(),
        None => return Vec::new(),
    };
    let lines = |value: fn(&super::progress::LayerNorms) -> f64| {
        let of = |name: &String| {
            line(name, history, |step| {
                step.layers.iter().find(|layer| layer.name == *name).map(value).filter(|&norm| norm > 0.0)
            })
        };
        names.iter().map(of).collect::<Vec<_>>()
    };
    let chart = |title, about, lines| Chart { title, about, lines, dots: false, from_zero: false };
    vec![
        chart("Gradient", "norm before clipping, single updates", lines(|layer| layer.gradient)),
        chart(
            "Update / weights",
            "norm of the change relative to that of the weights",
            lines(|layer| if layer.weights > 0.0 { layer.update / layer.weights } else { 0.0 }),
        ),
        chart("Weights", "norm", lines(|layer| layer.weights)),
    ]
}

/// The table of the last evaluations, and of the best.
fn evaluations(history: &History, context: &Context<'_>) -> String {
    if history.scores.is_empty() {
        return match context.dev.is_empty() {
            true => "<p>The recipe has no dev set.</p>\n".into(),
            false => {
                format!("<p>Not evaluated yet: every {} updates.</p>\n", context.recipe.run.eval_interval)
            }
        };
    }
    let best = history.best().map(|line| line.step);
    let first = history.scores.len().saturating_sub(MAX_ROWS);
    let shown = history.scores.iter().enumerate().filter(|(i, line)| *i >= first || Some(line.step) == best);
    let mut rows = String::new();
    for (_, line) in shown {
        let mark = if Some(line.step) == best { " <b>best</b>" } else { "" };
        for set in &line.dev {
            let rate = |rate: Option<f64>| rate.map_or("–".into(), percent);
            let _ = writeln!(
                rows,
                "<tr><td>{}{mark}</td><td class=\"name\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td><td>{}</td><td>{}</td></tr>",
                line.step,
                escape_xml(&set.manifest),
                rate(set.wer),
                rate(set.cer),
                set.words,
                set.substitutions,
                set.deletions,
                set.insertions,
                set.false_words_per_hour.map_or("–".into(), number),
            );
        }
    }
    let silent = history.scores.last().is_some_and(|line| line.writes_nothing);
    let note = if silent { "<p class=\"note bad\">The model writes nothing yet.</p>" } else { "" };
    format!(
        "{note}<div class=\"scroll\"><table class=\"scores\"><thead><tr><th>update</th><th class=\"name\">dev set</th>\
         <th>word errors</th><th>character errors</th><th>words</th><th>substituted</th><th>missed</th>\
         <th>inserted</th><th>false words per hour</th></tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// The data, and what was left out.
fn data(history: &History, context: &Context<'_>) -> String {
    let mut text = String::new();
    if let Some(line) = history.starts.last() {
        let start = &line.start;
        let _ = writeln!(
            text,
            "<p>{}, {} hours; {} parameters; {} updates of {}.</p>",
            counted(start.recordings, "recording"),
            number(start.hours),
            start.parameters,
            start.steps,
            counted(context.recipe.run.batch_size, "utterance"),
        );
    }
    for note in context.notes {
        let _ = writeln!(text, "<p class=\"note\">{}</p>", escape_xml(note));
    }
    if context.left_out.is_empty() {
        return text + "<p>No recording was left out.</p>\n";
    }
    let _ = writeln!(text, "<h3>{} left out</h3>", counted(context.left_out.len(), "recording"));
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    context.left_out.iter().for_each(|line| *reasons.entry(reason(line)).or_default() += 1);
    let mut reasons: Vec<(String, usize)> = reasons.into_iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let rows = reasons.iter().take(MAX_LEFT_OUT);
    let rows: String = rows
        .map(|(reason, n)| format!("<tr><td>{n}</td><td class=\"name\">{}</td></tr>\n", escape_xml(reason)))
        .collect();
    let _ = write!(
        text,
        "<div class=\"scroll\"><table><thead><tr><th>recordings</th><th class=\"name\">reason</th></tr></thead><tbody>\n\
         {rows}</tbody></table></div>\n<details><summary>Each of them</summary><ul class=\"lines\">"
    );
    for line in context.left_out.iter().take(MAX_LEFT_OUT) {
        let _ = writeln!(text, "<li>{}</li>", escape_xml(line));
    }
    if context.left_out.len() > MAX_LEFT_OUT {
        let more = context.left_out.len() - MAX_LEFT_OUT;
        let _ = writeln!(text, "<li>{more} more in {}</li>", super::folder::LEFT_OUT);
    }
    text + "</ul></details>\n"
}

/// The reason in a message about a recording, without what differs between recordings: places, names of files, numbers.
fn reason(message: &str) -> String {
    let mut parts: Vec<&str> = message.split(": ").collect();
    // Manifest and line.
    if parts.len() > 2 && parts[1].starts_with("line ") {
        parts.drain(..2);
    }
    let is_file = |part: &str| part.contains(['/', '\\']) || Path::new(part).extension().is_some();
    if parts.len() > 1 && is_file(parts[0]) {
        parts.remove(0);
    }
    let mut reason = String::new();
    for c in parts.join(": ").chars() {
        match c {
            '0'..='9' if reason.ends_with('…') => {}
            '0'..='9' => reason.push('…'),
            '.' if reason.ends_with('…') => {}
            c => reason.push(c),
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_the_same_for_recordings_of_a_kind() {
        let of = |name: &str, steps: &str| {
            reason(&format!(
                "train.jsonl: line {steps}: {name}the transcript needs {steps} steps, it has 1.5"
            ))
        };
        assert_eq!(of("", "12"), "the transcript needs … steps, it has …");
        assert_eq!(of("a/b.wav: ", "3"), of("", "12"));
        assert_eq!(reason("x.jsonl: line 3: c.wav: damaged: cut off"), "damaged: cut off");
    }

    #[test]
    fn durations_are_in_words() {
        let all = [0.0, 59.4, 60.0, 3599.0, 3600.0, 36_000.0].map(duration);
        assert_eq!(all, ["0 s", "59 s", "1 min", "1 h 00 min", "1 h 00 min", "10 h 00 min"]);
    }
}
