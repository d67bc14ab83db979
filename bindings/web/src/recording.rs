//! A recording that is transcribed piece by piece, so that a worker can do other things in between.

use hearken::Source;
use wasm_bindgen::prelude::*;

use super::{js_error, to_js};

/// A recording longer than this is divided at pauses by default, seconds; as in the program.
const LONG_SECONDS: u32 = 60;
/// Seconds of audio that are recognized in a call.
const PIECE_SECONDS: usize = 2;

/// A recording that is being transcribed.
#[wasm_bindgen]
pub struct Recording {
    source: Box<dyn Source>,
    stream: hearken::Stream,
    /// Samples that were read to find out whether the recording is long; those before `at` were recognized.
    ahead: Vec<f32>,
    at: usize,
    ended: bool,
}

impl Recording {
    /// Reads up to a minute of the source; then `open` creates the stream for a recording that is longer or not.
    pub(super) fn new(
        mut source: Box<dyn Source>,
        open: impl FnOnce(bool) -> hearken::Result<hearken::Stream>,
    ) -> hearken::Result<Self> {
        let rate = source.sample_rate();
        let (mut ahead, minute) = (Vec::new(), (LONG_SECONDS * rate) as usize);
        while ahead.len() <= minute && source.read(&mut ahead, rate as usize)? > 0 {}
        let stream = open(ahead.len() > minute)?;
        Ok(Self { source, stream, ahead, at: 0, ended: false })
    }
}

#[wasm_bindgen]
impl Recording {
    /// Recognizes the next two seconds and returns their events; `undefined` after the last ones.
    ///
    /// # Errors
    /// When the rest cannot be decoded.
    #[wasm_bindgen(js_name = next)]
    pub fn next_events(&mut self) -> Result<JsValue, JsError> {
        if self.ended {
            return Ok(JsValue::UNDEFINED);
        }
        let size = PIECE_SECONDS * self.source.sample_rate() as usize;
        if self.at == self.ahead.len() {
            (self.at, self.ahead) = (0, Vec::new());
            while self.ahead.len() < size {
                let wanted = size - self.ahead.len();
                if self.source.read(&mut self.ahead, wanted).map_err(js_error)? == 0 {
                    break;
                }
            }
        }
        let piece = &self.ahead[self.at..(self.at + size).min(self.ahead.len())];
        self.at += piece.len();
        if piece.is_empty() {
            self.ended = true;
            return to_js(&self.stream.finish().map_err(js_error)?);
        }
        to_js(&self.stream.accept_waveform(piece).map_err(js_error)?)
    }

    /// Seconds of audio recognized so far.
    #[wasm_bindgen(getter)]
    pub fn seconds(&self) -> f64 {
        self.stream.seconds()
    }

    /// Descriptions of damage that was found in the recording so far.
    #[wasm_bindgen(getter)]
    pub fn warnings(&self) -> Vec<String> {
        self.source.problems().messages()
    }
}
