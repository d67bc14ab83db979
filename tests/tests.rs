//! Every integration test, a module a subject, in one program: linking it once takes a fraction of
//! the time that a program for each file would take.

mod common;

mod align;
mod audio;
mod audio_as_written;
mod cli;
mod endpoints;
mod engines;
mod exchange;
mod exchange_cli;
mod fbank;
mod gradients;
mod import;
mod language_model;
mod layers;
mod model_file;
mod onnx_checker;
mod onnx_fuzz;
#[cfg(feature = "ort")]
mod ort_library;
mod phrases;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod serve_hostile;
#[cfg(feature = "serve")]
mod serve_http;
#[cfg(feature = "serve")]
mod serve_protocols;
#[cfg(feature = "serve")]
mod serve_voice;
mod soak;
mod streaming;
mod train_guide;
mod training;
mod training_goldens;
mod training_runs;
mod transcribe;
mod vad;
mod words;
