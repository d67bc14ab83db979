//! Import of a foreign ONNX graph: a stack of RNN, GRU or LSTM layers with linear layers, layer
//! normalization and log-softmax around them, as written by PyTorch's two exporters and tf2onnx,
//! becomes a [`Network`] that streams, can be trained further and exported again.
//!
//! ```text
//! file ─► walk: classify each value ─► stages (affine, linear, norm, cell, …) ─► assemble ─► Network
//! ```
//!
//! The exports of hearken, with any cells, are read by the module `own`; one that was changed since is read like a foreign file.
//!
//! A node that does not fit such a network is an error that names it. For security, no file is opened
//! because another one names it (external data).

mod arithmetic;
mod assemble;
mod cells;
mod constant;
mod layout;
mod loop_node;
mod node;
mod own;
mod quantized;
mod settings;
mod step;
mod value;
mod walk;

pub use settings::{parse_features, parse_tokens};

use self::value::Value;
use self::walk::Walker;
use std::path::PathBuf;

use super::interface::real_inputs;
use super::metadata::Metadata;
use super::proto::{GraphProto, ValueInfoProto};
use super::targets::{SHERPA_METADATA, TARGET_KEY, Target, is_of_export};
use super::{OnnxFile, export, load, state_flow};
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage};
use crate::features::FbankOptions;
use crate::model::Network;
use crate::text::TokenTable;

/// Maximum number of inputs tried as the features, where no recurrent node determines which one it is.
const MAX_CANDIDATES: usize = 8;

/// Settings that the file does not contain.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The tokens by id. Default: those of the file's metadata, else numbers.
    pub tokens: Option<TokenTable>,
    /// The file of the tokens, for error messages.
    pub tokens_from: Option<PathBuf>,
    /// The feature extraction. Default: that of the file's metadata, else Kaldi's.
    pub features: Option<FbankOptions>,
    /// Number of frames stacked before the graph; 0 and 1 mean no stacking.
    pub subsampling: usize,
}

/// A model imported from a foreign file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network, with weights in float32.
    pub network: Network<f32>,
    /// Tokens, features and decoder settings: from the options, else from the file, else defaults.
    pub metadata: Metadata,
    /// Assumptions and changes, in sentences for the user.
    pub notes: Vec<String>,
}

/// Imports a file's bytes; see [`import_file`].
///
/// # Errors
/// As [`import_file`], and when the bytes are not an ONNX file.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Imported> {
    import_file(&OnnxFile::from_bytes(bytes.to_vec())?, options)
}

/// Imports a file. A file that hearken wrote is returned unchanged.
///
/// # Errors
/// When it contains a node that hearken's network cannot compute (names the node and the reason), or when
/// tokens or features do not fit.
pub fn import_file(file: &OnnxFile, options: &ImportOptions) -> Result<Imported> {
    match load::read_model(file) {
        Ok((network, metadata)) => {
            check_tokens(&network, options)?;
            let mut imported = Imported {
                network,
                metadata,
                notes: vec!["the file is already a model of hearken's".into()],
            };
            imported.metadata.tokens = options.tokens.clone().unwrap_or(imported.metadata.tokens);
            imported.metadata.features = options.features.clone().unwrap_or(imported.metadata.features);
            imported.metadata.check(&imported.network.config)?;
            return Ok(imported);
        }
        Err(error) => refuse_damaged(file, &error)?,
    }
    let mut notes = Vec::new();
    if file.graph().node.iter().any(|n| n.op_type == "MatMulInteger") {
        notes.push("the file computes linear layers in integers; the model computes them in float32".into());
    }
    // Frames that are stacked outside of the graph are none of an export.
    let own = (own::is_own(file) && options.subsampling <= 1).then(|| own::read(file));
    let is_restored = matches!(own, Some(Ok(_)));
    let network = match own {
        Some(Ok(network)) => network,
        Some(Err(error)) if own::has_own_layers(file) => {
            return Err(error.hint("layers that only hearken writes are imported from unchanged exports"));
        }
        _ => network(file, options.subsampling.max(1), &mut notes)?,
    };
    export::check(&network)?;
    check_tokens(&network, options)?;
    let metadata = metadata(file, &network, options, is_restored, &mut notes)?;
    metadata.check(&network.config)?;
    Ok(Imported { network, metadata, notes })
}

/// Refuses a file with hearken's metadata that cannot be read: it is damaged or from a newer version, and
/// importing it as a foreign file would lose its tokens and lexicon. `error` is the reason why it is not a
/// model.
fn refuse_damaged(file: &OnnxFile, error: &Error) -> Result<()> {
    if !file.is_hearken_model() {
        return Ok(());
    }
    Metadata::from_entries(file.entries())?;
    let is_export = file.value(TARGET_KEY).is_some();
    match error.place() {
        Some(place) if !is_export && place.starts_with("metadata ") => Err(error.clone()),
        _ => Ok(()),
    }
}

/// Refuses a token table whose length is not the network's number of outputs.
fn check_tokens(network: &Network<f32>, options: &ImportOptions) -> Result<()> {
    let (Some(tokens), expected) = (&options.tokens, network.config.num_tokens) else { return Ok(()) };
    if tokens.len() == expected {
        return Ok(());
    }
    let problem = format!("expected {expected} tokens as the network has, found {}", tokens.len());
    let error = Error::new(Stage::Model, problem);
    Err(match &options.tokens_from {
        Some(path) => error.in_file(path),
        None => error.at("the tokens"),
    })
}

fn network(file: &OnnxFile, subsampling: usize, notes: &mut Vec<String>) -> Result<Network<f32>> {
    let mut first_refusal = None;
    for features in features_candidates(file.graph())? {
        let mut found = Vec::new();
        match network_of(file, features, subsampling, &mut found) {
            Ok(network) => {
                notes.append(&mut found);
                return Ok(network);
            }
            Err(error) => first_refusal = first_refusal.or(Some(error)),
        }
    }
    Err(first_refusal.unwrap_or_else(no_features))
}

/// The inputs that may be the features: the input of the first recurrent node, or else all inputs with
/// three axes, in the graph's order.
fn features_candidates(graph: &GraphProto) -> Result<Vec<&str>> {
    let inputs = real_inputs(graph);
    let can = |input: &&&ValueInfoProto| {
        input.tensor().is_some_and(|(kind, dims)| constant::is_float(i64::from(kind)) && dims.len() == 3)
    };
    let mut candidates: Vec<&str> =
        inputs.iter().filter(can).take(MAX_CANDIDATES).map(|i| i.name.as_str()).collect();
    if let Some(reached) = state_flow::features_input(graph, &inputs).filter(|i| candidates.contains(i)) {
        candidates = vec![reached];
    }
    if candidates.is_empty() { Err(no_features()) } else { Ok(candidates) }
}

fn no_features() -> Error {
    Error::new(
        Stage::Model,
        "expected an input of features with three axes (batch, time, features, in any order), found none",
    )
}

/// The network of a graph whose features are the input called `features`.
fn network_of(
    file: &OnnxFile,
    features: &str,
    subsampling: usize,
    notes: &mut Vec<String>,
) -> Result<Network<f32>> {
    let graph = file.graph();
    let opset = file.model().opset_import.iter().find(|o| matches!(o.domain.as_str(), "" | "ai.onnx"));
    let opset = opset.and_then(|o| o.version).unwrap_or(1);
    let budget = file.bytes().len().saturating_mul(16).saturating_add(1 << 16);
    let walker = Walker::walk(graph, features, opset, budget)?;
    let mut refused = None;
    let mut sequence = None;
    let mut last = None;
    // Integer states that only count (`processed_lens`) are not outputs of the network.
    let states = file.interface(&[]).map(|interface| interface.states).unwrap_or_default();
    let counts = |name: &String| states.iter().any(|state| state.is_i64 && state.output == *name);
    for output in graph.output.iter().filter(|o| !counts(&o.name)) {
        match walker.value(&output.name) {
            Some(Value::Sequence(s)) => sequence = sequence.or(Some(s.stage)),
            Some(Value::Last { of }) => last = last.or(of.last().copied()),
            Some(Value::Refused(error)) => refused = refused.or(Some(error.clone())),
            Some(_) => {}
            None => {
                let error = Error::new(Stage::Model, "no node computes this output")
                    .at(format!("output {}", output.name));
                refused = refused.or(Some(error));
            }
        }
    }
    // An output that is not understood may be the main one, so it is an error.
    if let Some(error) = refused {
        return Err(error);
    }
    let output = match (sequence, last) {
        (Some(stage), _) => stage,
        (None, Some(stage)) => {
            notes
                .push("the graph outputs only its last state; the model has an output for every step".into());
            stage
        }
        (None, None) => {
            return Err(Error::new(
                Stage::Model,
                "expected an output that is a sequence computed from the features, found none",
            ));
        }
    };
    assemble::assemble(&walker.stages, output, subsampling, notes)
}

/// Removes what an export added for its target, so that importing an export restores the exported model.
/// The decoder's biases are part of the output layer's biases in a network that was not restored by [`own`].
fn without_target(metadata: &mut Metadata, is_restored: bool) {
    let is_sherpa = |(key, value): &(String, String)| key == TARGET_KEY && value == Target::SherpaOnnx.name();
    let for_sherpa = metadata.other.iter().any(is_sherpa);
    if for_sherpa && !is_restored {
        metadata.decoder.blank_bias = 0.0;
        metadata.decoder.filler_bias = 0.0;
    }
    metadata.other.retain(|(key, _)| {
        let key = key.as_str();
        let sherpas = SHERPA_METADATA.contains(&key) || ["model_type", "version"].contains(&key);
        !(is_of_export(key) || for_sherpa && sherpas)
    });
}

fn metadata(
    file: &OnnxFile,
    network: &Network<f32>,
    options: &ImportOptions,
    is_restored: bool,
    notes: &mut Vec<String>,
) -> Result<Metadata> {
    let entries = file.entries();
    // A file that hearken exported for another system has all of hearken's metadata.
    let mut metadata = match Metadata::from_entries(entries) {
        Ok(metadata) => {
            let (found, expected) = (super::metadata::subsampling(entries)?, network.config.subsampling);
            if found != expected {
                let problem = format!("expected {expected} as in the graph, found {found}");
                return Err(Error::new(Stage::Model, problem).at("metadata subsampling"));
            }
            metadata
        }
        Err(_) => Metadata {
            features: settings::default_features(network.config.num_features, options, notes),
            tokens: settings::default_tokens(network.config.num_tokens, entries, options, notes)?,
            decoder: DecoderOptions::default(),
            license: settings::entry(entries, "license").unwrap_or("unknown").into(),
            trained_on: settings::entry(entries, "trained_on").unwrap_or("unknown").into(),
            recipe: String::new(),
            created_by: format!(
                "hearken {} import, from {} {}",
                env!("CARGO_PKG_VERSION"),
                file.model().producer_name,
                file.model().producer_version
            ),
            other: settings::foreign_entries(entries),
        },
    };
    without_target(&mut metadata, is_restored);
    metadata.tokens = options.tokens.clone().unwrap_or(metadata.tokens);
    metadata.features = options.features.clone().unwrap_or(metadata.features);
    Ok(metadata)
}
