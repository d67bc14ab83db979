//! Speed (tempo, pitch and formants together) and tempo alone.

use super::level::dot;

/// Speed factors are whole multiples of 1/200, so that every phase of the interpolation is in a
/// small table and exact.
const PHASES: usize = 200;

/// Zero crossings of the windowed sinc on each side.
const HALF_TAPS: usize = 12;

/// Plays `samples` `factor` times as fast (rounded to 1/200) by resampling: the length is divided
/// by the factor, pitch and formants rise with it. Windowed-sinc interpolation, band-limited below
/// the lower of the two Nyquist frequencies.
pub fn change_speed(samples: &[f32], factor: f32) -> Vec<f32> {
    let step = (factor * PHASES as f32).round().clamp(PHASES as f32 / 4.0, PHASES as f32 * 4.0) as usize;
    if step == PHASES || samples.is_empty() {
        return samples.to_vec();
    }
    let cutoff = (PHASES as f64 / step as f64).min(1.0) * 0.96;
    let half = (HALF_TAPS as f64 / cutoff).ceil() as usize;
    // A multiple of 8, for the dot product's lanes.
    let taps = (2 * half).next_multiple_of(8);
    let table = sinc_table(cutoff, half as f64, taps);
    let centre = taps / 2 - 1;
    let length = samples.len() * PHASES / step;
    let mut padded = vec![0f32; samples.len() + 2 * taps];
    padded[centre..centre + samples.len()].copy_from_slice(samples);
    (0..length)
        .map(|n| {
            let (whole, phase) = (n * step / PHASES, n * step % PHASES);
            dot(&padded[whole..whole + taps], &table[phase * taps..(phase + 1) * taps])
        })
        .collect()
}

/// `[PHASES][taps]`: for each fraction of a sample, the Hann-windowed sinc around it.
fn sinc_table(cutoff: f64, half: f64, taps: usize) -> Vec<f32> {
    use std::f64::consts::PI;
    let centre = (taps / 2 - 1) as f64;
    let mut table = Vec::with_capacity(PHASES * taps);
    for phase in 0..PHASES {
        let fraction = phase as f64 / PHASES as f64;
        let start = table.len();
        for tap in 0..taps {
            let x = tap as f64 - centre - fraction;
            let window = if x.abs() < half { 0.5 + 0.5 * (PI * x / half).cos() } else { 0.0 };
            let sinc = if x.abs() < 1e-9 { cutoff } else { (PI * cutoff * x).sin() / (PI * x) };
            table.push((window * sinc) as f32);
        }
        // Unit gain at 0 Hz for each phase alike.
        let sum: f32 = table[start..].iter().sum();
        table[start..].iter_mut().for_each(|x| *x /= sum);
    }
    table
}

/// Samples of a WSOLA segment (32 ms) and of the hop between two (half of it).
const SEGMENT: usize = 512;
const HOP: usize = SEGMENT / 2;

/// How far a segment may move to fit, samples (8 ms: half the period of 62 Hz).
const SEARCH: usize = 128;

/// Plays `samples` `factor` times as fast with pitch and formants unchanged: waveform similarity
/// overlap-add (Verhelst and Roelands, 1993). The length is divided by the factor.
pub fn change_tempo(samples: &[f32], factor: f32) -> Vec<f32> {
    let length = (samples.len() as f64 / f64::from(factor)).round() as usize;
    if samples.len() < 4 * SEGMENT || (factor - 1.0).abs() < 1e-3 {
        return samples.to_vec();
    }
    let window: Vec<f32> = (0..SEGMENT)
        .map(|i| 0.5 - 0.5 * (std::f32::consts::TAU * (i as f32 + 0.5) / SEGMENT as f32).cos())
        .collect();
    let last = samples.len() - SEGMENT;
    let mut out = vec![0f32; length + SEGMENT];
    out[..HOP].copy_from_slice(&samples[..HOP]);
    let mut source = 0;
    // The first half segment is copied; from then on two halves always overlap.
    let segments = length.div_ceil(HOP);
    for segment in 0..segments {
        let at = segment * HOP;
        let piece = &samples[source..source + SEGMENT];
        let skip = if segment == 0 { HOP } else { 0 };
        for i in skip..SEGMENT {
            out[at + i] += piece[i] * window[i];
        }
        // What would follow naturally, and where the tempo wants us to be.
        let natural = (source + HOP).min(last);
        let wanted = (((at + HOP) as f64 * f64::from(factor)) as usize).min(last);
        source = best_match(samples, natural, wanted, last);
    }
    out.truncate(length);
    out
}

/// The start within [`SEARCH`] of `wanted` whose segment is most like the one at `natural`
/// (normalised cross-correlation, every fourth start, then every one around the best).
fn best_match(samples: &[f32], natural: usize, wanted: usize, last: usize) -> usize {
    let template = &samples[natural..natural + HOP];
    let score = |start: usize| {
        let candidate = &samples[start..start + HOP];
        dot(template, candidate) / (dot(candidate, candidate) + 1e-9).sqrt()
    };
    let best_of = |from: usize, to: usize, step: usize| {
        let mut best = (f32::MIN, from);
        for start in (from..=to).step_by(step) {
            let s = score(start);
            if s > best.0 {
                best = (s, start);
            }
        }
        best.1
    };
    let coarse = best_of(wanted.saturating_sub(SEARCH), (wanted + SEARCH).min(last), 4);
    best_of(coarse.saturating_sub(3), (coarse + 3).min(last), 1)
}

#[cfg(test)]
mod tests {
    use super::super::level::power;
    use super::super::testing::{sine, tone_share};
    use super::*;

    #[test]
    fn speed_moves_pitch_and_length() {
        let tone = sine(1000.0, 0.5, 16_000);
        for factor in [0.75, 0.9, 1.1, 1.3] {
            let out = change_speed(&tone, factor);
            assert!((out.len() as f32 - 16_000.0 / factor).abs() <= 1.0);
            assert!(tone_share(&out, 1000.0 * factor) > 0.99, "factor {factor}");
            assert!((power(&out) / power(&tone) - 1.0).abs() < 0.02);
        }
    }

    #[test]
    fn faster_does_not_alias() {
        let out = change_speed(&sine(7500.0, 0.5, 16_000), 1.3);
        assert!(power(&out) < 1e-4, "7.5 kHz would become 9.75 kHz: {}", power(&out));
    }

    #[test]
    fn tempo_keeps_pitch() {
        let tone = sine(440.0, 0.5, 32_000);
        for factor in [0.8, 1.25] {
            let out = change_tempo(&tone, factor);
            assert!((out.len() as f32 - 32_000.0 / factor).abs() <= 1.0);
            // Piece by piece: joints are whole samples, so the phase drifts over the seconds.
            for piece in out[..out.len() - 1024].chunks_exact(4096) {
                assert!(tone_share(piece, 440.0) > 0.97, "factor {factor}");
            }
        }
    }

    #[test]
    fn short_and_empty_inputs_pass() {
        assert!(change_speed(&[], 1.2).is_empty());
        assert!(change_tempo(&[], 1.2).is_empty());
        assert_eq!(change_tempo(&[0.1; 100], 1.2).len(), 100);
        assert_eq!(change_speed(&[0.1; 7], 1.3).len(), 5);
    }
}
