//! Phrase files: grammars of sentences with intents, slots and written forms.
//!
//! All formats are read into one grammar: hearken's own, Vosk's JSON lists, Home Assistant's YAML (hassil), and JSGF.
//! The grammar is compiled to a finite-state transducer, which maps recognized words to slots and written text, and
//! to a deterministic automaton, which is the language model of the search. Sentences are never enumerated, since
//! their number grows exponentially with the number of lists and permutations.
//!
//! ```text
//! # A line is a phrase.
//! turn (on|off) [the] {room} light[s]
//! {room} = kitchen | living room -> living_room
//! @intent brightness
//! set the {room} to {0..100} percent
//! ```

mod automaton;
mod examples;
mod expression;
mod fault;
mod found;
mod fragments;
mod grammar;
mod hassil;
mod jsgf;
mod json;
mod lines;
mod network;
mod picture;
mod sounds;
mod template;
mod yaml;
mod yaml_reader;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use automaton::{Arc, Automaton, State};
pub use examples::Example;
pub use found::{Match, Slot};
#[cfg(feature = "train")]
pub(crate) use picture::escape_xml;
pub use sounds::{Alike, AlikeReport};

use super::pronunciation::{Pronouncer, Pronunciation};
use crate::error::{Error, Result, Stage, io};
use fault::{Fault, Parsed};
use fragments::Mark;
use grammar::Grammar;
use network::{DICTATION, Item, NO_WORD, Network};

/// Maximum number of arcs of a graph, and of states of an automaton.
const MAX_ARCS: usize = 1_000_000;
/// Maximum size of a file, bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The formats of phrase files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// hearken's own format, with a phrase per line.
    Lines,
    /// Phrase lists of Vosk.
    Json,
    /// Sentence files of Home Assistant (hassil).
    Yaml,
    /// The JSpeech Grammar Format.
    Jsgf,
}

impl Format {
    /// Determines the format of a file from its extension or from the beginning of its text.
    pub fn detect(path: &Path, text: &str) -> Self {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
        match extension.as_str() {
            "json" => Format::Json,
            "yaml" | "yml" => Format::Yaml,
            _ if jsgf::is_jsgf(text) => Format::Jsgf,
            "jsgf" | "gram" => Format::Jsgf,
            _ => {
                let list = text.trim_start().strip_prefix('[').map(str::trim_start);
                let json = list.is_some_and(|rest| rest.starts_with('"') || rest.starts_with(']'));
                if json { Format::Json } else { Format::Lines }
            }
        }
    }
}

/// A grammar of phrases, compiled for recognition and interpretation.
#[derive(Debug)]
pub struct Phrases {
    grammar: Grammar,
    network: Network,
    automaton: Automaton,
}

/// The pronunciations of the words of phrases.
#[derive(Clone, Debug, Default)]
pub struct PhrasePronunciations {
    /// Pronunciations of each of [`Phrases::words`], likeliest first; empty for words in `missing`.
    pub pronunciations: Vec<Vec<Pronunciation>>,
    /// Errors for the words without a pronunciation.
    pub missing: Vec<Error>,
}

/// A position in a phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// After a word of the phrase, or at its beginning.
    Words(State),
    /// After a word of a language model (`<dictation>`); the state follows after all of them.
    Dictation(State),
}

impl Position {
    /// The state after this position.
    pub fn state(self) -> State {
        match self {
            Position::Words(state) | Position::Dictation(state) => state,
        }
    }
}

/// A phrase in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct PhraseLine<'a> {
    /// The phrase as it is written, including its continuation lines, without comments.
    pub template: &'a str,
    /// Intent of the phrase, if it has one.
    pub intent: Option<&'a str>,
    /// The file, if the phrase was read from one.
    pub file: Option<&'a Path>,
    /// Line of the phrase, counted from 1.
    pub line: u32,
    /// Column of its first character, counted from 1.
    pub column: u32,
}

impl Phrases {
    /// Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read or is invalid (names line and column), or its graph is too large.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        Self::parse(&text, Format::detect(path, &text), Some(path))
    }

    /// Parses the text of a phrase file. Without `path`, the name of the file, other files cannot be included.
    ///
    /// # Errors
    /// As [`Phrases::read`].
    pub fn parse(text: &str, format: Format, path: Option<&Path>) -> Result<Self> {
        Self::parse_within(text, format, path, MAX_ARCS)
    }

    /// As [`Phrases::parse`], with a maximum number of arcs of the graph, and of states of the automaton, which limits
    /// time and memory.
    ///
    /// # Errors
    /// As [`Phrases::read`].
    pub fn parse_within(text: &str, format: Format, path: Option<&Path>, max_arcs: usize) -> Result<Self> {
        let mut grammar =
            Grammar { files: path.map(Path::to_path_buf).into_iter().collect(), ..Grammar::default() };
        match Self::build(text, format, path, max_arcs, &mut grammar) {
            Ok((network, automaton)) => Ok(Self { grammar, network, automaton }),
            Err(fault) => Err(fault.into_error(&grammar.files)),
        }
    }

    fn build(
        text: &str,
        format: Format,
        path: Option<&Path>,
        max_arcs: usize,
        grammar: &mut Grammar,
    ) -> Parsed<(Network, Automaton)> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match format {
            Format::Lines => lines::read(text, 0, path.map(folder).as_deref(), grammar)?,
            Format::Json => json::read(text, 0, grammar)?,
            Format::Yaml => hassil::read(text, 0, grammar)?,
            Format::Jsgf => jsgf::read(text, 0, grammar)?,
        }
        grammar.check()?;
        let network = Network::build(fragments::build(grammar, max_arcs)?, 4 * max_arcs)?;
        check_phrases(grammar, &network)?;
        let automaton = Automaton::from_network(&network, max_arcs)?;
        Ok((network, automaton))
    }

    /// The automaton of all sentences, whose words are indices of [`Phrases::words`].
    pub fn automaton(&self) -> &Automaton {
        &self.automaton
    }

    /// All words of the sentences, in lower case, sorted.
    pub fn words(&self) -> &[String] {
        &self.network.words
    }

    /// The index of a word in [`Phrases::words`].
    pub fn word(&self, word: &str) -> Option<u32> {
        self.words().binary_search_by(|known| known.as_str().cmp(word)).ok().map(|place| place as u32)
    }

    /// The index of the word in [`Phrases::words`] that stands for words of a language model (`<dictation>`), if the phrases
    /// have it.
    pub fn dictation(&self) -> Option<u32> {
        self.word(DICTATION)
    }

    /// The cost in nats of a word after a position in a phrase, and the next position; `None` if it cannot follow. A `word`
    /// of `None` is one of a language model.
    pub fn step(&self, at: Position, word: Option<u32>) -> Option<(f32, Position)> {
        match (at, word) {
            (Position::Words(state) | Position::Dictation(state), Some(word)) => {
                self.automaton.next(state, word).map(|(cost, to)| (cost, Position::Words(to)))
            }
            (Position::Words(state), None) => self
                .automaton
                .next(state, self.dictation()?)
                .map(|(cost, to)| (cost, Position::Dictation(to))),
            (Position::Dictation(_), None) => Some((0.0, at)),
        }
    }

    /// Determines the pronunciations of all [`Phrases::words`]; `<dictation>` has none.
    pub fn pronounce(&self, pronouncer: &Pronouncer) -> PhrasePronunciations {
        let mut words = PhrasePronunciations::default();
        for word in self.words() {
            if word == DICTATION {
                words.pronunciations.push(Vec::new());
                continue;
            }
            words.pronunciations.push(pronouncer.pronounce(word).unwrap_or_else(|error| {
                let file = self.grammar.files.first();
                words.missing.push(file.map_or(error.clone(), |file| error.in_file(file)));
                Vec::new()
            }));
        }
        words
    }

    /// Finds the interpretation of words (indices of [`Phrases::words`]); `None` if the phrases do not allow them. Of
    /// several interpretations, the likeliest by the weights is returned; of equally likely ones, the first in the
    /// file.
    pub fn find(&self, words: &[u32]) -> Option<Match> {
        self.find_dictated(words, &[])
    }

    /// As [`Phrases::find`]; `dictated` are the texts of the words [`Phrases::dictation`], in order.
    pub fn find_dictated(&self, words: &[u32], dictated: &[String]) -> Option<Match> {
        found::find(&self.network, &self.grammar.phrases, words, dictated)
    }

    /// The phrases in the order of the file.
    pub fn phrases(&self) -> impl Iterator<Item = PhraseLine<'_>> {
        self.grammar.phrases.iter().map(|phrase| PhraseLine {
            template: &phrase.template,
            intent: phrase.intent.as_deref(),
            file: self.grammar.files.get(phrase.place.file as usize).map(PathBuf::as_path),
            line: phrase.place.line,
            column: phrase.place.column,
        })
    }

    /// Warnings about unsupported or suspicious parts of the file, each with line and column.
    pub fn warnings(&self) -> Vec<Error> {
        self.grammar.warnings.iter().map(|fault| fault.clone().into_error(&self.grammar.files)).collect()
    }
}

/// The folder of a file.
fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

/// Reads the text of a file.
///
/// # Errors
/// When the file cannot be read, is too long, or is not UTF-8, in which case line and column are named.
pub(in crate::text) fn read_text(path: &Path) -> Result<String> {
    let failed = |e| io(Stage::Text, path, e);
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        let problem = format!("expected a list of phrases, found a file of more than {} MB", MAX_BYTES >> 20);
        return Err(Error::new(Stage::Text, problem).in_file(path));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|e| {
        let good = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]).into_owned();
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Error::new(Stage::Text, "expected text in UTF-8, found other bytes")
            .at(format!("line {line}, column {column}"))
            .in_file(path)
    })
}

/// Checks that every phrase has words; adds warnings about phrases that allow no sentence and about phrases that allow
/// the empty sentence.
fn check_phrases(grammar: &mut Grammar, network: &Network) -> Parsed<()> {
    let mut possible = BTreeSet::new();
    for arc in &network.arcs[0] {
        let [Item::Mark(Mark::Phrase(phrase))] = network.items(arc) else { continue };
        possible.insert(*phrase as usize);
        let place = grammar.phrases[*phrase as usize].place;
        let mut reached = BTreeSet::from([arc.to]);
        let mut waiting = vec![arc.to];
        let (mut words, mut silence) = (false, false);
        while let Some(state) = waiting.pop() {
            silence |= network.is_final[state as usize];
            for arc in &network.arcs[state as usize] {
                if network.words.get(arc.word as usize).is_some_and(|word| word == DICTATION) {
                    let problem =
                        "a phrase cannot begin with `<dictation>`: any speech would be its beginning";
                    return Err(Fault::new(place, problem).hint("put words before it"));
                }
                words |= arc.word != NO_WORD;
                if arc.word == NO_WORD && reached.insert(arc.to) {
                    waiting.push(arc.to);
                }
            }
        }
        if !words {
            return Err(Fault::new(place, "expected words, found a phrase without any"));
        }
        if silence {
            let problem = "all of this phrase is optional; silence does not count as saying it";
            grammar.warnings.push(Fault::new(place, problem));
        }
    }
    if possible.is_empty() {
        return Err(Fault::new(grammar.phrases[0].place, "none of the phrases can ever be said"));
    }
    for (number, phrase) in grammar.phrases.iter().enumerate() {
        if !possible.contains(&number) {
            grammar.warnings.push(Fault::new(phrase.place, "this phrase can never be said and is left out"));
        }
    }
    Ok(())
}
