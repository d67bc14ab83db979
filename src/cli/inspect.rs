//! `hearken inspect FILE.onnx`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::model::{ModelSource, state_pair};
use super::{Outcome, Stop};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::fs::quoted;
use crate::model::{CellKind, Network};
use crate::onnx::inspect::{Description, describe_file};
use crate::onnx::interface::Port;
use crate::onnx::{self, Metadata, OnnxFile};
use crate::output::printable;
use crate::recognizer::Embedded;
use crate::units::counted;

/// Describe a model file: hearken's own, or any other ONNX file.
///
/// Prints inputs, outputs and states; parameters, bytes and multiply-adds of each layer; metadata; which
/// systems can load the file, and why others cannot; and a drawing of the graph.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: hearken inspect model.onnx")]
pub(super) struct Args {
    /// ONNX file, folder of ONNX files, or the embedded model `digits` or `english` [default: digits].
    #[arg(value_name = "FILE.onnx")]
    file: Option<PathBuf>,

    /// Input and output of a state; may be repeated.
    #[arg(long = "state", value_name = "IN=OUT", value_parser = state_pair)]
    states: Vec<(String, String)>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let path = match ModelSource::new(args.file.as_deref(), Embedded::Digits) {
        ModelSource::Embedded(model) => {
            let file = OnnxFile::from_bytes(model.model()?)?;
            return describe(args, &file, Path::new(&format!("the model {}", model.name())));
        }
        ModelSource::Path(path) => path,
    };
    if !path.is_dir() {
        return describe(args, &OnnxFile::read(path)?, path);
    }
    let files = models(path)?;
    if args.json {
        return print(&folder_json(args, path, &files)?.to_string());
    }
    for (i, file) in files.iter().enumerate() {
        let (space, name) = (if i > 0 { "\n" } else { "" }, quoted(file));
        print(&format!("{space}{name}\n"))?;
        describe(args, &OnnxFile::read(file)?, file)?;
    }
    Ok(Outcome::Done)
}

/// Builds one JSON object for all files of a folder.
fn folder_json(args: &Args, folder: &Path, files: &[PathBuf]) -> Result<Value> {
    let one = |file: &PathBuf| {
        let (description, own) = read(args, &OnnxFile::read(file)?, file)?;
        let mut all = to_json(&description, own.as_ref());
        all["file"] = json!(quoted(file));
        Ok(all)
    };
    let files = files.iter().map(one).collect::<Result<Vec<_>>>()?;
    Ok(json!({ "folder": quoted(folder), "files": files }))
}

fn print(line: &str) -> std::result::Result<Outcome, Stop> {
    writeln!(io::stdout(), "{line}").map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}

/// The ONNX files of a folder, sorted by name.
fn models(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| io_error(Stage::Model, folder, e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Error::new(Stage::Model, "expected ONNX files in the folder, found none").in_file(folder));
    }
    Ok(files)
}

/// The content of a model of hearken's own.
type Own = (Network<f32>, Metadata);

fn read(args: &Args, file: &OnnxFile, name: &Path) -> Result<(Description, Option<Own>)> {
    let in_file = |e: Error| if e.stage() == Stage::Usage { e } else { e.in_file(name) };
    let description = describe_file(file, &args.states).map_err(in_file)?;
    Ok((description, onnx::load::read_model(file).ok()))
}

fn describe(args: &Args, file: &OnnxFile, name: &Path) -> std::result::Result<Outcome, Stop> {
    let (description, own) = read(args, file, name)?;
    if args.json {
        return print(&to_json(&description, own.as_ref()).to_string());
    }
    let mut all =
        if let Some((network, metadata)) = &own { own_lines(network, metadata) } else { Vec::new() };
    all.extend(lines(&description, own.is_some()));
    print(&all.join("\n"))
}

/// Builds the JSON of a description, with further fields for a model of hearken's own.
fn to_json(description: &Description, own: Option<&Own>) -> Value {
    let mut all = serde_json::to_value(description).unwrap_or_default();
    if let (Some((network, metadata)), Some(all)) = (own, all.as_object_mut()) {
        let more = json!({
            "parameters": network.num_parameters(),
            "network": network.config,
            "features": metadata.features,
            "tokens": metadata.tokens.tokens(),
            "blank": metadata.tokens.blank(),
            "decoder": metadata.decoder,
            "license": metadata.license,
            "trained_on": metadata.trained_on,
            "created_by": metadata.created_by,
            "recipe": metadata.recipe,
        });
        if let Value::Object(more) = more {
            all.extend(more);
        }
    }
    all
}

fn own_lines(network: &Network<f32>, metadata: &Metadata) -> Vec<String> {
    let config = &network.config;
    let features = &metadata.features;
    let step_ms = features.frame_shift_ms * config.subsampling as f32;
    let mut lines = vec![
        format!("parameters   {}", network.num_parameters()),
        format!("input        {} Hz, {} mel bins", features.sample_rate, features.num_mel_bins),
        format!("step         {}, {step_ms} ms", counted(config.subsampling, "frame")),
    ];
    for (i, layer) in config.layers.iter().enumerate() {
        let more = match layer.cell {
            CellKind::Conv => format!(", kernel of {}", counted(layer.kernel_size, "step")),
            CellKind::Attention => format!(
                ", {}, {} before, {} wide inside",
                counted(layer.num_heads, "head"),
                counted(layer.left_context, "step"),
                layer.dim_feedforward
            ),
            CellKind::Tdnnf => format!(
                ", bottleneck of {}, {} apart",
                layer.bottleneck_dim,
                counted(layer.time_stride, "step")
            ),
            CellKind::Lstmp => format!(", cell of {} projected", counted(layer.cell_dim, "value")),
            _ => String::new(),
        };
        lines.push(format!("layer {i}      {}, {} wide{more}", layer.cell.family(), layer.hidden));
    }
    let tokens: Vec<String> = metadata.tokens.tokens().iter().map(|t| printable(t)).collect();
    lines.push(format!("tokens       {}: {}", tokens.len(), tokens.join(" ")));
    lines.push(format!("license      {}", printable(&metadata.license)));
    lines.push(format!("trained on   {}", printable(&metadata.trained_on)));
    lines.push(format!("created by   {}", printable(&metadata.created_by)));
    lines
}

/// Maximum number of characters printed of a metadata value.
const MAX_VALUE: usize = 100;

fn lines(d: &Description, is_own: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |line: String| lines.push(printable(&line).trim_end().to_string());
    if is_own {
        add(String::new());
    }
    let domain = |name: &str| if name.is_empty() { "ai.onnx".into() } else { name.to_string() };
    let opsets: Vec<String> = d.opsets.iter().map(|(name, v)| format!("{} {v}", domain(name))).collect();
    add(format!("written by   {}", d.producer));
    add(format!("opset        {}; IR {}", opsets.join(", "), d.ir_version));
    let port = |p: &Port| format!("{} {} [{}]", p.name, p.r#type, p.shape.join(", "));
    for (kind, ports) in [("in", &d.interface.inputs), ("out", &d.interface.outputs)] {
        for p in ports {
            add(format!("{kind:<13}{}", port(p)));
        }
    }
    add(format!("states       {}, {}", d.interface.states.len(), d.interface.states_found));
    for s in &d.interface.states {
        add(format!(
            "             {} → {} {:?}, streams on axis {}",
            s.input, s.output, s.shape, s.batch_axis
        ));
    }
    add(String::new());
    let width = d.layers.iter().map(|l| l.name.chars().count()).max().unwrap_or(0).max(5);
    let mut row = |name: &str, parameters: &str, bytes: &str, products: &str| {
        add(format!("{name:width$}  {parameters:>12}  {bytes:>12}  {products:>20}"));
    };
    let products = |n: Option<u64>| n.map_or("unknown".into(), |n| n.to_string());
    row("layer", "parameters", "bytes", "multiply-adds a step");
    for l in &d.layers {
        row(&l.name, &l.parameters.to_string(), &l.bytes.to_string(), &products(l.multiply_adds));
    }
    let bytes = d.layers.iter().fold(0u64, |n, l| n.saturating_add(l.bytes));
    let all = d.layers.iter().try_fold(0u64, |n, l| Some(n.saturating_add(l.multiply_adds?)));
    row("all", &d.parameters.to_string(), &bytes.to_string(), &products(all));
    add(format!("the file is {} bytes long", d.bytes));
    if let Some(a_second) = d.multiply_adds_per_second {
        add(format!("{:.1} million multiply-adds a second of audio", a_second / 1e6));
    }
    add(String::new());
    let operators: Vec<String> = d.operators.iter().map(|(name, n)| format!("{name} {n}")).collect();
    add(format!("operators    {}", operators.join(", ")));
    let ours = ["tokens", "recipe", "license", "trained_on", "created_by"];
    for (key, value) in d.metadata.iter().filter(|(key, _)| !(is_own && ours.contains(&key.as_str()))) {
        let value = value.replace('\n', " ");
        let short: String = value.chars().take(MAX_VALUE).collect();
        let more = if short.len() < value.len() { "…" } else { "" };
        add(format!("metadata     {key} = {short}{more}"));
    }
    add(String::new());
    for v in &d.targets {
        add(format!("{:16}  {:3}  {}", v.system, if v.loads { "yes" } else { "no" }, v.reason));
    }
    add(String::new());
    d.drawing.iter().for_each(|line| add(line.clone()));
    lines
}
