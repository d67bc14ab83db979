//! A stream of live audio.

use hearken::audio::Resampler;
use wasm_bindgen::prelude::*;

use super::{js_error, to_js};

/// The state of one audio stream: samples in, events out.
#[wasm_bindgen]
pub struct Stream {
    inner: hearken::Stream,
    /// Sample rate of the model, Hz.
    rate: u32,
    /// Resampler from the rate of the input, created by the first samples.
    resampler: Option<Resampler>,
    /// Buffer for resampled audio.
    resampled: Vec<f32>,
}

impl Stream {
    pub(super) fn new(inner: hearken::Stream, rate: u32) -> Self {
        Self { inner, rate, resampler: None, resampled: Vec::new() }
    }
}

#[wasm_bindgen]
impl Stream {
    /// Accepts mono samples (full scale ±1) at any rate, Hz, and returns the events that they cause.
    ///
    /// # Errors
    /// When the rate is out of range or differs from that of earlier samples, a sample is not finite, or the stream is
    /// finished.
    #[wasm_bindgen(js_name = acceptWaveform)]
    pub fn accept_waveform(&mut self, samples: &[f32], sample_rate: u32) -> Result<JsValue, JsError> {
        // Before the resampler, whose state they would spoil.
        if let Some(at) = samples.iter().position(|sample| !sample.is_finite()) {
            let problem = format!("expected finite samples, found {} at index {at}", samples[at]);
            return Err(JsError::new(&problem));
        }
        let resampler = match &mut self.resampler {
            Some(resampler) => resampler,
            none => none.insert(Resampler::new(sample_rate, self.rate).map_err(js_error)?),
        };
        if resampler.input_rate() != sample_rate {
            let expected = resampler.input_rate();
            let problem = format!(
                "expected samples at {expected} Hz as before, found {sample_rate} Hz (reset the stream first)"
            );
            return Err(JsError::new(&problem));
        }
        self.resampled.clear();
        resampler.push(samples, &mut self.resampled).map_err(js_error)?;
        to_js(&self.inner.accept_waveform(&self.resampled).map_err(js_error)?)
    }

    /// Ends the input and returns the last events, of which the very last is final; nothing if the stream was finished
    /// before.
    ///
    /// # Errors
    /// When the network fails.
    pub fn finish(&mut self) -> Result<JsValue, JsError> {
        let mut events = Vec::new();
        if let Some(mut resampler) = self.resampler.take() {
            self.resampled.clear();
            resampler.finish(&mut self.resampled).map_err(js_error)?;
            events = self.inner.accept_waveform(&self.resampled).map_err(js_error)?;
        }
        events.extend(self.inner.finish().map_err(js_error)?);
        to_js(&events)
    }

    /// Resets all state: the next sample is the first of a new stream, at any rate.
    pub fn reset(&mut self) {
        self.inner.reset();
        self.resampler = None;
    }

    /// Seconds of audio processed so far.
    #[wasm_bindgen(getter)]
    pub fn seconds(&self) -> f64 {
        self.inner.seconds()
    }
}
