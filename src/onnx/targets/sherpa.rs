//! Exports a stack of recurrent layers behind sherpa-onnx's streaming zipformer2-CTC interface.
//!
//! The loader matches states by position and takes their sizes from metadata; it requires six states for
//! each encoder layer and two more, whatever the graph uses them for. `cached_key [L, N, H]` carries the
//! cells' h and `cached_val1` their c; the other states have the smallest possible size and pass through
//! unchanged. Layers of the same family and width are exported as one "encoder" with one "layer" and
//! `left_context_len` L; other stacks as one encoder for each layer. A layer that keeps the values of earlier steps has
//! `left_context_len` rows of them in `cached_key`.

use super::decoding_graph::{Sentences, decoding_graph, text_rule, words_txt};
use super::tokens::tokens_txt;
use super::{Export, ExportFile, ExportOptions, decoder_notes, dims, model_bytes, shares_states};
use crate::decode::TokenBias;
use crate::error::{Error, Result, Stage};
use crate::features::FbankOptions;
use crate::model::{LayerConfig, Network, NetworkConfig};
use crate::onnx::build::graph::{Dim, ints};
use crate::onnx::build::layers::{Body, frames};
use crate::onnx::interface::StatePort;
use crate::onnx::metadata::Metadata;
use crate::onnx::states::state_specs;

/// The metadata keys that the loader requires; without one of them sherpa-onnx exits.
pub const REQUIRED_METADATA: [&str; 9] = [
    "encoder_dims",
    "query_head_dims",
    "value_head_dims",
    "num_heads",
    "num_encoder_layers",
    "cnn_module_kernels",
    "left_context_len",
    "T",
    "decode_chunk_len",
];

/// Logit of tokens that must never be chosen.
const LOG_ZERO: f32 = -1e4;

pub(super) fn export(network: &Network<f32>, metadata: &Metadata, options: &ExportOptions) -> Result<Export> {
    check_features(&metadata.features)?;
    let mut notes = Vec::new();
    decoder_notes(options.target, metadata, &mut notes);
    if network.config.subsampling != 4 {
        notes.push(format!(
            "sherpa-onnx assumes 40 ms for each output frame, but this model has {} ms: its timestamps will be wrong",
            10 * network.config.subsampling
        ));
    }
    let (chunk, flush) = (options.chunk_frames, metadata.decoder.flush_ms);
    notes.push(format!(
        "a stream should end with {} ms of zeros: sherpa-onnx drops a rest of less than {} frames, and the \
         model was trained with {flush} ms of closing silence",
        flush as usize + 10 * (chunk + 1),
        chunk + 1
    ));
    // Hearken's decoder options that the graph cannot express become sidecar files or notes.
    let encoders = Encoders::new(&network.config);
    let states = encoders.states();
    let graph = build(network, metadata, options, &encoders, &states);
    let more = encoders.metadata(chunk);
    let file = |path: &str, bytes: Vec<u8>| ExportFile { path: path.into(), bytes };
    let mut files = vec![
        file("model.onnx", model_bytes(graph, network, metadata, options, &states, more)?),
        file("tokens.txt", tokens_txt(&metadata.tokens)?),
    ];
    if metadata.decoder.lexicon.is_empty() {
        return Ok(Export { files, notes });
    }
    if metadata.tokens.blank() == 0 {
        let Metadata { tokens, decoder, features, .. } = metadata;
        let frame_seconds = network.config.subsampling as f64 * f64::from(features.frame_shift_ms) / 1000.0;
        let sentences = Sentences::new(tokens, decoder, options.phrases.as_deref())?;
        files.push(file("HL.fst", decoding_graph(tokens, decoder, &sentences, frame_seconds)?.to_bytes()));
        files.push(file("words.txt", words_txt(&sentences)));
        files.push(file("words-text.fst", text_rule(&sentences)?.to_bytes()));
        notes.push(
            "for words, use `--ctc-graph=HL.fst` (numbers, listed in words.txt), and for their text also \
             `--rule-fsts=words-text.fst`; without them sherpa-onnx outputs the labels"
                .into(),
        );
    } else {
        let blank = metadata.tokens.blank();
        notes.push(format!(
            "sherpa-onnx outputs labels instead of words: its decoding graphs need token 0 as the \
             blank, and this model's is {blank}"
        ));
    }
    Ok(Export { files, notes })
}

/// Refuses features that sherpa-onnx does not compute.
fn check_features(features: &FbankOptions) -> Result<()> {
    let expected = FbankOptions::default();
    if *features == expected {
        return Ok(());
    }
    let value = |options: &FbankOptions| serde_json::to_value(options).unwrap_or_default();
    let (ours, theirs) = (value(features), value(&expected));
    let names = theirs.as_object().into_iter().flatten().filter(|(key, v)| ours[key.as_str()] != **v);
    let differ: Vec<String> =
        names.map(|(key, v)| format!("{key} {v} instead of {}", ours[key.as_str()])).collect();
    Err(Error::new(Stage::Model, format!("sherpa-onnx computes features with {}", differ.join(", ")))
        .hint("only models with these features run there; for onnxruntime the front end can be part of the graph")
        .remedy("with_frontend"))
}

/// The layers as the loader's encoders.
struct Encoders {
    /// The shape of each encoder's states: rows of all its layers, then the width.
    states: Vec<Vec<[usize; 2]>>,
}

impl Encoders {
    fn new(config: &NetworkConfig) -> Self {
        match config.layers.first() {
            Some(first) if shares_states(config) => {
                let all = |[rows, width]: [usize; 2]| [rows * config.layers.len(), width];
                Self { states: vec![first.state_shapes().into_iter().map(all).collect()] }
            }
            _ => Self { states: config.layers.iter().map(LayerConfig::state_shapes).collect() },
        }
    }

    /// `left_context_len` and `query_head_dims` of encoder `i`: rows and width of the first state.
    fn key(&self, i: usize) -> [usize; 2] {
        self.states[i].first().copied().unwrap_or([1, 1])
    }

    /// `value_head_dims` of encoder `i`: the width of c, or 1 for cells without c.
    fn value_width(&self, i: usize) -> usize {
        self.states[i].get(1).map_or(1, |state| state[1])
    }

    fn metadata(&self, chunk_frames: usize) -> Vec<(String, String)> {
        let list = |value: &dyn Fn(usize) -> usize| {
            let values: Vec<String> = (0..self.states.len()).map(|i| value(i).to_string()).collect();
            values.join(",")
        };
        let values = [
            list(&|_| 2),
            list(&|i| self.key(i)[1]),
            list(&|i| self.value_width(i)),
            list(&|_| 1),
            list(&|_| 1),
            list(&|_| 2),
            list(&|i| self.key(i)[0]),
            chunk_frames.to_string(),
            chunk_frames.to_string(),
        ];
        let mut entries = vec![
            ("model_type".to_string(), "zipformer2".to_string()),
            ("version".to_string(), "1".to_string()),
        ];
        entries.extend(REQUIRED_METADATA.iter().map(|k| k.to_string()).zip(values));
        entries
    }

    /// All states in the loader's order.
    fn states(&self) -> Vec<StatePort> {
        let mut states = Vec::new();
        let mut add = |name: String, shape: &[usize], batch_axis: usize, is_i64: bool| {
            let (output, shape) = (format!("new_{name}"), shape.to_vec());
            states.push(StatePort { input: name, output, shape, batch_axis, is_i64 });
        };
        for i in 0..self.states.len() {
            let ([rows, width], value) = (self.key(i), self.value_width(i));
            add(format!("cached_key_{i}"), &[rows, 1, width], 1, false);
            // floor(3 * encoder_dims / 4) is 1.
            add(format!("cached_nonlin_attn_{i}"), &[1, 1, rows, 1], 1, false);
            add(format!("cached_val1_{i}"), &[rows, 1, value], 1, false);
            add(format!("cached_val2_{i}"), &[rows, 1, value], 1, false);
            add(format!("cached_conv1_{i}"), &[1, 2, 1], 0, false);
            add(format!("cached_conv2_{i}"), &[1, 2, 1], 0, false);
        }
        add("embed_states".into(), &[1, 128, 3, 19], 0, false);
        add("processed_lens".into(), &[1], 0, true);
        states
    }

    /// The name of the loader's state that carries each of hearken's state tensors.
    fn carriers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (i, states) in self.states.iter().enumerate() {
            names.push(format!("cached_key_{i}"));
            if states.len() == 2 {
                names.push(format!("cached_val1_{i}"));
            }
        }
        names
    }
}

fn build(
    network: &Network<f32>,
    metadata: &Metadata,
    options: &ExportOptions,
    encoders: &Encoders,
    states: &[StatePort],
) -> crate::onnx::proto::GraphProto {
    let config = &network.config;
    let mut body = Body::new(config, Some(network));
    body.precision = options.precision;
    let (frames, output_frames) = frames(config);
    body.graph.input("x", &[Dim::symbol("N"), frames, config.num_features.into()]);
    body.graph.output("log_probs", &[Dim::symbol("N"), output_frames, config.num_tokens.into()]);
    for state in states {
        let (input, output, dims) = (&state.input, &state.output, dims(state));
        if state.is_i64 {
            body.graph.input_i64(input, &dims);
            body.graph.output_i64(output, &dims);
        } else {
            body.graph.input(input, &dims);
            body.graph.output(output, &dims);
        }
    }
    let x = body.normalize("x");
    let x = body.stack(&x);
    let x = body.input_layer(&x);
    // hearken's states travel in some of the loader's states; the others pass through.
    let inputs = encoders.carriers();
    debug_assert_eq!(inputs.len(), state_specs(config).len());
    let outputs: Vec<String> = inputs.iter().map(|name| format!("new_{name}")).collect();
    let initial = body.split_states(&inputs);
    let x = body.recurrent_layers(x, &initial, &outputs);
    for state in states.iter().filter(|s| !inputs.contains(&s.input)) {
        let (input, output) = (&state.input, &state.output);
        if state.is_i64 {
            body.graph.i64s("chunk_frames", &[], &[options.chunk_frames as i64]);
            body.graph.chain("Add", output, &[input, "chunk_frames"], vec![]);
        } else {
            body.graph.chain("Identity", output, &[input], vec![]);
        }
    }
    let logits = body.linear("output", &x);
    let logits = apply_decoder_options(&mut body, metadata, logits);
    body.log_probs(&logits);
    body.graph.finish()
}

/// Applies hearken's decoder options inside the graph, for a greedy decoder without options: the biases are
/// added to the logits, and the largest logit of blank and fillers becomes the blank's, because fillers are
/// recognized but not output.
fn apply_decoder_options(body: &mut Body, metadata: &Metadata, mut logits: String) -> String {
    let bias = TokenBias::new(&metadata.tokens, &metadata.decoder);
    let bias = bias.values();
    let v = bias.len();
    if bias.iter().any(|b| *b != 0.0) {
        body.graph.f32s("decoder.bias", &[v], bias);
        logits = body.graph.chain("Add", "decoder.biased", &[&logits, "decoder.bias"], vec![]);
    }
    let blank = metadata.tokens.blank() as usize;
    let is_filler =
        |i: &usize| *i != blank && metadata.decoder.filler.contains(&metadata.tokens.tokens()[*i]);
    let fillers: Vec<usize> = (0..v).filter(is_filler).collect();
    if fillers.is_empty() {
        return logits;
    }
    let silent: Vec<i64> = fillers.iter().chain([&blank]).map(|&i| i as i64).collect();
    let row = |value: &dyn Fn(usize) -> f32| (0..v).map(value).collect::<Vec<f32>>();
    let graph = &mut body.graph;
    graph.i64s("decoder.silent", &[silent.len()], &silent);
    graph.f32s("decoder.kept", &[v], &row(&|i| f32::from(i != blank && !fillers.contains(&i))));
    graph.f32s("decoder.blank", &[v], &row(&|i| f32::from(i == blank)));
    graph.f32s("decoder.never", &[v], &row(&|i| if fillers.contains(&i) { LOG_ZERO } else { 0.0 }));
    let last = || vec![crate::onnx::build::graph::int("axis", -1)];
    graph.chain("Gather", "decoder.silent_logits", &[&logits, "decoder.silent"], last());
    let keep = vec![ints("axes", &[-1])];
    graph.chain("ReduceMax", "decoder.loudest", &["decoder.silent_logits"], keep);
    graph.chain("Mul", "decoder.words", &[&logits, "decoder.kept"], vec![]);
    graph.chain("Mul", "decoder.blank_logit", &["decoder.loudest", "decoder.blank"], vec![]);
    graph.chain("Add", "decoder.joined", &["decoder.words", "decoder.blank_logit"], vec![]);
    graph.chain("Add", "decoder.decided", &["decoder.joined", "decoder.never"], vec![])
}
