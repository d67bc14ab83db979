//! Intents and slots of recognized phrases.

use std::sync::Arc;

use super::numbers::in_digits;
use super::transcript::{PhraseMatch, SlotValue, Word};
use crate::decode::{Unit, WordId};
use crate::text::numbers::Numbers;
use crate::text::phrases::{Phrases, Position};

/// The phrases of a recognizer.
#[derive(Clone, Debug)]
pub struct PhraseGraph {
    /// The phrases.
    pub phrases: Arc<Phrases>,
    /// For phrases in dictation; without dictation, the ids of [`Phrases::words`] begin at 0, and all speech is phrases.
    pub in_dictation: Option<InDictation>,
}

/// How phrases stand in dictation.
#[derive(Clone, Copy, Debug)]
pub struct InDictation {
    /// The id of the first of [`Phrases::words`].
    pub first_word: WordId,
    /// Whether words of dictation outside phrases are left out.
    pub only_phrases: bool,
}

/// A word with the unit that it was made of.
pub(super) type SpokenWord = (Word, Unit);

/// The phrases among the words of a segment, the text of the segment, and its words as they are written.
#[derive(Default)]
pub(super) struct Meaning {
    pub phrases: Vec<PhraseMatch>,
    pub text: String,
    pub words: Vec<Word>,
}

impl Meaning {
    /// Adds words that are their own text.
    fn push_words(&mut self, words: Vec<Word>) {
        append(&mut self.text, &join(&words));
        self.words.extend(words);
    }
}

/// What a word is for the phrases.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// A word of phrases, by its index in [`Phrases::words`].
    Phrase(u32),
    /// A word of dictation.
    Dictation,
    /// A word that belongs to no phrase, such as a wake word.
    Other,
}

impl PhraseGraph {
    /// Whether words of dictation outside phrases are left out.
    pub(super) fn only_phrases(&self) -> bool {
        self.in_dictation.is_some_and(|dictation| dictation.only_phrases)
    }

    fn first_word(&self) -> WordId {
        self.in_dictation.map_or(WordId(0), |dictation| dictation.first_word)
    }

    fn role(&self, unit: Unit) -> Role {
        let Unit::Word(WordId(id)) = unit else { return Role::Other };
        let WordId(first) = self.first_word();
        match id.checked_sub(first).filter(|&index| (index as usize) < self.phrases.words().len()) {
            Some(index) => Role::Phrase(index),
            None if self.in_dictation.is_some() => Role::Dictation,
            None => Role::Other,
        }
    }

    fn step(&self, at: Position, role: Role) -> Option<Position> {
        let word = match role {
            Role::Phrase(word) => Some(word),
            Role::Dictation => None,
            Role::Other => return None,
        };
        self.phrases.step(at, word).map(|(_, to)| to)
    }

    /// Finds the phrases that words consist of or, in dictation, contain; `numbers` between phrases in dictation are written in
    /// digits. Without dictation, words that do not form a phrase are left out of the text, unless there is no phrase. With
    /// `only_phrases`, words of dictation outside phrases are left out of the text and of the words.
    pub(super) fn meaning(&self, words: &[SpokenWord], numbers: Numbers) -> Meaning {
        let roles: Vec<Role> = words.iter().map(|(_, unit)| self.role(*unit)).collect();
        let written = |at: std::ops::Range<usize>| words[at].iter().map(|(word, _)| word.clone()).collect();
        let others = |at: std::ops::Range<usize>| {
            let kept = at.filter(|&at| !(self.only_phrases() && roles[at] == Role::Dictation));
            kept.map(|at| words[at].0.clone()).collect()
        };
        let start = Position::Words(self.phrases.automaton().start());
        let mut meaning = Meaning::default();
        // The words from `dictated` on belong to no phrase.
        let (mut at, mut dictated) = (0, 0);
        while at < words.len() {
            let (mut position, mut end) = (start, at);
            while let Some(to) = roles.get(end).and_then(|&role| self.step(position, role)) {
                (position, end) = (to, end + 1);
            }
            let end = end.max(at + 1);
            if let Some(phrase) = self.phrase(&words[at..end], &roles[at..end]) {
                self.push_others(&mut meaning, others(dictated..at), numbers);
                dictated = end;
                append(&mut meaning.text, &phrase.text);
                meaning.words.extend::<Vec<Word>>(written(at..end));
                meaning.phrases.push(phrase);
            }
            at = end;
        }
        if meaning.phrases.is_empty() && self.in_dictation.is_none() {
            meaning.push_words(written(0..words.len()));
        } else {
            self.push_others(&mut meaning, others(dictated..words.len()), numbers);
        }
        meaning
    }

    /// Adds words that belong to no phrase.
    fn push_others(&self, meaning: &mut Meaning, words: Vec<Word>, numbers: Numbers) {
        match self.in_dictation {
            Some(_) => meaning.push_words(in_digits(words, numbers)),
            None => meaning.words.extend(words),
        }
    }

    /// The phrase that words form, if they do.
    fn phrase(&self, words: &[SpokenWord], roles: &[Role]) -> Option<PhraseMatch> {
        let (mut ids, mut dictated) = (Vec::new(), Vec::new());
        for ((word, _), role) in words.iter().zip(roles) {
            match role {
                Role::Phrase(id) => ids.push(*id),
                Role::Dictation => {
                    let dictation = self.phrases.dictation()?;
                    if ids.last() != Some(&dictation) {
                        ids.push(dictation);
                        dictated.push(String::new());
                    }
                    append(dictated.last_mut()?, &word.word);
                }
                Role::Other => return None,
            }
        }
        let found = self.phrases.find_dictated(&ids, &dictated)?;
        let slots = found.slots.into_iter().map(|slot| SlotValue { name: slot.name, value: slot.value });
        let (first, last) = (&words.first()?.0, &words.last()?.0);
        Some(PhraseMatch {
            text: found.text,
            intent: found.intent,
            slots: slots.collect(),
            start: first.start,
            end: last.end,
        })
    }
}

/// Appends a text after a space.
fn append(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}

/// The words with spaces between them.
pub(super) fn join<'a>(words: impl IntoIterator<Item = &'a Word>) -> String {
    words.into_iter().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::phrases::Format;

    /// Words of phrases, and, written in capitals, words of dictation; each lasts a second.
    fn words(graph: &PhraseGraph, text: &str) -> Vec<SpokenWord> {
        let first = graph.first_word().0;
        let word = |(at, word): (usize, &str)| {
            let id = graph.phrases.word(word).map_or(0, |index| first + index);
            let (start, end) = (at as f64, at as f64 + 1.0);
            (Word { word: word.to_lowercase(), start, end, confidence: 1.0 }, Unit::Word(WordId(id)))
        };
        text.split_whitespace().enumerate().map(word).collect()
    }

    fn graph(text: &str, first_word: Option<WordId>) -> PhraseGraph {
        let phrases = Phrases::parse(text, Format::Lines, None).expect("phrases");
        let in_dictation = first_word.map(|first_word| InDictation { first_word, only_phrases: false });
        PhraseGraph { phrases: Arc::new(phrases), in_dictation }
    }

    const LIGHTS: &str =
        "{room} = kitchen | living room -> living_room\n@intent light\nlight in the {room}\nstop\n";

    #[test]
    fn words_become_phrases_with_intents_and_slots() {
        let graph = graph(LIGHTS, None);
        let meaning =
            graph.meaning(&words(&graph, "light in the living room light in the kitchen"), Numbers::Digits);
        let found = &meaning.phrases;
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].intent.as_deref(), Some("light"));
        assert_eq!(
            (found[0].slots[0].name.as_str(), found[0].slots[0].value.as_str()),
            ("room", "living_room")
        );
        assert_eq!((found[1].slots[0].value.as_str(), found[1].start, found[1].end), ("kitchen", 5.0, 9.0));
        assert_eq!(meaning.text, "light in the living_room light in the kitchen");
        assert_eq!(graph.meaning(&words(&graph, "stop"), Numbers::Words).phrases.len(), 1);
        let incomplete = graph.meaning(&words(&graph, "light in stop"), Numbers::Words);
        assert_eq!((incomplete.phrases.len(), incomplete.text.as_str()), (1, "stop"));
        assert!(graph.meaning(&[], Numbers::Words).phrases.is_empty());
    }

    #[test]
    fn phrases_are_parts_of_dictated_text() {
        let graph = graph(LIGHTS, Some(WordId(5)));
        let meaning =
            graph.meaning(&words(&graph, "PLEASE light in the living room STOP AND stop"), Numbers::Words);
        assert_eq!(meaning.text, "please light in the living_room stop and stop");
        let times: Vec<_> = meaning.phrases.iter().map(|phrase| (phrase.start, phrase.end)).collect();
        assert_eq!(times, [(1.0, 6.0), (8.0, 9.0)], "the first `stop` is a word of dictation");
        let none = graph.meaning(&words(&graph, "PLEASE light in STOP"), Numbers::Words);
        assert_eq!((none.phrases.len(), none.text.as_str()), (0, "please light in stop"));
    }

    #[test]
    fn dictated_words_may_be_left_out_of_the_text() {
        let in_dictation = Some(InDictation { first_word: WordId(5), only_phrases: true });
        let graph = PhraseGraph { in_dictation, ..graph(LIGHTS, None) };
        let spoken = words(&graph, "PLEASE light in the living room STOP AND stop NOW");
        let meaning = graph.meaning(&spoken, Numbers::Words);
        assert_eq!(meaning.text, "light in the living_room stop");
        assert_eq!(join(&meaning.words), "light in the living room stop");
        let times: Vec<_> = meaning.phrases.iter().map(|phrase| (phrase.start, phrase.end)).collect();
        assert_eq!(times, [(1.0, 6.0), (8.0, 9.0)]);
        let begun = graph.meaning(&words(&graph, "PLEASE light in"), Numbers::Words);
        assert_eq!(begun.text, "light in", "a phrase in progress");
        let none = graph.meaning(&words(&graph, "PLEASE STOP"), Numbers::Words);
        assert!(none.text.is_empty() && none.words.is_empty() && none.phrases.is_empty());
    }

    #[test]
    fn slots_contain_dictated_text() {
        let text =
            "{message} = <dictation>\n@intent send\ntell {message} thanks\nnote <dictation> -> a note\n";
        let graph = graph(text, Some(WordId(5)));
        let meaning = graph.meaning(&words(&graph, "tell I AM LATE thanks note MILK"), Numbers::Words);
        let [tell, note] = &meaning.phrases[..] else { panic!("two phrases: {}", meaning.text) };
        assert_eq!((tell.slots[0].name.as_str(), tell.slots[0].value.as_str()), ("message", "i am late"));
        assert_eq!((tell.text.as_str(), note.text.as_str()), ("tell i am late thanks", "a note"));
    }

    #[test]
    fn numbers_between_phrases_are_written_in_digits() {
        let text = "{room} = kitchen | room twenty -> room 20\n@intent light\nlight in the {room}\n";
        let graph = graph(text, Some(WordId(5)));
        let spoken = words(&graph, "WAIT TWENTY FIVE MINUTES light in the room twenty THEN TEN");
        let meaning = graph.meaning(&spoken, Numbers::Digits);
        assert_eq!(meaning.text, "wait 25 minutes light in the room 20 then 10");
        assert_eq!(join(&meaning.words), "wait 25 minutes light in the room twenty then 10");
        assert_eq!((meaning.words[1].start, meaning.words[1].end, meaning.phrases.len()), (1.0, 3.0, 1));
        assert_eq!(graph.meaning(&spoken[..4], Numbers::Digits).text, "wait 25 minutes");
    }
}
