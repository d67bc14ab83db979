//! Export of hearken's own layout, with weights of any precision and optionally with the feature extraction
//! inside the graph.

use super::front_end::PcmGraph;
use super::{Export, ExportFile, ExportOptions, model_bytes};
use crate::error::Result;
use crate::model::Network;
use crate::onnx::export;
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
        // This is the same file as the model itself.
        export::write_as(network, metadata, options.precision)?
    } else {
        let graph = export::build(&network.config, Some(network), options.precision);
        model_bytes(graph, network, metadata, options, &state_specs(&network.config), vec![])?
    };
    Ok(Export { files: vec![ExportFile { path: "model.onnx".into(), bytes }], notes })
}
