//! The plain graph: hearken's own layout, with weights stored as wanted, and on demand with the
//! front end inside.

use super::front_end::PcmGraph;
use super::{Export, ExportFile, ExportOptions, model_bytes};
use crate::error::Result;
use crate::model::Network;
use crate::onnx::build::layers::Body;
use crate::onnx::export::declare;
use crate::onnx::metadata::Metadata;
use crate::onnx::precision::Precision;
use crate::onnx::states::state_specs;

pub(super) fn export(network: &Network<f32>, metadata: &Metadata, options: &ExportOptions) -> Result<Export> {
    let mut notes = Vec::new();
    let bytes = if options.with_frontend {
        let graph = PcmGraph::new(network, metadata, options.precision)?;
        notes.push(graph.note());
        let states = graph.states(false);
        let more = graph.metadata();
        model_bytes(graph.build(false), network, metadata, options, &states, more)?
    } else if options.precision == Precision::Float32 {
        // hearken's own file is this file.
        crate::onnx::write(network, metadata)?
    } else {
        let graph = graph(network, options.precision);
        model_bytes(graph, network, metadata, options, &state_specs(&network.config), vec![])?
    };
    Ok(Export { files: vec![ExportFile { path: "model.onnx".into(), bytes }], notes })
}

/// hearken's own graph, with weights stored as wanted.
fn graph(network: &Network<f32>, precision: Precision) -> crate::onnx::proto::GraphProto {
    let config = &network.config;
    let mut body = Body::new(config, Some(network));
    body.precision = precision;
    declare(&mut body);
    let x = body.normalise("x");
    let x = body.stack(&x);
    let x = body.input_layer(&x);
    let (inputs, outputs): (Vec<_>, Vec<_>) =
        state_specs(config).into_iter().map(|s| (s.input, s.output)).unzip();
    let initial = body.split_states(&inputs);
    let x = body.recurrent_layers(x, &initial, &outputs);
    let logits = body.linear("output", &x);
    body.log_probs(&logits);
    body.graph.finish()
}
