//! Initialization of a run with the weights of a model.

use std::path::Path;

use super::recipe::Recipe;
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage};
use crate::model::Network;
use crate::onnx::{self, Metadata};
use crate::recognizer::Embedded;
use crate::text::TokenTable;
use crate::units::counted;

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

    /// Copies the weights of parameters that have the same names and shapes. The outputs may differ: a token of `tokens`
    /// that the model has too gets the weights of the model, another one keeps its random initialization. The network may have more recurrent layers than the model: they are on top,
    /// and if they have a residual connection, they are initialized as the identity (a zero gain of what they add:
    /// Bachlechner et al., 2020, "ReZero is all you need"), so that training starts with exactly the outputs of the
    /// model.
    ///
    /// # Errors
    /// When a layer has another shape.
    pub fn copy_to(
        &self,
        network: &mut Network<f32>,
        parameters: &mut [Vec<f32>],
        tokens: &TokenTable,
    ) -> Result<()> {
        let output = Output { before: &self.metadata.tokens, now: tokens };
        copy_weights(&self.network, network, parameters, &output)
    }

    /// A sentence about the tokens that the model lacks.
    pub fn note(&self, tokens: &TokenTable) -> Option<String> {
        let known = self.metadata.tokens.tokens();
        let new: Vec<&String> = tokens.tokens().iter().filter(|token| !known.contains(token)).collect();
        let first = new.first()?;
        Some(format!(
            "the model to start from has the weights of {} of {}; the others, such as `{first}`, begin with random weights",
            tokens.len() - new.len(),
            counted(tokens.len(), "token"),
        ))
    }
}

/// The tokens of the output of the model, and those of the new network.
struct Output<'a> {
    before: &'a TokenTable,
    now: &'a TokenTable,
}

impl Output<'_> {
    /// Copies the rows of `found` whose tokens the new network has too.
    fn copy_rows(&self, found: &[f32], data: &mut [f32]) {
        let size = found.len() / self.before.len().max(1);
        for (row, token) in data.chunks_exact_mut(size.max(1)).zip(self.now.tokens()) {
            if let Some(at) = self.before.tokens().iter().position(|other| other == token) {
                row.copy_from_slice(&found[at * size..(at + 1) * size]);
            }
        }
    }
}

fn copy_weights(
    other: &Network<f32>,
    network: &mut Network<f32>,
    parameters: &mut [Vec<f32>],
    output: &Output<'_>,
) -> Result<()> {
    let depth = other.config.layers.len();
    let residual = network.config.residual;
    for (parameter, data) in network.parameters.iter_mut().zip(parameters) {
        let new_layer = layer_of(&parameter.name).is_some_and(|layer| layer >= depth);
        let found = other.parameter(&parameter.name);
        if let Some(found) =
            found.filter(|p| p.name.starts_with("output.") && p.shape[1..] == parameter.shape[1..])
        {
            output.copy_rows(&found.data, data);
            parameter.data.clone_from(data);
            continue;
        }
        match found.filter(|p| p.shape == parameter.shape) {
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
    use crate::model::{
        CellKind, LayerConfig, NetworkConfig, PackedSequence, PackedWeights, Purpose, Workspace,
    };

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
        let weights = PackedWeights::new(network, Purpose::Inference).expect("all parameters");
        let x: Vec<f32> = (0..5 * 8).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut workspace = Workspace::default();
        let mut states = weights.zero_states(1);
        weights.forward(&x, &PackedSequence::new(&[5]), &mut states, &mut workspace, None);
        let mut logits = Vec::new();
        weights.logits(&workspace, 0, &mut logits);
        logits
    }

    /// A recipe of phones for the words of digits.
    #[cfg(feature = "digits")]
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
        let tokens = tokens(&["<blk>", "a", "b"]);
        let output = Output { before: &tokens, now: &tokens };
        let small = initialize::<f32>(&config(2), 1);
        let mut grown = initialize::<f32>(&config(3), 2);
        let mut parameters: Vec<Vec<f32>> = grown.parameters.iter().map(|p| p.data.clone()).collect();
        copy_weights(&small, &mut grown, &mut parameters, &output).expect("copied");
        assert_eq!(logits(&small), logits(&grown));
        assert!(grown.parameter("layers.2.gru.W").expect("there").data.iter().any(|&w| w != 0.0));

        let mut wider = config(2);
        wider.layers[1].hidden = 7;
        let mut wider = initialize::<f32>(&wider, 3);
        let mut parameters: Vec<Vec<f32>> = wider.parameters.iter().map(|p| p.data.clone()).collect();
        let error = copy_weights(&small, &mut wider, &mut parameters, &output)
            .expect_err("another shape")
            .to_string();
        assert!(error.contains("layers.1.gru.W"), "{error}");
    }

    fn tokens(names: &[&str]) -> TokenTable {
        TokenTable::new(names.iter().map(|&name| name.into()).collect(), 0).expect("good tokens")
    }

    #[test]
    fn with_other_tokens_the_layers_and_the_outputs_of_common_tokens_are_kept() {
        let (before, now) = (tokens(&["<blk>", "a", "b"]), tokens(&["<blk>", "c", "b", "d"]));
        let old = initialize::<f32>(&config(2), 1);
        let mut new = initialize::<f32>(&NetworkConfig { num_tokens: 4, ..config(2) }, 2);
        let random = new.clone();
        let mut parameters: Vec<Vec<f32>> = new.parameters.iter().map(|p| p.data.clone()).collect();
        let output = Output { before: &before, now: &now };
        copy_weights(&old, &mut new, &mut parameters, &output).expect("copied");
        for (parameter, data) in new.parameters.iter().zip(&parameters) {
            assert_eq!(&parameter.data, data);
            if !parameter.name.starts_with("output.") {
                assert_eq!(data, &old.parameter(&parameter.name).expect("there").data);
            }
        }
        let rows = |network: &Network<f32>| -> Vec<Vec<f32>> {
            network.parameter("output.weight").expect("there").data.chunks(6).map(<[f32]>::to_vec).collect()
        };
        let (old, new, random) = (rows(&old), rows(&new), rows(&random));
        assert_eq!(new, [&old[0], &random[1], &old[2], &random[3]].map(Clone::clone));
    }
}
