//! Spectral features: samples in, log mel frames out.
//!
//! [`Fbank`] is Kaldi's filterbank, streaming: the same frames for any way of cutting the signal
//! into chunks. `window` makes the window, `mel` the filters, `fbank` computes one frame, `online`
//! does the book-keeping of samples and frame numbers.

mod fbank;
pub(crate) mod mel;
mod online;
pub mod options;
pub(crate) mod window;

pub use online::Fbank;
pub use options::FbankOptions;
