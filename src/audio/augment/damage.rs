//! What goes wrong in recordings: clipping, offsets, gates, lost packets.

use rand_pcg::Pcg64Mcg;

use super::level::{LEVEL_FRAME, chance, db_to_amplitude, index, peak, power, power_to_db, scale, uniform};

/// Clips hard, `overdrive_db` below the peak. With `to_full_scale` the flat tops then lie at
/// ±1, as an overdriven converter leaves them; otherwise where they were cut.
pub fn clip(samples: &mut [f32], overdrive_db: f32, to_full_scale: bool) {
    let limit = peak(samples) * db_to_amplitude(-overdrive_db);
    if limit <= 0.0 {
        return;
    }
    samples.iter_mut().for_each(|x| *x = x.clamp(-limit, limit));
    if to_full_scale {
        scale(samples, limit.recip());
    }
}

/// Adds a constant.
pub fn dc_offset(samples: &mut [f32], offset: f32) {
    samples.iter_mut().for_each(|x| *x += offset);
}

/// A noise gate: what is weak becomes digital silence. The threshold lies `threshold` of the way
/// (in dB) from the clip's floor to its loudest frame; the gate stays open for `hold_ms` after
/// the last loud frame, opens 10 ms early, and its edges are ramps of 2 ms.
pub fn noise_gate(samples: &mut [f32], threshold: f32, hold_ms: f32) {
    let levels: Vec<f32> = samples.chunks(LEVEL_FRAME).map(|f| power_to_db(power(f))).collect();
    if levels.is_empty() {
        return;
    }
    let mut sorted = levels.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let top = sorted[sorted.len() - 1];
    let floor = sorted[sorted.len() / 10].max(top - 60.0);
    let limit = floor + threshold * (top - floor);
    let hold = (hold_ms / 10.0).round() as usize;
    let mut open = vec![false; levels.len()];
    for (frame, _) in levels.iter().enumerate().filter(|(_, level)| **level >= limit) {
        let end = (frame + hold + 1).min(open.len());
        open[frame.saturating_sub(1)..end].fill(true);
    }
    const RAMP: usize = 32;
    for (i, frame) in samples.chunks_mut(LEVEL_FRAME).enumerate() {
        if !open[i] {
            frame.fill(0.0);
            continue;
        }
        if i > 0 && !open[i - 1] {
            frame.iter_mut().take(RAMP).enumerate().for_each(|(k, x)| *x *= k as f32 / RAMP as f32);
        }
        if i + 1 < open.len() && !open[i + 1] {
            frame.iter_mut().rev().take(RAMP).enumerate().for_each(|(k, x)| *x *= k as f32 / RAMP as f32);
        }
    }
}

/// Loses packets: stretches of `burst_ms` (a range), together about `share` of the time, are
/// silent, or filled with the samples before them at half the strength, as receivers conceal.
pub fn packet_loss(samples: &mut [f32], share: f32, burst_ms: [f32; 2], rng: &mut Pcg64Mcg) {
    let conceal = chance(rng, 0.5);
    let mut to_lose = (share * samples.len() as f32) as usize;
    while to_lose > 0 {
        let drawn = (uniform(rng, burst_ms) * 16.0) as usize;
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
    use super::super::testing::{rng, sine, speech_like};
    use super::*;

    #[test]
    fn clipping_flattens_the_tops() {
        let mut samples = sine(100.0, 0.4, 1600);
        clip(&mut samples, 6.0206, false);
        assert!((peak(&samples) - 0.2).abs() < 1e-4);
        assert!(samples.iter().filter(|x| x.abs() > 0.1999).count() > 1000);
        clip(&mut samples, 3.0, true);
        assert_eq!(peak(&samples), 1.0);
        clip(&mut [0.0; 4], 3.0, true);
    }

    #[test]
    fn the_gate_silences_pauses_and_keeps_speech() {
        let clean = speech_like(2.0);
        let mut gated = clean.clone();
        noise_gate(&mut gated, 0.35, 30.0);
        let silent = gated.iter().filter(|x| **x == 0.0).count() as f32 / gated.len() as f32;
        assert!((0.2..0.6).contains(&silent), "{silent}");
        assert!(power(&gated) > 0.99 * power(&clean));
        noise_gate(&mut [], 0.3, 10.0);
    }

    #[test]
    fn packets_are_lost_in_the_share_asked_for() {
        for seed in 0..4 {
            let mut samples = vec![1f32; 64_000];
            packet_loss(&mut samples, 0.05, [10.0, 40.0], &mut rng(seed));
            let lost = samples.iter().filter(|x| **x < 1.0).count() as f32 / 64_000.0;
            assert!((0.03..=0.062).contains(&lost), "{lost}");
        }
        packet_loss(&mut [], 0.5, [10.0, 40.0], &mut rng(1));
        packet_loss(&mut [0.5; 3], 0.5, [10.0, 40.0], &mut rng(1));
    }
}
