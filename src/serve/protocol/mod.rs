//! What all protocols have in common: pure state machines, which take a client's messages and
//! what the recogniser heard, and say what is to be done. They know nothing of sockets.
//!
//! ```text
//! client's message ─► Protocol ─► Action ─► session (socket, recogniser)
//!                        ▲                      │
//!                        └──────── Heard ◄──────┘
//! ```

use crate::recognizer::Event;

use super::protocol::Own;
use super::sherpa::{Ending, Sherpa};
use super::vosk::Vosk;

/// Close codes of RFC 6455 that we send.
pub mod close {
    /// All is said.
    pub const NORMAL: u16 = 1000;
    /// The server ends.
    pub const GOING_AWAY: u16 = 1001;
    /// A message that this protocol does not have.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Text where audio is due, or the other way round.
    pub const UNSUPPORTED: u16 = 1003;
    /// A message of the right kind whose content is no good.
    pub const INVALID_DATA: u16 = 1007;
    /// A limit of time was reached.
    pub const POLICY: u16 = 1008;
    /// A message longer than the limit.
    pub const TOO_BIG: u16 = 1009;
    /// The recogniser failed.
    pub const INTERNAL: u16 = 1011;
    /// Too many streams: try again later.
    pub const TRY_AGAIN: u16 = 1013;
}

/// The rates that clients may send, Hz.
pub const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// Beyond this a float sample is a mistake (full scale is 1).
const LARGEST_SAMPLE: f32 = 1e6;

/// What a session is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Opens the recogniser's stream; comes once, before any audio.
    Listen {
        /// Of the audio that follows, Hz.
        sample_rate: u32,
        /// The client asked to see the network at work.
        trace: bool,
    },
    /// Samples at the rate of `Listen`, all finite.
    Audio(Vec<f32>),
    /// [`Heard::Mark`] is due when everything before it was heard.
    Mark,
    /// Ends the utterance, so that its last word comes out, and begins another.
    Restart,
    /// No more audio will come.
    Finish,
    /// A text message for the client.
    Send(String),
    /// The last message.
    Close { code: u16, reason: String },
}

impl Action {
    /// A close with a reason.
    pub fn close(code: u16, reason: impl Into<String>) -> Self {
        Action::Close { code, reason: reason.into() }
    }
}

/// The network's insides after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Glimpse {
    /// Seconds from the stream's first sample.
    pub time: f64,
    /// Log-probabilities of the last output frame, `[V]`.
    pub log_probs: Vec<f32>,
    /// All state tensors, one after the other.
    pub state: Vec<f32>,
}

/// What the recogniser tells of a stream, in the stream's order.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// The stream is open; `watched` says whether the network's insides will be told.
    Listening { watched: bool },
    /// Words.
    Event(Event),
    /// The network's insides, where they were asked for.
    Glimpse(Glimpse),
    /// All audio before [`Action::Mark`] was heard.
    Mark,
    /// The utterance that [`Action::Restart`] ended is complete.
    Restarted,
    /// The stream that [`Action::Finish`] ended is complete.
    Finished {
        /// Length of the audio.
        seconds: f64,
    },
    /// The recogniser failed; nothing follows.
    Failed(String),
}

/// One client's conversation.
pub trait Protocol: Send {
    /// Its name in metrics.
    fn name(&self) -> &'static str;

    /// The client sent text.
    fn text(&mut self, text: &str, actions: &mut Vec<Action>);

    /// The client sent bytes.
    fn binary(&mut self, bytes: &[u8], actions: &mut Vec<Action>);

    /// The recogniser tells something.
    fn heard(&mut self, heard: Heard, actions: &mut Vec<Action>);

    /// Says no more audio will come: the client's own ending, or the server's going.
    fn end(&mut self, actions: &mut Vec<Action>);

    /// A text message that tells a problem before a close, where the protocol has one.
    fn problem(&self, _name: &str, _problem: &str) -> Option<String> {
        None
    }
}

/// How a protocol is chosen: by path, or by the first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// By the first message; audio at once is sherpa-onnx's client, with this ending.
    Detect(Ending),
    Own,
    Vosk,
    Sherpa(Ending),
}

/// A client's first message.
#[derive(Clone, Copy, Debug)]
pub enum First<'a> {
    Text(&'a str),
    Binary,
}

/// What machines must know of the model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Hz.
    pub sample_rate: u32,
    /// The tokens' texts by id.
    pub tokens: Vec<String>,
    pub blank: u32,
    /// The shapes of the tensors in [`Glimpse::state`].
    pub states: Vec<Vec<usize>>,
}

/// The protocol of a conversation that begins with `first`.
///
/// # Errors
/// When the first message is of no protocol; then how to close.
pub fn choose(opening: Opening, first: First, model: &ModelInfo) -> Result<Box<dyn Protocol>, Action> {
    let own = || Box::new(Own::new(model.clone())) as Box<dyn Protocol>;
    let sherpa = |ending| Box::new(Sherpa::new(ending, model.sample_rate)) as Box<dyn Protocol>;
    match (opening, first) {
        (Opening::Own, _) => Ok(own()),
        (Opening::Vosk, _) => Ok(Box::new(Vosk::new())),
        (Opening::Sherpa(ending), _) | (Opening::Detect(ending), First::Binary) => Ok(sherpa(ending)),
        (Opening::Detect(ending), First::Text(text)) => {
            let is_vosk = |key: &str| text.contains(&format!("\"{key}\""));
            if text.trim() == "Done" {
                Ok(sherpa(ending))
            } else if text.contains("\"type\"") {
                Ok(own())
            } else if ["config", "eof", "reset"].into_iter().any(is_vosk) {
                Ok(Box::new(Vosk::new()))
            } else {
                Err(Action::close(
                    close::PROTOCOL_ERROR,
                    "the first message is of no protocol known here: expected {\"type\":\"start\",…}, \
                     {\"config\":…} or float32 samples",
                ))
            }
        }
    }
}

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// Signed 16 bit, little endian.
    S16Le,
    /// Float 32 bit, little endian, full scale ±1.
    F32Le,
}

/// Bytes to samples; a sample may be cut by the end of a message.
#[derive(Debug)]
pub struct PcmDecoder {
    format: SampleFormat,
    cut: [u8; 4],
    cut_len: usize,
}

impl PcmDecoder {
    /// At the beginning of a stream.
    pub fn new(format: SampleFormat) -> Self {
        Self { format, cut: [0; 4], cut_len: 0 }
    }

    /// The samples that are complete.
    ///
    /// # Errors
    /// Says which sample is no number, or far beyond full scale.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<f32>, String> {
        let width = if self.format == SampleFormat::S16Le { 2 } else { 4 };
        let mut samples = Vec::with_capacity((self.cut_len + bytes.len()) / width);
        let mut bytes = bytes;
        if self.cut_len > 0 {
            let n = bytes.len().min(width - self.cut_len);
            self.cut[self.cut_len..self.cut_len + n].copy_from_slice(&bytes[..n]);
            self.cut_len += n;
            bytes = &bytes[n..];
            if self.cut_len < width {
                return Ok(samples);
            }
            self.cut_len = 0;
            samples.push(Self::sample(self.format, &self.cut[..width]));
        }
        let whole = bytes.chunks_exact(width);
        let rest = whole.remainder();
        samples.extend(whole.map(|b| Self::sample(self.format, b)));
        self.cut[..rest.len()].copy_from_slice(rest);
        self.cut_len = rest.len();
        match samples.iter().position(|x| !x.is_finite() || x.abs() > LARGEST_SAMPLE) {
            Some(i) => Err(format!("sample {i} of the message is {}; expected -1 to 1", samples[i])),
            None => Ok(samples),
        }
    }

    fn sample(format: SampleFormat, b: &[u8]) -> f32 {
        match (format, b) {
            (SampleFormat::S16Le, &[a, b, ..]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
            (SampleFormat::F32Le, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            _ => 0.0,
        }
    }
}

/// Seconds as JSON, to the millisecond.
pub(super) fn thousandths(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelInfo {
        let tokens = vec!["<blk>".into(), "▁one".into()];
        ModelInfo { sample_rate: 16_000, tokens, blank: 0, states: vec![vec![1, 1, 3]] }
    }

    #[test]
    fn the_first_message_tells_the_protocol() {
        let name = |first| choose(Opening::Detect(Ending::Cpp), first, &model()).map(|p| p.name());
        assert_eq!(name(First::Binary), Ok("sherpa"));
        assert_eq!(name(First::Text("Done")), Ok("sherpa"));
        assert_eq!(name(First::Text(r#"{"config": {"sample_rate": 8000}}"#)), Ok("vosk"));
        assert_eq!(name(First::Text(r#"{"eof" : 1}"#)), Ok("vosk"));
        assert_eq!(name(First::Text(r#"{"type":"start","version":1}"#)), Ok("hearken"));
        assert!(matches!(name(First::Text("hello")), Err(Action::Close { code: 1002, .. })));
    }

    #[test]
    fn samples_cut_by_messages_are_put_together() {
        let values = [0.5f32, -0.25, 1.0];
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        for cut in 0..bytes.len() {
            let mut pcm = PcmDecoder::new(SampleFormat::F32Le);
            let mut samples = pcm.push(&bytes[..cut]).expect("finite");
            samples.extend(pcm.push(&bytes[cut..]).expect("finite"));
            assert_eq!(samples, values);
        }
        let mut pcm = PcmDecoder::new(SampleFormat::S16Le);
        assert_eq!(pcm.push(&[0]), Ok(vec![]));
        assert_eq!(pcm.push(&[0x40, 0, 0x80]), Ok(vec![0.5, -1.0]));
    }

    #[test]
    fn samples_that_are_no_numbers_are_named() {
        let mut pcm = PcmDecoder::new(SampleFormat::F32Le);
        let bytes: Vec<u8> = [0.0f32, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert!(pcm.push(&bytes).expect_err("NaN").contains("sample 1"));
    }
}
