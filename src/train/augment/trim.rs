//! Detection of the word in a clip: an energy detector for short recordings of one word.

use std::ops::Range;

use super::filter::high_pass;
use super::level::{level_frame, ms, power, power_to_db};

/// Margin before the first loud frame, ms: soft onsets and endings (/f/, /s/, a released /t/) are below any
/// threshold.
const MARGIN_BEFORE_MS: usize = 60;
/// Margin after the last loud frame, ms.
const MARGIN_AFTER_MS: usize = 80;

/// Maximum length in frames of a pause inside the word (the closure in "eight", "six").
const MAX_GAP: usize = 20;

/// Minimum energy of a stretch relative to the strongest one; weaker ones are clicks, breaths or keys.
const MIN_SHARE: f32 = 0.05;

/// The voiced region with margins of 60 ms before and 80 ms after; the whole clip if no word is louder than
/// its noise. The range is in samples, within `0..samples.len()`.
pub fn trim_silence(samples: &[f32], sample_rate: u32) -> Range<usize> {
    let tight = voiced_region(samples, sample_rate);
    let (before, after) = (ms(MARGIN_BEFORE_MS, sample_rate), ms(MARGIN_AFTER_MS, sample_rate));
    tight.start.saturating_sub(before)..(tight.end + after).min(samples.len())
}

/// The voiced region without margins, with a resolution of 10 ms.
///
/// Frames are loud if they are above one third (in dB) of the distance from the clip's noise floor to its
/// loudest frames, at least 6 and at most 30 dB below the latter. Stretches shorter than 30 ms are
/// discarded as clicks; of stretches more than 200 ms apart only those with enough energy are kept.
pub fn voiced_region(samples: &[f32], sample_rate: u32) -> Range<usize> {
    let frame = level_frame(sample_rate);
    let powers = smoothed_powers(samples, sample_rate);
    let mut sorted = powers.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let Some(&loudest) = sorted.last() else { return 0..samples.len() };
    // Ignore the loudest 3 %, so that a click does not set the scale.
    let top = power_to_db(sorted[(sorted.len() - 1) * 97 / 100].max(loudest * 1e-3));
    let floor = power_to_db(sorted[sorted.len() / 10]);
    if top - floor < 9.0 {
        return 0..samples.len();
    }
    let limit = (floor + (top - floor) / 3.0).clamp(top - 30.0, top - 6.0);
    let stretches = loud_stretches(&powers, 10f32.powf(limit / 10.0));
    let strongest = stretches.iter().map(|s| s.energy).fold(0f32, f32::max);
    let mut kept = stretches.iter().filter(|s| s.energy >= MIN_SHARE * strongest);
    let Some(first) = kept.next() else { return 0..samples.len() };
    let last = kept.next_back().unwrap_or(first);
    first.frames.start * frame..(last.frames.end * frame).min(samples.len())
}

struct Stretch {
    frames: Range<usize>,
    energy: f32,
}

/// Runs of at least three loud frames, joined over gaps of up to [`MAX_GAP`].
fn loud_stretches(powers: &[f32], limit: f32) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut frame = 0;
    while frame < powers.len() {
        let run = powers[frame..].iter().take_while(|p| **p >= limit).count();
        if run >= 3 {
            let energy = powers[frame..frame + run].iter().sum();
            match stretches.last_mut() {
                Some(last) if frame - last.frames.end <= MAX_GAP => {
                    last.frames.end = frame + run;
                    last.energy += energy;
                }
                _ => stretches.push(Stretch { frames: frame..frame + run, energy }),
            }
        }
        frame += run.max(1);
    }
    stretches
}

/// The power of each 10 ms frame above 150 Hz (to ignore hum and rumble) with pre-emphasis (to detect
/// fricatives), median-filtered over three frames (to ignore clicks).
fn smoothed_powers(samples: &[f32], sample_rate: u32) -> Vec<f32> {
    let mut filtered = samples.to_vec();
    high_pass(&mut filtered, 150.0, sample_rate);
    let mut last = 0f32;
    for x in &mut filtered {
        let emphasized = *x - 0.5 * last;
        last = *x;
        *x = emphasized;
    }
    let powers: Vec<f32> = filtered.chunks(level_frame(sample_rate)).map(power).collect();
    let at = |i: usize| powers[i.min(powers.len() - 1)];
    (0..powers.len())
        .map(|i| {
            let (a, b, c) = (at(i.saturating_sub(1)), at(i), at(i + 1));
            a.min(b).max(a.max(b).min(c))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::color::{NoiseColor, colored_noise};
    use super::super::testing::{RATE, rng, sine};
    use super::*;

    /// A word of 400 ms at 0.3 s in a second of noise of this strength.
    fn clip(noise: f32) -> Vec<f32> {
        let word = sine(500.0, 0.3, 6400);
        let mut clip = colored_noise(NoiseColor::Pink, 16_000, RATE, &mut rng(12));
        clip.iter_mut().for_each(|x| *x *= noise);
        clip[4800..11_200].iter_mut().zip(&word).for_each(|(x, w)| *x += w);
        clip
    }

    fn close(found: usize, wanted: usize) -> bool {
        found.abs_diff(wanted) <= 480
    }

    #[test]
    fn finds_the_word_in_any_noise() {
        for noise in [0.0, 0.001, 0.01, 0.03] {
            let range = voiced_region(&clip(noise), RATE);
            assert!(close(range.start, 4800) && close(range.end, 11_200), "{noise}: {range:?}");
            let range = trim_silence(&clip(noise), RATE);
            assert!(close(range.start, 3840) && close(range.end, 12_480), "{noise}: {range:?}");
        }
    }

    #[test]
    fn clicks_and_hum_are_not_the_word() {
        let mut noisy = clip(0.001);
        noisy[600..610].fill(0.9);
        noisy[15_500..15_520].fill(-0.7);
        noisy.iter_mut().zip(sine(50.0, 0.2, 16_000)).for_each(|(x, hum)| *x += hum);
        let range = voiced_region(&noisy, RATE);
        assert!(close(range.start, 4800) && close(range.end, 11_200), "{range:?}");
    }

    #[test]
    fn a_closure_inside_a_word_is_kept() {
        let mut closed = clip(0.001);
        closed[8000..10_000].fill(0.0);
        let range = voiced_region(&closed, RATE);
        assert!(close(range.end, 11_200), "{range:?}");
    }

    #[test]
    fn without_speech_nothing_is_trimmed() {
        assert_eq!(trim_silence(&[], RATE), 0..0);
        assert_eq!(trim_silence(&[0.0; 5000], RATE), 0..5000);
        assert_eq!(trim_silence(&sine(300.0, 0.2, 5000), RATE), 0..5000);
        assert_eq!(trim_silence(&[0.5; 3], RATE), 0..3);
    }
}
