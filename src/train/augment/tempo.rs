//! Tempo perturbation.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{dot, ms, uniform};

effect! {
    /// Changes the tempo and keeps pitch and formants. Combined with a speed change by 1/x, a tempo of x
    /// results in a pure shift of pitch and formants.
    Tempo {
        /// Factor of tempo; above 1 is faster.
        factor: [f32; 2] = [0.85, 1.2],
    }
}

impl Effect for Tempo {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("factor", self.factor, [0.5, 2.0])]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (factor, rate) = (self.factor, materials.sample_rate);
        Some(Box::new(move |samples, rng| *samples = change_tempo(samples, uniform(rng, factor), rate)))
    }
}

/// Lengths of overlap-add, in samples.
#[derive(Clone, Copy)]
struct Lengths {
    /// Distance from one segment to the next; a segment is twice as long.
    hop: usize,
    /// Maximum displacement of a segment for a better match.
    search: usize,
}

impl Lengths {
    /// Segments of 32 ms, displaced by at most 8 ms: half the period of 62 Hz.
    fn at(sample_rate: u32) -> Self {
        Self { hop: ms(16, sample_rate).max(4), search: ms(8, sample_rate).max(4) }
    }
}

/// Changes the tempo by `factor` with pitch and formants unchanged, by waveform similarity overlap-add
/// (WSOLA; Verhelst and Roelands, 1993). The length is divided by the factor.
fn change_tempo(samples: &[f32], factor: f32, sample_rate: u32) -> Vec<f32> {
    let lengths = Lengths::at(sample_rate);
    let (hop, segment_length) = (lengths.hop, 2 * lengths.hop);
    let length = (samples.len() as f64 / f64::from(factor)).round() as usize;
    if samples.len() < 4 * segment_length || (factor - 1.0).abs() < 1e-3 {
        return samples.to_vec();
    }
    let window: Vec<f32> = (0..segment_length)
        .map(|i| 0.5 - 0.5 * (std::f32::consts::TAU * (i as f32 + 0.5) / segment_length as f32).cos())
        .collect();
    let last = samples.len() - segment_length;
    let mut out = vec![0f32; length + segment_length];
    out[..hop].copy_from_slice(&samples[..hop]);
    let mut source = 0;
    // The first half segment is copied; after it, two halves always overlap.
    let segments = length.div_ceil(hop);
    for segment in 0..segments {
        let at = segment * hop;
        let piece = &samples[source..source + segment_length];
        let skip = if segment == 0 { hop } else { 0 };
        for i in skip..segment_length {
            out[at + i] += piece[i] * window[i];
        }
        // The natural continuation, and the position required by the tempo.
        let natural = (source + hop).min(last);
        let wanted = (((at + hop) as f64 * f64::from(factor)) as usize).min(last);
        source = best_match(samples, natural, wanted, last, lengths);
    }
    out.truncate(length);
    out
}

/// The start within the search range of `wanted` whose segment is most similar to the one at `natural`
/// (normalized cross-correlation; first every fourth start, then every start around the best).
fn best_match(samples: &[f32], natural: usize, wanted: usize, last: usize, lengths: Lengths) -> usize {
    let Lengths { hop, search } = lengths;
    let template = &samples[natural..natural + hop];
    let score = |start: usize| {
        let candidate = &samples[start..start + hop];
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
    let coarse = best_of(wanted.saturating_sub(search), (wanted + search).min(last), 4);
    best_of(coarse.saturating_sub(3), (coarse + 3).min(last), 1)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{RATE, sine, tone_share};
    use super::*;

    #[test]
    fn tempo_keeps_pitch() {
        let tone = sine(440.0, 0.5, 32_000);
        for factor in [0.8, 1.25] {
            let out = change_tempo(&tone, factor, RATE);
            assert!((out.len() as f32 - 32_000.0 / factor).abs() <= 1.0);
            // Measured in short parts: segments move by whole samples, so the phase drifts over seconds.
            for piece in out[..out.len() - 1024].chunks_exact(4096) {
                assert!(tone_share(piece, 440.0) > 0.97, "factor {factor}");
            }
        }
    }

    #[test]
    fn short_and_empty_inputs_pass() {
        assert!(change_tempo(&[], 1.2, RATE).is_empty());
        assert_eq!(change_tempo(&[0.1; 100], 1.2, RATE).len(), 100);
    }
}
