//! What a recipe specifies: tokens, lexicon, network.

use super::tables::{Recipe, wrong};
use crate::decode::Pronunciation;
use crate::error::Result;
use crate::model::{AuxiliaryConfig, LayerConfig, NetworkConfig};
use crate::text::TokenTable;
use crate::text::pronunciation::{ARPABET, Pronunciations, phone_tokens};

impl Recipe {
    /// The tokens of the main output: the blank, then one token for each word, or the space and one token
    /// for each character; with a dictionary, the blank and the phones.
    ///
    /// # Errors
    /// When neither or both of `words` and `characters` are set, or a token occurs twice.
    pub fn tokens(&self) -> Result<TokenTable> {
        if !self.data.pronunciations.is_empty() {
            if self.data.words.is_empty() || !self.data.characters.is_empty() {
                return Err(wrong("data", "with `pronunciations`, expected `words` and no `characters`"));
            }
            return phone_tokens();
        }
        match (self.data.words.is_empty(), self.data.characters.is_empty()) {
            (false, true) => {
                let words = self.data.words.iter().map(|w| format!("▁{w}"));
                TokenTable::new(std::iter::once("<blk>".to_string()).chain(words).collect(), 0)
                    .map_err(|e| e.at("data: words"))
            }
            (true, false) => character_tokens(&self.data.characters).map_err(|e| e.at("data: characters")),
            _ => Err(wrong("data", "expected either `words` or `characters`")),
        }
    }

    /// The output words and all their pronunciations: those of the dictionary, then the recipe's variants.
    /// Empty without a dictionary.
    ///
    /// # Errors
    /// When a word has no pronunciation, or a variant contains an unknown phone.
    pub fn lexicon(&self, dictionary: Option<&Pronunciations>) -> Result<Vec<Pronunciation>> {
        let Some(dictionary) = dictionary else { return Ok(Vec::new()) };
        let mut lexicon = Vec::new();
        for word in &self.data.words {
            let mut pronunciations: Vec<Vec<String>> = dictionary
                .get(word)
                .iter()
                .map(|phones| phones.iter().map(|&p| ARPABET[p as usize - 1].to_string()).collect())
                .collect();
            for variant in self.data.variants.get(word).into_iter().flatten() {
                let phones: Vec<String> = variant.split_whitespace().map(String::from).collect();
                if let Some(other) = phones.iter().find(|p| !ARPABET.contains(&p.as_str())) {
                    return Err(wrong(
                        &format!("data.variants: {word}"),
                        format!("`{other}` is not a phone"),
                    ));
                }
                if !pronunciations.contains(&phones) {
                    pronunciations.push(phones);
                }
            }
            if pronunciations.iter().all(Vec::is_empty) {
                return Err(wrong("data: words", format!("the dictionary does not contain `{word}`"))
                    .hint("add its pronunciation to [data.variants]"));
            }
            lexicon.extend(
                pronunciations.into_iter().map(|tokens| Pronunciation { word: word.clone(), tokens }),
            );
        }
        Ok(lexicon)
    }

    /// The tokens of the auxiliary output, if there is one.
    ///
    /// # Errors
    /// When a character occurs twice.
    pub fn auxiliary_tokens(&self) -> Result<Option<TokenTable>> {
        let table = self.auxiliary.as_ref().map(|auxiliary| match auxiliary.characters.as_str() {
            "" => self.tokens(),
            characters => character_tokens(characters).map_err(|e| e.at("auxiliary: characters")),
        });
        table.transpose()
    }

    /// The architecture of the network.
    ///
    /// # Errors
    /// When the layers do not fit together, or a size is 0 or too large.
    pub fn network_config(&self) -> Result<NetworkConfig> {
        let table = &self.network;
        let layers = self.layers()?;
        let mut sizes = layers.iter().map(|layer| layer.hidden).chain([table.input_size, table.subsampling]);
        if sizes.any(|size| size == 0 || size > 16_384) {
            return Err(wrong("network", "expected sizes from 1 to 16384"));
        }
        if let Some(problem) = layers.iter().find_map(LayerConfig::problem) {
            return Err(wrong("network", problem));
        }
        Ok(NetworkConfig {
            num_features: self.features.num_mel_bins,
            subsampling: table.subsampling,
            input_size: table.input_size,
            layers,
            layer_norm: table.layer_norm,
            residual: table.residual,
            num_tokens: self.tokens()?.len(),
            auxiliary: self.auxiliary_config()?,
        })
    }

    /// Number of steps of a segment of truncated backpropagation through time; no limit without it.
    pub(in crate::train) fn segment_steps(&self) -> usize {
        let step_ms = f64::from(self.features.frame_shift_ms) * self.network.subsampling as f64;
        match self.schedule.bptt_seconds {
            seconds if seconds > 0.0 => (1000.0 * seconds / step_ms).round().max(1.0) as usize,
            _ => usize::MAX,
        }
    }

    /// The layers of the network, in either form.
    fn layers(&self) -> Result<Vec<LayerConfig>> {
        let table = &self.network;
        if !table.layers.is_empty() {
            if !table.cells.is_empty() || !table.hidden.is_empty() {
                return Err(wrong("network", "expected either `layers` or `cells` and `hidden`, found both"));
            }
            let layer = |(i, layer): (usize, &LayerConfig)| {
                let extra = |size| {
                    wrong(&format!("network.layers[{i}]"), format!("{} has no {size}", layer.cell.name()))
                };
                layer.with_defaults().map_err(extra)
            };
            return table.layers.iter().enumerate().map(layer).collect();
        }
        let count = table.hidden.len();
        if count == 0 || (table.cells.len() != 1 && table.cells.len() != count) {
            let found = format!("{} cells and {count} widths", table.cells.len());
            return Err(wrong(
                "network",
                format!(
                    "expected one width for each layer, and one cell in all or for each layer, found {found}"
                ),
            ));
        }
        Ok(table.layers())
    }

    /// The names of the layers that are not trained.
    ///
    /// # Errors
    /// When there is no such layer, or none is left to train.
    pub fn frozen_layers(&self) -> Result<&[String]> {
        let (frozen, place) = (&self.network.freeze, "network: freeze");
        let inner = (1..=self.layers()?.len()).map(|number| format!("layer {number}"));
        let mut names: Vec<String> = std::iter::once("input".into()).chain(inner).collect();
        names.push("output".into());
        let needed = names.len();
        names.extend(self.auxiliary.as_ref().map(|_| "auxiliary".into()));
        if let Some(other) = frozen.iter().find(|name| !names.contains(name)) {
            return Err(wrong(
                place,
                format!("expected layers of `{}`, found `{other}`", names.join("`, `")),
            ));
        }
        if names[..needed].iter().all(|name| frozen.contains(name)) {
            return Err(wrong(place, "expected at least one layer that is trained"));
        }
        Ok(frozen)
    }

    /// The names of the input layer and the lowest `count` recurrent layers, for `network.freeze`.
    pub fn lowest_layers(count: usize) -> Vec<String> {
        let layers = (1..=count).map(|number| format!("layer {number}"));
        std::iter::once("input".into()).chain(layers).collect()
    }

    fn auxiliary_config(&self) -> Result<Option<AuxiliaryConfig>> {
        let Some(auxiliary) = &self.auxiliary else { return Ok(None) };
        let layers = self.layers()?.len();
        if auxiliary.layer >= layers {
            return Err(wrong(
                "auxiliary: layer",
                format!("expected a number below the {layers} layers, found {}", auxiliary.layer),
            ));
        }
        let num_tokens = self.auxiliary_tokens()?.map_or(0, |t| t.len());
        Ok(Some(AuxiliaryConfig { layer: auxiliary.layer, num_tokens }))
    }
}

fn character_tokens(characters: &str) -> Result<TokenTable> {
    let letters = characters.chars().map(String::from);
    TokenTable::new(["<blk>".to_string(), "▁".to_string()].into_iter().chain(letters).collect(), 0)
}
