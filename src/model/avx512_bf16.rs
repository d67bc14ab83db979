//! Matrix products in tiles of eight rows for processors with AVX512-BF16, whose instruction adds two products to each
//! of sixteen sums.
//!
//! `unsafe` is used for vector instructions and their loads and stores, after checking that every length matches; the
//! callers check that the processor supports them.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
};
use std::mem::transmute;

use super::avx512::{add_at, columns};
use super::bf16_pairs::{OuterProducts, PANEL, Product, padded};

/// Rows of a tile. Its 8 x 2 sums and the weights fit into the 32 registers.
const ROWS: usize = 8;

/// `y [n, cols] += x M`.
///
/// # Panics
/// When a length does not match its shape.
pub(super) fn multiply_add(product: &Product<'_>, y: &mut [f32]) {
    let &Product { left, panels, pairs, cols, stride, backwards } = product;
    let n = left.len() / pairs;
    assert!(panels.len() == cols.div_ceil(PANEL) * pairs * PANEL, "shapes of a product");
    let blocks = cols.div_ceil(2 * PANEL);
    for i in 0..blocks {
        let column = 2 * PANEL * if backwards { blocks - 1 - i } else { i };
        // The last panel may be single; its tile reads no second one.
        let right = &panels[column * pairs..];
        let tile = Tile {
            left_step: 1,
            left_next: pairs,
            right,
            right_step: PANEL,
            right_next: pairs * PANEL,
            pairs,
            width: (cols - column).min(2 * PANEL),
            stride,
        };
        for row in (0..n).step_by(ROWS) {
            tile.add_rows(&left[row * pairs..], &mut y[row * stride + column..], n - row);
        }
    }
}

/// `c [m, n] += a^T b`.
///
/// # Panics
/// When a length does not match its shape.
pub(super) fn add_outer_products(products: &OuterProducts<'_>, c: &mut [f32]) {
    let &OuterProducts { left, right, pairs, m, n } = products;
    for column in (0..n).step_by(2 * PANEL) {
        let tile = Tile {
            left_step: padded(m),
            left_next: 1,
            right: &right[column..],
            right_step: padded(n),
            right_next: PANEL,
            pairs,
            width: (n - column).min(2 * PANEL),
            stride: n,
        };
        for row in (0..m).step_by(ROWS) {
            tile.add_rows(&left[row..], &mut c[row * n + column..], m - row);
        }
    }
}

/// Factors of a column of tiles. Distances are in values.
struct Tile<'a> {
    /// Distances of the left factor's pairs and of its rows.
    left_step: usize,
    left_next: usize,
    right: &'a [u32],
    /// Distances of the right factor's pairs and of its registers.
    right_step: usize,
    right_next: usize,
    pairs: usize,
    /// Columns, up to 32.
    width: usize,
    /// Distance of the rows of the result.
    stride: usize,
}

impl Tile<'_> {
    /// Adds the products to the first `rows` rows of `y`, at most eight.
    fn add_rows(&self, left: &[u32], y: &mut [f32], rows: usize) {
        // SAFETY: only called where the processor supports these instructions.
        unsafe {
            match (rows, self.width > PANEL) {
                (ROWS.., true) => self.add::<ROWS, 2>(left, y),
                (ROWS.., false) => self.add::<ROWS, 1>(left, y),
                (_, wide) => {
                    for i in 0..rows {
                        let (left, y) = (&left[i * self.left_next..], &mut y[i * self.stride..]);
                        if wide { self.add::<1, 2>(left, y) } else { self.add::<1, 1>(left, y) }
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn add<const N: usize, const PANELS: usize>(&self, left: &[u32], y: &mut [f32]) {
        let &Self { left_step, left_next, right, right_step, right_next, pairs, width, stride } = self;
        let last = pairs - 1;
        assert!(
            left.len() > last * left_step + (N - 1) * left_next
                && right.len() >= last * right_step + (PANELS - 1) * right_next + PANEL
                && width <= PANELS * PANEL
                && y.len() >= (N - 1) * stride + width,
            "shapes of a tile"
        );
        let mut sums = [[_mm512_setzero_ps(); PANELS]; N];
        for k in 0..pairs {
            // SAFETY: k < pairs, i < N and p < PANELS, so all reads are in bounds by the check above; a register holds
            // sixteen pairs, however it is called.
            unsafe {
                let mut weights: [__m512bh; PANELS] =
                    [transmute::<__m512, __m512bh>(_mm512_setzero_ps()); PANELS];
                for (p, w) in weights.iter_mut().enumerate() {
                    let at = right.as_ptr().add(k * right_step + p * right_next);
                    *w = transmute::<__m512i, __m512bh>(_mm512_loadu_si512(at.cast()));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let pair = *left.get_unchecked(k * left_step + i * left_next);
                    let pair = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair.cast_signed()));
                    for (sum, &w) in sums.iter_mut().zip(&weights) {
                        *sum = _mm512_dpbf16_ps(*sum, pair, w);
                    }
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
}
