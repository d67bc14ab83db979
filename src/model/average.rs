//! Averaging of networks' weights, which often generalizes better to unseen speakers than each of the networks
//! (Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization").

use half::f16;

use super::network::Network;
use crate::error::{Error, Result, Stage};

impl Network<f32> {
    /// The mean of the parameters and feature statistics of `networks`, summed in double precision.
    ///
    /// # Errors
    /// When `networks` is empty, or one has another architecture than the first; the error has its number, from 1.
    pub fn mean_of(networks: &[Network<f32>]) -> Result<Network<f32>> {
        let Some(first) = networks.first() else {
            return Err(Error::new(Stage::Model, "expected networks to average, found none"));
        };
        if let Some(other) = networks.iter().position(|network| network.config != first.config) {
            let problem = format!("network {} has another architecture than the first", other + 1);
            return Err(Error::new(Stage::Model, problem));
        }
        let mut mean = first.clone();
        mean.for_each_tensor(|place, values| {
            for (i, value) in values.iter_mut().enumerate() {
                let all = networks.iter().map(|network| f64::from(network.tensor(place)[i]));
                *value = (all.sum::<f64>() / networks.len() as f64) as f32;
            }
        });
        Ok(mean)
    }

    /// Rounds every value to the nearest 16-bit float, and subnormal ones to zero. Model files store such matrices
    /// in half the size.
    pub fn round_to_halves(&mut self) {
        let smallest = f16::MIN_POSITIVE.to_f32();
        self.for_each_tensor(|_, values| {
            for value in values {
                *value = if value.abs() < smallest { 0.0 } else { f16::from_f32(*value).to_f32() };
            }
        });
    }

    /// The tensor at `place`: mean, scale, then the parameters.
    fn tensor(&self, place: usize) -> &[f32] {
        match place {
            0 => &self.mean,
            1 => &self.scale,
            _ => &self.parameters[place - 2].data,
        }
    }

    fn for_each_tensor(&mut self, mut change: impl FnMut(usize, &mut [f32])) {
        change(0, &mut self.mean);
        change(1, &mut self.scale);
        self.parameters.iter_mut().enumerate().for_each(|(i, parameter)| change(i + 2, &mut parameter.data));
    }
}

#[cfg(test)]
mod tests {
    use super::super::network::initialize;
    use super::super::{CellKind, LayerConfig, NetworkConfig};
    use super::*;

    fn network(hidden: usize, seed: u64) -> Network<f32> {
        let config = NetworkConfig {
            num_features: 4,
            subsampling: 2,
            input_size: 6,
            layers: vec![LayerConfig::new(CellKind::Gru, hidden)],
            layer_norm: true,
            residual: false,
            num_tokens: 3,
            auxiliary: None,
        };
        initialize(&config, seed)
    }

    #[test]
    fn the_mean_of_two_lies_between_them_and_shapes_must_agree() {
        let networks = [network(6, 1), network(6, 2)];
        let mean = Network::mean_of(&networks).expect("of one shape");
        for ((mean, a), b) in mean.parameters.iter().zip(&networks[0].parameters).zip(&networks[1].parameters)
        {
            for ((mean, a), b) in mean.data.iter().zip(&a.data).zip(&b.data) {
                assert!((mean - (a + b) / 2.0).abs() < 1e-6);
            }
        }
        let error = Network::mean_of(&[network(6, 1), network(7, 1)]).expect_err("of two shapes").to_string();
        assert!(error.contains("network 2"), "{error}");
        assert!(Network::mean_of(&[]).is_err());
    }

    #[test]
    fn halves_are_the_nearest() {
        let mut network = network(6, 1);
        network.mean = vec![1.0, 1.0004, -3e-5, 0.1];
        network.round_to_halves();
        assert_eq!(network.mean, [1.0, 1.0, 0.0, 0.099975586]);
    }
}
