//! Recognizers with the words that clients request. They share the network with the server's recognizer, are built
//! on tokio's threads for blocking work, and are kept for the next client with the same list.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::decode::PhraseCosts;
use crate::error::{Error, Result, Stage};
use crate::recognizer::{HotwordOptions, PhraseOptions, Recognizer};
use crate::text::hotwords::Hotwords;
use crate::text::phrases::{Format, Phrases};
use crate::text::pronunciation::{Pronouncer, Pronunciations};

use super::api_error::for_client;
use super::protocol::word_list::{Refused, WordList};

/// Maximum number of lists that are kept without a stream that uses them.
const MAX_KEPT: usize = 16;
/// Maximum number of arcs of the graph of a client's phrases, and of states of its automaton.
const MAX_ARCS: usize = 100_000;
/// Maximum number of entries that a warning names.
const MAX_NAMED: usize = 10;

/// How recognizers for the lists of clients are made.
#[derive(Clone, Debug)]
pub struct WordOptions {
    /// File of pronunciations in the format of the CMU Pronouncing Dictionary, which has priority.
    pub lexicon: Option<PathBuf>,
    /// Costs of phrases and of out-of-vocabulary speech.
    pub phrases: PhraseOptions,
    /// The costs of phrases in dictation, if the server's words are those of a language model alone.
    pub dictation: Option<PhraseCosts>,
    /// Boost per word of hotwords without a boost of their own, nats.
    pub hotwords_score: f32,
}

impl Default for WordOptions {
    fn default() -> Self {
        Self {
            lexicon: None,
            phrases: PhraseOptions::default(),
            dictation: None,
            hotwords_score: HotwordOptions::SCORE,
        }
    }
}

/// The words of a client's list.
#[derive(Clone, Debug)]
pub struct Words {
    /// The recognizer of these words.
    pub recognizer: Recognizer,
    /// Notes on the words: guessed pronunciations, parts of the list without effect.
    pub notes: Arc<[String]>,
    /// Warnings about entries that were left out.
    pub warnings: Arc<[String]>,
    /// The list counts as in use until the last clone is dropped.
    in_use: Arc<OwnedSemaphorePermit>,
}

/// The lists of all clients.
pub struct WordLists {
    recognizer: Recognizer,
    options: WordOptions,
    /// The lists that were used last, the latest first.
    kept: Mutex<Vec<(WordList, Words)>>,
    /// A permit for each list that may be in use or kept.
    available: Arc<Semaphore>,
    /// A permit for each list that may be built at the same time.
    builds: Semaphore,
    english: OnceLock<Option<Pronouncer>>,
}

impl WordLists {
    /// Creates the lists for the clients of a server: at most `max_lists` different ones in use, and `max_builds` built
    /// at the same time.
    pub fn new(recognizer: &Recognizer, options: WordOptions, max_lists: usize, max_builds: usize) -> Self {
        Self {
            recognizer: recognizer.clone(),
            options,
            kept: Mutex::default(),
            available: Arc::new(Semaphore::new(max_lists)),
            builds: Semaphore::new(max_builds.max(1)),
            english: OnceLock::new(),
        }
    }

    /// The words of a list; builds their recognizer if no client has used the list recently.
    ///
    /// # Errors
    /// When the list is invalid, the model cannot use it, or too many lists are in use.
    pub async fn get(self: &Arc<Self>, list: &WordList) -> std::result::Result<Words, Refused> {
        list.check().map_err(Refused::Invalid)?;
        if let Some(words) = self.find(list) {
            return Ok(words);
        }
        // The semaphore is never closed.
        let _build = self.builds.acquire().await;
        // Another client may have built it meanwhile.
        if let Some(words) = self.find(list) {
            return Ok(words);
        }
        let in_use = Arc::new(self.permit().ok_or(Refused::Busy)?);
        let (lists, wanted) = (Arc::clone(self), list.clone());
        let built = spawn_blocking(move || lists.build(&wanted)).await;
        let built =
            built.unwrap_or_else(|_| Err(Error::new(Stage::Serve, "the list of words cannot be read")));
        let (recognizer, warnings) = built.map_err(|error| Refused::Invalid(for_client(error)))?;
        let before = self.recognizer.notes().len();
        let notes = recognizer.notes().iter().skip(before).cloned().collect();
        let words = Words { recognizer, notes, warnings: warnings.into(), in_use };
        self.keep(list.clone(), words.clone());
        Ok(words)
    }

    /// Finds a list among those that are kept, and moves it to the front.
    fn find(&self, list: &WordList) -> Option<Words> {
        let mut kept = self.lock();
        let at = kept.iter().position(|(known, _)| known == list)?;
        kept[..=at].rotate_right(1);
        Some(kept[0].1.clone())
    }

    fn keep(&self, list: WordList, words: Words) {
        let mut kept = self.lock();
        kept.insert(0, (list, words));
        kept.truncate(MAX_KEPT);
    }

    /// A permit for another list; removes the kept list without a stream that was used the longest time ago, if
    /// necessary.
    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.available).try_acquire_owned() {
            return Some(permit);
        }
        let mut kept = self.lock();
        let unused = kept.iter().rposition(|(_, words)| Arc::strong_count(&words.in_use) == 1)?;
        drop(kept.remove(unused));
        Arc::clone(&self.available).try_acquire_owned().ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(WordList, Words)>> {
        // The list is valid even if a thread panicked.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds the recognizer of a list; returns warnings too.
    fn build(&self, list: &WordList) -> Result<(Recognizer, Vec<String>)> {
        let recognizer = self.recognizer.clone();
        match list {
            WordList::Phrases(lines) => self.phrases(&lines.join("\n"), Format::Lines, None),
            WordList::PhrasesInDictation(lines) => {
                let costs = self.options.dictation.ok_or_else(|| {
                    let problem =
                        "dictation needs a server that was started with `--lm`, without `--phrases`";
                    Error::new(Stage::Usage, problem)
                })?;
                self.phrases(&lines.join("\n"), Format::Lines, Some(costs))
            }
            WordList::PlainPhrases(phrases) => {
                // A list of strings always becomes JSON.
                self.phrases(&serde_json::to_string(phrases).unwrap_or_default(), Format::Json, None)
            }
            WordList::Hotwords(lines) => {
                let hotwords = Hotwords::parse(&lines.join("\n"), None)?;
                let (recognizer, unusable) = self.hotwords(recognizer, &hotwords)?;
                unusable.into_iter().next().map_or(Ok((recognizer, Vec::new())), Err)
            }
            WordList::Keywords(phrases) => {
                let hotwords = Hotwords::of_phrases(phrases.iter().map(String::as_str));
                let (recognizer, unusable) = self.hotwords(recognizer, &hotwords)?;
                Ok((recognizer, warning(&unusable).into_iter().collect()))
            }
        }
    }

    /// Builds the recognizer of phrases: of these alone, or with costs for dictation, of these in dictation.
    fn phrases(
        &self,
        text: &str,
        format: Format,
        dictation: Option<PhraseCosts>,
    ) -> Result<(Recognizer, Vec<String>)> {
        let phrases = Phrases::parse_within(text, format, None, MAX_ARCS)?;
        let warnings = phrases.warnings().iter().map(Error::to_string).collect();
        let Some(english) = self.english()? else {
            return Err(Error::new(
                Stage::Usage,
                "phrases need English words, which this server does not have",
            ));
        };
        let recognizer = self.recognizer.clone();
        let recognizer = match dictation {
            Some(costs) => recognizer.with_phrases_added(phrases, english, costs, false)?,
            None => recognizer.with_phrases(phrases, english, &self.options.phrases)?,
        };
        Ok((recognizer, warnings))
    }

    fn hotwords(&self, recognizer: Recognizer, hotwords: &Hotwords) -> Result<(Recognizer, Vec<Error>)> {
        let WordOptions { lexicon, hotwords_score, .. } = &self.options;
        // With a lexicon of other phones than English ones, English is not needed.
        let english = self.english().ok().flatten();
        recognizer.with_usable_hotwords(hotwords, *hotwords_score, lexicon.as_deref(), english)
    }

    /// The pronunciations of English words, opened when they are first needed; `None` if they are not in this build.
    fn english(&self) -> Result<Option<&Pronouncer>> {
        if let Some(english) = self.english.get() {
            return Ok(english.as_ref());
        }
        let lexicon = self.options.lexicon.as_deref().map(Pronunciations::read);
        let english = match (open_english()?, lexicon) {
            (Some(english), Some(lexicon)) => Some(english.with_user(lexicon?)),
            (english, _) => english,
        };
        Ok(self.english.get_or_init(|| english).as_ref())
    }
}

#[cfg(feature = "english")]
fn open_english() -> Result<Option<Pronouncer>> {
    Pronouncer::english().map(Some)
}

#[cfg(not(feature = "english"))]
fn open_english() -> Result<Option<Pronouncer>> {
    Ok(None)
}

/// The warning about entries that were left out.
fn warning(unusable: &[Error]) -> Option<String> {
    let named: Vec<&str> = unusable.iter().take(MAX_NAMED).map(Error::problem).collect();
    let more = if unusable.len() > MAX_NAMED { ", …" } else { "" };
    (!named.is_empty()).then(|| {
        let entries = if unusable.len() == 1 {
            "1 hotword was".into()
        } else {
            format!("{} hotwords were", unusable.len())
        };
        format!("{entries} left out: {}{more}", named.join(", "))
    })
}

#[cfg(all(test, feature = "digits", feature = "english"))]
mod tests {
    use super::*;
    use crate::engine::{EngineKind, EngineOptions};
    use crate::recognizer::{Embedded, LanguageOptions};

    fn lists(max_lists: usize) -> Arc<WordLists> {
        let digits = Recognizer::embedded(Embedded::Digits, EngineKind::Native, &EngineOptions::default());
        Arc::new(WordLists::new(&digits.expect("a model"), WordOptions::default(), max_lists, 1))
    }

    fn get(lists: &Arc<WordLists>, list: &WordList) -> std::result::Result<Words, Refused> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(lists.get(list))
    }

    fn phrases(text: &str) -> WordList {
        WordList::Phrases(text.lines().map(String::from).collect())
    }

    #[test]
    fn equal_lists_share_a_recognizer_and_unused_ones_make_way() {
        let lists = lists(2);
        let one = get(&lists, &phrases("one")).expect("a phrase");
        let again = get(&lists, &phrases("one")).expect("a phrase");
        assert!(Arc::ptr_eq(&one.in_use, &again.in_use));
        let two = get(&lists, &phrases("two")).expect("a phrase");
        assert_eq!(get(&lists, &phrases("three")).err(), Some(Refused::Busy));
        let kept = Arc::downgrade(&two.in_use);
        drop(two);
        assert!(kept.upgrade().is_some(), "kept for the next client");
        get(&lists, &phrases("three")).expect("a phrase in place of one that is not used");
        assert!(kept.upgrade().is_none());
    }

    #[test]
    fn phrases_stand_in_dictation_if_the_server_has_a_language_model() {
        let lines = || WordList::PhrasesInDictation(vec!["@intent lamp".into(), "lamp Nuuk on".into()]);
        let Err(Refused::Invalid(problem)) = get(&lists(1), &lines()) else { panic!("no language model") };
        assert!(problem.contains("a server that was started with `--lm`"), "{problem}");
        let english = Recognizer::embedded(Embedded::English, EngineKind::Native, &EngineOptions::default());
        let language = LanguageOptions::english();
        let costs = PhraseCosts { phrase: 6.0, word: language.weights.word_cost };
        let recognizer = english.and_then(|english| english.with_language_model(&language)).expect("English");
        let options = WordOptions { dictation: Some(costs), ..WordOptions::default() };
        let words = get(&Arc::new(WordLists::new(&recognizer, options, 1, 1)), &lines()).expect("phrases");
        let named =
            |word: &str| words.recognizer.words().iter().any(|known| known.eq_ignore_ascii_case(word));
        assert!(named("Nuuk") && named("house"), "words of the phrases and of the language model");
        assert!(words.notes.iter().any(|note| note.contains("`nuuk`")), "{:?}", words.notes);
    }

    #[test]
    fn invalid_lists_are_refused_with_the_reason() {
        let lists = lists(1);
        for (list, problem) in [
            (phrases("one\ntwo (three"), "line 2, column "),
            (phrases("@include secrets.txt"), "only phrases that stand in a file"),
            (phrases(""), "expected phrases"),
            (phrases("{0..9999} {0..9999} {0..9999}"), "more than 100000 "),
            (WordList::PlainPhrases(vec!["[unk]".into()]), "expected phrases"),
            (WordList::PlainPhrases(vec!["один".into()]), "is not a letter of English"),
            (WordList::Hotwords(vec!["one".into(), "один :2".into()]), "line 2, column 1: no pronunciation"),
            (WordList::Hotwords(vec!["one :x".into()]), "line 1, column 6: "),
            (WordList::Hotwords(vec!["x".repeat(100_000)]), "65536 bytes"),
        ] {
            let Err(Refused::Invalid(message)) = get(&lists, &list) else { panic!("{problem}") };
            assert!(message.contains(problem), "{message}");
        }
        let some = WordList::Keywords(vec!["один".into(), "Nuuk".into(), "…".into()]);
        let words = get(&lists, &some).expect("one of them is possible");
        assert!(words.warnings[0].starts_with("2 hotwords were left out: "), "{:?}", words.warnings);
        assert!(words.recognizer.words().iter().any(|word| word == "Nuuk"));
        assert!(words.notes.iter().all(|note| note.contains("`Nuuk`")), "{:?}", words.notes);
    }
}
