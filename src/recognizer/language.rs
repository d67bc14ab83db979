//! Open dictation: the words of a dictionary and an n-gram model in place of a model's own words.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::open::Recognizer;
use crate::decode::{
    Beam, DecoderFactory, DecoderOptions, Lexicon, NgramLanguageModel, NgramWeights, TokenId, Vocabulary,
    WordId,
};
use crate::error::{Error, Result, Stage, io};
use crate::fs::quoted;
use crate::onnx::Metadata;
use crate::text::TokenTable;
use crate::text::ngram::{self, NgramModel};
use crate::text::pronunciation::dictionary::for_each_line;

/// Longer dictionaries are refused, bytes.
const MAX_LEXICON_BYTES: u64 = 256 << 20;

/// The files and weights of open dictation.
#[derive(Clone, Debug)]
pub struct LanguageOptions {
    /// The n-gram model: a file of `hearken lm`, or ARPA. Its words are those that are recognized.
    pub language_model: PathBuf,
    /// How words are said, as in the CMU Pronouncing Dictionary: a word and its phones a line.
    pub lexicon: PathBuf,
    /// What a word costs by the model.
    pub weights: NgramWeights,
    /// Added to the blank's log-probability before tokens compete, nats.
    pub blank_bias: f32,
    /// How wide the search is.
    pub beam: Beam,
}

impl LanguageOptions {
    /// The files with weights that were chosen on read and on spoken English.
    pub fn new(language_model: impl Into<PathBuf>, lexicon: impl Into<PathBuf>) -> Self {
        Self {
            language_model: language_model.into(),
            lexicon: lexicon.into(),
            weights: NgramWeights { scale: 0.8, word_cost: 1.0 },
            blank_bias: -2.0,
            beam: Beam { margin: 12.0, max_active: 2000 },
        }
    }

    /// # Errors
    /// When a number cannot be used; names it.
    fn check(&self) -> Result<()> {
        let numbers = [
            ("scale of the language model", self.weights.scale, 0.0..=100.0),
            ("cost of a word", self.weights.word_cost, -100.0..=100.0),
            ("bias of the blank", self.blank_bias, -100.0..=100.0),
            ("beam", self.beam.margin, 0.0..=1000.0f32),
        ];
        for (name, value, range) in numbers {
            if !range.contains(&value) {
                let (least, most) = (range.start(), range.end());
                let problem = format!("{name}: expected a number from {least} to {most}, found {value}");
                return Err(Error::new(Stage::Usage, problem));
            }
        }
        Ok(())
    }
}

impl Recognizer {
    /// A recognizer of the same network for the words of a language model. The words of the model itself,
    /// and the rules by which it rejects others, no longer count. Words of the language model that are not in
    /// the dictionary are never recognized; [`Recognizer::notes`] says how many.
    ///
    /// # Errors
    /// When a file cannot be read, the model does not write the phones of the dictionary, or no word of the
    /// language model is in it.
    pub fn with_language_model(self, options: &LanguageOptions) -> Result<Self> {
        options.check()?;
        let model = NgramModel::read(&options.language_model)?;
        let (lexicon, unknown) = read_lexicon(options, &self.metadata().tokens, &model.vocabulary)?;
        let names = Arc::clone(lexicon.names());
        let language_model =
            NgramLanguageModel::new(model, names.iter().map(String::as_str), options.weights);
        let decoder = DecoderOptions {
            blank_bias: options.blank_bias,
            lexicon: Vec::new(),
            rejection: None,
            reset_after_other_speech_ms: 0,
            ..self.metadata().decoder.clone()
        };
        let metadata = Metadata { decoder, ..self.metadata().clone() };
        let search = Vocabulary::new(
            &metadata.tokens,
            lexicon,
            Arc::new(language_model),
            &metadata.decoder,
            self.clock().seconds(1),
            options.beam,
        );
        let decoders = DecoderFactory::Search(Arc::new(search.without_filler()));
        Ok(self.with_decoders(metadata, decoders).with_note(note_of(options, names.len(), &unknown)))
    }
}

/// What is said of the words that have no pronunciation.
fn note_of(options: &LanguageOptions, known: usize, unknown: &[String]) -> Option<String> {
    let some = unknown.iter().take(5).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let note = || {
        format!(
            "{} of the {} words of {} are not in {} and cannot be recognized: {some}{}",
            unknown.len(),
            known + unknown.len(),
            quoted(&options.language_model),
            quoted(&options.lexicon),
            if unknown.len() > 5 { ", …" } else { "" }
        )
    };
    (!unknown.is_empty()).then(note)
}

/// The tree of the words that language model and dictionary share, and the words that are only in the
/// language model.
fn read_lexicon(
    options: &LanguageOptions,
    tokens: &TokenTable,
    vocabulary: &ngram::Vocabulary,
) -> Result<(Lexicon, Vec<String>)> {
    let path = &options.lexicon;
    let failed = |e| io(Stage::Text, path, e);
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_LEXICON_BYTES {
        let problem = format!("expected a dictionary of {} MB at most", MAX_LEXICON_BYTES >> 20);
        return Err(Error::new(Stage::Text, problem).in_file(path));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    // Dictionaries have their words in lower case, language models as they were written.
    let mut ids: HashMap<String, Vec<u32>> = HashMap::new();
    let first = ngram::END + 1;
    for (id, word) in (first..).zip(vocabulary.ordinary_words()) {
        ids.entry(word.to_lowercase()).or_default().push(id);
    }
    let mut pronunciations: Vec<(Vec<TokenId>, WordId)> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut known: HashMap<u32, WordId> = HashMap::new();
    // Old dictionaries have a few words in Latin 1; they are of no use, and no harm.
    for_each_line(&String::from_utf8_lossy(&bytes), |_, word, phones| {
        let labels = phones.iter().map(|phone| label(phone, tokens)).collect::<Result<Vec<_>>>()?;
        for &id in ids.get(&word).map_or(&[][..], Vec::as_slice) {
            let next = WordId(names.len() as u32);
            let word = *known.entry(id).or_insert(next);
            if word == next {
                names.push(vocabulary.word(id).to_string());
            }
            pronunciations.push((labels.clone(), word));
        }
        Ok(())
    })
    .map_err(|e| e.in_file(path))?;
    if names.is_empty() {
        let model = quoted(&options.language_model);
        let problem = format!("none of the {} words of {model} is in the dictionary", vocabulary.len() - 3);
        return Err(Error::new(Stage::Text, problem).in_file(path));
    }
    let unknown = (first..).zip(vocabulary.ordinary_words()).filter(|(id, _)| !known.contains_key(id));
    let unknown = unknown.map(|(_, word)| word.to_string()).collect();
    Ok((Lexicon::of_words(names, pronunciations, tokens.len()), unknown))
}

/// The model's token for a phone, with its stress or without.
fn label(phone: &str, tokens: &TokenTable) -> Result<TokenId> {
    let plain = phone.trim_end_matches(|c: char| c.is_ascii_digit());
    let id = [phone, plain].into_iter().find_map(|name| tokens.id(name)).filter(|&id| id != tokens.blank());
    id.map(TokenId).ok_or_else(|| {
        let problem = format!("the model has no token for the phone `{phone}`");
        Error::new(Stage::Text, problem).hint(
            "a dictionary goes with a model whose tokens are its phones: `hearken inspect MODEL` lists them",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_are_found_with_stress_and_without() {
        let tokens = TokenTable::new(["<blk>", "AH", "T1"].map(String::from).to_vec(), 0).expect("a table");
        assert_eq!(label("AH0", &tokens).expect("a token"), TokenId(1));
        assert_eq!(label("T1", &tokens).expect("a token"), TokenId(2));
        let error = label("ZH", &tokens).expect_err("no such phone").to_string();
        assert!(error.contains("`ZH`"), "{error}");
        assert!(label("<blk>", &tokens).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let good = LanguageOptions::new("a.lm", "b.txt");
        assert!(good.check().is_ok());
        let beam = Beam { margin: f32::NAN, ..good.beam };
        let error = LanguageOptions { beam, ..good }.check().expect_err("no number").to_string();
        assert!(error.contains("beam"), "{error}");
    }
}
