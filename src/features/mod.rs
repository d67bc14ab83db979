//! Log mel filterbank features.
//!
//! [`Fbank`] is a streaming version of Kaldi's filterbank: the frames do not depend on how the signal is split into
//! chunks. `window` has the analysis windows, `mel` the filters, `fbank` the computation of a frame, `online` the
//! assignment of samples to frames.

mod fbank;
pub(crate) mod mel;
mod online;
pub(crate) mod options;
pub(crate) mod window;

pub use online::Fbank;
pub use options::FbankOptions;

use crate::error::Result;

/// Computes the features of a whole recording, `[T, F]` row by row.
///
/// # Errors
/// When an option is invalid.
pub fn compute(samples: &[f32], options: &FbankOptions) -> Result<Vec<f32>> {
    let mut fbank = Fbank::new(options)?;
    let mut frames = Vec::new();
    fbank.push(samples, &mut frames);
    fbank.finish(&mut frames);
    Ok(frames)
}
