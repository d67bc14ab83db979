//! Initialization of a run with the weights of a model.

use std::path::Path;

use crate::error::{Error, Result, Stage};
use crate::model::Network;
use crate::onnx;

/// Copies the weights of a model whose parameters have the same names and shapes. The output layers may
/// differ; then they keep their random initialization. The network may have more recurrent layers than the
/// model: they are on top, and if they have a residual connection, they are initialized as the identity (a
/// zero gain of what they add: Bachlechner et al., 2020, "ReZero is all you need"), so that training starts
/// with exactly the outputs of the model.
///
/// # Errors
/// When the model cannot be read, or a layer has another shape.
pub(super) fn warm_start(from: &Path, network: &mut Network<f32>, parameters: &mut [Vec<f32>]) -> Result<()> {
    let (other, _) = onnx::read_file(from)?;
    copy_weights(&other, network, parameters).map_err(|error| error.in_file(from))
}

fn copy_weights(other: &Network<f32>, network: &mut Network<f32>, parameters: &mut [Vec<f32>]) -> Result<()> {
    let depth = other.config.layers.len();
    let residual = network.config.residual;
    for (parameter, data) in network.parameters.iter_mut().zip(parameters) {
        let new_layer = layer_of(&parameter.name).is_some_and(|layer| layer >= depth);
        match other.parameter(&parameter.name).filter(|p| p.shape == parameter.shape) {
            Some(found) => data.clone_from(&found.data),
            None if new_layer => {
                if residual && parameter.name.ends_with(".norm.gain") {
                    data.fill(0.0);
                }
            }
            None if parameter.name.starts_with("output.") || parameter.name.starts_with("auxiliary.") => {}
            None => {
                let missing = format!("it has no `{}` of shape {:?}", parameter.name, parameter.shape);
                return Err(Error::new(Stage::Train, missing).hint(
                    "the recipe must have the layers of the model that it starts from; more may follow",
                ));
            }
        }
        parameter.data.clone_from(data);
    }
    if other.mean.len() != network.mean.len() {
        return Err(Error::new(Stage::Train, "it has another number of features"));
    }
    (network.mean, network.scale) = (other.mean.clone(), other.scale.clone());
    Ok(())
}

/// The index of the recurrent layer that a parameter belongs to.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("layers.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::network::initialize;
    use crate::model::{CellKind, LayerConfig, NetworkConfig, PackedSequence, PackedWeights, Workspace};

    fn config(depth: usize) -> NetworkConfig {
        NetworkConfig {
            num_features: 4,
            subsampling: 2,
            input_size: 6,
            layers: vec![LayerConfig { cell: CellKind::Gru, hidden: 6 }; depth],
            layer_norm: true,
            residual: true,
            num_tokens: 3,
            auxiliary: None,
        }
    }

    fn logits(network: &Network<f32>) -> Vec<f32> {
        let weights = PackedWeights::new(network, false).expect("all parameters");
        let x: Vec<f32> = (0..5 * 8).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut workspace = Workspace::default();
        let mut states = weights.zero_states(1);
        weights.forward(&x, &PackedSequence::new(&[5]), &mut states, &mut workspace, None);
        let mut logits = Vec::new();
        weights.logits(&workspace, 0, &mut logits);
        logits
    }

    #[test]
    fn an_added_layer_starts_as_the_identity() {
        let small = initialize::<f32>(&config(2), 1);
        let mut grown = initialize::<f32>(&config(3), 2);
        let mut parameters: Vec<Vec<f32>> = grown.parameters.iter().map(|p| p.data.clone()).collect();
        copy_weights(&small, &mut grown, &mut parameters).expect("copied");
        assert_eq!(logits(&small), logits(&grown));
        assert!(grown.parameter("layers.2.gru.W").expect("there").data.iter().any(|&w| w != 0.0));

        let mut wider = config(2);
        wider.layers[1].hidden = 7;
        let mut wider = initialize::<f32>(&wider, 3);
        let mut parameters: Vec<Vec<f32>> = wider.parameters.iter().map(|p| p.data.clone()).collect();
        let error = copy_weights(&small, &mut wider, &mut parameters).expect_err("another shape").to_string();
        assert!(error.contains("layers.1.gru.W"), "{error}");
    }
}
