//! Layer normalization (Ba, Kiros, Hinton 2016): y = gain * (x - mean) / sqrt(var + ε) + bias.

use super::kernels::vectorized;
use super::network::LAYER_NORM_EPSILON;
use super::real::Real;

vectorized! {
    /// Normalizes each row of `x [R, width]` into `y`. For the backward pass, the normalized rows before gain and
    /// bias are stored in `normal [R, width]`, and 1/sqrt(var + ε) in `inverse [R]`.
    pub fn forward<T: Real>(x: &[T], gain: &[T], bias: &[T], normal: &mut [T], inverse: &mut [T], y: &mut [T]) {
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
    pub fn backward<T: Real>(dy: &mut [T], gain: &[T], normal: &[T], inverse: &[T], dgain: &mut [T], dbias: &mut [T]) {
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
