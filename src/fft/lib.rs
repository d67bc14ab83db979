//! Plans of Fourier transforms of real numbers, and the resamplers that are built from them.
//!
//! Only plans are made here. What processes samples is called through their traits, whose code is in this crate too.

use std::sync::Arc;

pub use realfft::{ComplexToReal, RealToComplex};
pub use rubato;
use rubato::{Async, Fft, FixedAsync, FixedSync, ResamplerConstructionError, SincInterpolationParameters};
pub use rustfft::num_complex::Complex;

/// A transform of `length` real numbers to `length / 2 + 1` complex ones.
pub fn forward(length: usize) -> Arc<dyn RealToComplex<f32>> {
    realfft::RealFftPlanner::new().plan_fft_forward(length)
}

/// A transform of `length / 2 + 1` complex numbers to `length` real ones, which are `length` times as large as those that
/// [`forward`] began with.
pub fn inverse(length: usize) -> Arc<dyn ComplexToReal<f32>> {
    realfft::RealFftPlanner::new().plan_fft_inverse(length)
}

/// A resampler of one channel from `from` Hz to `to` Hz by overlap-add in the frequency domain, in blocks of `block` input
/// samples.
///
/// # Errors
/// When a rate or the length of a block is 0.
pub fn resampler(from: usize, to: usize, block: usize) -> Result<Fft<f32>, ResamplerConstructionError> {
    Fft::new(from, to, block, 1, FixedSync::Both)
}

/// A resampler of one channel by a windowed sinc, to `ratio` times the rate, in blocks of `block` input samples.
///
/// # Errors
/// When the ratio or the length of a block is not positive.
pub fn sinc_resampler(
    ratio: f64,
    parameters: &SincInterpolationParameters,
    block: usize,
) -> Result<Async<f32>, ResamplerConstructionError> {
    Async::new_sinc(ratio, 1.0, parameters, block, 1, FixedAsync::Input)
}
