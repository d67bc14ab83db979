//! Model files of networks for other sequences than speech: opset 17, the same operators and states as in
//! [`super::export`].
//!
//! ```text
//! tokens [N, T] int64 ─► Gather (embedding), Add ─┐
//! x [N, T, F] ─► Sub mean ─► Mul scale ─► MatMul, Add ─┴─► L × cell ─► MatMul, Add ─► LogSoftmax ─► log_probs [N, T, V]
//!                                                                               └─► values [N, T, V]
//! ```

use std::path::Path;

use super::build::graph::{Dim, int, ints};
use super::build::layers::Body;
use super::export::{check, declare_states, encode};
use super::states::state_specs;
use crate::error::{Error, Result, Stage, io};
use crate::fs;
use crate::model::Network;

/// The input of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceInput {
    /// `tokens [N, T]`, int64.
    Tokens,
    /// `x [N, T, F]`, float32.
    Numbers,
}

/// The output of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceOutput {
    /// `log_probs [N, T, V]`.
    LogProbs,
    /// `values [N, T, V]`.
    Values,
    /// `memory [N, T, V]`, the values and keys of an encoder.
    Memory,
    /// `log_probs [N, T, tokens]` of a decoder. The network's outputs are logits, then a query, with which it attends
    /// to the input `memory [N, S, V]`; further outputs are the attention weights, `attention [N, T, S]`.
    Attention {
        /// Number of logits.
        tokens: usize,
    },
}

/// Writes a model file atomically; `entries` are its metadata.
///
/// # Errors
/// When the network's parameters do not fit its configuration or are not finite, or the file cannot be written.
pub fn write_file(
    path: &Path,
    network: &Network<f32>,
    input: SequenceInput,
    output: SequenceOutput,
    entries: &[(&str, &str)],
) -> Result<()> {
    check(network).map_err(|e| e.in_file(path))?;
    let bytes = write(network, input, output, entries).map_err(|e| e.in_file(path))?;
    fs::write(path, &bytes).map_err(|e| io(Stage::Model, path, e))
}

fn write(
    network: &Network<f32>,
    input: SequenceInput,
    output: SequenceOutput,
    entries: &[(&str, &str)],
) -> Result<Vec<u8>> {
    let config = &network.config;
    let mut body = Body::new(config, Some(network));
    let width = config.num_tokens;
    let axes = |last: usize| [Dim::symbol("N"), Dim::symbol("T"), last.into()];
    let memory = [Dim::symbol("N"), Dim::symbol("S"), width.into()];
    match input {
        SequenceInput::Tokens => body.graph.input_i64("tokens", &[Dim::symbol("N"), Dim::symbol("T")]),
        SequenceInput::Numbers => body.graph.input("x", &axes(config.num_features)),
    }
    match output {
        SequenceOutput::LogProbs => body.graph.output("log_probs", &axes(width)),
        SequenceOutput::Values => body.graph.output("values", &axes(width)),
        SequenceOutput::Memory => body.graph.output("memory", &axes(width)),
        SequenceOutput::Attention { tokens } => {
            if tokens >= width {
                return Err(Error::new(Stage::Model, "expected a query beside the logits"));
            }
            body.graph.output("log_probs", &axes(tokens));
        }
    }
    declare_states(&mut body);
    if matches!(output, SequenceOutput::Attention { .. }) {
        body.graph.input("memory", &memory);
        body.graph.output("attention", &[Dim::symbol("N"), Dim::symbol("T"), Dim::symbol("S")]);
    }
    let x = match input {
        SequenceInput::Tokens => body.embedding("tokens"),
        SequenceInput::Numbers => {
            let x = body.normalize("x");
            let x = body.stack(&x);
            body.input_layer(&x)
        }
    };
    let specs = state_specs(config);
    let first: Vec<String> = specs.iter().map(|s| s.input.clone()).collect();
    let next: Vec<String> = specs.iter().map(|s| s.output.clone()).collect();
    let initial = body.split_states(&first);
    let x = body.recurrent_layers(x, &initial, &next);
    let outputs = body.linear("output", &x);
    let batch_first = vec![ints("perm", &[1, 0, 2])];
    match output {
        SequenceOutput::LogProbs => body.log_probs(&outputs),
        SequenceOutput::Values => {
            body.graph.chain("Transpose", "values", &[&outputs], batch_first);
        }
        SequenceOutput::Memory => {
            body.graph.chain("Transpose", "memory", &[&outputs], batch_first);
        }
        SequenceOutput::Attention { tokens } => {
            body.graph.chain("Transpose", "rows", &[&outputs], batch_first);
            attend(&mut body, tokens, width - tokens);
        }
    }
    let entries = entries.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string()));
    Ok(encode(body.graph.finish(), entries.collect()))
}

/// Adds attention: `rows [N, T, V + K]` and `memory [N, S, V + K]` to `log_probs [N, T, V]`.
fn attend(body: &mut Body<'_>, tokens: usize, keys: usize) {
    let graph = &mut body.graph;
    let last = || vec![int("axis", -1)];
    graph.i64s("parts", &[2], &[tokens as i64, keys as i64]);
    graph.scalar("key_scale", 1.0 / (keys as f32).sqrt());
    graph.node("Split", "split_rows", &["rows", "parts"], &["own", "queries"], last());
    graph.node("Split", "split_memory", &["memory", "parts"], &["memory_values", "keys"], last());
    graph.chain("Transpose", "keys_transposed", &["keys"], vec![ints("perm", &[0, 2, 1])]);
    graph.chain("MatMul", "products", &["queries", "keys_transposed"], vec![]);
    graph.chain("Mul", "scores", &["products", "key_scale"], vec![]);
    graph.chain("Softmax", "attention", &["scores"], last());
    graph.chain("MatMul", "context", &["attention", "memory_values"], vec![]);
    graph.chain("Add", "logits", &["own", "context"], vec![]);
    graph.chain("LogSoftmax", "log_probs", &["logits"], last());
}
