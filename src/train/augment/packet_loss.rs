//! Packet loss.

use rand_pcg::Pcg64Mcg;

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{chance, index, uniform};

effect! {
    /// Dropouts of lost packets.
    PacketLoss {
        /// Fraction of the time that is lost.
        share: [f32; 2] = [0.005, 0.04],
        /// Length of one dropout, ms.
        burst_ms: [f32; 2] = [10.0, 40.0],
    }
}

impl Effect for PacketLoss {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::new("share", self.share, [0.0, 0.5]),
            Range::new("burst_ms", self.burst_ms, [1.0, 1000.0]),
        ]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (Self { share, burst_ms, .. }, rate) = (self.clone(), materials.sample_rate);
        Some(Box::new(move |samples, rng| {
            let share = uniform(rng, share);
            packet_loss(samples, share, burst_ms, rate, rng);
        }))
    }
}

/// Drops packets: segments of `burst_ms` (a range), together about `share` of the time, are silent, or
/// concealed as receivers do, with the preceding samples at half the amplitude.
fn packet_loss(samples: &mut [f32], share: f32, burst_ms: [f32; 2], sample_rate: u32, rng: &mut Pcg64Mcg) {
    let per_ms = sample_rate as f32 / 1000.0;
    let conceal = chance(rng, 0.5);
    let mut to_lose = (share * samples.len() as f32) as usize;
    while to_lose > 0 {
        let drawn = (uniform(rng, burst_ms) * per_ms) as usize;
        let length = drawn.clamp(1, samples.len());
        let start = index(rng, samples.len() - length + 1);
        if conceal && start >= length {
            let (before, lost) = samples.split_at_mut(start);
            let source = &before[start - length..];
            lost.iter_mut().zip(source).for_each(|(x, s)| *x = 0.5 * s);
        } else {
            samples[start..start + length].fill(0.0);
        }
        to_lose = to_lose.saturating_sub(length);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{RATE, rng};
    use super::*;

    #[test]
    fn packets_are_lost_in_the_share_asked_for() {
        for seed in 0..4 {
            let mut samples = vec![1f32; 64_000];
            packet_loss(&mut samples, 0.05, [10.0, 40.0], RATE, &mut rng(seed));
            let lost = samples.iter().filter(|x| **x < 1.0).count() as f32 / 64_000.0;
            assert!((0.03..=0.062).contains(&lost), "{lost}");
        }
        packet_loss(&mut [], 0.5, [10.0, 40.0], RATE, &mut rng(1));
        packet_loss(&mut [0.5; 3], 0.5, [10.0, 40.0], RATE, &mut rng(1));
    }
}
