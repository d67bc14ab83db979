//! Division of a corpus into recordings for training and for measuring, by speaker.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Entry;

/// The result of [`split`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// For each recording, whether it is for measuring (the dev set).
    pub is_dev: Vec<bool>,
    /// Number of speakers in the dev set.
    pub speakers: usize,
    /// Number of recordings in the dev set whose speaker is not known. The same people may be in both sets.
    pub without_speaker: usize,
}

/// Chooses about the share `share` of the recordings for the dev set: all of a speaker or none, and where the speaker
/// is not known, all parts of a file or none. The same seed makes the same choice. `None` if there is only one
/// speaker, or only one file.
pub fn split(entries: &[Entry], share: f64, seed: u64) -> Option<Split> {
    let mut groups: BTreeMap<(bool, &str), Vec<usize>> = BTreeMap::new();
    for (number, entry) in entries.iter().enumerate() {
        let key = match &entry.speaker {
            Some(speaker) => (true, speaker.as_str()),
            None => (false, entry.audio.to_str().unwrap_or_default()),
        };
        groups.entry(key).or_default().push(number);
    }
    if groups.len() < 2 {
        return None;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    for i in (1..groups.len()).rev() {
        groups.swap(i, rng.random_range(0..=i));
    }
    let wanted = share * entries.len() as f64;
    let mut chosen: Vec<&((bool, &str), Vec<usize>)> = Vec::new();
    let mut count = 0;
    for group in &groups {
        // A little too many is better than a dev set that ends far below its share.
        if (count + group.1.len()) as f64 <= wanted + 0.5 * group.1.len() as f64
            && chosen.len() + 1 < groups.len()
        {
            count += group.1.len();
            chosen.push(group);
        }
    }
    if chosen.is_empty() {
        chosen.extend(groups.iter().min_by_key(|(_, members)| members.len()));
    }
    let mut is_dev = vec![false; entries.len()];
    chosen.iter().flat_map(|(_, members)| members).for_each(|&number| is_dev[number] = true);
    let of_unknown = chosen.iter().filter(|((known, _), _)| !known).map(|(_, members)| members.len());
    let speakers = chosen.iter().filter(|((known, _), _)| *known).count();
    Some(Split { is_dev, speakers, without_speaker: of_unknown.sum() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn corpus(speakers: usize, each: usize) -> Vec<Entry> {
        let entry = |i: usize| Entry {
            audio: format!("{i}.wav").into(),
            text: "one".into(),
            duration: None,
            offset: None,
            speaker: (speakers > 0).then(|| format!("s{}", i / each)),
            line: 0,
            extra: Default::default(),
        };
        (0..speakers.max(1) * each).map(entry).collect()
    }

    #[test]
    fn no_speaker_is_in_both_sets_and_the_seed_decides() {
        let entries = corpus(20, 5);
        let once = split(&entries, 0.1, 1).expect("many speakers");
        assert_eq!((once.speakers, once.is_dev.iter().filter(|dev| **dev).count()), (2, 10));
        let of = |dev: bool| -> BTreeSet<&Option<String>> {
            entries.iter().zip(&once.is_dev).filter(|(_, d)| **d == dev).map(|(e, _)| &e.speaker).collect()
        };
        assert!(of(true).is_disjoint(&of(false)));
        assert_eq!(split(&entries, 0.1, 1), Some(once.clone()));
        assert!((2..9).any(|seed| split(&entries, 0.1, seed) != Some(once.clone())));
    }

    #[test]
    fn both_sets_have_recordings_whatever_the_share() {
        for (entries, share) in [(corpus(2, 50), 0.01), (corpus(3, 2), 0.99), (corpus(0, 10), 0.2)] {
            let split = split(&entries, share, 3).expect("two groups");
            let dev = split.is_dev.iter().filter(|dev| **dev).count();
            assert!(dev > 0 && dev < entries.len(), "{share}: {dev} of {}", entries.len());
            assert_eq!(split.without_speaker > 0, entries[0].speaker.is_none());
        }
        assert_eq!(split(&corpus(1, 10), 0.5, 0), None, "one speaker");
    }
}
