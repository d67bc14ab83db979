//! Matrix products in tiles of eight rows for processors with AVX-512.
//!
//! `unsafe` is used for vector instructions and their loads and stores, after checking that the processor
//! supports them and that every length matches. The tiles in `kernels` are plain loops vectorized by the
//! compiler; for this shape the compiler would keep the sums on the stack, hence the intrinsics.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512, __mmask16, _mm256_loadu_si256, _mm512_add_ps, _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
};

use half::f16;

use super::packed::{PANEL, Packed, Panels};

/// Rows of a tile. Its 8 x 2 sums and the weights fit into the 32 registers.
const ROWS: usize = 8;

/// `y [n, out] += x [n, in] M` for the rows that fill whole tiles; returns their number. Each sum adds the products in
/// the order of the inputs, as in the tiles for AVX2, so the results are bit-identical.
pub fn multiply_add(x: &[f32], m: &Packed<f32>, y: &mut [f32], stride: usize, backwards: bool) -> usize {
    if !is_x86_feature_detected!("avx512f") {
        return 0;
    }
    // SAFETY: the processor supports these instructions, as checked above.
    unsafe {
        match m.panels() {
            Panels::Single(panels) => whole_tiles(x, m, panels, y, stride, backwards),
            Panels::Half(panels) => whole_tiles(x, m, panels, y, stride, backwards),
            Panels::Bf16(_) => 0,
        }
    }
}

/// A number type in which weights are stored.
trait Weight: Sized {
    /// Sixteen weights, converted to f32.
    ///
    /// # Safety
    /// `at` must point to at least 16 values, and the processor support AVX-512.
    unsafe fn load(at: *const Self) -> __m512;
}

impl Weight for f32 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(at: *const Self) -> __m512 {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_loadu_ps(at) }
    }
}

impl Weight for f16 {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load(at: *const Self) -> __m512 {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }
}

#[target_feature(enable = "avx512f")]
fn whole_tiles<W: Weight>(
    x: &[f32],
    m: &Packed<f32>,
    panels: &[W],
    y: &mut [f32],
    stride: usize,
    backwards: bool,
) -> usize {
    let inner = m.inputs();
    let size = ROWS * inner;
    let rows = x.len() / size * ROWS;
    // Blocks of rows fit the second-level cache while all panels are read; with many inputs the weights should not be
    // read too often.
    let block = (24_576 / size).max(6) * size;
    for (i, x) in x[..rows * inner].chunks(block).enumerate() {
        let y = &mut y[i * block / inner * stride..];
        let pairs = panels.len().div_ceil(2 * PANEL * inner);
        for pair in 0..pairs {
            let first = 2 * if backwards { pairs - 1 - pair } else { pair };
            let panels = &panels[first * inner * PANEL..];
            let width = (m.outputs() - first * PANEL).min(2 * PANEL);
            for (row, x) in x.chunks_exact(size).enumerate() {
                let y = &mut y[row * ROWS * stride + first * PANEL..];
                if width > PANEL {
                    tile::<2, W>(x, panels, y, stride, width);
                } else {
                    tile::<1, W>(x, panels, y, stride, width);
                }
            }
        }
    }
    rows
}

/// Multiplies eight rows of x by `PANELS` adjacent panels.
#[target_feature(enable = "avx512f")]
fn tile<const PANELS: usize, W: Weight>(x: &[f32], panels: &[W], y: &mut [f32], stride: usize, width: usize) {
    let inner = x.len() / ROWS;
    assert!(
        panels.len() >= PANELS * inner * PANEL
            && width <= PANELS * PANEL
            && y.len() >= (ROWS - 1) * stride + width,
        "shapes of a tile"
    );
    let mut sums = [[_mm512_setzero_ps(); PANELS]; ROWS];
    for k in 0..inner {
        let mut weights: [__m512; PANELS] = [_mm512_setzero_ps(); PANELS];
        for (p, w) in weights.iter_mut().enumerate() {
            // SAFETY: p < PANELS and k < inner, so 16 values are in bounds by the check above.
            *w = unsafe { W::load(panels.as_ptr().add((p * inner + k) * PANEL)) };
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: i < ROWS and k < inner, and x has ROWS * inner values or more.
            let a = _mm512_set1_ps(unsafe { *x.get_unchecked(i * inner + k) });
            for (sum, &w) in sums.iter_mut().zip(&weights) {
                *sum = _mm512_fmadd_ps(a, w, *sum);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (p, &sum) in sums.iter().enumerate() {
            let at = y.as_mut_ptr().wrapping_add(i * stride + p * PANEL);
            // SAFETY: the mask selects only columns below `width`, which are in bounds by the check above.
            unsafe { add_at(at, columns(width, p), sum) }
        }
    }
}

/// Number of steps whose products are summed in registers before they are added to the gradient; the rows of both
/// factors fit the second-level cache.
const STEPS: usize = 256;

/// `c [m, n] += a^T b` with `a [k, m]`, `b [k, n]`. Returns false without computing anything if the processor has no
/// AVX-512 or m is not a multiple of the tile's rows.
///
/// # Panics
/// When a length does not match its shape.
pub fn add_outer_products(a: &[f32], b: &[f32], c: &mut [f32], m: usize, n: usize) -> bool {
    if m == 0 || n == 0 || !m.is_multiple_of(ROWS) || !is_x86_feature_detected!("avx512f") {
        return false;
    }
    let k = a.len() / m;
    assert!(a.len() == k * m && b.len() == k * n && c.len() == m * n, "shapes of a weight gradient");
    for (a, b) in a.chunks(STEPS * m).zip(b.chunks(STEPS * n)) {
        for j in (0..n).step_by(2 * PANEL) {
            for i in (0..m).step_by(ROWS) {
                // SAFETY: the processor supports these instructions, as checked above.
                unsafe { outer_tile(a, b, c, [m, n], [i, j]) }
            }
        }
    }
    true
}

/// `c[i.., j..] += sum over steps of a[i..]^T b[j..]`, for eight rows and up to 32 columns of c.
#[target_feature(enable = "avx512f")]
fn outer_tile(a: &[f32], b: &[f32], c: &mut [f32], [m, n]: [usize; 2], [i, j]: [usize; 2]) {
    let steps = a.len() / m;
    assert!(i + ROWS <= m && j < n && b.len() >= steps * n && c.len() >= m * n, "a tile inside the gradient");
    let masks = [0, 1].map(|p| columns(n - j, p));
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for step in 0..steps {
        // SAFETY: the masks select only columns below n, and b has a row for each step, by the check above.
        let row = unsafe {
            let at = b.as_ptr().wrapping_add(step * n + j);
            [_mm512_maskz_loadu_ps(masks[0], at), _mm512_maskz_loadu_ps(masks[1], at.wrapping_add(PANEL))]
        };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: i + r < m, and a has a row of m values for each step.
            let a = _mm512_set1_ps(unsafe { *a.get_unchecked(step * m + i + r) });
            for (sum, &b) in sums.iter_mut().zip(&row) {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (p, &sum) in sums.iter().enumerate() {
            let at = c.as_mut_ptr().wrapping_add((i + r) * n + j + p * PANEL);
            // SAFETY: the masks select only columns below n, and i + r < m.
            unsafe { add_at(at, masks[p], sum) }
        }
    }
}

/// The mask of register `p` that selects the existing ones of `width` columns.
#[inline]
pub(super) fn columns(width: usize, p: usize) -> __mmask16 {
    ((1u32 << width.saturating_sub(p * PANEL).min(PANEL)) - 1) as __mmask16
}

/// Adds `sum` to the values at `at` that the mask selects.
///
/// # Safety
/// Those values must be in bounds.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn add_at(at: *mut f32, mask: __mmask16, sum: __m512) {
    // SAFETY: the caller guarantees that the selected values are in bounds.
    unsafe { _mm512_mask_storeu_ps(at, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, at), sum)) }
}

#[cfg(test)]
mod tests {
    use super::super::kernels;
    use super::super::packed::{Precision, Purpose};
    use super::*;

    #[test]
    fn tiles_and_single_rows_are_bit_identical() {
        for (n, inner, out) in [(8, 5, 3), (9, 33, 17), (64, 192, 576), (23, 320, 40)] {
            let x: Vec<f32> = (0..n * inner).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            let w: Vec<f32> = (0..out * inner).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
            let packed = Packed::transposed(&w, out, inner, Purpose::Training(Precision::Fp32));
            for backwards in [false, true] {
                let mut y = vec![0.5; n * (out + 3)];
                let rows = multiply_add(&x, &packed, &mut y, out + 3, backwards);
                assert!(rows == n / 8 * 8 || rows == 0);
                let mut expected = vec![0.5; n * (out + 3)];
                for (x, y) in x.chunks(inner).zip(expected.chunks_mut(out + 3)).take(rows) {
                    kernels::multiply_add(x, &packed, y, out);
                }
                assert_eq!(y, expected);
            }
        }
    }

    #[test]
    fn gradient_of_weights_is_a_sum_of_outer_products() {
        for (k, m, n) in [(1, 8, 1), (300, 16, 33), (513, 40, 192)] {
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
        assert!(!add_outer_products(&[1.0; 6], &[1.0; 4], &mut [0.0; 6], 3, 2));
    }
}
