//! Construction of training examples from their specification: joining, augmentation, feature extraction,
//! masks.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::augment::{Augmenter, compose, sounds, spec_augment};
use super::dataset::Dataset;
use super::loss::mmi::Transcript;
use super::recipe::Recipe;
use super::sampler::{ExampleSource, ExampleSpec, Following};
use crate::error::Result;
use crate::features::Fbank;
use crate::units::ms_to_samples;

/// A training example: features of whole steps of stacked frames, and labels.
#[derive(Clone, Debug, Default)]
pub struct Example {
    /// Features `[U, S * F]`.
    pub features: Vec<f32>,
    /// Tokens for the main output; `None` if it does not learn from this example.
    pub labels: Option<Vec<u32>>,
    /// Tokens for the auxiliary output; `None` if it does not learn from this example.
    pub auxiliary: Option<Vec<u32>>,
    /// The pronunciations of the words, for criteria that need them.
    pub transcript: Option<Transcript>,
}

/// Audio with its labels.
struct Speech {
    samples: Vec<f32>,
    labels: Option<Vec<u32>>,
    auxiliary: Option<Vec<u32>>,
    transcript: Option<Transcript>,
}

impl Speech {
    /// Appends a pause and what follows it. An output that does not learn from one of the two learns from neither.
    fn append(&mut self, pause: &[f32], following: Speech) {
        self.samples.extend(pause);
        self.samples.extend(following.samples);
        self.labels = concatenated(self.labels.take(), following.labels);
        self.auxiliary = concatenated(self.auxiliary.take(), following.auxiliary);
        self.transcript = concatenated(self.transcript.take(), following.transcript);
    }
}

fn concatenated<T>(first: Option<Vec<T>>, second: Option<Vec<T>>) -> Option<Vec<T>> {
    first.zip(second).map(|(mut both, second)| {
        both.extend(second);
        both
    })
}

/// Computes the features of whole recordings as a stream would. Each thread needs its own.
pub struct FeatureExtractor {
    fbank: Fbank,
    /// Silence appended at the end of a stream, samples.
    flush: usize,
    /// Number of frames in a step.
    subsampling: usize,
}

impl FeatureExtractor {
    /// The feature extractor of a recipe.
    ///
    /// # Errors
    /// When the feature options are invalid.
    pub fn new(recipe: &Recipe) -> Result<Self> {
        let flush = ms_to_samples(recipe.decoder.flush_ms, recipe.features.sample_rate);
        Ok(Self { fbank: Fbank::new(&recipe.features)?, flush, subsampling: recipe.network.subsampling })
    }

    /// The features of whole steps `[U * S, F]`. The silence that is appended at the end of a stream is
    /// appended to `samples` first.
    pub fn compute(&mut self, samples: &mut Vec<f32>) -> Vec<f32> {
        samples.resize(samples.len() + self.flush, 0.0);
        let frames = self.fbank.num_frames(samples.len() as u64) as usize;
        let missing = frames.div_ceil(self.subsampling).max(1) * self.subsampling - frames;
        samples.resize(samples.len() + missing * self.fbank.frame_shift_samples(), 0.0);
        let mut features = self.fbank.compute(samples);
        features.truncate((frames + missing) * self.fbank.num_mel_bins());
        features
    }
}

/// Builds examples. Each thread needs its own.
pub struct ExampleBuilder<'a> {
    recipe: &'a Recipe,
    data: &'a Dataset,
    augmenter: &'a Augmenter,
    extractor: FeatureExtractor,
    /// Mean of the features, for masks; empty while it is being measured.
    mean: Vec<f32>,
}

impl<'a> ExampleBuilder<'a> {
    /// A builder of examples. `mean` `[F]` is the mean of the features; if it is empty, nothing is masked.
    ///
    /// # Errors
    /// When the feature options are invalid.
    pub fn new(
        recipe: &'a Recipe,
        data: &'a Dataset,
        augmenter: &'a Augmenter,
        mean: &[f32],
    ) -> Result<Self> {
        Ok(Self { recipe, data, augmenter, extractor: FeatureExtractor::new(recipe)?, mean: mean.to_vec() })
    }

    /// The data that the examples are made from.
    pub fn data(&self) -> &'a Dataset {
        self.data
    }

    /// Builds the example of a plan; the same plan always results in the same example. With a consistency
    /// loss it returns two views: the same audio under different masks.
    pub fn build(&mut self, spec: &ExampleSpec) -> Vec<Example> {
        let mut rng = Pcg64Mcg::seed_from_u64(spec.seed);
        let mut speech = self.speech(&spec.source, &mut rng);
        if let Some(Following { pause, source }) = &spec.following {
            let pause = hiss(*pause, &mut rng);
            speech.append(&pause, self.speech(source, &mut rng));
        }
        let Speech { mut samples, labels, auxiliary, transcript } = speech;
        self.augmenter.apply(&mut samples, &mut rng);
        let features = self.extractor.compute(&mut samples);
        let Recipe { features: fbank, specaugment, loss, .. } = self.recipe;
        let views = if loss.consistency_weight > 0.0 { 2 } else { 1 };
        let mut examples = vec![Example { features, labels, auxiliary, transcript }; views];
        if !self.mean.is_empty() {
            for example in &mut examples {
                spec_augment(&mut example.features, &self.mean, fbank, specaugment, &mut rng);
            }
        }
        examples
    }

    fn speech(&self, source: &ExampleSource, rng: &mut Pcg64Mcg) -> Speech {
        match source {
            ExampleSource::Recording(clip) => {
                let clip = &self.data.clips[*clip];
                Speech {
                    samples: clip.to_f32(),
                    labels: clip.labels.clone(),
                    auxiliary: clip.auxiliary.clone(),
                    transcript: clip.transcript.clone(),
                }
            }
            ExampleSource::Words(words) => {
                let clips: Vec<_> = words.iter().map(|&w| &self.data.clips[w]).collect();
                let samples: Vec<Vec<f32>> = clips.iter().map(|c| c.to_f32()).collect();
                let slices: Vec<&[f32]> = samples.iter().map(Vec::as_slice).collect();
                let options =
                    self.recipe.data.strings.as_ref().map(|s| s.compose.clone()).unwrap_or_default();
                let samples = compose(&slices, &options, self.data.sample_rate, rng);
                let labels = clips.iter().flat_map(|c| c.labels.iter().flatten().copied()).collect();
                let auxiliary: Option<Vec<&Vec<u32>>> = clips.iter().map(|c| c.auxiliary.as_ref()).collect();
                let transcript: Option<Vec<&Transcript>> =
                    clips.iter().map(|c| c.transcript.as_ref()).collect();
                Speech {
                    samples,
                    labels: Some(labels),
                    auxiliary: auxiliary.map(|all| all.into_iter().flatten().copied().collect()),
                    transcript: transcript.map(|all| all.into_iter().flatten().cloned().collect()),
                }
            }
            ExampleSource::Silence(length) => Speech {
                samples: self.silence(*length, rng),
                labels: Some(Vec::new()),
                auxiliary: Some(Vec::new()),
                transcript: Some(Vec::new()),
            },
        }
    }

    /// Noise without speech at a random level: a part of a noise clip, faint hiss, or synthetic sounds.
    fn silence(&self, length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
        if rng.random_bool(self.recipe.data.generated_sounds.clamp(0.0, 1.0)) {
            let gain = 10f32.powf(rng.random_range(-1.5..0.0));
            return sounds::scene(length, self.data.sample_rate, rng).into_iter().map(|x| gain * x).collect();
        }
        let noises = self.data.noises.as_slice();
        if noises.is_empty() || rng.random_bool(0.2) {
            let level = 10f32.powf(rng.random_range(-5.0..-1.5));
            return white_noise(length, level, rng);
        }
        // Every second of noise has the same probability, however long its clip is.
        let total: usize = noises.iter().map(Vec::len).sum();
        let mut place = rng.random_range(0..total.max(1));
        let clip = noises.iter().find(|clip| {
            let here = place < clip.len();
            if !here {
                place -= clip.len();
            }
            here
        });
        let gain = 10f32.powf(rng.random_range(-1.5..0.2));
        let clip = clip.map_or(&[][..], Vec::as_slice);
        (0..length)
            .map(|i| gain * clip.get((place + i) % clip.len().max(1)).copied().unwrap_or(0.0))
            .collect()
    }
}

fn white_noise(length: usize, level: f32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    (0..length).map(|_| level * (2.0 * rng.random::<f32>() - 1.0)).collect()
}

/// The pause between two examples: faint noise, or half of the time digital silence.
fn hiss(length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    match rng.random_bool(0.5) {
        true => vec![0.0; length],
        false => {
            let level = 10f32.powf(rng.random_range(-5.0..-2.5));
            white_noise(length, level, rng)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::{Clip, Source};
    use crate::train::prepare::materials;
    use crate::train::sampler::Sampler;

    const RECIPE: &str = r#"
[data]
words = ["a", "b"]
concatenation = { probability = 0.5, pause_s = [0.5, 1.0] }
[[data.recordings]]
manifest = "a.jsonl"
weight = 1.0
[network]
cells = ["rnn-tanh"]
hidden = [4]
input_size = 4
[optimizer]
learning_rate = 1e-2
[schedule]
steps = 10
[run]
seed = 1
batch_size = 8
eval_interval = 10
checkpoint_interval = 10
[decoder]
flush_ms = 0
"#;

    fn clip(seconds: usize, label: Option<u32>) -> Clip {
        let samples = vec![1000i16; seconds * 16_000].into();
        let labels = label.map(|label| vec![label]);
        Clip { samples, labels, auxiliary: None, transcript: None, place: String::new() }
    }

    #[test]
    fn examples_are_concatenated_with_a_pause() {
        let recipe = Recipe::parse(RECIPE).expect("a recipe");
        let clips = vec![clip(1, Some(1)), clip(2, Some(2)), clip(1, None)];
        let recordings = vec![Source { clips: vec![0, 1], weight: 1.0 }];
        let data = Dataset { clips, recordings, ..Dataset::default() };
        let augmenter = Augmenter::new(&recipe.augment, &materials(&recipe, &data)).expect("nothing");
        let mut builder = ExampleBuilder::new(&recipe, &data, &augmenter, &[]).expect("a builder");
        let batch: Vec<ExampleSpec> =
            (0..4).flat_map(|step| Sampler::new(&recipe, &data).batch(step)).collect();
        let pauses: Vec<usize> =
            batch.iter().filter_map(|spec| Some(spec.following.as_ref()?.pause)).collect();
        assert!(
            (batch.len() / 4..batch.len()).contains(&pauses.len()),
            "{} of {}",
            pauses.len(),
            batch.len()
        );
        assert!(pauses.iter().all(|pause| (8000..=16_000).contains(pause)), "{pauses:?}");
        let mut example = |first, second: Option<usize>| {
            let source = ExampleSource::Recording;
            let following = second.map(|clip| Following { pause: 8000, source: source(clip) });
            builder.build(&ExampleSpec { source: source(first), following, seed: 3, length: 0 }).remove(0)
        };
        let (alone, both) = (example(0, None), example(0, Some(1)));
        assert_eq!((alone.labels, both.labels), (Some(vec![1]), Some(vec![1, 2])));
        // 3.5 s against 1 s, in frames of 10 ms.
        let frames = |features: &[f32]| features.len() / recipe.features.num_mel_bins;
        let more = frames(&both.features) - frames(&alone.features);
        assert!((246..=254).contains(&more), "{more}");
        assert!(both.features.starts_with(&alone.features[..90 * recipe.features.num_mel_bins]));
        // What the main output does not learn from one part, it does not learn from both.
        assert_eq!((example(0, Some(2)).labels, example(2, Some(0)).labels), (None, None));
    }
}
