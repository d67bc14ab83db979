//! Layer normalization (Ba, Kiros, Hinton 2016): y = gain * (x - mean) / sqrt(var + ε) + bias.

use super::kernels::vectorized;
use super::real::Real;

/// The ε added to the variance in layer normalization, also in model files.
pub const LAYER_NORM_EPSILON: f32 = 1e-5;

/// The parameters of a layer normalization, `[width]` each.
#[derive(Clone, Debug)]
pub struct LayerNorm<T> {
    gain: Vec<T>,
    bias: Vec<T>,
}

/// Results of a forward pass that the backward pass needs.
#[derive(Clone, Debug, Default)]
pub struct NormTrace<T> {
    /// The normalized rows before gain and bias, `[R, width]`.
    normal: Vec<T>,
    /// 1/sqrt(var + ε) of each row, `[R]`.
    inverse: Vec<T>,
}

impl<T: Real> LayerNorm<T> {
    /// Creates a normalization.
    pub fn new(gain: &[T], bias: &[T]) -> Self {
        Self { gain: gain.to_vec(), bias: bias.to_vec() }
    }

    /// Normalizes the rows of `x [R, width]` into `y`.
    pub fn apply(&self, x: &[T], trace: &mut NormTrace<T>, y: &mut Vec<T>) {
        y.resize(x.len(), T::ZERO);
        trace.normal.resize(x.len(), T::ZERO);
        trace.inverse.resize(x.len() / self.gain.len(), T::ZERO);
        forward(x, &self.gain, &self.bias, &mut trace.normal, &mut trace.inverse, y);
    }

    /// Replaces `dy [R, width]` by the gradient of the input, and adds the gradients of gain and bias.
    pub fn backward(&self, dy: &mut [T], trace: &NormTrace<T>, dgain: &mut [T], dbias: &mut [T]) {
        backward(dy, &self.gain, &trace.normal, &trace.inverse, dgain, dbias);
    }
}

vectorized! {
    /// Normalizes each row of `x [R, width]` into `y`. For the backward pass, the normalized rows before gain and
    /// bias are stored in `normal [R, width]`, and 1/sqrt(var + ε) in `inverse [R]`.
    fn forward<T: Real>(x: &[T], gain: &[T], bias: &[T], normal: &mut [T], inverse: &mut [T], y: &mut [T]) {
        let width = gain.len();
        let count = T::from_f64(width as f64);
        let rows = x.chunks_exact(width).zip(normal.chunks_exact_mut(width)).zip(y.chunks_exact_mut(width));
        for (((x, normal), y), inverse) in rows.zip(inverse.iter_mut()) {
            let mean = sum(x, |v| v) / count;
            let variance = sum(x, |v| (v - mean) * (v - mean)) / count;
            let scale = T::ONE / (variance + T::from_f64(f64::from(LAYER_NORM_EPSILON))).sqrt();
            *inverse = scale;
            let bias = &bias[..width];
            for j in 0..width {
                normal[j] = (x[j] - mean) * scale;
                y[j] = normal[j].madd::<FMA>(gain[j], bias[j]);
            }
        }
    }
}

vectorized! {
    /// Replaces `dy [R, width]` by the gradient of the input, and adds the gradients of gain and bias to `dgain` and
    /// `dbias`, `[width]` each.
    fn backward<T: Real>(dy: &mut [T], gain: &[T], normal: &[T], inverse: &[T], dgain: &mut [T], dbias: &mut [T]) {
        let width = gain.len();
        let count = T::from_f64(width as f64);
        for ((dy, normal), &scale) in dy.chunks_exact_mut(width).zip(normal.chunks_exact(width)).zip(inverse) {
            let (dgain, dbias) = (&mut dgain[..width], &mut dbias[..width]);
            for j in 0..width {
                dgain[j] += dy[j] * normal[j];
                dbias[j] += dy[j];
                dy[j] *= gain[j];
            }
            let mean = sum(dy, |v| v) / count;
            let mut lanes = [T::ZERO; 8];
            for (d, n) in dy.chunks(8).zip(normal.chunks(8)) {
                for ((lane, &d), &n) in lanes.iter_mut().zip(d).zip(n) {
                    *lane += d * n;
                }
            }
            let slope = lanes.into_iter().sum::<T>() / count;
            for j in 0..width {
                dy[j] = (dy[j] - mean - normal[j] * slope) * scale;
            }
        }
    }
}

/// A sum in eight lanes, which is vectorized and always adds in the same order.
#[inline(always)]
fn sum<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; 8];
    let (whole, rest) = x.as_chunks::<8>();
    for chunk in whole {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += f(v);
    }
    lanes.into_iter().sum()
}
