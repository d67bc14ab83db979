//! Preparation of a run from its data: materials of augmentation, the n-gram of lattice-free MMI, the
//! statistics of the features.

use std::sync::Arc;

use super::augment::{Augmenter, Materials};
use super::dataset::Dataset;
use super::example::ExampleBuilder;
use super::loss::mmi::Mmi;
use super::loss::phone_ngram;
use super::recipe::{MmiTable, Recipe};
use super::sampler::Sampler;
use crate::error::Result;
use crate::text::TokenTable;

/// The materials of augmentation; babble is mixed from about 200 of the recordings.
pub(super) fn materials(recipe: &Recipe, dataset: &Dataset) -> Materials {
    let voices = dataset.clips.iter().step_by(1 + dataset.clips.len() / 200).map(|c| c.to_f32()).collect();
    Materials {
        sample_rate: dataset.sample_rate,
        noises: dataset.noises.clone(),
        voices: Arc::new(voices),
        seed: recipe.run.seed,
    }
}

/// The criterion of lattice-free MMI, whose n-gram is counted on the transcripts weighted by how often they
/// are drawn.
pub(super) fn lattice_free(
    table: &MmiTable,
    dataset: &Dataset,
    silence_weight: f64,
    tokens: &TokenTable,
) -> Mmi<f32> {
    let sources = dataset.recordings.iter().flat_map(|source| {
        let weight = source.weight / source.clips.len().max(1) as f64;
        source.clips.iter().filter_map(move |&clip| Some((dataset.clips[clip].labels.as_deref()?, weight)))
    });
    let total = dataset.recordings.iter().map(|source| source.weight).sum::<f64>() + silence_weight;
    let scale = dataset.clips.len() as f64 / total.max(f64::MIN_POSITIVE);
    let sequences =
        sources.chain([(&[][..], silence_weight)]).map(|(labels, weight)| (labels, weight * scale));
    let options = phone_ngram::Options { order: table.order, max_states: table.states };
    let acceptor = phone_ngram::estimate(sequences, tokens.len() - 1, options);
    Mmi::from_phones(acceptor, tokens.len(), tokens.blank(), table.leak)
}

/// Mean and inverse standard deviation of each feature over some hundred examples of the recipe.
pub(super) fn statistics(
    recipe: &Recipe,
    dataset: &Dataset,
    sampler: &Sampler<'_>,
    augmenter: &Augmenter,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut builder = ExampleBuilder::new(recipe, dataset, augmenter, &[])?;
    let bins = recipe.features.num_mel_bins;
    let (mut sum, mut squares, mut count) = (vec![0.0f64; bins], vec![0.0f64; bins], 0.0f64);
    // These are batches of very late updates, with long strings, which training does not reach.
    for i in 0..(600 / recipe.run.batch_size).max(4) as u64 {
        for spec in sampler.batch(u64::from(u32::MAX) + i) {
            let examples = builder.build(&spec);
            for frame in examples.iter().flat_map(|e| e.features.chunks_exact(bins)) {
                for ((sum, square), &x) in sum.iter_mut().zip(&mut squares).zip(frame) {
                    let x = f64::from(x);
                    *sum += x;
                    *square += x * x;
                }
                count += 1.0;
            }
        }
    }
    let mean: Vec<f32> = sum.iter().map(|s| (s / count) as f32).collect();
    let scale = squares.iter().zip(&sum).map(|(q, s)| {
        let variance = (q / count - (s / count) * (s / count)).max(1e-4);
        (1.0 / variance.sqrt()) as f32
    });
    Ok((mean, scale.collect()))
}
