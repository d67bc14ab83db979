//! The output of `hearken verify`: lines, or JSON.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::subject::Subject;
use crate::engine::sherpa::Examined;
use crate::engine::verify::{Row, Runner};
use crate::fs::quoted;
use crate::onnx::OnnxFile;
use crate::onnx::interface::{Interface, Port};
use crate::output::printable;

/// The differences between every engine and a model on the native engine.
pub(super) struct Against {
    pub model: PathBuf,
    /// Name and largest difference of each engine.
    pub engines: Vec<(&'static str, f32)>,
    pub allowed: f32,
    /// The text that the model recognizes.
    pub text: Option<String>,
}

impl Against {
    fn max_difference(&self) -> f32 {
        self.engines.iter().map(|e| e.1).fold(0.0, f32::max)
    }
}

/// The output of the command.
pub(super) struct Report {
    pub lines: Vec<String>,
    pub json: Value,
    /// Whether no difference is larger than allowed.
    pub passed: bool,
}

impl Report {
    /// Creates the report of the `rows` (the results of an engine and a manner of calling it), the text of
    /// each, and the comparison with a model if there is one.
    pub fn new(
        subject: &Subject,
        rows: &[Row],
        texts: &[Option<String>],
        allowed: f32,
        against: Option<&Against>,
    ) -> Self {
        let compared = Compared { subject, rows, texts, allowed, against };
        let max_difference = compared.max_difference();
        let passed = max_difference <= allowed && against.is_none_or(|a| a.max_difference() <= a.allowed);
        let mut lines = compared.files();
        lines.push(String::new());
        lines.extend(compared.table());
        lines.push(String::new());
        lines.push(summary(subject, rows, max_difference, allowed));
        lines.extend(against.map(|a| {
            let (found, most) = (a.max_difference(), a.allowed);
            let model = quoted(&a.model);
            format!("from {model} on the native engine {}", verdict(found, most))
        }));
        Self { lines, json: compared.json(passed), passed }
    }
}

/// The results that were compared.
struct Compared<'a> {
    subject: &'a Subject,
    rows: &'a [Row],
    texts: &'a [Option<String>],
    allowed: f32,
    against: Option<&'a Against>,
}

impl Compared<'_> {
    fn max_difference(&self) -> f32 {
        self.rows.iter().map(|r| r.difference).fold(0.0, f32::max)
    }

    /// Describes the files.
    fn files(&self) -> Vec<String> {
        let subject = self.subject;
        let mut lines = vec![printable(&subject.name)];
        for Examined { path, file, interface } in &subject.files {
            if subject.files.len() > 1 {
                lines.push(quoted(path).into_owned());
            }
            lines.extend(describe(file, interface));
        }
        if subject.runners.takes_one_stream {
            lines.push("streams    one at a time: the batch size of the graph is 1".into());
        }
        lines
    }

    /// The table of results: a header, and a line for each row.
    fn table(&self) -> Vec<String> {
        let line =
            |engine: &str, calls: &str, streams: usize, (found, most): (f32, f32), text: &Option<String>| {
                let text = text.as_deref().map_or("(tokens unknown)".into(), printable);
                let mark = if found <= most { "" } else { "  ◄ too large" };
                format!("{engine:8}{calls:8}{streams:>8}{found:>12.1e}{most:>10.1e}  {text}{mark}")
            };
        let mut lines = vec![format!(
            "{:8}{:8}{:>8}{:>12}{:>10}  text of the whole recording",
            "engine", "calls", "streams", "difference", "allowed"
        )];
        let own = self.rows.iter().zip(self.texts);
        lines.extend(
            own.map(|(r, text)| line(r.engine, r.calls, r.streams, (r.difference, self.allowed), text)),
        );
        if let Some(a) = self.against {
            let engines = a.engines.iter();
            lines.extend(
                engines.map(|(name, difference)| line(name, "against", 1, (*difference, a.allowed), &a.text)),
            );
        }
        lines
    }

    fn json(&self, passed: bool) -> Value {
        let Self { subject, allowed, .. } = *self;
        let json_row = |(row, text): (&Row, &Option<String>)| {
            json!({ "engine": row.engine, "calls": row.calls, "streams": row.streams,
                    "difference": row.difference, "allowed": allowed, "text": text })
        };
        let first = subject.first();
        let refused = subject.runners.refused.iter();
        let mut json = json!({
            "file": subject.name,
            "ir_version": first.map(|f| f.file.ir_version()),
            "opsets": first.map(|f| f.file.opsets()),
            "inputs": first.map(|f| &f.interface.inputs),
            "outputs": first.map(|f| &f.interface.outputs),
            "states": first.map(|f| &f.interface.states),
            "rows": self.rows.iter().zip(self.texts).map(json_row).collect::<Vec<_>>(),
            "largest_difference": self.max_difference(),
            "tolerance": allowed,
            "passed": passed,
            "refused": refused.map(|(kind, e)| json!({"engine": kind.name(), "reason": e.to_string()})).collect::<Vec<_>>(),
        });
        if subject.files.len() > 1 {
            json["files"] = subject.files.iter().map(file_json).collect();
        }
        if let Some(a) = self.against {
            let engine = |(name, difference): &(&str, f32)| json!({"engine": name, "difference": difference});
            json["against"] = json!({
                "model": quoted(&a.model),
                "engines": a.engines.iter().map(engine).collect::<Vec<_>>(),
                "largest_difference": a.max_difference(),
                "tolerance": a.allowed,
                "text": a.text,
            });
        }
        json
    }
}

fn file_json(examined: &Examined) -> Value {
    let Examined { path, file, interface } = examined;
    json!({ "file": quoted(path), "ir_version": file.ir_version(), "opsets": file.opsets(),
            "inputs": interface.inputs, "outputs": interface.outputs, "states": interface.states })
}

fn verdict(found: f32, most: f32) -> String {
    let verdict = if found <= most { "allowed" } else { "exceeded" };
    format!("{found:.1e}: {verdict}, at most {most:.1e}")
}

/// Describes the largest difference, and whether there was anything to compare with.
fn summary(subject: &Subject, rows: &[Row], max_difference: f32, allowed: f32) -> String {
    let alone = match &subject.runners.runners[..] {
        [alone] => alone,
        _ => return format!("largest difference {}", verdict(max_difference, allowed)),
    };
    let name = alone.engine().spec().name;
    let single_result = match alone {
        Runner::Offline(engine) => !engine.takes_lengths(),
        Runner::Streaming(_) => rows.len() < 2,
    };
    let hint = "`--against MODEL` compares with a model of hearken's";
    if single_result {
        return format!(
            "{name} alone ran the file, and only once: there was nothing to compare with ({hint})"
        );
    }
    let found = verdict(max_difference, allowed);
    format!(
        "largest difference between the calls of {name} {found}\n\
         {name} alone ran the file: its results were not compared with those of another engine ({hint})"
    )
}

/// Describes a file in a few lines.
pub(super) fn describe(file: &OnnxFile, d: &Interface) -> Vec<String> {
    let ports = |ports: &[Port]| {
        let one = |p: &Port| format!("{} {} [{}]", p.name, p.r#type, p.shape.join(", "));
        let all: Vec<String> = ports.iter().map(one).collect();
        let shown = all.len().min(4);
        let more = if all.len() > shown { format!(", {} more", all.len() - shown) } else { String::new() };
        printable(&(all[..shown].join(", ") + &more))
    };
    let opset: Vec<String> = file
        .opsets()
        .iter()
        .map(|(domain, v)| if domain.is_empty() { v.to_string() } else { format!("{domain} {v}") })
        .collect();
    let mut symbols: Vec<&String> = Vec::new();
    for symbol in d.inputs.iter().flat_map(|p| &p.shape).filter(|s| s.parse::<u64>().is_err()) {
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    let symbols: Vec<String> = symbols.iter().map(|s| printable(s)).collect();
    let states: Vec<String> =
        d.states.iter().map(|s| format!("{} → {} {:?}", s.input, s.output, s.shape)).collect();
    let shown = states.len().min(4);
    let more = if states.len() > shown { format!(", {} more", states.len() - shown) } else { String::new() };
    vec![
        format!("opset      {}, IR {}", opset.join(", "), file.ir_version()),
        format!("inputs     {}", ports(&d.inputs)),
        format!("outputs    {}", ports(&d.outputs)),
        match shown {
            0 => "states     none".to_string(),
            _ => format!("states     {}: {}{more}", d.states_found, printable(&states[..shown].join(", "))),
        },
        format!("symbolic   {}", if symbols.is_empty() { "nothing".into() } else { symbols.join(", ") }),
    ]
}
