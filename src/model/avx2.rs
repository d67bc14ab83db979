//! Matrix products for processors with AVX2, FMA and conversions of 16-bit floats (F16C).
//!
//! `unsafe` is used for vector instructions and their loads and stores, after checking that the processor
//! supports them and that every length matches. The tiles in `kernels` are plain loops vectorized by the
//! compiler; for tiles of more than four rows it would keep the sums on the stack, hence the intrinsics.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_add_ps, _mm256_cvtph_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};
use std::cell::RefCell;
use std::ops::Range;

use half::f16;

use super::packed::{PANEL, Packed, Panels, has_wide_kernels};

/// Rows of the largest tile: its 6 x 2 sums, two registers of weights and one of x fit into the 16 registers.
const ROWS: usize = 6;

/// Number of f32 values in a register.
const LANES: usize = PANEL / 2;

/// The arguments of a product `y [n, out] = start + x [n, in] M`; a row of y begins every `stride` values.
struct Product<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    /// The row that the products are added to; y itself if there is none.
    bias: Option<&'a [f32]>,
    inner: usize,
    outputs: usize,
    stride: usize,
    backwards: bool,
}

/// Computes `y [n, out] += x [n, in] M`, or returns false if the processor lacks the instructions. Each sum adds the
/// products in the order of the inputs, as in the other tiles, so the results are bit-identical.
///
/// # Panics
/// When a length does not match its shape.
pub fn multiply_add(x: &[f32], m: &Packed<f32>, y: &mut [f32], stride: usize, backwards: bool) -> bool {
    let (inner, outputs) = (m.inputs(), m.outputs());
    Product { x, y, bias: None, inner, outputs, stride, backwards }.checked_run(m)
}

/// Computes `y [n, out] = bias [out] + x [n, in] M`, or returns false if the processor lacks the instructions.
///
/// # Panics
/// When a length does not match its shape.
pub fn multiply(x: &[f32], m: &Packed<f32>, bias: &[f32], y: &mut [f32]) -> bool {
    let (inner, outputs) = (m.inputs(), m.outputs());
    Product { x, y, bias: Some(bias), inner, outputs, stride: outputs, backwards: false }.checked_run(m)
}

impl Product<'_> {
    fn checked_run(self, m: &Packed<f32>) -> bool {
        if !has_wide_kernels() {
            return false;
        }
        let Self { outputs, inner, stride, .. } = self;
        let rows = self.x.len() / inner.max(1);
        if rows == 0 || outputs == 0 {
            return true;
        }
        assert!(
            self.x.len() == rows * inner
                && self.y.len() >= (rows - 1) * stride + outputs
                && (rows == 1 || stride >= outputs)
                && self.bias.is_none_or(|bias| bias.len() == outputs),
            "shapes of a matrix product"
        );
        let size = outputs.div_ceil(PANEL) * inner * PANEL;
        // SAFETY: the processor supports these instructions, as checked above; the lengths of x, y and the bias were
        // checked, and those of the weights are checked here.
        unsafe {
            match m.panels() {
                Panels::Single(values) => {
                    assert!(values.len() >= size, "a packed matrix");
                    self.run(values.as_ptr());
                }
                Panels::Half(values) => {
                    assert!(values.len() >= size, "a packed matrix");
                    self.run(values.as_ptr());
                }
                Panels::Bf16(_) => return false,
            }
        }
        true
    }

    /// # Safety
    /// `weights` must point to all panels, and x, y and the bias must have the lengths of their shapes.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn run<W: Weight>(self, weights: *const W) {
        let Self { x, y, bias, inner, outputs, stride, backwards } = self;
        // Blocks of rows fit the second-level cache while all panels are read; a panel fits the first-level cache while
        // a block is processed. With many inputs both are larger, and the weights should not be read too often.
        let block = (24_576 / inner).max(8 * ROWS) / ROWS * ROWS;
        let panels = outputs.div_ceil(PANEL);
        // For several tiles of rows, compact weights are converted once.
        let is_converted = W::IS_COMPACT && x.len() > ROWS * inner;
        let mut converted = vec![0.0; if is_converted { inner * PANEL } else { 0 }];
        for (i, x) in x.chunks(block * inner).enumerate() {
            let (rows, y) = (x.len() / inner, y.as_mut_ptr().wrapping_add(i * block * stride));
            // Few rows are multiplied by several panels at once: the latency of the additions (four cycles, and two can
            // start in each) needs at least eight sums.
            let together = match rows {
                1 => 4,
                2 => 3,
                3 => 2,
                _ => 1,
            };
            let groups = panels.div_ceil(together);
            for group in 0..groups {
                let first = together * if backwards { groups - 1 - group } else { group };
                let count = together.min(panels - first);
                let width = (outputs - first * PANEL).min(count * PANEL);
                let weights = weights.wrapping_add(first * inner * PANEL);
                let y = y.wrapping_add(first * PANEL);
                let start = match bias {
                    Some(bias) => Start { row: bias[first * PANEL..].as_ptr(), stride: 0 },
                    None => Start { row: y, stride },
                };
                // SAFETY: x has `rows` rows from here, y and `start` as many of `width` values, by the caller's lengths;
                // `weights` points to `count` panels.
                unsafe {
                    if is_converted && rows > ROWS {
                        for (i, values) in converted.chunks_exact_mut(LANES).enumerate() {
                            _mm256_storeu_ps(values.as_mut_ptr(), W::load(weights.add(i * LANES)));
                        }
                        let weights = converted.as_ptr();
                        Tile { weights, start, inner, stride, width }.column(rows, count, x, y);
                    } else {
                        Tile { weights, start, inner, stride, width }.column(rows, count, x, y);
                    }
                }
            }
        }
    }
}

/// The rows that products are added to.
#[derive(Clone, Copy)]
struct Start {
    row: *const f32,
    /// Distance of the rows; 0 if all are the same.
    stride: usize,
}

/// A group of adjacent panels.
#[derive(Clone, Copy)]
struct Tile<W> {
    weights: *const W,
    start: Start,
    inner: usize,
    stride: usize,
    /// Number of columns.
    width: usize,
}

impl<W: Weight> Tile<W> {
    /// Multiplies all rows by the panels, in tiles of nearly equal heights.
    ///
    /// # Safety
    /// As for [`Self::run`], for `rows` rows.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn column(mut self, rows: usize, panels: usize, x: &[f32], y: *mut f32) {
        let tiles = rows.div_ceil(ROWS);
        let mut row = 0;
        for i in 0..tiles {
            let height = (rows - row).div_ceil(tiles - i);
            // SAFETY: these rows exist, by the guarantee of the caller.
            unsafe {
                self.dispatch(height, panels, &x[row * self.inner..], y.wrapping_add(row * self.stride))
            };
            row += height;
            self.start.row = self.start.row.wrapping_add(height * self.start.stride);
        }
    }

    /// # Safety
    /// As for [`Self::run`].
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dispatch(self, rows: usize, panels: usize, x: &[f32], y: *mut f32) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match (rows, panels) {
                (1, 1) => self.run::<1, 1>(x, y),
                (1, 2) => self.run::<1, 2>(x, y),
                (1, 3) => self.run::<1, 3>(x, y),
                (1, _) => self.run::<1, 4>(x, y),
                (2, 1) => self.run::<2, 1>(x, y),
                (2, 2) => self.run::<2, 2>(x, y),
                (2, _) => self.run::<2, 3>(x, y),
                (3, 1) => self.run::<3, 1>(x, y),
                (3, _) => self.run::<3, 2>(x, y),
                (4, _) => self.run::<4, 1>(x, y),
                (5, _) => self.run::<5, 1>(x, y),
                _ => self.run::<6, 1>(x, y),
            }
        }
    }

    /// Multiplies `HEIGHT` rows of x by `PANELS` adjacent panels.
    ///
    /// # Safety
    /// x must have `HEIGHT` rows of `inner` values, y and `start` as many rows of `width` values, and `weights` must point
    /// to `PANELS` panels.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn run<const HEIGHT: usize, const PANELS: usize>(self, x: &[f32], y: *mut f32) {
        let Self { weights, start, inner, stride, width } = self;
        let mut sums = [[[_mm256_setzero_ps(); 2]; PANELS]; HEIGHT];
        if HEIGHT > 3 {
            // Its rows are needed at the end, and far apart.
            for i in 0..HEIGHT {
                _mm_prefetch::<_MM_HINT_T0>(y.wrapping_add(i * stride).cast());
            }
        }
        for k in 0..inner {
            if HEIGHT > 1 {
                // The weights that a later step needs; a stream of panels is too short for the processor to predict it.
                for p in 0..PANELS {
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add((p * inner + k + AHEAD) * PANEL).cast());
                }
            }
            for p in 0..PANELS {
                // SAFETY: p < PANELS and k < inner, so 16 values are inside the panels.
                let w = unsafe {
                    let at = weights.add((p * inner + k) * PANEL);
                    [W::load(at), W::load(at.add(LANES))]
                };
                for (i, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: x has HEIGHT rows of `inner` values.
                    let a = _mm256_set1_ps(unsafe { *x.get_unchecked(i * inner + k) });
                    for (sum, &w) in sums[p].iter_mut().zip(&w) {
                        *sum = _mm256_fmadd_ps(a, w, *sum);
                    }
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let from = start.row.wrapping_add(i * start.stride);
            // SAFETY: y and `start` have these rows.
            unsafe { add(sums.as_flattened(), from, y.wrapping_add(i * stride), width) };
        }
    }
}

/// Number of steps ahead for which weights are prefetched.
const AHEAD: usize = 48;

/// A number type in which weights are stored.
trait Weight: Copy {
    /// Whether loading includes a conversion.
    const IS_COMPACT: bool;

    /// Eight weights, converted to f32.
    ///
    /// # Safety
    /// `at` must point to at least eight values, and the processor support the instructions of this module.
    unsafe fn load(at: *const Self) -> __m256;
}

impl Weight for f32 {
    const IS_COMPACT: bool = false;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(at: *const Self) -> __m256 {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_loadu_ps(at) }
    }
}

impl Weight for f16 {
    const IS_COMPACT: bool = true;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(at: *const Self) -> __m256 {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
    }
}

/// Adds registers to the `width` values at `from`, and writes the sums to `y`, which may be the same place; what the
/// registers hold beyond is ignored.
///
/// # Safety
/// Both must point to `width` values, and `width` be at most the number of values in the registers.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add(sums: &[__m256], from: *const f32, y: *mut f32, width: usize) {
    for (i, &sum) in sums.iter().enumerate() {
        let (from, at) = (from.wrapping_add(i * LANES), y.wrapping_add(i * LANES));
        let rest = width.saturating_sub(i * LANES);
        // SAFETY: `rest` values are left at this place.
        unsafe {
            if rest >= LANES {
                _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(from), sum));
            } else {
                let mut values = [0.0; LANES];
                _mm256_storeu_ps(values.as_mut_ptr(), sum);
                for (j, value) in values.iter().enumerate().take(rest) {
                    *at.add(j) = *from.add(j) + value;
                }
            }
        }
    }
}

/// Number of steps whose products are summed in registers before they are added to the gradient, as with AVX-512.
const STEPS: usize = 256;

/// Rows of a gradient that are computed together: the values of a of 256 steps fit the second-level cache.
const BLOCK: usize = 20 * ROWS;

thread_local! {
    /// Both factors of a gradient in the order in which the tiles read them.
    static FACTORS: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// `c [m, n] += a^T b` with `a [k, m]`, `b [k, n]`, or returns false if the processor lacks the instructions. The sums
/// are those of the tiles with AVX-512, bit for bit.
///
/// # Panics
/// When a length does not match its shape.
pub fn add_outer_products(a: &[f32], b: &[f32], c: &mut [f32], m: usize, n: usize) -> bool {
    if m == 0 || n == 0 || !has_wide_kernels() {
        return false;
    }
    let k = a.len() / m;
    assert!(a.len() == k * m && b.len() == k * n && c.len() == m * n, "shapes of a weight gradient");
    FACTORS.with_borrow_mut(|(left, right)| {
        for (a, b) in a.chunks(STEPS * m).zip(b.chunks(STEPS * n)) {
            let steps = a.len() / m;
            let right_size = pack::<PANEL>(b, n, 0..n, right);
            for first in (0..m).step_by(BLOCK) {
                let block = first..(first + BLOCK).min(m);
                let left_size = pack::<ROWS>(a, m, block.clone(), left);
                for (j, right) in (0..n).step_by(PANEL).zip(right.chunks_exact(right_size)) {
                    for (i, left) in block.clone().step_by(ROWS).zip(left.chunks_exact(left_size)) {
                        let (left, right) = (&left[..steps * ROWS], &right[..steps * PANEL]);
                        let (rows, width) = (ROWS.min(m - i), PANEL.min(n - j));
                        let c = &mut c[i * n + j..(i + rows - 1) * n + j + width];
                        // SAFETY: the processor supports these instructions, as checked above; c has `rows` rows of
                        // `width` values every n values.
                        unsafe { outer_tile(left, right, c, n, [rows, width]) };
                    }
                }
            }
        }
    });
    true
}

/// Replaces `packed` by the columns `range` of `values [k, width]` in groups of `SIZE`, each `[k, SIZE]`, the last filled
/// up with zeros. Returns the distance of the groups, which is a little more than their size: at multiples of a power of
/// two they would share a few places of the cache.
fn pack<const SIZE: usize>(
    values: &[f32],
    width: usize,
    range: Range<usize>,
    packed: &mut Vec<f32>,
) -> usize {
    let size = values.len() / width * SIZE + PANEL;
    packed.clear();
    packed.resize(range.len().div_ceil(SIZE) * size, 0.0);
    for (step, row) in values.chunks_exact(width).enumerate() {
        for (group, values) in packed.chunks_exact_mut(size).zip(row[range.clone()].chunks(SIZE)) {
            let group = &mut group[step * SIZE..(step + 1) * SIZE];
            match <&[f32; SIZE]>::try_from(values) {
                Ok(values) => group.copy_from_slice(values),
                Err(_) => group[..values.len()].copy_from_slice(values),
            }
        }
    }
    size
}

/// Adds the sum over steps of `left [steps, 6]^T right [steps, 16]` to `c`, of which `rows` rows of `width` values, every
/// `stride` values, exist.
///
/// # Safety
/// c must have these rows.
#[target_feature(enable = "avx2,fma")]
unsafe fn outer_tile(left: &[f32], right: &[f32], c: &mut [f32], stride: usize, [rows, width]: [usize; 2]) {
    let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
    let at = c.as_mut_ptr();
    for i in 0..rows {
        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(i * stride).cast());
        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(i * stride + width - 1).cast());
    }
    for (a, b) in left.as_chunks::<ROWS>().0.iter().zip(right.as_chunks::<PANEL>().0) {
        // SAFETY: b has two registers of values.
        let b = unsafe { [_mm256_loadu_ps(b.as_ptr()), _mm256_loadu_ps(b.as_ptr().add(LANES))] };
        for (sums, &a) in sums.iter_mut().zip(a) {
            let a = _mm256_set1_ps(a);
            for (sum, &b) in sums.iter_mut().zip(&b) {
                *sum = _mm256_fmadd_ps(a, b, *sum);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate().take(rows) {
        // SAFETY: row i exists and has `width` values, which is at most 16.
        unsafe { add(sums, at.wrapping_add(i * stride), at.wrapping_add(i * stride), width) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::{Precision, Purpose};
    use super::*;

    #[test]
    fn tiles_of_all_heights_and_both_types_of_weights_are_bit_identical() {
        for (inner, out) in [(5, 3), (33, 17), (64, 80), (320, 40)] {
            let most = 2 * ROWS + 1;
            let x: Vec<f32> = (0..most * inner).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            // Multiples of 1/64 below 1 are 16-bit floats.
            let w: Vec<f32> = (0..out * inner).map(|i| ((i * 53 % 97) as f32 - 48.0) / 64.0).collect();
            let single = Packed::transposed(&w, out, inner, Purpose::Training(Precision::Fp32));
            let half = Packed::transposed(&w, out, inner, Purpose::Inference);
            assert!(matches!(single.panels(), Panels::Single(_)));
            assert_eq!(matches!(half.panels(), Panels::Half(_)), has_wide_kernels());
            let stride = out + 3;
            let run = |m, rows: usize, backwards| {
                let mut y = vec![0.5; rows * stride];
                multiply_add(&x[..rows * inner], m, &mut y, stride, backwards).then_some(y)
            };
            let Some(all) = run(&single, most, false) else { return };
            for rows in 1..=most {
                for backwards in [false, true] {
                    for m in [&single, &half] {
                        let y = run(m, rows, backwards).expect("a processor with AVX2");
                        assert_eq!(y, all[..rows * stride], "{rows} x {inner} -> {out}");
                    }
                }
            }
            let exact =
                |i: usize, j: usize| (0..inner).map(|k| x[i * inner + k] * w[j * inner + k]).sum::<f32>();
            assert!(
                (0..most * out)
                    .all(|i| (all[i / out * stride + i % out] - 0.5 - exact(i / out, i % out)).abs() < 1e-4)
            );
        }
    }

    #[test]
    fn weights_that_are_not_halves_stay_as_they_are() {
        for value in [0.1, 1e6, f32::NAN, 1e-9] {
            let m = Packed::transposed(&[1.0, value], 2, 1, Purpose::Inference);
            assert!(matches!(m.panels(), Panels::Single(_)), "{value}");
        }
    }

    #[test]
    fn gradient_of_weights_is_a_sum_of_outer_products() {
        for (k, m, n) in [(1, 8, 1), (300, 16, 33), (513, 40, 192), (7, 123, 16), (2, 1, 5)] {
            let a: Vec<f32> = (0..k * m).map(|i| (i * 37 % 11) as f32 - 5.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i * 53 % 13) as f32 - 6.0).collect();
            let mut c = vec![1.0; m * n];
            if !add_outer_products(&a, &b, &mut c, m, n) {
                return;
            }
            for i in 0..m {
                for j in 0..n {
                    // Whole numbers: every sum is exact.
                    let sum: f32 = (0..k).map(|t| a[t * m + i] * b[t * n + j]).sum();
                    assert_eq!(c[i * n + j], 1.0 + sum);
                }
            }
        }
    }

    #[test]
    fn gradients_equal_those_with_avx512() {
        let (k, m, n) = (600, 24, 40);
        let a: Vec<f32> = (0..k * m).map(|i| (i as f32).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32).cos()).collect();
        let (mut c, mut wide) = (vec![0.25; m * n], vec![0.25; m * n]);
        if super::super::avx512::add_outer_products(&a, &b, &mut wide, m, n) {
            assert!(add_outer_products(&a, &b, &mut c, m, n));
            assert_eq!(c, wide);
        }
    }
}
