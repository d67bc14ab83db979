//! Recognizers that wait for a wake word, and recognize words only after it.

use std::sync::Arc;

use super::open::Recognizer;
use super::pronunciations::{guesses_note, label};
use crate::decode::{DecoderFactory, DecoderOptions, KeywordPronunciation, Keywords, TokenId, WakeWords};
use crate::error::{Error, Result, Stage};
use crate::onnx::Metadata;
use crate::text::TokenTable;
use crate::text::normalize::{is_unspoken_symbol, spoken_words};
use crate::text::pronunciation::{ARPABET, Pronouncer, Source};

/// Pause before a wake word, seconds. Without it, a better score is required.
const PAUSE_SECONDS: f64 = 0.32;
/// Cost of a wake word without a pause before it, nats.
const NO_PAUSE_COST: f32 = 6.0;
/// Maximum length of a wake word, seconds for each of its phones.
const SECONDS_PER_PHONE: f64 = 0.16;
/// Minimum and maximum number of phones of a wake word. Shorter ones occur in most speech.
const NUM_PHONES: std::ops::RangeInclusive<usize> = 4..=40;
/// Maximum number of pronunciations of a wake word.
const MAX_PRONUNCIATIONS: usize = 32;

/// Rarity of each phone of [`ARPABET`] in the network's output for English speech: its negative log-probability, nats.
const RARITY: [f32; 39] = [
    3.9, 3.8, 2.1, 4.2, 5.0, 3.8, 3.9, 5.2, 3.2, 3.5, 3.5, 3.7, 4.1, 3.9, 4.9, 4.2, 2.9, 3.2, 5.3, 3.5, 3.4,
    3.4, 2.6, 4.8, 4.2, 6.6, 4.0, 3.2, 3.0, 4.6, 2.7, 6.6, 5.8, 4.0, 4.2, 3.8, 5.3, 3.5, 8.0,
];

/// The threshold of a pronunciation in nats, as a function of the sum of its phones' rarities and of the number of
/// false accepts an hour. It was fitted to the scores of 150 random words and pairs of words in 4.5 hours of other speech
/// and noise; the standard deviation is 1.8 nats, or a factor of 2.7 in the number of false accepts. For the network
/// trained by MMI the constant was raised by 4.7, which made six wake words about as frequent in five hours of other
/// speech as is asked for.
const THRESHOLD: f32 = 13.5;
const THRESHOLD_BY_RARITY: f32 = -0.93;
const THRESHOLD_BY_LOG_RATE: f32 = -1.8;
/// Maximum threshold, nats: with a larger one, only perfectly recognized phones would be accepted.
const MAX_THRESHOLD: f32 = -1.0;

/// Wake words and their sensitivity.
#[derive(Clone, Debug, PartialEq)]
pub struct WakeWordOptions {
    /// The wake words, each a word or several, with 4 to 40 phones.
    pub phrases: Vec<String>,
    /// Expected number of false detections of each wake word in an hour of other speech. With a smaller number, wake
    /// words are missed more often.
    pub false_accepts_per_hour: f32,
    /// Whether the recognizer's words are recognized after a wake word; otherwise only wake words are.
    pub words_after: bool,
}

impl WakeWordOptions {
    /// Number of false detections in an hour of other speech that is expected by default.
    pub const FALSE_ACCEPTS_PER_HOUR: f32 = 0.5;

    /// Creates options with the default sensitivity, without words after the wake words.
    pub fn new<T: Into<String>>(phrases: impl IntoIterator<Item = T>) -> Self {
        Self {
            phrases: phrases.into_iter().map(Into::into).collect(),
            false_accepts_per_hour: Self::FALSE_ACCEPTS_PER_HOUR,
            words_after: false,
        }
    }

    /// Checks the rate and the number of wake words.
    fn check(&self) -> Result<()> {
        let rate = self.false_accepts_per_hour;
        let problem = if !(0.001..=1000.0).contains(&rate) {
            format!("false accepts an hour: expected a number from 0.001 to 1000, found {rate}")
        } else if self.phrases.is_empty() {
            "expected a wake word, found none".into()
        } else {
            return Ok(());
        };
        Err(Error::new(Stage::Usage, problem))
    }
}

impl Recognizer {
    /// Creates a recognizer with the same network that recognizes wake words, and after them either the same words as
    /// before or nothing else. A wake word is a word of the results, as soon as it is recognized; its confidence is the
    /// geometric mean, over its phones, of the ratio of its probability to that of the likeliest phones.
    /// [`Recognizer::notes`] names the words whose pronunciations are guessed.
    ///
    /// # Errors
    /// When a number is out of range, a word has no pronunciation, a wake word is too short, too long, or too common for
    /// the rate of false detections, or the model has no token for a phone.
    pub fn with_wake_words(self, options: &WakeWordOptions, pronouncer: &Pronouncer) -> Result<Self> {
        options.check()?;
        let tokens = &self.metadata().tokens;
        let frame_seconds = self.clock().seconds(1).max(1e-3);
        let rate = options.false_accepts_per_hour;
        let calibration = Calibration { rarities: rarities(tokens)?, rate, frame_seconds };
        let (mut names, mut pronunciations, mut guessed) = (Vec::new(), Vec::new(), Vec::new());
        for phrase in &options.phrases {
            let keyword = names.len() as u32;
            if let Some(symbol) = phrase.chars().find(|&c| is_unspoken_symbol(c)) {
                let problem = format!("expected the words of a wake word, found `{symbol}`");
                return Err(Error::new(Stage::Usage, problem).at(format!("wake word `{phrase}`")));
            }
            let name = spoken_words(phrase).join(" ");
            let spoken = Spoken::new(&name, pronouncer)?;
            guessed.extend(spoken.guessed);
            for phones in &spoken.ways {
                let labels = phones.iter().map(|&phone| label(ARPABET[phone as usize - 1], tokens));
                let way = calibration.pronunciation(labels.collect::<Result<_>>()?, keyword);
                pronunciations.push(way.map_err(|error| error.at(format!("wake word `{name}`")))?);
            }
            names.push(name);
        }
        let keywords = Keywords {
            pronunciations,
            blank: TokenId(tokens.blank()),
            pause_frames: (PAUSE_SECONDS / frame_seconds).round() as u32,
            no_pause_cost: NO_PAUSE_COST,
        };
        let num_tokens = tokens.len();
        let words = options.words_after.then(|| self.model().decoders.clone());
        let wake_words = WakeWords { names, keywords: Arc::new(keywords), words, num_tokens };
        // The model's rejection would judge a wake word by the speech around it.
        let decoder = DecoderOptions { rejection: None, ..self.metadata().decoder.clone() };
        let metadata = Metadata { decoder, ..self.metadata().clone() };
        let decoders = DecoderFactory::WakeWords(Arc::new(wake_words));
        Ok(self.with_decoders(metadata, decoders).with_note(guesses_note(&guessed)))
    }
}

/// Rarity of each token of the network, `[V]`, nats; 0 for tokens that are no phones.
///
/// # Errors
/// When the model has no token for a phone.
fn rarities(tokens: &TokenTable) -> Result<Vec<f32>> {
    let mut rarities = vec![0.0; tokens.len()];
    for (phone, rarity) in ARPABET.into_iter().zip(RARITY) {
        rarities[label(phone, tokens)?.index()] = rarity;
    }
    Ok(rarities)
}

/// What the thresholds of pronunciations depend on.
struct Calibration {
    /// Rarity of each token, `[V]`, nats.
    rarities: Vec<f32>,
    /// Number of false accepts an hour.
    rate: f32,
    /// Length of an output frame, seconds.
    frame_seconds: f64,
}

impl Calibration {
    /// A pronunciation of a keyword with its threshold.
    ///
    /// # Errors
    /// When it has too few or too many phones, or they are too common.
    fn pronunciation(&self, labels: Vec<TokenId>, keyword: u32) -> Result<KeywordPronunciation> {
        let wrong = |problem: String| {
            let hint = "choose a longer phrase, such as `hey computer`, or more false accepts an hour";
            Err(Error::new(Stage::Usage, problem).hint(hint))
        };
        let (length, fewest, most) = (labels.len(), NUM_PHONES.start(), NUM_PHONES.end());
        if !NUM_PHONES.contains(&length) {
            return wrong(format!("expected {fewest} to {most} phones, found {length}"));
        }
        let rarity = |label: &TokenId| self.rarities.get(label.index()).copied().unwrap_or_default();
        let rarity: f32 = labels.iter().map(rarity).sum();
        let nats = THRESHOLD + THRESHOLD_BY_RARITY * rarity + THRESHOLD_BY_LOG_RATE * self.rate.ln();
        if nats > MAX_THRESHOLD {
            return wrong(format!("its phones are too common for {} false accepts an hour", self.rate));
        }
        let max_frames = (SECONDS_PER_PHONE * length as f64 / self.frame_seconds).round() as u64;
        Ok(KeywordPronunciation { labels, keyword, threshold: nats / length as f32, max_frames })
    }
}

/// The pronunciations of a phrase.
struct Spoken {
    /// Phones of the whole phrase, as in [`Pronunciation::phones`](crate::text::pronunciation::Pronunciation).
    ways: Vec<Vec<u32>>,
    /// The words with guessed pronunciations, each with the best guess.
    guessed: Vec<String>,
}

impl Spoken {
    fn new(phrase: &str, pronouncer: &Pronouncer) -> Result<Self> {
        let mut spoken = Self { ways: vec![Vec::new()], guessed: Vec::new() };
        for word in phrase.split_whitespace() {
            let ways = pronouncer.pronounce(word)?;
            if let Some(guess) = ways.first().filter(|way| way.source == Source::Guessed) {
                spoken.guessed.push(format!("`{word}` as {}", guess.phones_text()));
            }
            let before = std::mem::take(&mut spoken.ways);
            let joined =
                before.iter().flat_map(|before| ways.iter().map(|way| [before, &way.phones[..]].concat()));
            spoken.ways = joined.take(MAX_PRONUNCIATIONS).collect();
        }
        Ok(spoken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::pronunciation::phone_tokens;

    fn labels(phones: &str) -> Vec<TokenId> {
        let tokens = phone_tokens().expect("a table");
        phones.split(' ').map(|phone| label(phone, &tokens).expect("a phone")).collect()
    }

    #[test]
    fn long_and_rare_phones_and_more_false_accepts_lower_the_threshold() {
        let rarities = rarities(&phone_tokens().expect("a table")).expect("all phones");
        let total = |phones: &str, rate| {
            let calibration = Calibration { rarities: rarities.clone(), rate, frame_seconds: 0.04 };
            let way = calibration.pronunciation(labels(phones), 0);
            way.map(|way| way.threshold * way.labels.len() as f32)
        };
        let common = total("AH L EH K S AH", 1.0).expect("a threshold");
        assert!(common < MAX_THRESHOLD && total("AH L EH K S AH", 4.0).expect("a threshold") < common);
        assert!(total("S N OW B OY AH", 1.0).expect("a threshold") < common);
        assert!(total("AH L EH K S AH N D ER", 1.0).expect("a threshold") < common);
        for (phones, rate) in [("AH N D", 1.0), ("AH N AH N", 0.5)] {
            let error = total(phones, rate).expect_err("too common").to_string();
            assert!(error.contains("longer phrase"), "{error}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let good = WakeWordOptions::new(["alexa"]);
        assert!(good.check().is_ok());
        let rate = WakeWordOptions { false_accepts_per_hour: f32::NAN, ..good.clone() };
        for (options, expected) in [
            (rate, "expected a number from 0.001 to 1000, found NaN"),
            (WakeWordOptions::new([""; 0]), "found none"),
        ] {
            let error = options.check().expect_err("wrong").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
