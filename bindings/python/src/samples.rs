//! Samples of Python's objects: NumPy arrays and bytes.

use hearken::audio::{Encoding, s16_to_f32};
use numpy::{PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::usage;

/// Maximum number of channels: with more, the axes of an array were probably exchanged.
const MAX_CHANNELS: usize = 64;

/// Mono samples, full scale ±1, of an array `[samples]` or `[frames, channels]` of float32, float64 or int16, of
/// anything that NumPy makes such an array of, or of bytes of 16-bit PCM (little-endian, mono).
pub fn samples(value: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    if let Ok(bytes) = value.extract::<PyBackedBytes>() {
        if bytes.len() % 2 != 0 {
            return Err(usage(format!(
                "expected 16-bit samples, found an odd number of bytes, {}",
                bytes.len()
            )));
        }
        let mut samples = Vec::with_capacity(bytes.len() / 2);
        Encoding::S16Le.decode_mono(&bytes, 1, &mut samples);
        return Ok(samples);
    }
    let array = value.py().import("numpy")?.call_method1("asarray", (value,))?;
    if let Ok(array) = array.extract::<PyReadonlyArrayDyn<'_, f32>>() {
        return mono(&array, |sample| sample);
    }
    if let Ok(array) = array.extract::<PyReadonlyArrayDyn<'_, f64>>() {
        return mono(&array, |sample| sample as f32);
    }
    if let Ok(array) = array.extract::<PyReadonlyArrayDyn<'_, i16>>() {
        return mono(&array, s16_to_f32);
    }
    let found = array.cast::<PyUntypedArray>()?.dtype();
    let problem = format!(
        "expected samples of type float32 or float64 (full scale 1) or int16, or bytes of 16-bit PCM, found {found}"
    );
    Err(PyTypeError::new_err(problem))
}

/// The mean of the channels.
fn mono<T: numpy::Element + Copy>(
    array: &PyReadonlyArrayDyn<'_, T>,
    convert: impl Fn(T) -> f32,
) -> PyResult<Vec<f32>> {
    match *array.shape() {
        [_] => Ok(array.as_array().iter().map(|&sample| convert(sample)).collect()),
        [frames, channels] if (1..=MAX_CHANNELS).contains(&channels) => {
            let mut samples = Vec::with_capacity(frames);
            for frame in array.as_array().outer_iter() {
                samples.push(frame.iter().map(|&sample| convert(sample)).sum::<f32>() / channels as f32);
            }
            Ok(samples)
        }
        ref shape => {
            let problem = "expected an array of shape (samples,) or (frames, channels)";
            Err(usage(format!("{problem}, found the shape {shape:?}")))
        }
    }
}
