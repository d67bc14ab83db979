//! Recognizers of one audio stream.

use std::ffi::{CString, c_char, c_float, c_int, c_short};
use std::ptr;

use hearken::audio::{Encoding, Resampler, s16_to_f32};
use hearken::decode::MAX_NBEST;
use hearken::error::Stage;
use hearken::recognizer::PhraseOptions;
use hearken::text::phrases::{Format, Phrases};
use hearken::text::pronunciation::Pronouncer;
use hearken::{EndpointOptions, Error, Event, Recognizer, Segment, Stream, StreamOptions};

use crate::arguments::{array, exclusive, shared, text};
use crate::error::{guard, usage};
use crate::json::{self, Fields};
use crate::model::HearkenModel;

/// The state of one audio stream. One thread at a time may use it; it may be another thread in each call.
pub struct HearkenRecognizer {
    recognizer: Recognizer,
    /// Rate of the audio, Hz.
    sample_rate: u32,
    endpoint: EndpointOptions,
    fields: Fields,
    /// `None` before the first samples.
    running: Option<Running>,
    /// Seconds of audio before the running stream.
    offset: f64,
    /// Segments that were not part of a result yet.
    finals: Vec<Segment>,
    partial: Option<Segment>,
    /// The text that was returned last.
    reply: CString,
    /// Whether a call failed, so that the state of the stream is unknown.
    broken: bool,
}

struct Running {
    stream: Stream,
    resampler: Option<Resampler>,
    resampled: Vec<f32>,
}

impl HearkenRecognizer {
    fn new(recognizer: Recognizer, sample_rate: c_float) -> Result<Self, Error> {
        if !(1.0..=1e6).contains(&sample_rate) {
            return Err(usage(format!("sample_rate: expected Hz, found {sample_rate}")));
        }
        let sample_rate = sample_rate.round() as u32;
        // Refuses rates out of range before the first samples.
        Resampler::new(sample_rate, recognizer.sample_rate())?;
        Ok(Self {
            recognizer,
            sample_rate,
            endpoint: EndpointOptions::default(),
            fields: Fields::default(),
            running: None,
            offset: 0.0,
            finals: Vec::new(),
            partial: None,
            reply: CString::default(),
            broken: false,
        })
    }

    /// The stream, which is created with the first samples.
    fn running(&mut self) -> Result<&mut Running, Error> {
        let running = match self.running.take() {
            Some(running) => running,
            None => {
                let nbest = self.fields.alternatives.max(1);
                let options =
                    StreamOptions { endpoint: Some(self.endpoint), nbest, ..StreamOptions::default() };
                let (from, to) = (self.sample_rate, self.recognizer.sample_rate());
                let resampler = (from != to).then(|| Resampler::new(from, to)).transpose()?;
                Running { stream: self.recognizer.stream_with(&options)?, resampler, resampled: Vec::new() }
            }
        };
        Ok(self.running.insert(running))
    }

    /// Processes samples; returns whether an utterance has ended.
    fn accept(&mut self, samples: &[f32]) -> Result<bool, Error> {
        self.check()?;
        // Until the call has returned: it may panic.
        self.broken = true;
        let pushed = self.push(samples);
        // Samples that are refused change nothing.
        self.broken = matches!(&pushed, Err(error) if error.stage() == Stage::Engine);
        pushed.map(|()| !self.finals.is_empty())
    }

    fn push(&mut self, samples: &[f32]) -> Result<(), Error> {
        let running = self.running()?;
        let samples = match &mut running.resampler {
            None => samples,
            Some(resampler) => {
                running.resampled.clear();
                resampler.push(samples, &mut running.resampled)?;
                &running.resampled
            }
        };
        let events = running.stream.accept_waveform(samples)?;
        self.take(events);
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.broken {
            return Err(usage("the recognizer failed before").hint("call hearken_recognizer_reset"));
        }
        Ok(())
    }

    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Partial(segment) => self.partial = Some(segment),
                Event::Final(segment) => {
                    self.finals.push(segment);
                    self.partial = None;
                }
            }
        }
    }

    fn reply(&mut self, text: String) -> *const c_char {
        // JSON has no zero bytes.
        self.reply = CString::new(text).unwrap_or_default();
        self.reply.as_ptr()
    }

    /// The segments that were not part of a result yet, as a result.
    fn result(&mut self) -> *const c_char {
        let text = json::result(&self.finals, self.fields, self.offset);
        self.finals.clear();
        self.reply(text)
    }

    fn end_utterance(&mut self) -> Result<*const c_char, Error> {
        self.check()?;
        if let (true, Some(running)) = (self.finals.is_empty(), &mut self.running) {
            running.stream.end_segment();
            let events = running.stream.take_events();
            self.take(events);
        }
        Ok(self.result())
    }

    fn finish(&mut self) -> Result<*const c_char, Error> {
        self.check()?;
        if let Some(mut running) = self.running.take() {
            if let Some(resampler) = &mut running.resampler {
                running.resampled.clear();
                resampler.finish(&mut running.resampled)?;
                let events = running.stream.accept_waveform(&running.resampled)?;
                self.take(events);
            }
            let events = running.stream.finish()?;
            self.take(events);
            let text = json::result(&self.finals, self.fields, self.offset);
            self.finals.clear();
            self.offset += running.stream.seconds();
            return Ok(self.reply(text));
        }
        Ok(self.result())
    }

    /// Refuses changes of what a stream is created with.
    fn check_not_running(&self, what: &str) -> Result<(), Error> {
        match self.running {
            None => Ok(()),
            Some(_) => Err(usage(format!("{what}: set it before the first samples"))),
        }
    }
}

/// Creates a recognizer for audio at `sample_rate` Hz, which is converted to the model's rate if necessary. Returns NULL
/// at an error. Free it with hearken_recognizer_free.
///
/// # Safety
/// `model` is NULL or a model that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_new(
    model: *const HearkenModel,
    sample_rate: c_float,
) -> *mut HearkenRecognizer {
    guard(ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        let model = unsafe { shared("model", model) }?;
        let recognizer = HearkenRecognizer::new(model.0.clone(), sample_rate)?;
        Ok(Box::into_raw(Box::new(recognizer)))
    })
}

/// Creates a recognizer for the phrases of a JSON list, `["turn left", "turn right"]`, in place of the model's words; the
/// model's tokens are the phones of English, as those of the embedded models are. Returns NULL at an error.
///
/// # Safety
/// `model` is NULL or a model that was not freed; `grammar` is NULL or a text that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_new_grm(
    model: *const HearkenModel,
    sample_rate: c_float,
    grammar: *const c_char,
) -> *mut HearkenRecognizer {
    guard(ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        let model = unsafe { shared("model", model) }?;
        // SAFETY: as promised by the caller.
        let grammar = unsafe { text("grammar", grammar) }?;
        let grammar = grammar.ok_or_else(|| usage("grammar: expected a valid pointer, found NULL"))?;
        let phrases = Phrases::parse(grammar, Format::Json, None).map_err(|error| error.within("grammar"))?;
        let pronouncer = Pronouncer::with_lexicon(None)?;
        let recognizer = model.0.clone().with_phrases(phrases, &pronouncer, &PhraseOptions::default())?;
        Ok(Box::into_raw(Box::new(HearkenRecognizer::new(recognizer, sample_rate)?)))
    })
}

/// Sets whether final results have words with times and confidences (`result`). Default: 0. Returns 0, or -1 at an
/// error.
///
/// # Safety
/// `recognizer` is NULL or a recognizer that was not freed, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_set_words(
    recognizer: *mut HearkenRecognizer,
    words: c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        unsafe { exclusive("recognizer", recognizer) }?.fields.words = words != 0;
        Ok(0)
    })
}

/// Sets whether partial results have words with times and confidences (`partial_result`). Default: 0. Returns 0, or -1
/// at an error.
///
/// # Safety
/// As hearken_recognizer_set_words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_set_partial_words(
    recognizer: *mut HearkenRecognizer,
    partial_words: c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        unsafe { exclusive("recognizer", recognizer) }?.fields.partial_words = partial_words != 0;
        Ok(0)
    })
}

/// Sets the number of alternatives in final results, up to 100, before the first samples; 0, the default, for results
/// without alternatives. It requires words of a lexicon, a language model or phrases. Returns 0, or -1 at an error.
///
/// # Safety
/// As hearken_recognizer_set_words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_set_max_alternatives(
    recognizer: *mut HearkenRecognizer,
    max_alternatives: c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let recognizer = unsafe { exclusive("recognizer", recognizer) }?;
        recognizer.check_not_running("max_alternatives")?;
        let number = usize::try_from(max_alternatives).ok().filter(|number| *number <= MAX_NBEST);
        let wrong =
            || usage(format!("max_alternatives: expected 0 to {MAX_NBEST}, found {max_alternatives}"));
        let number = number.ok_or_else(wrong)?;
        if number > 1 && !recognizer.recognizer.finds_alternatives() {
            return Err(usage("max_alternatives: the model has no words of a lexicon"));
        }
        recognizer.fields.alternatives = number;
        Ok(0)
    })
}

/// Sets the rules for the ends of utterances in seconds, before the first samples: the silence that ends an utterance
/// without words (default 2.4), the silence that ends one with words (1.2), and the length at which any utterance ends
/// (20). Returns 0, or -1 at an error.
///
/// # Safety
/// As hearken_recognizer_set_words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_set_endpointer_delays(
    recognizer: *mut HearkenRecognizer,
    t_start_max: c_float,
    t_end: c_float,
    t_max: c_float,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let recognizer = unsafe { exclusive("recognizer", recognizer) }?;
        recognizer.check_not_running("endpointer delays")?;
        let endpoint = EndpointOptions {
            rule1_min_trailing_silence: t_start_max.into(),
            rule2_min_trailing_silence: t_end.into(),
            rule3_min_utterance_length: t_max.into(),
            ..EndpointOptions::default()
        };
        endpoint.validate()?;
        recognizer.endpoint = endpoint;
        Ok(0)
    })
}

/// Accepts 16-bit mono samples (little-endian) of `length` bytes. Returns 1 if an utterance has ended, whose result
/// waits; else 0; -1 at an error.
///
/// # Safety
/// `recognizer` is NULL or a recognizer that was not freed, and no other thread uses it; `data` is NULL or valid for
/// `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_accept_waveform(
    recognizer: *mut HearkenRecognizer,
    data: *const c_char,
    length: c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let recognizer = unsafe { exclusive("recognizer", recognizer) }?;
        // SAFETY: as promised by the caller.
        let data = unsafe { array("data", data.cast::<u8>(), length) }?;
        if data.len() % 2 != 0 {
            return Err(usage(format!("length: expected whole 16-bit samples, found {length} bytes")));
        }
        let mut samples = Vec::with_capacity(data.len() / 2);
        Encoding::S16Le.decode_mono(data, 1, &mut samples);
        recognizer.accept(&samples).map(c_int::from)
    })
}

/// As hearken_recognizer_accept_waveform, with `length` samples of 16 bits.
///
/// # Safety
/// As hearken_recognizer_accept_waveform; `data` is NULL or valid for `length` samples.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_accept_waveform_s(
    recognizer: *mut HearkenRecognizer,
    data: *const c_short,
    length: c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let recognizer = unsafe { exclusive("recognizer", recognizer) }?;
        // SAFETY: as promised by the caller.
        let data = unsafe { array("data", data, length) }?;
        let samples: Vec<f32> = data.iter().map(|&sample| s16_to_f32(sample)).collect();
        recognizer.accept(&samples).map(c_int::from)
    })
}

/// As hearken_recognizer_accept_waveform, with `length` samples of full scale 1 (in vosk-api: 32768).
///
/// # Safety
/// As hearken_recognizer_accept_waveform; `data` is NULL or valid for `length` samples.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_accept_waveform_f(
    recognizer: *mut HearkenRecognizer,
    data: *const c_float,
    length: c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let recognizer = unsafe { exclusive("recognizer", recognizer) }?;
        // SAFETY: as promised by the caller.
        let data = unsafe { array("data", data, length) }?;
        recognizer.accept(data).map(c_int::from)
    })
}

/// The result of the utterances that have ended since the last result, as JSON: `{"text": "one two"}`. If none has ended,
/// the current one is ended. NULL at an error. The text is valid until the next call with this recognizer.
///
/// # Safety
/// As hearken_recognizer_set_words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_result(recognizer: *mut HearkenRecognizer) -> *const c_char {
    // SAFETY: as promised by the caller.
    guard(ptr::null(), || unsafe { exclusive("recognizer", recognizer) }?.end_utterance())
}

/// The words of the current utterance so far, which may still change, as JSON: `{"partial": "one"}`. NULL at an error.
/// The text is valid until the next call with this recognizer.
///
/// # Safety
/// As hearken_recognizer_set_words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_partial_result(
    recognizer: *mut HearkenRecognizer,
) -> *const c_char {
    guard(ptr::null(), || {
        // SAFETY: as promised by the caller.
        let recognizer = unsafe { exclusive("recognizer", recognizer) }?;
        recognizer.check()?;
        let text = json::partial(recognizer.partial.as_ref(), recognizer.fields, recognizer.offset);
        Ok(recognizer.reply(text))
    })
}

/// Ends the audio and returns the result of all utterances since the last result, as hearken_recognizer_result. Samples
/// after it are those of new audio, whose times continue.
///
/// # Safety
/// As hearken_recognizer_set_words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_final_result(
    recognizer: *mut HearkenRecognizer,
) -> *const c_char {
    guard(ptr::null(), || {
        // SAFETY: as promised by the caller.
        let recognizer = unsafe { exclusive("recognizer", recognizer) }?;
        recognizer.finish().inspect_err(|_| recognizer.broken = true)
    })
}

/// Discards the audio and all results: the next samples are the first. Returns 0, or -1 at an error.
///
/// # Safety
/// As hearken_recognizer_set_words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_reset(recognizer: *mut HearkenRecognizer) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let recognizer = unsafe { exclusive("recognizer", recognizer) }?;
        recognizer.running = None;
        recognizer.finals.clear();
        recognizer.partial = None;
        recognizer.offset = 0.0;
        recognizer.broken = false;
        Ok(0)
    })
}

/// Frees a recognizer; NULL is ignored.
///
/// # Safety
/// `recognizer` is NULL or a recognizer that was not freed; it is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_recognizer_free(recognizer: *mut HearkenRecognizer) {
    if !recognizer.is_null() {
        // SAFETY: from `Box::into_raw`, and not freed before, as promised by the caller.
        let recognizer = unsafe { Box::from_raw(recognizer) };
        guard((), || {
            drop(recognizer);
            Ok(())
        });
    }
}
