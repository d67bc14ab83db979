//! Intents and slots of recognized phrases.

use super::transcript::{PhraseMatch, SlotValue, Word};
use crate::text::phrases::Phrases;

/// The phrases that a sequence of words consists of. Words that do not form a phrase are ignored.
pub(super) fn matches(phrases: &Phrases, words: &[Word]) -> Vec<PhraseMatch> {
    let ids: Vec<Option<u32>> = words.iter().map(|word| phrases.word(&word.word)).collect();
    let automaton = phrases.automaton();
    let mut found = Vec::new();
    let (mut begin, mut state) = (0, automaton.start());
    for at in 0..=ids.len() {
        let next = ids.get(at).copied().flatten().and_then(|word| automaton.next(state, word));
        if let Some((_, to)) = next {
            state = to;
            continue;
        }
        let ids_here: Vec<u32> = ids[begin..at].iter().copied().flatten().collect();
        if let Some(phrase) = phrases.find(&ids_here).filter(|_| !ids_here.is_empty()) {
            let slots = phrase.slots.into_iter().map(|slot| SlotValue { name: slot.name, value: slot.value });
            found.push(PhraseMatch { text: phrase.text, intent: phrase.intent, slots: slots.collect() });
        }
        begin = at;
        let first = ids.get(at).copied().flatten().and_then(|word| automaton.next(automaton.start(), word));
        state = first.map_or(automaton.start(), |(_, to)| to);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::phrases::Format;

    #[test]
    fn words_become_phrases_with_intents_and_slots() {
        let text =
            "{room} = kitchen | living room -> living_room\n@intent light\nlight in the {room}\nstop\n";
        let phrases = Phrases::parse(text, Format::Lines, None).expect("phrases");
        let words = |text: &str| -> Vec<Word> {
            let word = |word: &str| Word { word: word.into(), start: 0.0, end: 1.0, confidence: 1.0 };
            text.split(' ').map(word).collect()
        };
        let found = matches(&phrases, &words("light in the living room light in the kitchen"));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].intent.as_deref(), Some("light"));
        assert_eq!(
            (found[0].slots[0].name.as_str(), found[0].slots[0].value.as_str()),
            ("room", "living_room")
        );
        assert_eq!(found[1].slots[0].value, "kitchen");
        assert_eq!(matches(&phrases, &words("stop")).len(), 1);
        assert!(matches(&phrases, &[]).is_empty());
    }
}
