//! Published model folders of sherpa-onnx: a streaming zipformer2-CTC (one file) or a streaming transducer
//! (encoder, decoder, joiner), with `tokens.txt`. States are found in the encoder's graph, the window in its
//! metadata (`T` frames, moved by `decode_chunk_len`).

use std::path::{Path, PathBuf};

use super::graph;
use super::stateful_graph::StatefulGraph;
use super::transducer::{Part, TransducerEngine};
use super::{Engine, EngineKind, EngineOptions, GraphEngine};
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage, io};
use crate::features::FbankOptions;
use crate::onnx::import::parse_tokens;
use crate::onnx::interface::{Interface, real_inputs};
use crate::onnx::targets::exported_metadata;
use crate::onnx::{Metadata, OnnxFile, streamable};
use crate::text::TokenTable;

/// Number of features per frame if the graph does not fix it; all published models use this.
const NUM_FEATURES: usize = 80;

/// Maximum number of bytes read of `tokens.txt`.
const MAX_TOKENS_BYTES: u64 = 1 << 26;

/// Maximum number of entries of a folder that are examined.
const MAX_ENTRIES: usize = 10_000;

/// Opens a model folder of sherpa-onnx.
///
/// # Errors
/// When files are missing, or are not a streaming model of a supported kind; the error names the file.
pub fn open(folder: &Path, kind: EngineKind, options: &EngineOptions) -> Result<(Box<dyn Engine>, Metadata)> {
    let files = Files::find(folder)?;
    let tokens = read_tokens(&files.tokens)?;
    match &files.model {
        Model::Ctc(path) => {
            let file = OnnxFile::read(path)?;
            let opened = match exported_metadata(&file) {
                Some(metadata) => open_exported(&file, metadata, kind, options),
                None => open_file(&file, (tokens, &files.tokens), kind, options),
            };
            opened.map_err(|e| e.in_file(path))
        }
        Model::Transducer { encoder, decoder, joiner } => {
            let engine = transducer([encoder, decoder, joiner], &tokens, kind, options)?;
            let (features, v) = (engine.spec().num_features, engine.spec().num_tokens);
            Ok((Box::new(engine), foreign_metadata(tokens, &files.tokens, features, v)?))
        }
    }
}

/// An ONNX file of a folder with its interface.
pub struct Examined {
    /// Where the file is.
    pub path: PathBuf,
    /// The decoded file.
    pub file: OnnxFile,
    /// Its inputs, outputs and states.
    pub interface: Interface,
}

/// Reads the graphs of a folder without running them; the one that takes features is first. `states` are the named
/// pairs of its state inputs and outputs.
///
/// # Errors
/// When files are missing or cannot be read, or `states` names inputs or outputs that do not exist.
pub fn examine_folder(folder: &Path, states: &[(String, String)]) -> Result<Vec<Examined>> {
    let paths = match Files::find(folder)?.model {
        Model::Ctc(path) => vec![path],
        Model::Transducer { encoder, decoder, joiner } => vec![encoder, decoder, joiner],
    };
    let one = |(i, path): (usize, PathBuf)| {
        let states = if i == 0 { states } else { &[] };
        let file = OnnxFile::read(&path)?;
        let interface = file.interface(states).map_err(|e| e.in_file(&path))?;
        Ok(Examined { path, file, interface })
    };
    paths.into_iter().enumerate().map(one).collect()
}

/// Opens a foreign CTC model, with its tokens and the path of their file for messages.
///
/// # Errors
/// As [`GraphEngine::open`]; when the graph has no states or takes samples, or the number of tokens does not match.
pub fn open_file(
    file: &OnnxFile,
    (tokens, tokens_path): (TokenTable, &Path),
    kind: EngineKind,
    options: &EngineOptions,
) -> Result<(Box<dyn Engine>, Metadata)> {
    check_features(file)?;
    // Checked first: the error about missing states would suggest naming them, which would not help here.
    streamable::check_streams(file.graph())?;
    let interface = file.interface(&options.states)?;
    let engine = GraphEngine::open(kind, file, &interface, NUM_FEATURES, options)?;
    check_streams(&engine)?;
    let (features, v) = (engine.spec().num_features, engine.spec().num_tokens);
    Ok((Box::new(engine), foreign_metadata(tokens, tokens_path, features, v)?))
}

/// Opens a file that hearken exported for another system; its metadata contain tokens and options.
///
/// # Errors
/// As [`open_file`].
pub fn open_exported(
    file: &OnnxFile,
    metadata: Metadata,
    kind: EngineKind,
    options: &EngineOptions,
) -> Result<(Box<dyn Engine>, Metadata)> {
    let interface = file.interface(&options.states)?;
    let engine = GraphEngine::open(kind, file, &interface, metadata.features.num_mel_bins, options)?;
    check_streams(&engine)?;
    Ok((Box::new(engine), metadata))
}

/// Checks that the graph can process a stream chunk by chunk: it must have states and take features.
fn check_streams(engine: &GraphEngine) -> Result<()> {
    if engine.takes_samples() {
        let problem = "expected a graph that takes features, found one that takes samples";
        return Err(Error::new(Stage::Model, problem)
            .hint("it can be verified all the same")
            .remedy("verify"));
    }
    if !engine.has_states() {
        let problem = "no states were found in the graph, so it cannot process a stream chunk by chunk";
        return Err(Error::new(Stage::Model, problem)
            .hint("name the pairs of input and output")
            .remedy("states"));
    }
    Ok(())
}

/// Reads a token table in the format of sherpa-onnx.
///
/// # Errors
/// When the file cannot be read or parsed; the error names the line.
pub fn read_tokens(path: &Path) -> Result<TokenTable> {
    use std::io::Read;
    let failed = |e| io(Stage::Model, path, e);
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_TOKENS_BYTES).read_to_string(&mut text).map_err(failed)?;
    parse_tokens(&text).map_err(|e| e.in_file(path))
}

/// The files of a model folder.
struct Files {
    tokens: PathBuf,
    model: Model,
}

enum Model {
    Ctc(PathBuf),
    Transducer { encoder: PathBuf, decoder: PathBuf, joiner: PathBuf },
}

impl Files {
    fn find(folder: &Path) -> Result<Self> {
        let failed = |e| io(Stage::Model, folder, e);
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .map_err(failed)?
            .take(MAX_ENTRIES)
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
            .collect();
        // The float model is preferred to its int8 version.
        files.sort_by_key(|path| (name(path).contains("int8"), name(path)));
        let part = |word: &str| files.iter().find(|path| name(path).contains(word)).cloned();
        let missing = |what: &str| {
            Error::new(Stage::Model, format!("expected {what} in the folder, found none"))
                .in_file(folder)
                .hint("a folder of sherpa-onnx has tokens.txt, and one .onnx file or encoder, decoder and joiner")
        };
        let tokens = folder.join("tokens.txt");
        if !tokens.is_file() {
            return Err(missing("tokens.txt"));
        }
        let model = match part("encoder") {
            Some(encoder) => Model::Transducer {
                encoder,
                decoder: part("decoder").ok_or_else(|| missing("decoder*.onnx"))?,
                joiner: part("joiner").ok_or_else(|| missing("joiner*.onnx"))?,
            },
            None => Model::Ctc(files.first().cloned().ok_or_else(|| missing("a file *.onnx"))?),
        };
        Ok(Self { tokens, model })
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn transducer(
    files: [&PathBuf; 3],
    tokens: &TokenTable,
    kind: EngineKind,
    options: &EngineOptions,
) -> Result<TransducerEngine> {
    let [encoder, decoder, joiner] = files;
    let file = OnnxFile::read(encoder)?;
    let windows = file
        .interface(&options.states)
        .and_then(|interface| {
            check_features(&file)?;
            if file.value("T").is_none() || interface.states.is_empty() {
                let problem =
                    "expected a streaming encoder, found one without states or without `T` in its metadata";
                return Err(Error::new(Stage::Model, problem));
            }
            StatefulGraph::open(kind, &file, &interface, NUM_FEATURES, 1, options)
        })
        .map_err(|e| e.in_file(encoder))?;
    let (decoder_part, file) = part(decoder, 1, kind, options)?;
    let context = file.value("context_size").and_then(|v| v.trim().parse::<usize>().ok());
    let context = context.filter(|n| (1..=64).contains(n)).ok_or_else(|| {
        Error::new(Stage::Model, "expected the number of symbols in the decoder's context, 1 to 64")
            .at("metadata context_size")
            .in_file(decoder)
    })?;
    let (joiner_part, _) = part(joiner, 2, kind, options)?;
    let unknown = tokens.tokens().iter().position(|t| t == "<unk>");
    TransducerEngine::new(kind.name(), windows, decoder_part, joiner_part, context, unknown)
        .map_err(|e| e.in_file(encoder))
}

/// Opens a decoder or joiner, checking its number of inputs.
fn part(path: &Path, inputs: usize, kind: EngineKind, options: &EngineOptions) -> Result<(Part, OnnxFile)> {
    let open = || {
        let file = OnnxFile::read(path)?;
        let names: Vec<String> = real_inputs(file.graph()).into_iter().map(|i| i.name.clone()).collect();
        if names.len() != inputs {
            let found = names.join(", ");
            return Err(Error::new(Stage::Model, format!("expected {inputs} inputs, found {found}")));
        }
        Ok((Part { graph: graph::open(kind, &file, options)?, inputs: names }, file))
    };
    open().map_err(|e: Error| e.in_file(path))
}

/// Rejects models whose metadata request features other than the filterbank.
fn check_features(file: &OnnxFile) -> Result<()> {
    match file.value("feature") {
        None | Some("") => Ok(()),
        Some(other) => {
            let problem = format!(
                "expected a model of filterbank features, found one of the unsupported kind {other:?}"
            );
            Err(Error::new(Stage::Model, problem).at("metadata feature"))
        }
    }
}

/// Metadata of a foreign model: its tokens and number of features, with defaults for the rest.
///
/// # Errors
/// When the number of tokens differs from the model's outputs; the error names the file of the tokens.
pub fn foreign_metadata(
    tokens: TokenTable,
    path: &Path,
    num_features: usize,
    num_tokens: usize,
) -> Result<Metadata> {
    let blank = tokens.blank();
    let mut names = tokens.tokens().to_vec();
    // Disambiguation symbols (#0, #1, …) for decoding graphs follow the tokens.
    while names.len() > num_tokens && names.last().is_some_and(|t| t.starts_with('#')) {
        names.pop();
    }
    if names.len() != num_tokens {
        let problem =
            format!("expected {num_tokens} tokens, one for each output of the model, found {}", names.len());
        return Err(Error::new(Stage::Model, problem).in_file(path));
    }
    Ok(Metadata {
        features: FbankOptions { num_mel_bins: num_features, ..FbankOptions::default() },
        tokens: TokenTable::new(names, blank)?,
        decoder: DecoderOptions::default(),
        license: "unknown".into(),
        trained_on: "unknown".into(),
        recipe: String::new(),
        created_by: "unknown".into(),
        other: Vec::new(),
    })
}
