//! Search for sentences that sound alike but have different meanings.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::automaton::{Automaton, State};
use super::{Match, Phrases};
use crate::text::pronunciation::ARPABET;

/// Maximum number of successive words that are compared.
const MAX_WORDS: usize = 3;
/// Maximum number of paths from one state that are compared.
const MAX_PATHS: usize = 20_000;
/// Maximum number of steps of all comparisons: rows of edit distances.
const MAX_STEPS: usize = 30_000_000;
/// Maximum edit distance of word sequences that sound alike, phones; substitution by a similar phone counts half.
const MAX_DISTANCE: f32 = 1.0;

/// Two sentences that sound alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Alike {
    /// The words of the sentences, joined by spaces.
    pub sentences: [String; 2],
    /// The words in which they differ.
    pub parts: [String; 2],
    /// Edit distance in phones: 0 if the sentences sound the same; substitution by a similar phone counts half.
    pub distance: f32,
}

/// The result of the search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlikeReport {
    /// Pairs of sentences in order of increasing distance.
    pub pairs: Vec<Alike>,
    /// Whether some sentences were not compared because there were too many.
    pub cut_short: bool,
}

/// A path from one state of an automaton to another.
#[derive(Clone, Debug)]
struct WordPath {
    words: Vec<u32>,
    /// The state before the last word.
    before: State,
}

impl Phrases {
    /// Finds sentences that differ in at most one phone but have different meanings; `pronunciations` are those of each
    /// of [`Phrases::words`], as phones.
    pub fn alike(&self, pronunciations: &[Vec<Vec<u32>>]) -> AlikeReport {
        let mut report = AlikeReport::default();
        let automaton = self.automaton();
        let (prefixes, suffixes) = (shortest_from_start(automaton), shortest_to_end(automaton));
        let mut steps = 0;
        let differences = Differences::new();
        // Each pair of parts is reported once, in the first sentences that contain it.
        let mut known: HashSet<[String; 2]> = HashSet::new();
        for state in (0..automaton.num_states() as u32).map(State) {
            let (paths, all) = paths(automaton, state);
            report.cut_short |= !all;
            for (end, paths) in paths {
                let empty = Vec::new();
                let suffix = end.and_then(|end| suffixes.get(end.0 as usize)).unwrap_or(&empty);
                let sentence = |path: &WordPath| {
                    [prefixes[state.0 as usize].as_slice(), path.words.as_slice(), suffix.as_slice()].concat()
                };
                let mut meanings: HashMap<usize, Option<Meaning>> = HashMap::new();
                for (a, b, distance) in close_pairs(&paths, pronunciations, &differences, &mut steps) {
                    let pair = [&paths[a], &paths[b]];
                    let parts = pair.map(|path| self.text(&path.words));
                    if !pair[0].differs(pair[1]) || known.contains(&parts) {
                        continue;
                    }
                    for (number, path) in [a, b].into_iter().zip(pair) {
                        meanings.entry(number).or_insert_with(|| self.find(&sentence(path)).map(meaning));
                    }
                    if meanings[&a] != meanings[&b] {
                        known.insert(parts.clone());
                        let sentences = pair.map(|path| self.text(&sentence(path)));
                        report.pairs.push(Alike { sentences, parts, distance });
                    }
                }
            }
            if steps > MAX_STEPS {
                report.cut_short = true;
                break;
            }
        }
        report.pairs.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.sentences.cmp(&b.sentences)));
        report
    }

    fn text(&self, words: &[u32]) -> String {
        words.iter().map(|&word| self.words()[word as usize].as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// The meaning of a sentence for a comparison: intent and slots; if it has none of them, the phrase and its text.
type Meaning = (Option<String>, Vec<(String, String)>, Option<(usize, String)>);

fn meaning(found: Match) -> Meaning {
    let slots: Vec<_> = found.slots.into_iter().map(|slot| (slot.name, slot.value)).collect();
    let plain = (found.intent.is_none() && slots.is_empty()).then_some((found.phrase, found.text));
    (found.intent, slots, plain)
}

impl WordPath {
    /// Whether two paths differ in their first words and in their last arcs. If not, a shorter pair of paths with the
    /// same difference is found elsewhere.
    fn differs(&self, other: &WordPath) -> bool {
        let same_end = self.before == other.before && self.words.last() == other.words.last();
        self.words[0] != other.words[0] && !same_end
    }
}

/// A path with the minimum number of words from the start to each state.
fn shortest_from_start(automaton: &Automaton) -> Vec<Vec<u32>> {
    let mut paths: Vec<Option<Vec<u32>>> = vec![None; automaton.num_states()];
    paths[0] = Some(Vec::new());
    let mut waiting = VecDeque::from([automaton.start()]);
    while let Some(state) = waiting.pop_front() {
        let path = paths[state.0 as usize].clone().unwrap_or_default();
        for arc in automaton.arcs(state) {
            let next = &mut paths[arc.to.0 as usize];
            if next.is_none() {
                *next = Some([path.as_slice(), &[arc.word]].concat());
                waiting.push_back(arc.to);
            }
        }
    }
    paths.into_iter().map(Option::unwrap_or_default).collect()
}

/// A path with the minimum number of words from each state to a final state.
fn shortest_to_end(automaton: &Automaton) -> Vec<Vec<u32>> {
    let states = || (0..automaton.num_states() as u32).map(State);
    let mut before: Vec<Vec<(State, u32)>> = vec![Vec::new(); automaton.num_states()];
    for state in states() {
        automaton.arcs(state).iter().for_each(|arc| before[arc.to.0 as usize].push((state, arc.word)));
    }
    let mut paths: Vec<Option<Vec<u32>>> = vec![None; automaton.num_states()];
    let mut waiting: VecDeque<State> = states().filter(|&state| automaton.end(state).is_some()).collect();
    waiting.iter().for_each(|state| paths[state.0 as usize] = Some(Vec::new()));
    while let Some(state) = waiting.pop_front() {
        let path = paths[state.0 as usize].clone().unwrap_or_default();
        for &(from, word) in &before[state.0 as usize] {
            if paths[from.0 as usize].is_none() {
                paths[from.0 as usize] = Some([[word].as_slice(), path.as_slice()].concat());
                waiting.push_back(from);
            }
        }
    }
    paths.into_iter().map(Option::unwrap_or_default).collect()
}

/// Paths of up to [`MAX_WORDS`] words from a state, by their last state, or `None` for the end of a sentence; and
/// whether these are all such paths.
fn paths(automaton: &Automaton, state: State) -> (BTreeMap<Option<State>, Vec<WordPath>>, bool) {
    let mut paths: BTreeMap<Option<State>, Vec<WordPath>> = BTreeMap::new();
    let mut waiting = VecDeque::from([(state, WordPath { words: Vec::new(), before: state })]);
    let mut count = 0;
    while let Some((at, path)) = waiting.pop_front() {
        if path.words.len() == MAX_WORDS {
            continue;
        }
        for arc in automaton.arcs(at) {
            count += 1;
            if count > MAX_PATHS {
                return (paths, false);
            }
            let longer = WordPath { words: [path.words.as_slice(), &[arc.word]].concat(), before: at };
            if automaton.end(arc.to).is_some() {
                paths.entry(None).or_default().push(longer.clone());
            }
            // Paths to a state without arcs are already compared as ends of a sentence.
            if !automaton.arcs(arc.to).is_empty() {
                paths.entry(Some(arc.to)).or_default().push(longer.clone());
                waiting.push_back((arc.to, longer));
            }
        }
    }
    (paths, true)
}

/// Finds pairs of paths with a distance of at most [`MAX_DISTANCE`], each with its minimum distance over all
/// pronunciations. `steps` is incremented by the number of rows of edit distances that were computed.
fn close_pairs(
    paths: &[WordPath],
    pronunciations: &[Vec<Vec<u32>>],
    differences: &Differences,
    steps: &mut usize,
) -> Vec<(usize, usize, f32)> {
    /// Maximum number of pronunciations of a word; further ones are guesses that are rarely correct.
    const MAX_PRONUNCIATIONS: usize = 3;
    // Entries are sorted, so that those with a common prefix are compared one after another.
    let mut entries: Vec<(Vec<u32>, usize)> = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        let mut sequences = vec![Vec::new()];
        for &word in &path.words {
            let variants = pronunciations[word as usize].iter().take(MAX_PRONUNCIATIONS);
            let longer = sequences
                .iter()
                .flat_map(|before| variants.clone().map(|variant| [before.as_slice(), variant].concat()));
            sequences = longer.collect();
        }
        entries.extend(sequences.into_iter().map(|phones| (phones, number)));
    }
    entries.sort_unstable();
    let mut close: BTreeMap<(usize, usize), f32> = BTreeMap::new();
    for (own, (phones, path)) in entries.iter().enumerate() {
        // Rows of edit distances, one for each prefix of the other entry. The next entry reuses those of their common
        // prefix.
        let mut rows: Vec<Vec<f32>> = vec![(0..=phones.len()).map(|i| i as f32).collect()];
        let mut last: &[u32] = &[];
        let mut at = own + 1;
        while at < entries.len() && *steps <= MAX_STEPS {
            let (other, other_path) = &entries[at];
            let shared = other.iter().zip(last).take_while(|(a, b)| a == b).count();
            rows.truncate(shared + 1);
            let mut hopeless = false;
            while rows.len() <= other.len() && !hopeless {
                let row = differences.next_row(&rows[rows.len() - 1], phones, other[rows.len() - 1]);
                *steps += 1;
                hopeless = row.iter().all(|&distance| distance > MAX_DISTANCE);
                rows.push(row);
            }
            last = &other[..rows.len() - 1];
            if hopeless {
                // All entries with this prefix are too distant.
                at += entries[at..].partition_point(|(phones, _)| phones.starts_with(last));
                continue;
            }
            let distance = rows[other.len()][phones.len()];
            if distance <= MAX_DISTANCE && path != other_path {
                let known =
                    close.entry(((*path).min(*other_path), (*path).max(*other_path))).or_insert(distance);
                *known = known.min(distance);
            }
            at += 1;
        }
    }
    close.into_iter().map(|((a, b), distance)| (a, b, distance)).collect()
}

/// Groups of similar phones.
const LIKE: [&[&str]; 16] = [
    &["P", "B"],
    &["T", "D"],
    &["K", "G"],
    &["F", "V"],
    &["F", "TH"],
    &["S", "Z"],
    &["S", "TH"],
    &["TH", "DH"],
    &["SH", "ZH", "CH", "JH"],
    &["M", "N", "NG"],
    &["AA", "AO", "AH"],
    &["AE", "EH"],
    &["IH", "IY"],
    &["IH", "EH"],
    &["UH", "UW"],
    &["IH", "AH", "UH"],
];

/// Cost of the substitution of each phone by each other.
struct Differences([[f32; ARPABET.len() + 1]; ARPABET.len() + 1]);

impl Differences {
    fn new() -> Self {
        let name = |phone: usize| ARPABET.get(phone.wrapping_sub(1)).copied().unwrap_or_default();
        let difference = |a: usize, b: usize| {
            let alike = LIKE.iter().any(|group| group.contains(&name(a)) && group.contains(&name(b)));
            if a == b { 0.0 } else { [1.0, 0.5][usize::from(alike)] }
        };
        Self(std::array::from_fn(|a| std::array::from_fn(|b| difference(a, b))))
    }

    /// The row of edit distances of a prefix that is one phone longer.
    fn next_row(&self, row: &[f32], phones: &[u32], phone: u32) -> Vec<f32> {
        let differences = &self.0[(phone as usize).min(ARPABET.len())];
        let mut next = Vec::with_capacity(row.len());
        next.push(row[0] + 1.0);
        for (i, &own) in phones.iter().enumerate() {
            let instead = row[i] + differences[(own as usize).min(ARPABET.len())];
            next.push(instead.min(row[i + 1] + 1.0).min(next[i] + 1.0));
        }
        next
    }
}
