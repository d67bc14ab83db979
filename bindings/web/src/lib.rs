//! hearken compiled to WebAssembly. JavaScript receives results as plain objects, equal to the JSON of the program, and
//! errors as `Error`.
//!
//! Everything here runs in the calling thread. `js/worker.js` runs it in a worker, `js/index.js` is the interface for
//! pages.

mod recording;
mod stream;

use hearken::engine::{EngineKind, EngineOptions};
use hearken::recognizer::PhraseOptions;
use hearken::text::numbers::Numbers;
use hearken::text::phrases::{Format, Phrases};
use hearken::text::pronunciation::Pronouncer;
use hearken::{EndpointOptions, StreamOptions, audio};
use serde::Serialize;
use wasm_bindgen::prelude::*;

pub use recording::Recording;
pub use stream::Stream;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(text: &str);
}

/// Prints panics on the browser's console: JavaScript sees only that the program stopped.
#[wasm_bindgen(start)]
fn print_panics() {
    std::panic::set_hook(Box::new(|info| console_error(&info.to_string())));
}

/// A loaded model.
#[wasm_bindgen]
pub struct Recognizer {
    inner: hearken::Recognizer,
    /// Warnings about the phrases.
    warnings: Vec<String>,
}

#[wasm_bindgen]
impl Recognizer {
    /// Creates a recognizer from the bytes of a model file that hearken trained or imported.
    ///
    /// # Errors
    /// When the bytes are not such a file.
    #[wasm_bindgen(constructor)]
    pub fn new(model: &[u8]) -> Result<Recognizer, JsError> {
        let inner = hearken::Recognizer::from_bytes(model, EngineKind::Native, &EngineOptions::default())
            .map_err(js_error)?;
        Ok(Self { inner, warnings: Vec::new() })
    }

    /// Creates a recognizer with the same network for phrases, which replace the model's words. `name` is the name of
    /// the file of phrases, by whose extension the format is chosen, and `pronunciations` are the bytes of a file of
    /// `hearken pronounce`.
    ///
    /// # Errors
    /// When the phrases or the pronunciations are invalid, a word has no pronunciation, or the model has no token for a
    /// phone.
    #[wasm_bindgen(js_name = withPhrases)]
    pub fn with_phrases(
        &self,
        phrases: &str,
        name: &str,
        pronunciations: &[u8],
    ) -> Result<Recognizer, JsError> {
        let format = Format::detect(name.as_ref(), phrases);
        // Without a path, since there are no other files that could be included.
        let phrases = Phrases::parse(phrases, format, None).map_err(|e| js_error(e.in_file(name)))?;
        let warnings = phrases.warnings().iter().map(ToString::to_string).collect();
        let pronouncer = Pronouncer::from_bytes(pronunciations).map_err(js_error)?;
        let inner = self
            .inner
            .clone()
            .with_phrases(phrases, &pronouncer, &PhraseOptions::default())
            .map_err(js_error)?;
        Ok(Self { inner, warnings })
    }

    /// Creates a recognizer with the same model that writes numbers in final results as `words`, `digits` or `all`.
    ///
    /// # Errors
    /// When `how` is none of these.
    #[wasm_bindgen(js_name = withNumbers)]
    pub fn with_numbers(&self, how: &str) -> Result<Recognizer, JsError> {
        let numbers = Numbers::ALL.into_iter().find(|numbers| numbers.name() == how).ok_or_else(|| {
            JsError::new(&format!("numbers: expected `words`, `digits` or `all`, found `{how}`"))
        })?;
        let inner = self.inner.clone().with_numbers(numbers);
        Ok(Self { inner, warnings: self.warnings.clone() })
    }

    /// Sample rate of the model, Hz.
    #[wasm_bindgen(getter, js_name = sampleRate)]
    pub fn sample_rate(&self) -> u32 {
        self.inner.sample_rate()
    }

    /// Words that can be recognized, if the recognizer has a list of them; else empty.
    #[wasm_bindgen(getter)]
    pub fn words(&self) -> Vec<String> {
        self.inner.words().to_vec()
    }

    /// Notes for the user, such as words whose pronunciations are guessed.
    #[wasm_bindgen(getter)]
    pub fn notes(&self) -> Vec<String> {
        self.warnings.iter().chain(self.inner.notes()).cloned().collect()
    }

    /// Creates a stream for live audio. With `endpoints`, a final result is output at each pause; with `partials`, also
    /// results that may still change; with `nbest` above 1, alternatives of final results.
    ///
    /// # Errors
    /// When `nbest` is out of range, or above 1 for a model without a list of words.
    pub fn stream(&self, endpoints: bool, partials: bool, nbest: usize) -> Result<Stream, JsError> {
        let inner = self.inner.stream_with(&stream_options(endpoints, partials, nbest)).map_err(js_error)?;
        Ok(Stream::new(inner, self.inner.sample_rate()))
    }

    /// Opens a recording, the bytes of a file in any format that hearken reads; `name` identifies it in messages. As in
    /// the program, recordings longer than a minute are divided at pauses, unless `endpoints` says something else.
    ///
    /// # Errors
    /// When the bytes are not audio of a known format, or as [`Recognizer::stream`].
    pub fn open(
        &self,
        recording: Vec<u8>,
        name: &str,
        endpoints: Option<bool>,
        nbest: usize,
    ) -> Result<Recording, JsError> {
        let rate = self.inner.sample_rate();
        let source = audio::open_bytes(recording, name, rate).map_err(js_error)?;
        let source = audio::limited(source, audio::MAX_SECONDS);
        Recording::new(source, |long| {
            self.inner.stream_with(&stream_options(endpoints.unwrap_or(long), false, nbest))
        })
        .map_err(js_error)
    }
}

fn stream_options(endpoints: bool, partials: bool, nbest: usize) -> StreamOptions {
    let endpoint = endpoints.then(EndpointOptions::default);
    StreamOptions { endpoint, partials, nbest, ..StreamOptions::default() }
}

/// The error for JavaScript, with the message that the program prints.
fn js_error(error: hearken::Error) -> JsError {
    JsError::new(&error.to_string())
}

/// Converts a value to a JavaScript object by its JSON.
fn to_js(value: &impl Serialize) -> Result<JsValue, JsError> {
    let json = serde_json::to_string(value)?;
    js_sys::JSON::parse(&json).map_err(|_| JsError::new("a result is not valid JSON"))
}
