//! **hearken**: a streaming speech recognizer that is trained on your own recordings and deployed as one ONNX file.
//!
//! # Concepts
//!
//! A [`Recognizer`] is a loaded model: immutable, cheap to clone, shared between threads. A [`Stream`]
//! is one audio stream: everything that changes while samples come in, above all the state that the recurrent
//! network carries from step to step. Samples go in, [`Event`]s come out: `Partial` text that may still change, and
//! `Final` [`Segment`]s with their [`Word`]s, times in seconds from the stream's first sample. The text does not
//! depend on how the samples are split into calls.
//!
//! ```
//! # #[cfg(feature = "digits")]
//! # fn main() -> hearken::Result<()> {
//! use hearken::{Event, Recognizer};
//!
//! let recognizer = Recognizer::builder().open()?; // the embedded model; `.model("m.onnx")` for another
//! let samples = hearken::audio::read_all("audio/pi.wav".as_ref(), recognizer.sample_rate())?;
//!
//! let mut stream = recognizer.stream()?;
//! let mut events = Vec::new();
//! for chunk in samples.chunks(1600) {
//!     events.extend(stream.accept_waveform(chunk)?);
//! }
//! events.extend(stream.finish()?);
//! let Some(Event::Final(segment)) = events.last() else { panic!("the last event is a final one") };
//! assert_eq!(segment.text, "three one four one five");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "digits"))]
//! # fn main() {}
//! ```
//!
//! Other entry points: [`Recognizer::transcribe`] for a recording in memory, [`Pipeline`] for a thread per stage,
//! [`step_batch`](recognizer::step_batch) for many streams in one call of the network, [`Engine`] for a custom
//! inference engine. The folder `examples` has a program for each.
//!
//! # Modules
//!
//! ```text
//! WAV, FLAC… ─► Source ─► Fbank ─► Network (state carried) ─► Decoder ─► Events
//! recordings ─► manifest ─► Source ─► augment ─► Fbank ─► Network ─► CTC ─► BPTT ─► AdamW ─► model.onnx
//! ```
//!
//! A module uses only modules above it in ARCHITECTURE.md's table of layers: [`audio`], [`features`], [`model`],
//! [`text`], [`decode`], [`onnx`], [`engine`], [`recognizer`], [`eval`], [`corpus`], `train`, [`output`],
//! `serve`, `cli`.
//!
//! # Cargo features
//!
//! All but `microphone` and `png` are on by default. With `default-features = false`, the native engine, WAV files and
//! everything between samples and text remain.
//!
//! | feature | adds |
//! | --- | --- |
//! | `cli` | the program `hearken`, and `train` |
//! | `compressed-audio` | FLAC, MP3, AAC, Ogg, Opus, Matroska and others, by symphonia and opuscule |
//! | `digits` | the embedded model of spoken English digits (weights under CC BY-SA 4.0) |
//! | `english` | a model of the phones of English with a language model (CC BY 4.0), CMU's dictionary, letter-to-sound rules |
//! | `microphone` | microphones, by cpal; needs ALSA's headers on Linux |
//! | `ort` | onnxruntime as an engine, its library loaded at run time |
//! | `png` | pictures as PNG in `unfold`, by resvg |
//! | `serve` | the websocket and HTTP server, by axum and tokio |
//! | `tract` | tract as an engine, compiled in |
//! | `train` | the trainer |
//! | `yaml` | files of phrases in YAML, as Home Assistant's sentences are |

pub mod error;
pub mod fs;
pub mod units;

pub mod audio;
pub mod features;
pub mod model;
pub mod text;

pub mod decode;
pub mod engine;
pub mod eval;
pub mod onnx;

pub mod corpus;
pub mod recognizer;
#[cfg(feature = "train")]
pub mod train;

pub mod output;

#[cfg(feature = "serve")]
pub mod serve;

#[cfg(feature = "cli")]
pub mod cli;

pub use audio::Source;
pub use decode::EndpointOptions;
pub use engine::{Engine, EngineKind};
pub use error::{Error, ErrorKind, Result};
pub use onnx::Metadata;
pub use recognizer::{
    Event, HotwordOptions, LanguageOptions, Pipeline, Recognizer, RecognizerBuilder, Segment, Stream,
    StreamOptions, WakeWordOptions, Word,
};

/// Compiles and runs the code in README.md as doctests.
#[cfg(all(doctest, feature = "digits"))]
#[doc = include_str!("../README.md")]
struct Readme;
