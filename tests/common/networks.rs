//! Networks with random weights, for tests.

use hearken::features::FbankOptions;
use hearken::model::network::parameter_shapes;
use hearken::model::{CellKind, LayerConfig, Network, NetworkConfig, Parameter};
use hearken::onnx::{DecoderOptions, Metadata};
use hearken::text::TokenTable;

/// Every kind of cell.
pub const CELLS: [CellKind; 11] = CellKind::ALL;

/// A small random generator (SplitMix64) of numbers in -1..1, independent of any crate, so that the networks
/// of the tests never change.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn next(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn vec(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.next() * scale).collect()
    }
}

/// A small configuration with these layers.
pub fn config(layers: &[(CellKind, usize)], layer_norm: bool, residual: bool) -> NetworkConfig {
    NetworkConfig {
        num_features: 6,
        subsampling: 4,
        input_size: 8,
        layers: layers.iter().map(|&(cell, hidden)| LayerConfig::new(cell, hidden)).collect(),
        layer_norm,
        residual,
        num_tokens: 7,
        auxiliary: None,
    }
}

/// A network of this configuration with random weights, which depend on the seed alone.
pub fn random(config: &NetworkConfig, seed: u64) -> Network<f32> {
    let mut numbers = Numbers(seed);
    let f = config.num_features;
    let parameters = parameter_shapes(config)
        .into_iter()
        .map(|(name, shape)| {
            let n: usize = shape.iter().product();
            let width = if shape.len() == 2 { shape[1] as f32 } else { 4.0 };
            let mut data = numbers.vec(n, 1.2 / width.sqrt());
            if name.ends_with("gain") {
                data.iter_mut().for_each(|v| *v += 1.0);
            }
            Parameter { name, shape, data }
        })
        .collect();
    let scale = numbers.vec(f, 0.3).into_iter().map(|v| v + 0.5).collect();
    Network { config: config.clone(), mean: numbers.vec(f, 1.0), scale, parameters }
}

/// Metadata that fit a configuration.
pub fn metadata(config: &NetworkConfig) -> Metadata {
    let tokens = (0..config.num_tokens).map(|i| if i == 0 { "<blk>".into() } else { format!("▁{i}") });
    Metadata {
        features: FbankOptions { num_mel_bins: config.num_features, ..Default::default() },
        tokens: TokenTable::new(tokens.collect(), 0).expect("different tokens"),
        decoder: DecoderOptions::default(),
        license: "CC0-1.0".into(),
        trained_on: "random numbers".into(),
        recipe: "[run]\nseed = 1\n".into(),
        created_by: "a test".into(),
        other: vec![("note".into(), "kept".into())],
    }
}
