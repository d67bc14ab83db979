//! All integration tests in one program, with a module for each subject: linking it once takes a fraction of the
//! time of a program for each file.

mod common;

mod align;
mod audio;
mod audio_as_written;
mod cli;
mod data_import;
mod endpoints;
mod engines;
mod exchange;
mod exchange_cli;
mod fbank;
mod fuzz_targets;
mod gradients;
mod hotwords;
mod import;
mod language_model;
mod layers;
mod model_file;
mod onnx_checker;
mod onnx_fuzz;
#[cfg(feature = "ort")]
mod ort_library;
mod phrases;
mod sequence;
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
#[cfg(feature = "serve")]
mod serve_words;
mod soak;
mod stacks;
mod streaming;
mod train_guide;
mod training;
mod training_adaptive;
mod training_goldens;
mod training_runs;
mod transcribe;
mod unfold;
mod vad;
mod wake_word;
mod words;
