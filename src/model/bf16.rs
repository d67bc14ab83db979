//! Matrix products of 16-bit factors (bf16) with sums in f32, for training in mixed precision (Kalamkar et al. 2019, "A
//! study of BFLOAT16 for deep learning training"; Micikevicius et al. 2018, "Mixed precision training").
//!
//! Weights, activations and gradients stay f32 outside of the products: both factors are rounded as they are read. The
//! instructions multiply pairs of adjacent values, so a pair is stored as one `u32`, the first value in its lower half.
//! `unsafe` is used for the vector instructions of conversions, after checking that the processor supports them.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256bh, __m256i, __m512i, _mm256_storeu_si256, _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh,
    _mm512_maskz_loadu_ps, _mm512_or_si512, _mm512_slli_epi32, _mm512_storeu_si512,
};
use std::cell::RefCell;
use std::mem::transmute;

use super::amx::{self, Instructions, instructions};
use super::avx512_bf16;
use super::bf16_pairs::{OuterProducts, PANEL, Product, padded, pairs};
use super::packed::Packed;

/// Rows of x that are rounded together; with the weights they fit the second-level cache.
const ROWS: usize = 256;

/// Steps whose products are summed in registers before they are added to a gradient.
const STEPS: usize = 512;

/// Factors in the layout of the products, reused by all calls of a thread.
#[derive(Default)]
struct Scratch {
    left: Vec<u32>,
    right: Vec<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `y [n, out] += x [n, in] M` for a matrix of bf16 pairs, where a row of y begins every `stride` values. A row's result
/// does not depend on the number of rows.
///
/// # Panics
/// When a length does not match its shape, or the processor lacks the instructions (then there is no such matrix).
pub(super) fn multiply_add(
    x: &[f32],
    m: &Packed<f32>,
    panels: &[u32],
    y: &mut [f32],
    stride: usize,
    backwards: bool,
) {
    let (inner, cols) = (m.inputs(), m.outputs());
    let Some(instructions) = instructions() else { unreachable!("weights in bf16 need its instructions") };
    let n = x.len() / inner;
    assert!(
        x.len() == n * inner
            && (n == 0 || y.len() >= (n - 1) * stride + cols)
            && stride >= cols
            && panels.len() == cols.div_ceil(PANEL) * pairs(inner) * PANEL,
        "shapes of a product"
    );
    SCRATCH.with_borrow_mut(|scratch| {
        for (x, y) in x.chunks(ROWS * inner).zip(y.chunks_mut(ROWS * stride)) {
            // SAFETY: the processor supports these instructions, as `instructions` says.
            unsafe { round_rows(x, inner, &mut scratch.left) };
            let product =
                Product { left: &scratch.left, panels, pairs: pairs(inner), cols, stride, backwards };
            match instructions {
                Instructions::Amx => amx::multiply_add(&product, y),
                Instructions::Avx512 => avx512_bf16::multiply_add(&product, y),
            }
        }
    });
}

/// `c [m, n] += a^T b` with `a [k, m]`, `b [k, n]`, both rounded to bf16. Returns false without computing anything if the
/// processor has no instructions for it.
///
/// # Panics
/// When a length does not match its shape.
pub(super) fn add_outer_products(a: &[f32], b: &[f32], c: &mut [f32], m: usize, n: usize) -> bool {
    let Some(instructions) = instructions() else { return false };
    let k = a.len() / m;
    assert!(a.len() == k * m && b.len() == k * n && c.len() == m * n, "shapes of a weight gradient");
    SCRATCH.with_borrow_mut(|Scratch { left, right }| {
        for (a, b) in a.chunks(STEPS * m).zip(b.chunks(STEPS * n)) {
            let pairs = pairs(a.len() / m);
            // SAFETY: the processor supports these instructions, as `instructions` says.
            unsafe {
                pair_steps(a, m, pairs, left);
                pair_steps(b, n, pairs, right);
            }
            let products = OuterProducts { left, right, pairs, m, n };
            match instructions {
                Instructions::Amx => amx::add_outer_products(&products, c),
                Instructions::Avx512 => avx512_bf16::add_outer_products(&products, c),
            }
        }
    });
    true
}

/// Replaces `rounded` by the rows of `x [n, in]` as `[n, pairs]`, padded with zeros.
#[target_feature(enable = "avx512f,avx512bf16")]
fn round_rows(x: &[f32], inner: usize, rounded: &mut Vec<u32>) {
    let pairs = pairs(inner);
    // Every value is written below.
    rounded.resize(x.len() / inner * pairs, 0);
    for (x, rounded) in x.chunks_exact(inner).zip(rounded.chunks_exact_mut(pairs)) {
        for (i, rounded) in rounded.as_chunks_mut::<{ PANEL / 2 }>().0.iter_mut().enumerate() {
            // SAFETY: the mask selects the values of the row from 16 i on, and 16 rounded ones fill a chunk.
            unsafe {
                let mask = mask(inner.saturating_sub(i * PANEL));
                let values = _mm512_maskz_loadu_ps(mask, x.as_ptr().wrapping_add(i * PANEL));
                let values = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values));
                _mm256_storeu_si256(rounded.as_mut_ptr().cast(), values);
            }
        }
    }
}

/// Replaces `paired` by the rows of `x [k, columns]`, two and two, as `[pairs, padded(columns)]`.
#[target_feature(enable = "avx512f,avx512bf16")]
fn pair_steps(x: &[f32], columns: usize, pairs: usize, paired: &mut Vec<u32>) {
    let width = padded(columns);
    // Every value is written below.
    paired.resize(pairs * width, 0);
    let mut rows = x.chunks_exact(columns);
    for paired in paired.chunks_exact_mut(width) {
        let (first, second) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
        for (i, paired) in paired.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
            // SAFETY: 16 pairs fill a chunk.
            unsafe {
                let pair = _mm512_or_si512(widened(first, i), _mm512_slli_epi32::<16>(widened(second, i)));
                _mm512_storeu_si512(paired.as_mut_ptr().cast(), pair);
            }
        }
    }
}

/// The values of `row` from 16 i on, rounded, in the lower halves; zeros behind its end.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn widened(row: &[f32], i: usize) -> __m512i {
    // SAFETY: the mask selects only existing values of the row.
    let values = unsafe {
        _mm512_maskz_loadu_ps(mask(row.len().saturating_sub(i * PANEL)), row.as_ptr().wrapping_add(i * PANEL))
    };
    // SAFETY: both types are 16 values of 16 bits.
    _mm512_cvtepu16_epi32(unsafe { transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values)) })
}

/// The mask that selects the first `values` values of a register.
fn mask(values: usize) -> u16 {
    ((1u32 << values.min(PANEL)) - 1) as u16
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::super::kernels;
    use super::super::packed::{Panels, Precision, Purpose};
    use super::*;

    fn numbers(count: usize, period: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 % period) as f32 - period as f32 / 2.0) / 77.0).collect()
    }

    fn rounded(values: &[f32]) -> Vec<f32> {
        values.iter().map(|&value| bf16::from_f32(value).to_f32()).collect()
    }

    /// Runs `check` with each set of instructions of this processor; says so if it has none.
    fn with_each(check: impl Fn(Instructions)) {
        let Some(best) = instructions() else {
            eprintln!("NOT TESTED: this processor has no bf16 instructions");
            return;
        };
        check(Instructions::Avx512);
        if best == Instructions::Amx {
            check(Instructions::Amx);
        }
    }

    #[test]
    fn products_are_those_of_the_rounded_factors() {
        with_each(|instructions| {
            for (n, inner, out) in [(1, 5, 3), (7, 33, 17), (16, 64, 48), (33, 320, 40), (300, 40, 90)] {
                let (x, w) = (numbers(n * inner, 101), numbers(out * inner, 97));
                let purpose = Purpose::Training(Precision::Bf16);
                let stride = out + 3;
                let expected: Vec<f32> = {
                    let mut y = vec![0.5; n * stride];
                    let m = Packed::transposed(&rounded(&w), out, inner, Purpose::Training(Precision::Fp32));
                    kernels::multiply_add(&rounded(&x), &m, &mut y, stride);
                    y
                };
                let m = Packed::transposed(&w, out, inner, purpose);
                let Panels::Bf16(panels) = m.panels() else { panic!("weights in bf16") };
                for backwards in [false, true] {
                    let mut y = vec![0.5; n * stride];
                    let mut left = Vec::new();
                    for (x, y) in x.chunks(ROWS * inner).zip(y.chunks_mut(ROWS * stride)) {
                        // SAFETY: `with_each` only names instructions that the processor has.
                        unsafe { round_rows(x, inner, &mut left) };
                        let product = Product {
                            left: &left,
                            panels,
                            pairs: pairs(inner),
                            cols: out,
                            stride,
                            backwards,
                        };
                        match instructions {
                            Instructions::Amx => amx::multiply_add(&product, y),
                            Instructions::Avx512 => avx512_bf16::multiply_add(&product, y),
                        }
                    }
                    for (i, (y, expected)) in y.iter().zip(&expected).enumerate() {
                        assert!(
                            (y - expected).abs() < 1e-4,
                            "{instructions:?} {n} {inner} {out} {i}: {y} {expected}"
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn gradients_are_those_of_the_rounded_factors() {
        with_each(|instructions| {
            for (k, m, n) in [(1, 8, 1), (31, 16, 33), (300, 40, 192), (512, 9, 70)] {
                let (a, b) = (numbers(k * m, 89), numbers(k * n, 83));
                let mut expected = vec![1.0; m * n];
                kernels::add_outer_products(&rounded(&a), &rounded(&b), &mut expected, m, n);
                let mut c = vec![1.0; m * n];
                let (mut left, mut right) = (Vec::new(), Vec::new());
                // SAFETY: `with_each` only names instructions that the processor has.
                unsafe {
                    pair_steps(&a, m, pairs(k), &mut left);
                    pair_steps(&b, n, pairs(k), &mut right);
                }
                let products = OuterProducts { left: &left, right: &right, pairs: pairs(k), m, n };
                match instructions {
                    Instructions::Amx => amx::add_outer_products(&products, &mut c),
                    Instructions::Avx512 => avx512_bf16::add_outer_products(&products, &mut c),
                }
                for (i, (c, expected)) in c.iter().zip(&expected).enumerate() {
                    assert!((c - expected).abs() < 1e-3, "{instructions:?} {k} {m} {n} {i}: {c} {expected}");
                }
            }
        });
    }

    #[test]
    fn a_row_does_not_depend_on_the_number_of_rows_and_what_is_no_number_stays() {
        let (n, inner, out) = (70, 40, 35);
        let (mut x, w) = (numbers(n * inner, 101), numbers(out * inner, 97));
        x[3 * inner + 7] = f32::NAN;
        let m = Packed::transposed(&w, out, inner, Purpose::Training(Precision::Bf16));
        let mut together = vec![0.0; n * out];
        kernels::multiply_add(&x, &m, &mut together, out);
        for (i, (x, together)) in x.chunks(inner).zip(together.chunks(out)).enumerate() {
            let mut alone = vec![0.0; out];
            kernels::multiply_add(x, &m, &mut alone, out);
            if i == 3 {
                assert!(alone.iter().chain(together).all(|y| y.is_nan()));
            } else {
                assert_eq!(alone, together);
            }
        }
    }
}
