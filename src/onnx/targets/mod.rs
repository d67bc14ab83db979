//! Export of a network for other systems, including the sidecar files that each of them loads.
//!
//! | target | files | states |
//! | --- | --- | --- |
//! | [`Target::OnnxRuntime`] | `model.onnx` | `state.i` / `next_state.i`, `[L, N, H]` |
//! | [`Target::SherpaOnnx`] | `model.onnx`, `tokens.txt`; of a model with a lexicon `HL.fst`, `words.txt`, `words-text.fst` | those of a streaming zipformer2-CTC |
//! | [`Target::Triton`] | `NAME/config.pbtxt`, `NAME/1/model.onnx`, `NAME/tokens.txt` | `[N, L, H]` |
//! | [`Target::Whole`] | `model.onnx` | none; takes lengths |

mod batch_first;
mod decoding_graph;
mod fbank_matrices;
mod front_end;
mod fst;
mod onnxruntime;
mod sherpa;
mod tokens;
mod triton;
mod whole;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::OnnxFile;
use super::build::graph::Dim;
use super::export::{check, encode};
use super::interface::StatePort;
use super::metadata::Metadata;
use super::precision::Precision;
use super::proto::GraphProto;
use super::states::is_stacked;
use crate::error::{Error, Result, Stage};
use crate::model::{Network, NetworkConfig};
use crate::text::phrases::Phrases;

pub use sherpa::REQUIRED_METADATA as SHERPA_METADATA;

/// Metadata key for the target of an exported file.
pub const TARGET_KEY: &str = "hearken.target";
/// Metadata key for the precision of an exported file's weights.
pub const PRECISION_KEY: &str = "hearken.precision";
/// Metadata key for the delay of the output in steps, in files that take samples.
pub const DELAY_KEY: &str = "hearken.delay_steps";

/// A system that files are exported for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// onnxruntime, tract and other programs that run ONNX graphs: hearken's own layout.
    OnnxRuntime,
    /// sherpa-onnx's streaming zipformer2-CTC loader.
    SherpaOnnx,
    /// NVIDIA Triton's sequence batcher with implicit state.
    Triton,
    /// Any runtime, with a graph that takes whole recordings in one call.
    Whole,
}

impl Target {
    /// All targets.
    pub const ALL: [Target; 4] = [Target::OnnxRuntime, Target::SherpaOnnx, Target::Triton, Target::Whole];

    /// The name used on the command line and in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Target::OnnxRuntime => "onnxruntime",
            Target::SherpaOnnx => "sherpa-onnx",
            Target::Triton => "triton",
            Target::Whole => "whole",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The target that hearken exported a file for; `None` for other files.
pub fn target_of(file: &OnnxFile) -> Option<Target> {
    let name = file.value(TARGET_KEY)?;
    Target::ALL.into_iter().find(|target| target.name() == name)
}

/// The metadata of a file that hearken exported for another system or at another precision; `None` for
/// other files.
pub fn exported_metadata(file: &OnnxFile) -> Option<Metadata> {
    file.value(TARGET_KEY)?;
    let mut metadata = Metadata::from_entries(file.entries()).ok()?;
    if target_of(file) == Some(Target::SherpaOnnx) {
        // The biases are already part of the graph.
        metadata.decoder.blank_bias = 0.0;
        metadata.decoder.filler_bias = 0.0;
    }
    Some(metadata)
}

/// Options of an export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The system to export for.
    pub target: Target,
    /// Precision of the weights.
    pub precision: Precision,
    /// Whether the graph takes samples instead of features.
    pub with_frontend: bool,
    /// Number of feature frames that the system feeds in each call; part of the files for sherpa-onnx and
    /// Triton.
    pub chunk_frames: usize,
    /// The model's name in a Triton repository.
    pub name: String,
    /// Phrases for sherpa-onnx's decoding graph. The model's lexicon must have their words: that of
    /// [`PhraseOptions::decoder`](crate::recognizer::PhraseOptions::decoder).
    pub phrases: Option<Arc<Phrases>>,
}

impl ExportOptions {
    /// Default options for a target: float32 weights, features as input, chunks of 32 frames.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            precision: Precision::Float32,
            with_frontend: false,
            chunk_frames: 32,
            name: "hearken".into(),
            phrases: None,
        }
    }
}

/// One file of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportFile {
    /// Path relative to the folder that the export is written to.
    pub path: PathBuf,
    /// Content of the file.
    pub bytes: Vec<u8>,
}

/// The files of an export, the model first.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// The files, the model first.
    pub files: Vec<ExportFile>,
    /// Differences and requirements that the user should know, one sentence each.
    pub notes: Vec<String>,
}

/// Whether a metadata key describes the export rather than the model.
pub(super) fn is_of_export(key: &str) -> bool {
    [TARGET_KEY, PRECISION_KEY, DELAY_KEY].contains(&key)
}

/// Exports a network for a system.
///
/// # Errors
/// When network and metadata do not fit together, or the system cannot run the network; names the reason.
pub fn export(network: &Network<f32>, metadata: &Metadata, options: &ExportOptions) -> Result<Export> {
    check(network)?;
    let mut metadata = metadata.clone();
    metadata.other.retain(|(key, _)| !is_of_export(key));
    metadata.check(&network.config)?;
    check_chunk(&network.config, options)?;
    if options.with_frontend && !matches!(options.target, Target::OnnxRuntime | Target::Triton) {
        let problem = match options.target {
            Target::SherpaOnnx => "sherpa-onnx computes the features itself and does not feed samples",
            _ => {
                "the feature extraction inside a graph needs state, which a graph for whole recordings does not have"
            }
        };
        return Err(Error::new(Stage::Usage, problem).hint("leave it out").remedy("with_frontend"));
    }
    match options.target {
        Target::OnnxRuntime => onnxruntime::export(network, &metadata, options),
        Target::SherpaOnnx => sherpa::export(network, &metadata, options),
        Target::Triton => triton::export(network, &metadata, options),
        Target::Whole => whole::export(network, &metadata, options),
    }
}

fn check_chunk(config: &NetworkConfig, options: &ExportOptions) -> Result<()> {
    let (frames, s) = (options.chunk_frames, config.subsampling);
    if frames == 0 || !frames.is_multiple_of(s) {
        let problem = format!("expected chunks of a multiple of {s} frames, found {frames}");
        return Err(Error::new(Stage::Usage, problem).hint("change it").remedy("chunk_frames"));
    }
    Ok(())
}

/// The axes of a state's tensor, with the batch axis as a symbol.
fn dims(state: &StatePort) -> Vec<Dim> {
    let mut dims: Vec<Dim> = state.shape.iter().map(|&d| d.into()).collect();
    dims[state.batch_axis] = Dim::symbol("N");
    dims
}

/// A state as an item of the metadata entry `states`.
fn state_json(state: &StatePort) -> Value {
    let StatePort { input, output, shape, batch_axis, is_i64 } = state;
    let mut shape: Vec<Value> = shape.iter().map(|&d| json!(d)).collect();
    shape[*batch_axis] = json!("N");
    let mut listed = json!({ "input": input, "output": output, "shape": shape, "batch_axis": batch_axis,
                             "initial": 0.0 });
    if *is_i64 {
        listed["type"] = json!("int64");
    }
    listed
}

/// Encodes an exported file with hearken's metadata, the graph's own states, and the entries `more`.
fn model_bytes(
    graph: GraphProto,
    network: &Network<f32>,
    metadata: &Metadata,
    options: &ExportOptions,
    states: &[StatePort],
    more: Vec<(String, String)>,
) -> Result<Vec<u8>> {
    let mut entries = metadata.to_entries(&network.config)?;
    let states: Vec<Value> = states.iter().map(state_json).collect();
    for (key, value) in &mut entries {
        if key == "states" {
            *value = Value::from(states.clone()).to_string();
        }
    }
    let mut added = vec![(TARGET_KEY.to_string(), options.target.to_string())];
    if options.precision != Precision::Float32 {
        added.push((PRECISION_KEY.into(), options.precision.to_string()));
    }
    added.extend(more);
    for (key, value) in added {
        // The target's entry replaces one of the same key that the model had.
        entries.retain(|(k, _)| *k != key);
        let last = entries.len().saturating_sub(1);
        entries.insert(last, (key, value));
    }
    Ok(encode(graph, entries))
}

/// Adds notes on decoder options of the model that a system with greedy search does not apply.
fn decoder_notes(target: Target, metadata: &Metadata, notes: &mut Vec<String>) {
    let decoder = &metadata.decoder;
    if decoder.min_confidence > 0.0 {
        notes.push(format!(
            "hearken drops words with a confidence below {}; this system outputs them",
            decoder.min_confidence
        ));
    }
    if !decoder.lexicon.is_empty() && target != Target::SherpaOnnx {
        notes.push(
            "hearken searches for words of the model's lexicon; this system outputs only the labels".into(),
        );
    }
    if decoder.rejection.is_some() {
        notes.push(
            "hearken rejects doubtful words as out-of-vocabulary speech; this system outputs them".into(),
        );
    }
}

/// Whether the states of all layers share a tensor.
fn shares_states(config: &NetworkConfig) -> bool {
    is_stacked(config)
}
