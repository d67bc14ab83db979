//! Joins isolated words into a string, as people say numbers: fluently, in groups, or word by word.

use std::ops::Range;

use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::color::{NoiseColor, colored_noise};
use super::effect::{Range as Limits, check_probability};
use super::level::{active_power, chance, db_to_amplitude, ms, peak, power_to_db, scale, uniform};
use super::trim::{trim_silence, voiced_region};
use crate::error::Result;

/// Options of joining words. Ranges are `[lowest, highest]`, drawn from uniformly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComposeOptions {
    /// Weights of fluent, normal and slow strings, on any scale.
    pub fluent_normal_slow: [f32; 3],
    /// Pauses of fluent strings, ms.
    pub fluent_pause_ms: [f32; 2],
    /// Pauses of normal strings, ms.
    pub normal_pause_ms: [f32; 2],
    /// Pauses of slow strings, ms.
    pub slow_pause_ms: [f32; 2],
    /// Probability that a single pause is of another manner than its string, as between groups of digits.
    pub other_manner_probability: f32,
    /// Probability that two words of a fluent string overlap instead of having a pause.
    pub overlap_probability: f32,
    /// Length of an overlap, ms; at most a quarter of the shorter word.
    pub overlap_ms: [f32; 2],
    /// Level of each word relative to their mean level, dB.
    pub level_db: [f32; 2],
    /// Silence before the first word, seconds.
    pub leading_s: [f32; 2],
    /// Silence after the last word, seconds.
    pub trailing_s: [f32; 2],
    /// Probability that words keep the background noise of their clips around them instead of being cut.
    pub keep_background_probability: f32,
    /// Probability that the silence is digital zeros instead of soft room noise.
    pub digital_silence_probability: f32,
    /// Level of that noise relative to the words, dB.
    pub room_tone_db: [f32; 2],
}

impl Default for ComposeOptions {
    fn default() -> Self {
        Self {
            fluent_normal_slow: [0.45, 0.35, 0.2],
            fluent_pause_ms: [0.0, 60.0],
            normal_pause_ms: [60.0, 250.0],
            slow_pause_ms: [250.0, 600.0],
            other_manner_probability: 0.15,
            overlap_probability: 0.5,
            overlap_ms: [0.0, 100.0],
            level_db: [-3.0, 3.0],
            leading_s: [0.0, 1.5],
            trailing_s: [0.0, 1.5],
            keep_background_probability: 0.5,
            digital_silence_probability: 0.25,
            room_tone_db: [-60.0, -25.0],
        }
    }
}

impl ComposeOptions {
    /// Checks every probability and range.
    ///
    /// # Errors
    /// Names the first value that is not a number, out of order or out of bounds.
    pub fn validate(&self) -> Result<()> {
        const TABLE: &str = "data.strings.compose";
        for (name, value) in [
            ("other_manner_probability", self.other_manner_probability),
            ("overlap_probability", self.overlap_probability),
            ("keep_background_probability", self.keep_background_probability),
            ("digital_silence_probability", self.digital_silence_probability),
        ] {
            check_probability(&format!("{TABLE}: {name}"), value)?;
        }
        for weight in self.fluent_normal_slow {
            Limits::new("fluent_normal_slow", [weight; 2], [0.0, 1e6]).check(TABLE)?;
        }
        for (name, range, limits) in [
            ("fluent_pause_ms", self.fluent_pause_ms, [0.0, 5000.0]),
            ("normal_pause_ms", self.normal_pause_ms, [0.0, 5000.0]),
            ("slow_pause_ms", self.slow_pause_ms, [0.0, 5000.0]),
            ("overlap_ms", self.overlap_ms, [0.0, 500.0]),
            ("level_db", self.level_db, [-30.0, 30.0]),
            ("leading_s", self.leading_s, [0.0, 30.0]),
            ("trailing_s", self.trailing_s, [0.0, 30.0]),
            ("room_tone_db", self.room_tone_db, [-120.0, 0.0]),
        ] {
            Limits::new(name, range, limits).check(TABLE)?;
        }
        Ok(())
    }

    /// Draws a manner: 0 fluent, 1 normal, 2 slow.
    fn manner(&self, rng: &mut Pcg64Mcg) -> usize {
        let [fluent, normal, slow] = self.fluent_normal_slow;
        let at = uniform(rng, [0.0, fluent + normal + slow]);
        if at < fluent {
            0
        } else if at < fluent + normal {
            1
        } else {
            2
        }
    }

    /// Draws the number of samples between two words; negative for an overlap.
    fn pause(&self, manner: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> i64 {
        let manner = if chance(rng, self.other_manner_probability) { self.manner(rng) } else { manner };
        let ms = match manner {
            0 if chance(rng, self.overlap_probability) => -uniform(rng, self.overlap_ms),
            0 => uniform(rng, self.fluent_pause_ms),
            1 => uniform(rng, self.normal_pause_ms),
            _ => uniform(rng, self.slow_pause_ms),
        };
        (ms * sample_rate as f32 / 1000.0) as i64
    }
}

/// The clip of one word and its position in the string.
struct Placed<'a> {
    clip: &'a [f32],
    /// The voiced region in the clip.
    voiced: Range<usize>,
    /// The part of the clip that is used, around the voiced region.
    used: Range<usize>,
    /// Position of `voiced.start` in the string.
    at: usize,
    /// Lengths of the fades in and out in samples, from the ends of `used`.
    fades: [usize; 2],
    gain: f32,
    sample_rate: u32,
}

/// Joins clips of single words into one string. Clips are trimmed, brought to a common level, and placed
/// with pauses or overlaps as `options` specify.
pub fn compose(words: &[&[f32]], options: &ComposeOptions, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    join(words, options, sample_rate, rng).0
}

/// The string, and the range of the voiced region of each word in it (in samples; ranges of overlapping
/// words overlap, those of empty clips are empty).
fn join(
    words: &[&[f32]],
    options: &ComposeOptions,
    sample_rate: u32,
    rng: &mut Pcg64Mcg,
) -> (Vec<f32>, Vec<Range<usize>>) {
    let rate = sample_rate as f32;
    let manner = options.manner(rng);
    let leading = (uniform(rng, options.leading_s) * rate) as usize;
    let trailing = (uniform(rng, options.trailing_s) * rate) as usize;
    let keep_background = chance(rng, options.keep_background_probability);
    let (placed, end) = place(words, options, [manner, leading], keep_background, sample_rate, rng);

    let level_db = mean_level_db(&placed);
    let mut out = vec![0f32; end + trailing];
    if !chance(rng, options.digital_silence_probability) {
        let color = if chance(rng, 0.5) { NoiseColor::Pink } else { NoiseColor::White };
        out = colored_noise(color, out.len(), sample_rate, rng);
        scale(&mut out, db_to_amplitude(level_db + uniform(rng, options.room_tone_db)));
    }
    for mut word in placed.iter().map(Placed::copy) {
        word.gain = level_gain(&word, level_db + uniform(rng, options.level_db));
        word.add_to(&mut out);
    }
    let top = peak(&out);
    if top > 0.99 {
        scale(&mut out, 0.99 / top);
    }
    (out, placed.iter().map(|w| w.at..w.at + w.voiced.len()).collect())
}

/// Finds the words in their clips and places them; returns them and the end of the last one.
fn place<'a>(
    words: &[&'a [f32]],
    options: &ComposeOptions,
    [manner, leading]: [usize; 2],
    keep_background: bool,
    sample_rate: u32,
    rng: &mut Pcg64Mcg,
) -> (Vec<Placed<'a>>, usize) {
    let mut placed: Vec<Placed<'a>> = Vec::with_capacity(words.len());
    let mut end = leading;
    let mut last_length = usize::MAX;
    let mut pause_before = leading;
    for (i, clip) in words.iter().enumerate() {
        let voiced = voiced_region(clip, sample_rate);
        let mut used = trim_silence(clip, sample_rate);
        let pause = if i == 0 { 0 } else { options.pause(manner, sample_rate, rng) };
        let overlap = (-pause).max(0) as usize;
        let overlap = overlap.min(voiced.len() / 4).min(last_length / 4);
        let at = end - overlap.min(end) + pause.max(0) as usize;
        if i > 0 {
            pause_before = pause.max(0) as usize;
        }
        if keep_background {
            // Each of the two words fills half of the pause with its own background.
            used.start = used.start.min(voiced.start.saturating_sub(pause_before / 2));
            if let Some(last) = placed.last_mut() {
                last.used.end = last.used.end.max((last.voiced.end + pause_before / 2).min(last.clip.len()));
            }
        }
        used.start = used.start.max(voiced.start.saturating_sub(at));
        if let Some(last) = placed.last_mut() {
            last.fades[1] = last.used.end - last.voiced.end + overlap;
        }
        let fades = [voiced.start - used.start + overlap, used.end - voiced.end];
        end = at + voiced.len();
        last_length = voiced.len();
        placed.push(Placed { clip, voiced, used, at, fades, gain: 1.0, sample_rate });
    }
    (placed, end)
}

impl Placed<'_> {
    fn copy(&self) -> Self {
        Self { voiced: self.voiced.clone(), used: self.used.clone(), ..*self }
    }

    /// Adds the word to the string, with raised-cosine fades.
    fn add_to(&self, out: &mut [f32]) {
        // Long margins fade only over their first 40 ms, so that the background keeps its level.
        let longest = ms(40, self.sample_rate);
        let lead = self.voiced.start - self.used.start;
        let tail = self.used.end - self.voiced.end;
        let fade_in = self.fades[0].min(self.fades[0].saturating_sub(lead) + longest).max(1);
        let fade_out = self.fades[1].min(self.fades[1].saturating_sub(tail) + longest).max(1);
        let start = self.at - lead.min(self.at);
        let length = self.used.len();
        let shape = |k: usize, fade: usize| {
            if k >= fade {
                1.0
            } else {
                0.5 - 0.5 * (std::f32::consts::PI * (k as f32 + 0.5) / fade as f32).cos()
            }
        };
        let places = out.iter_mut().skip(start);
        for (k, (o, x)) in places.zip(&self.clip[self.used.clone()]).enumerate() {
            *o += self.gain * x * shape(k, fade_in) * shape(length - 1 - k, fade_out);
        }
    }

    fn level_db(&self) -> Option<f32> {
        let level = active_power(&self.clip[self.voiced.clone()], self.sample_rate);
        (level > 1e-9).then(|| power_to_db(level))
    }
}

/// The mean level of the words, dB; -26 if all are silent.
fn mean_level_db(words: &[Placed]) -> f32 {
    let levels: Vec<f32> = words.iter().filter_map(Placed::level_db).collect();
    if levels.is_empty() { -26.0 } else { levels.iter().sum::<f32>() / levels.len() as f32 }
}

/// The gain that brings a word to a level, limited to 30 dB.
fn level_gain(word: &Placed, wanted_db: f32) -> f32 {
    word.level_db().map_or(1.0, |level| db_to_amplitude((wanted_db - level).clamp(-30.0, 30.0)))
}

#[cfg(test)]
mod tests {
    use super::super::level::power;
    use super::super::testing::{RATE, rng, sine, tone_share};
    use super::*;

    /// A tone of 300 ms, 0.2 s into a clip of 0.8 s with some noise around.
    fn word(hz: f32, amplitude: f32) -> Vec<f32> {
        let mut clip = colored_noise(NoiseColor::White, 12_800, RATE, &mut rng(hz as u64));
        clip.iter_mut().for_each(|x| *x *= 0.001 * amplitude);
        clip[3200..8000].iter_mut().zip(sine(hz, amplitude, 4800)).for_each(|(x, s)| *x += s);
        clip
    }

    #[test]
    fn words_lie_where_the_ranges_say() {
        let clips = [word(400.0, 0.1), word(700.0, 0.4), word(1100.0, 0.05), word(1900.0, 0.2)];
        let words: Vec<&[f32]> = clips.iter().map(Vec::as_slice).collect();
        let options = ComposeOptions { overlap_probability: 0.0, ..Default::default() };
        for seed in 0..20 {
            let (out, ranges) = join(&words, &options, RATE, &mut rng(seed));
            assert_eq!(ranges.len(), 4);
            assert!(out.iter().all(|x| x.is_finite() && x.abs() <= 1.0));
            let mut levels = Vec::new();
            for (range, hz) in ranges.iter().zip([400.0, 700.0, 1100.0, 1900.0]) {
                assert!(range.len().abs_diff(4800) < 960);
                let inner = &out[range.start + 480..range.end - 480];
                assert!(tone_share(inner, hz) > 0.97, "seed {seed}, {hz} Hz");
                levels.push(power_to_db(power(inner)));
            }
            let spread = levels.iter().copied().fold(f32::MIN, f32::max)
                - levels.iter().copied().fold(f32::MAX, f32::min);
            assert!(spread < 6.8, "leveled to ±3 dB: {levels:?}");
            for pair in ranges.windows(2) {
                assert!(pair[1].start >= pair[0].end && pair[1].start - pair[0].end <= 9600);
            }
            assert!(ranges[0].start <= 24_000 && out.len() - ranges[3].end <= 24_000);
        }
    }

    #[test]
    fn fast_talkers_overlap_within_limits() {
        let clips = [word(400.0, 0.1), word(700.0, 0.1)];
        let words: Vec<&[f32]> = clips.iter().map(Vec::as_slice).collect();
        let options = ComposeOptions {
            fluent_normal_slow: [1.0, 0.0, 0.0],
            overlap_probability: 1.0,
            overlap_ms: [50.0, 100.0],
            ..Default::default()
        };
        for seed in 0..10 {
            let (_, ranges) = join(&words, &options, RATE, &mut rng(seed));
            let overlap = ranges[0].end as i64 - ranges[1].start as i64;
            assert!((800..=1600).contains(&overlap), "{overlap}");
        }
    }

    #[test]
    fn digital_silence_is_zero_and_room_tone_is_soft() {
        let clip = word(500.0, 0.2);
        let mut options =
            ComposeOptions { digital_silence_probability: 1.0, leading_s: [0.5, 0.5], ..Default::default() };
        options.keep_background_probability = 0.0;
        let (out, _) = join(&[&clip], &options, RATE, &mut rng(1));
        assert!(out[..6000].iter().all(|x| *x == 0.0));
        options.digital_silence_probability = 0.0;
        let (out, _) = join(&[&clip], &options, RATE, &mut rng(1));
        let tone = power(&out[..6000]);
        assert!(tone > 0.0 && tone < 1e-2 * power(&clip));
    }

    #[test]
    fn odd_inputs_are_harmless_and_seeds_repeat() {
        let (silence, short) = (vec![0f32; 3000], vec![0.2f32; 5]);
        let clip = word(500.0, 0.2);
        let words: [&[f32]; 5] = [&silence, &[], &short, &clip, &[]];
        let options = ComposeOptions::default();
        options.validate().unwrap();
        for seed in 0..50 {
            let (out, ranges) = join(&words, &options, RATE, &mut rng(seed));
            assert!(ranges.iter().all(|r| r.start <= r.end && r.end <= out.len()));
            assert_eq!(join(&words, &options, RATE, &mut rng(seed)), (out, ranges));
        }
        let (out, ranges) = join(&[], &options, RATE, &mut rng(1));
        assert!(ranges.is_empty() && out.len() <= 48_000);
    }
}
