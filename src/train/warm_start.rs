//! Initialization of a run with the weights of a model.

use std::path::Path;

use super::recipe::Recipe;
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage};
use crate::model::Network;
use crate::onnx::{self, Metadata};
use crate::recognizer::Embedded;

/// The model that a run starts from.
pub(super) struct WarmStart {
    network: Network<f32>,
    metadata: Metadata,
}

impl WarmStart {
    /// Reads a model: a file, or an embedded model by its name, unless there is a file of that name.
    ///
    /// # Errors
    /// When the model cannot be read.
    pub fn read(from: &Path) -> Result<Self> {
        let (network, metadata) = match Embedded::named(from) {
            Some(model) => onnx::load::read(model.model()?)?,
            None => onnx::read_file(from)?,
        };
        Ok(Self { network, metadata })
    }

    /// The recipe with the decoder's settings of the model, if the recipe has none of its own and the tokens are
    /// the same: costs and thresholds that were chosen for this network fit better than the defaults. The lexicon is
    /// not taken over.
    ///
    /// # Errors
    /// When the recipe's tokens are invalid.
    pub fn with_decoder(&self, recipe: &Recipe) -> Result<Recipe> {
        let mut recipe = recipe.clone();
        if recipe.decoder == DecoderOptions::default() && recipe.tokens()? == self.metadata.tokens {
            recipe.decoder = DecoderOptions { lexicon: Vec::new(), ..self.metadata.decoder.clone() };
        }
        Ok(recipe)
    }

    /// Copies the weights of parameters that have the same names and shapes. The output layers may differ; then they
    /// keep their random initialization. The network may have more recurrent layers than the model: they are on top,
    /// and if they have a residual connection, they are initialized as the identity (a zero gain of what they add:
    /// Bachlechner et al., 2020, "ReZero is all you need"), so that training starts with exactly the outputs of the
    /// model.
    ///
    /// # Errors
    /// When a layer has another shape.
    pub fn copy_to(&self, network: &mut Network<f32>, parameters: &mut [Vec<f32>]) -> Result<()> {
        copy_weights(&self.network, network, parameters)
    }
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
            layers: vec![LayerConfig::new(CellKind::Gru, 6); depth],
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

    /// A recipe of phones for the words of digits.
    fn recipe(decoder: &str) -> Recipe {
        let text = "[data]\nwords = [\"one\"]\npronunciations = \"d\"\n[network]\ncells = [\"gru\"]\nhidden = [8]\n\
                    input_size = 8\n[schedule]\nsteps = 10\n[run]\nbatch_size = 2\neval_interval = 10\n\
                    checkpoint_interval = 10\n";
        Recipe::parse(&format!("{text}{decoder}")).expect("a good recipe")
    }

    #[test]
    #[cfg(feature = "digits")]
    fn the_decoders_settings_come_from_the_model_unless_the_recipe_has_some() {
        let start = WarmStart::read(Path::new("digits")).expect("embedded");
        let taken = start.with_decoder(&recipe("")).expect("good").decoder;
        assert_eq!(taken, DecoderOptions { lexicon: Vec::new(), ..start.metadata.decoder.clone() });
        assert!(taken.rejection.is_some() && !start.metadata.decoder.lexicon.is_empty());
        let own = recipe("[decoder]\nfiller_entry_cost = 5.5\n");
        assert_eq!(start.with_decoder(&own).expect("good"), own);
        let mut words = recipe("");
        words.data.pronunciations.clear();
        assert_eq!(start.with_decoder(&words).expect("good"), words, "other tokens");
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
