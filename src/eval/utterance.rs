//! Scoring of a recognizer on the utterances of a manifest, by streaming recognition.

use std::time::{Duration, Instant};

use crate::audio::{self, Source};
use crate::corpus::Entry;
use crate::error::{Error, Result, Stage};
use crate::recognizer::{Event, Recognizer, final_text};
use crate::units::{samples_to_seconds, seconds_to_samples};

use super::wer::{Score, Scorer};

/// Result of recognizing one utterance.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// The recognized text.
    pub hypothesis: String,
    /// Errors of the hypothesis.
    pub score: Score,
    /// Duration of the audio, seconds.
    pub audio_seconds: f64,
    /// Time spent on features, network and decoding, without reading the audio.
    pub compute: Duration,
}

/// Recognizes an entry of a manifest, from its offset for its duration, in chunks of `chunk_samples` (at least 1).
///
/// # Errors
/// When the audio cannot be read, is damaged or empty, or the engine fails; the error names the file. A damaged
/// recording is not scored, since its transcript contains words that are missing in the audio.
pub fn evaluate_entry(
    recognizer: &Recognizer,
    scorer: &Scorer,
    entry: &Entry,
    chunk_samples: usize,
) -> Result<Utterance> {
    let rate = recognizer.sample_rate();
    let in_file = |problem: String| Error::new(Stage::Audio, problem).in_file(&entry.audio);
    let mut source = audio::limited(audio::open(&entry.audio, rate)?, audio::MAX_SECONDS);
    let offset = entry.offset.unwrap_or(0.0);
    let start = seconds_to_samples(offset, rate);
    let skipped = source.skip(start)?;
    let left = entry.duration.map_or(u64::MAX, |seconds| seconds_to_samples(seconds, rate));
    let mut utterance = evaluate_source(recognizer, &mut *source, chunk_samples, left)
        .map_err(|e| e.in_file(&entry.audio))?;
    let problems = source.problems();
    if !problems.is_empty() {
        return Err(in_file(format!("damaged: {}", problems.messages().join("; "))));
    }
    if utterance.audio_seconds == 0.0 {
        let end = samples_to_seconds(skipped, rate);
        return Err(in_file(match start {
            0 => "expected audio, found an empty file".into(),
            _ => format!("expected audio at {offset} s, found its end at {end:.3} s"),
        }));
    }
    utterance.score = scorer.score(&entry.text, &utterance.hypothesis);
    Ok(utterance)
}

/// Recognizes up to `left` samples of a source; the score is not set.
fn evaluate_source(
    recognizer: &Recognizer,
    source: &mut dyn Source,
    chunk_samples: usize,
    mut left: u64,
) -> Result<Utterance> {
    let mut stream = recognizer.stream()?;
    let mut compute = Duration::ZERO;
    let mut events = Vec::new();
    let mut chunk = Vec::new();
    while left > 0 {
        chunk.clear();
        let read = source.read(&mut chunk, left.min(chunk_samples.max(1) as u64) as usize)?;
        if read == 0 {
            break;
        }
        left -= read as u64;
        let begin = Instant::now();
        let pushed = stream.accept_waveform(&chunk)?;
        compute += begin.elapsed();
        events.extend(pushed.into_iter().filter(|event| matches!(event, Event::Final(_))));
    }
    let begin = Instant::now();
    events.extend(stream.finish()?);
    compute += begin.elapsed();
    Ok(Utterance {
        hypothesis: final_text(&events),
        score: Score::default(),
        audio_seconds: stream.seconds(),
        compute,
    })
}
