//! Random selection of the examples of a batch. All random numbers are derived from (seed, round), so that
//! a resumed run draws the same examples as an uninterrupted one.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::dataset::Dataset;
use super::recipe::Recipe;

/// The source of one example.
#[derive(Clone, Debug, PartialEq)]
pub enum ExampleSource {
    /// A recording, as an index into [`Dataset::clips`].
    Recording(usize),
    /// Isolated words to be joined, as indices into [`Dataset::clips`].
    Words(Vec<usize>),
    /// Noise or silence, with this number of samples.
    Silence(usize),
}

/// What follows an example after a pause.
#[derive(Clone, Debug, PartialEq)]
pub struct Following {
    /// Length of the pause, samples.
    pub pause: usize,
    /// The source of the audio after it.
    pub source: ExampleSource,
}

/// The specification of an example.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleSpec {
    /// The source of the audio.
    pub source: ExampleSource,
    /// A second source, which is concatenated.
    pub following: Option<Following>,
    /// Seed of the random numbers used in building the example.
    pub seed: u64,
    /// Approximate number of samples.
    pub length: usize,
}

/// Draws the examples of batches.
pub struct Sampler<'a> {
    recipe: &'a Recipe,
    data: &'a Dataset,
    words: Vec<u32>,
}

/// Derives a new seed from a seed and a number (a hash).
pub fn derive_seed(seed: u64, number: u64) -> u64 {
    let mut x = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2 {
        x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    x ^ (x >> 29)
}

/// Draws an index with probability proportional to its weight.
fn weighted_index(weights: impl Iterator<Item = f64> + Clone, rng: &mut Pcg64Mcg) -> usize {
    let total: f64 = weights.clone().sum();
    let mut at = rng.random_range(0.0..total.max(f64::MIN_POSITIVE));
    let mut last = 0;
    for (i, weight) in weights.enumerate() {
        if weight > 0.0 {
            last = i;
            if at < weight {
                return i;
            }
            at -= weight;
        }
    }
    last
}

fn choose<'t, T>(list: &'t [T], rng: &mut Pcg64Mcg) -> &'t T {
    &list[rng.random_range(0..list.len())]
}

impl<'a> Sampler<'a> {
    /// A sampler over a recipe's data.
    pub fn new(recipe: &'a Recipe, data: &'a Dataset) -> Self {
        let mut words: Vec<u32> = data.pools.iter().flat_map(|p| p.words.keys().copied()).collect();
        words.sort_unstable();
        words.dedup();
        Self { recipe, data, words }
    }

    /// Whether there is no data to draw from.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.data.recordings.iter().all(|s| s.clips.is_empty() || s.weight <= 0.0)
    }

    /// The batch of update `step`. Several batches are drawn together, sorted by length, split and
    /// shuffled, so that the utterances of a batch have similar lengths.
    pub fn batch(&self, step: u64) -> Vec<ExampleSpec> {
        let run = &self.recipe.run;
        let together = run.bucket_batches as u64;
        let (round, place) = (step / together, (step % together) as usize);
        let mut rng = Pcg64Mcg::seed_from_u64(derive_seed(run.seed, round));
        let mut specs: Vec<ExampleSpec> =
            (0..run.batch_size * run.bucket_batches).map(|_| self.draw(round * together, &mut rng)).collect();
        specs.sort_by_key(|spec| spec.length);
        let mut order: Vec<usize> = (0..run.bucket_batches).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.random_range(0..=i));
        }
        let first = order[place] * run.batch_size;
        specs.drain(first..first + run.batch_size).collect()
    }

    fn draw(&self, step: u64, rng: &mut Pcg64Mcg) -> ExampleSpec {
        let source = self.source(step, rng);
        let mut length = self.length(&source);
        // Without the table nothing is drawn, so that the examples of other recipes stay the same.
        let concatenation = self.recipe.data.concatenation;
        let following = concatenation.filter(|c| rng.random_bool(c.probability.clamp(0.0, 1.0))).map(|c| {
            let [shortest, longest] = c.pause_s;
            let seconds = rng.random_range(shortest..=longest.max(shortest));
            let pause = (seconds * f64::from(self.data.sample_rate)) as usize;
            let source = self.source(step, rng);
            length += pause + self.length(&source);
            Following { pause, source }
        });
        ExampleSpec { source, following, seed: rng.random(), length }
    }

    fn source(&self, step: u64, rng: &mut Pcg64Mcg) -> ExampleSource {
        let data = &self.recipe.data;
        let second = self.data.sample_rate as usize;
        let strings = data.strings.as_ref().filter(|_| !self.words.is_empty()).map_or(0.0, |s| s.weight);
        let recordings = self.data.recordings.iter().map(|s| if s.clips.is_empty() { 0.0 } else { s.weight });
        let kinds = [strings, data.silence_weight].into_iter().chain(recordings);
        match weighted_index(kinds, rng) {
            0 => self.string(step, rng),
            1 => ExampleSource::Silence(rng.random_range(second / 2..4 * second)),
            source => self.recording(source - 2, step, rng),
        }
    }

    /// The approximate number of samples of a source.
    fn length(&self, source: &ExampleSource) -> usize {
        match source {
            ExampleSource::Recording(clip) => self.data.clips[*clip].samples.len(),
            ExampleSource::Words(words) => words.len() * self.data.sample_rate as usize * 3 / 5,
            ExampleSource::Silence(length) => *length,
        }
    }

    /// Draws a recording; a short one in the first updates.
    fn recording(&self, source: usize, step: u64, rng: &mut Pcg64Mcg) -> ExampleSource {
        let schedule = &self.recipe.schedule;
        let clips = &self.data.recordings[source].clips;
        let most = (schedule.short_seconds * f64::from(self.data.sample_rate)) as usize;
        let mut clip = *choose(clips, rng);
        for _ in 0..20 {
            if step >= schedule.short_steps || self.data.clips[clip].samples.len() <= most {
                break;
            }
            clip = *choose(clips, rng);
        }
        ExampleSource::Recording(clip)
    }

    fn string(&self, step: u64, rng: &mut Pcg64Mcg) -> ExampleSource {
        let Some(strings) = &self.recipe.data.strings else {
            return ExampleSource::Silence(self.data.sample_rate as usize);
        };
        let [fewest, most] = strings.words;
        let grown = (step as f64 / self.recipe.schedule.lengthen_steps.max(1) as f64).min(1.0);
        let most = fewest.max(2.min(most)).max(fewest + ((most - fewest) as f64 * grown) as usize);
        let count = rng.random_range(fewest..=most);
        let speaker = (rng.random_bool(strings.same_speaker_probability.clamp(0.0, 1.0))
            && !self.data.speakers.is_empty())
        .then(|| choose(&self.data.speakers, rng));
        let mixed = rng.random_bool(strings.other_words_probability.clamp(0.0, 1.0));
        let mut clips = Vec::with_capacity(count);
        let mut word = *choose(&self.words, rng);
        for i in 0..count {
            if i > 0 && !rng.random_bool(strings.repeat_probability.clamp(0.0, 1.0)) {
                word = *choose(&self.words, rng);
            }
            let other = mixed && rng.random_bool(0.5);
            let own = speaker.and_then(|s| s.get(&word)).map(|own| *choose(own, rng));
            clips.extend(if other { self.other(rng) } else { own.or_else(|| self.word(word, rng)) });
        }
        ExampleSource::Words(clips)
    }

    /// Draws a clip of a word: a pool by weight, then a speaker and a clip uniformly.
    fn word(&self, word: u32, rng: &mut Pcg64Mcg) -> Option<usize> {
        let weights =
            self.data.pools.iter().map(|p| if p.words.contains_key(&word) { p.weight } else { 0.0 });
        let pool = &self.data.pools[weighted_index(weights, rng)];
        pool.words.get(&word).map(|speakers| *choose(choose::<Vec<usize>>(speakers, rng), rng))
    }

    fn other(&self, rng: &mut Pcg64Mcg) -> Option<usize> {
        let weights = self.data.pools.iter().map(|p| if p.others.is_empty() { 0.0 } else { p.weight });
        let pool = &self.data.pools[weighted_index(weights, rng)];
        (!pool.others.is_empty()).then(|| *choose(&pool.others, rng))
    }
}
