//! The progress report of `hearken train`: a progress bar on a terminal, lines otherwise.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::printable;
use crate::train::{Ended, LEFT_OUT, Progress, REPORT, Scores, Start, Step};

/// Maximum number of left-out recordings that are printed; the file in the run's folder lists all.
const MAX_NAMED: usize = 5;
/// Time without output after which a line is printed, without a terminal.
const MAX_SILENCE: Duration = Duration::from_secs(20);

/// Reports a run on standard error.
pub(super) struct TrainReport {
    bar: Option<ProgressBar>,
    /// The page with the course of the run.
    page: PathBuf,
    left_out: Vec<String>,
    /// The losses and the scores of this session.
    losses: Vec<(u64, f64)>,
    totals: Vec<(u64, f64)>,
    /// Set by a signal to print the curves.
    curves_asked: Arc<AtomicBool>,
    /// When the last line was printed.
    last_line: Instant,
}

impl TrainReport {
    /// Creates the report of a run in the folder `out` that begins now.
    pub fn new(out: &Path) -> Self {
        let style = ProgressStyle::with_template("{prefix} [{wide_bar}] {pos}/{len} {eta} left  {msg}");
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(1);
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self {
            bar,
            page: out.join(REPORT),
            left_out: Vec::new(),
            losses: Vec::new(),
            totals: Vec::new(),
            curves_asked: curves_signal(),
            last_line: Instant::now(),
        }
    }

    /// Reports a progress event.
    pub fn show(&mut self, progress: &Progress) {
        if self.curves_asked.swap(false, Ordering::Relaxed) {
            self.curves();
        }
        match progress {
            Progress::Loading(done, all) => self.at("reading recordings", *done as u64, *all as u64),
            Progress::LeftOut(line) => self.left_out.push(line.clone()),
            Progress::Note(note) => self.line(&format!("note: {}", printable(note))),
            Progress::Started(start) => self.started(start),
            Progress::Updated(step, steps) => self.at("training", *step, *steps),
            Progress::Step(step) => self.step(step),
            Progress::Scoring(done, all) => self.at("scoring dev sets", *done as u64, *all as u64),
            Progress::Scores(scores) => self.scores(scores),
            Progress::Done(ended) if ended.stopped => {}
            Progress::Done(ended) => self.done(ended),
        }
    }

    /// Ends the report of a failed run. If it failed before it began, prints all left-out recordings, because
    /// no file lists them.
    pub fn end(&mut self) {
        self.clear();
        self.show_left_out(usize::MAX);
    }

    /// Ends the report of an interrupted run; `command` resumes it.
    pub fn stopped(&mut self, ended: &Ended, command: &str) {
        self.clear();
        self.line(&match ended.step {
            0 => "stopped before the first update".into(),
            step => format!("stopped after update {step}; to continue: {command}"),
        });
    }

    fn started(&mut self, start: &Start) {
        self.show_left_out(MAX_NAMED);
        let Start { parameters, recordings, hours, step, steps } = start;
        self.line(&format!(
            "{parameters} parameters; {recordings} recordings, {hours:.2} h; updates {step} to {steps}"
        ));
        self.line(
            "loss: CTC loss per label, lower is better; gradient: its norm before clipping; \
             blank: share of steps at which the blank is most likely",
        );
        let page = crate::fs::quoted(&self.page).into_owned();
        self.line(&format!("the course of the training is in {page}"));
        if cfg!(unix) && self.bar.is_some() {
            self.line("Ctrl-\\ draws its curves here");
        }
        if let Some(bar) = &self.bar {
            bar.reset_eta();
        }
    }

    fn step(&mut self, step: &Step) {
        self.losses.push((step.step, step.loss));
        let also =
            |name: &str, loss: Option<f64>| loss.map_or(String::new(), |loss| format!("  {name} {loss:.3}"));
        let text = format!(
            "loss {:.4}{}{}{}  gradient {:.2}  learning rate {:.1e}  blank {:.0} %  {:.0} utterances/s",
            step.loss,
            also("auxiliary loss", step.auxiliary_loss),
            also("MMI loss", step.mmi_loss),
            also("disagreement of views", step.consistency_loss),
            step.gradient_norm,
            step.learning_rate,
            100.0 * step.blank_share,
            step.utterances_per_second,
        );
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => self.line(&format!("update {}/{}  {text}", step.step, step.steps)),
        }
    }

    fn scores(&mut self, scores: &Scores) {
        let update = scores.step;
        let percent = |rate: Option<f64>| rate.map_or("no".into(), |rate| format!("{:.2} %", 100.0 * rate));
        for set in &scores.sets {
            let words = &set.score.words;
            let false_words = set
                .false_words_per_hour
                .map_or(String::new(), |rate| format!(", {rate:.1} false words an hour"));
            self.line(&format!(
                "update {update}  {}: {} word errors, {} character errors ({} words: {} substituted, {} missed, {} inserted){false_words}",
                printable(&set.manifest),
                percent(set.score.wer()),
                percent(set.score.cer()),
                words.reference,
                words.substitutions,
                words.deletions,
                words.insertions,
            ));
        }
        let total = scores.total.map_or("no score".into(), |total| format!("score {total:.4}"));
        let mark = match (scores.best, scores.outputs_nothing, scores.total) {
            (_, true, _) => ", but the model writes nothing yet",
            (true, false, Some(_)) => ", the best so far",
            (true, false, None) => ", the latest is kept as the best",
            (false, false, _) => "",
        };
        self.line(&format!("update {update}  {total}{mark}"));
        self.totals.extend(scores.total.map(|total| (update, total)));
        if self.bar.is_some() {
            let text = |(name, values): (&str, &Vec<(u64, f64)>)| match values.as_slice() {
                [(_, first), .., (_, last)] => {
                    Some(format!("  {name}  {}  {first:.3} to {last:.3}", curve(values)))
                }
                _ => None,
            };
            let texts: Vec<String> =
                [("loss ", &self.losses), ("score", &self.totals)].into_iter().filter_map(text).collect();
            texts.iter().for_each(|text| self.line(text));
        }
    }

    /// Prints the curves of this session, which a signal asked for.
    fn curves(&mut self) {
        let mut lines = chart("loss", &self.losses);
        lines.extend(chart("score", &self.totals));
        if lines.is_empty() {
            lines.push("no loss to draw yet".into());
        }
        lines.iter().for_each(|line| self.line(line));
    }

    fn done(&mut self, ended: &Ended) {
        self.clear();
        let step = ended.step;
        let done = if ended.ended_early { "ended early" } else { "done" };
        self.line(&match ended.best {
            Some((Some(score), at)) => format!("{done} after update {step}; best at {at} with {score:.4}"),
            Some((None, at)) => {
                format!("{done} after update {step}; best.onnx is of update {at}, without a score")
            }
            None => format!("{done} after update {step}"),
        });
        if ended.outputs_nothing {
            self.line("note: the best model writes nothing; see \"Problems and remedies\" in docs/train.md");
        }
    }

    fn show_left_out(&mut self, most: usize) {
        let left_out = std::mem::take(&mut self.left_out);
        for line in left_out.iter().take(most) {
            self.line(&format!("left out: {}", printable(line)));
        }
        match left_out.len().saturating_sub(most) {
            0 => {}
            more => self.line(&format!("left out: {more} more; {LEFT_OUT} in the run's folder lists all")),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
        self.last_line = Instant::now();
    }

    /// Moves the bar; without a terminal, prints a line if none was printed for a while.
    fn at(&mut self, what: &'static str, done: u64, all: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(what);
                bar.set_length(all);
                bar.set_position(done);
            }
            None if self.last_line.elapsed() >= MAX_SILENCE => self.line(&format!("{what}: {done} of {all}")),
            None => {}
        }
    }
}

/// A flag that is set by SIGUSR1, and by SIGQUIT (Ctrl-\) if standard error is a terminal.
fn curves_signal() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGQUIT, SIGUSR1};
        // Without a handler the curves cannot be asked for.
        let _ = signal_hook::flag::register(SIGUSR1, Arc::clone(&flag));
        if std::io::stderr().is_terminal() {
            let _ = signal_hook::flag::register(SIGQUIT, Arc::clone(&flag));
        }
    }
    flag
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The means of neighbors, so that at most `width` values are left.
fn averaged(values: &[(u64, f64)], width: usize) -> Vec<f64> {
    let size = values.len().div_ceil(width).max(1);
    let mean = |part: &[(u64, f64)]| part.iter().map(|(_, value)| value).sum::<f64>() / part.len() as f64;
    values.chunks(size).map(mean).collect()
}

/// The lowest and the highest of finite values, and the share of a value between them.
fn scale(values: &[f64]) -> (f64, f64, impl Fn(f64) -> f64) {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let share =
        move |value: f64| if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
    (low, high, share)
}

/// The course of values as bars of text, from the lowest to the highest; neighbors share a bar if there are many.
fn curve(values: &[(u64, f64)]) -> String {
    const WIDTH: usize = 48;
    let means = averaged(values, WIDTH);
    let (_, _, share) = scale(&means);
    means.iter().map(|&value| BARS[(share(value) * (BARS.len() - 1) as f64).round() as usize]).collect()
}

/// The course of values as a chart of a few lines; nothing for fewer than two values.
fn chart(name: &str, values: &[(u64, f64)]) -> Vec<String> {
    const WIDTH: usize = 64;
    const ROWS: usize = 8;
    let (Some((first, _)), Some((last, _)), true) = (values.first(), values.last(), values.len() > 1) else {
        return Vec::new();
    };
    let means = averaged(values, WIDTH);
    let (low, high, share) = scale(&means);
    // Each value fills a part of the column; the lowest one still has a bar.
    let heights: Vec<usize> = means
        .iter()
        .map(|&value| 1 + (share(value) * (ROWS * BARS.len() - 1) as f64).round() as usize)
        .collect();
    let mut lines = vec![format!("{name}, updates {first} to {last}")];
    for row in (0..ROWS).rev() {
        let label = match row {
            0 => format!("{low:.3}"),
            row if row + 1 == ROWS => format!("{high:.3}"),
            _ => String::new(),
        };
        let cell = |height: &usize| match height.saturating_sub(row * BARS.len()) {
            0 => ' ',
            eighths => BARS[eighths.min(BARS.len()) - 1],
        };
        let bars: String = heights.iter().map(cell).collect();
        lines.push(format!("{label:>8} {}", bars.trim_end()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_falls_as_its_values_do() {
        let numbered = |values: &[f64]| values.iter().map(|&value| (7, value)).collect::<Vec<_>>();
        assert_eq!(curve(&numbered(&[8.0, 4.0, 2.0, 1.0])), "█▄▂▁");
        assert_eq!(curve(&numbered(&[1.0, 1.0])), "▁▁");
        assert_eq!(curve(&numbered(&[1.0, f64::NAN, 0.0])).chars().count(), 3);
        let long: Vec<f64> = (0..1000).map(f64::from).collect();
        let long = curve(&numbered(&long));
        assert!(long.chars().count() <= 48 && long.ends_with('█'));
    }

    #[test]
    fn a_chart_has_its_range_and_a_column_for_each_value() {
        let lines = chart("loss", &[(10, 8.0), (20, 4.0), (30, 0.0)]);
        let expected = [
            "loss, updates 10 to 30",
            "   8.000 █",
            "         █",
            "         █",
            "         █▁",
            "         ██",
            "         ██",
            "         ██",
            "   0.000 ██▁",
        ];
        assert_eq!(lines, expected);
        assert!(chart("loss", &[(10, 8.0)]).is_empty());
        assert!(chart("loss", &(0..999).map(|i| (i, 0.5)).collect::<Vec<_>>())[8].chars().count() <= 73);
    }
}
