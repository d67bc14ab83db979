//! Matrix products. The loops over gates are in [`super::cells`].
//!
//! `unsafe` is used for two purposes only: calling a function compiled for vector instructions after checking that the
//! processor supports them, and the `gemm` crates' pointer interface, behind a function that checks every length.
//! Everything exported is safe, except for the function pointer that [`Kernels::gemm`] returns.
#![allow(unsafe_code)]

#[cfg(feature = "train")]
use gemm_common::Parallelism;

#[cfg(target_arch = "x86_64")]
use super::packed::Panels;
use super::packed::{PANEL, Packed};
use super::real::Real;

/// Compiles a function twice, for any processor and for AVX2 with FMA, and selects one at run time.
/// In the body, the constant `FMA` is true if a fused multiply-add is one instruction.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$t:ident: Real $(, const $n:ident: usize)?>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        $vis fn $name<$t: Real $(, const $n: usize)?>($($arg: $ty),*) {
            #[inline(always)]
            fn body<$t: Real $(, const $n: usize)?, const FMA: bool>($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2<$t: Real $(, const $n: usize)?>($($arg: $ty),*) {
                    body::<$t $(, $n)?, true>($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: the processor supports these instructions, as checked above.
                    return unsafe { avx2::<$t $(, $n)?>($($arg),*) };
                }
            }
            body::<$t $(, $n)?, { cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(crate) use vectorized;

/// Rows of a tile: its 4 x 2 sums are enough to keep both multipliers busy and leave registers for the weights. (With
/// six rows the compiler spills sums to the stack, and the tile takes twice as long.)
const TILE: usize = 4;

/// A number type for which the matrix products are compiled.
pub trait Kernels: Real {
    /// Computes the first rows of `y += x M` by tiles of intrinsics (`model::avx512`, `model::avx2`); returns how many.
    fn multiply_add_wide(
        _: &[Self],
        _: &Packed<Self>,
        _: &mut [Self],
        _stride: usize,
        _backwards: bool,
    ) -> usize {
        0
    }
    /// Computes `y = bias + x M` by tiles of intrinsics; returns false if there are none.
    fn multiply_wide(_x: &[Self], _: &Packed<Self>, _bias: &[Self], _y: &mut [Self]) -> bool {
        false
    }
    /// The same as [`Self::add_outer_products_wide`] with both factors rounded to bf16.
    fn add_outer_products_bf16(_a: &[Self], _b: &[Self], _c: &mut [Self], _m: usize, _n: usize) -> bool {
        false
    }
    /// Computes `c [m, n] += a^T b` by tiles of intrinsics; returns false if there are none.
    fn add_outer_products_wide(_a: &[Self], _b: &[Self], _c: &mut [Self], _m: usize, _n: usize) -> bool {
        false
    }
    /// The matrix product of the `gemm` crate for this type (feature `train`); unsafe to call, since it does not check sizes.
    #[cfg(feature = "train")]
    fn gemm() -> Gemm<Self>;
}

/// dst [m, n] = alpha dst + beta lhs [m, k] rhs [k, n]. Arguments: m, n, k, dst, whether dst is read, lhs, rhs, alpha,
/// beta, three conjugations, parallelism; each pointer is followed by its column and row strides. Only the crates for
/// f32 and f64 are used, since the general one compiles half and complex numbers too.
#[cfg(feature = "train")]
pub type Gemm<T> = unsafe fn(
    usize,
    usize,
    usize,
    *mut T,
    isize,
    isize,
    bool,
    *const T,
    isize,
    isize,
    *const T,
    isize,
    isize,
    T,
    T,
    bool,
    bool,
    bool,
    Parallelism,
);

impl Kernels for f32 {
    #[cfg(target_arch = "x86_64")]
    fn multiply_add_wide(
        x: &[Self],
        m: &Packed<Self>,
        y: &mut [Self],
        stride: usize,
        backwards: bool,
    ) -> usize {
        if let Panels::Bf16(panels) = m.panels() {
            super::bf16::multiply_add(x, m, panels, y, stride, backwards);
            return x.len() / m.inputs();
        }
        let done = super::avx512::multiply_add(x, m, y, stride, backwards);
        let rest = &x[done * m.inputs()..];
        if rest.is_empty() || super::avx2::multiply_add(rest, m, &mut y[done * stride..], stride, backwards) {
            return x.len() / m.inputs();
        }
        done
    }

    #[cfg(target_arch = "x86_64")]
    fn multiply_wide(x: &[Self], m: &Packed<Self>, bias: &[Self], y: &mut [Self]) -> bool {
        !m.is_bf16() && !is_x86_feature_detected!("avx512f") && super::avx2::multiply(x, m, bias, y)
    }

    #[cfg(target_arch = "x86_64")]
    fn add_outer_products_bf16(a: &[Self], b: &[Self], c: &mut [Self], m: usize, n: usize) -> bool {
        super::bf16::add_outer_products(a, b, c, m, n)
    }

    #[cfg(target_arch = "x86_64")]
    fn add_outer_products_wide(a: &[Self], b: &[Self], c: &mut [Self], m: usize, n: usize) -> bool {
        super::avx512::add_outer_products(a, b, c, m, n) || super::avx2::add_outer_products(a, b, c, m, n)
    }

    #[cfg(feature = "train")]
    fn gemm() -> Gemm<Self> {
        gemm_f32::gemm::f32::get_gemm_fn()
    }
}

impl Kernels for f64 {
    #[cfg(feature = "train")]
    fn gemm() -> Gemm<Self> {
        gemm_f64::gemm::f64::get_gemm_fn()
    }
}

/// `y [n, out] = bias [out] + x [n, in] M`, the same as [`multiply_add`] to rows of the bias.
pub fn multiply<T: Kernels>(x: &[T], m: &Packed<T>, bias: &[T], y: &mut [T]) {
    if !T::multiply_wide(x, m, bias, y) {
        set_rows(y, bias);
        multiply_add(x, m, y, bias.len());
    }
}

/// `y [n, out] += x [n, in] M`, where a row of y begins every `stride` values. A row's result does not depend, bit for
/// bit, on the number of rows.
pub fn multiply_add<T: Kernels>(x: &[T], m: &Packed<T>, y: &mut [T], stride: usize) {
    multiply_add_from(x, m, y, stride, false);
}

/// The same as [`multiply_add`], but starting at the last panel if `backwards`. When weights larger than the cache are
/// used step after step, the direction alternates: the panels used last in one step are still in the cache when they
/// are used first in the next.
pub fn multiply_add_from<T: Kernels>(x: &[T], m: &Packed<T>, y: &mut [T], stride: usize, backwards: bool) {
    if m.rows == 0 || m.cols == 0 {
        return;
    }
    let done = T::multiply_add_wide(x, m, y, stride, backwards);
    let rest = &x[done * m.rows..];
    if !rest.is_empty() {
        multiply_add_rest(rest, m, &mut y[done * stride..], stride, backwards);
    }
}

vectorized! {
    fn multiply_add_rest<T: Real>(x: &[T], m: &Packed<T>, y: &mut [T], stride: usize, backwards: bool) {
        let n = x.len() / m.rows;
        let whole = n / TILE * TILE;
        // Blocks of rows fit the second-level cache while all panels are read; a panel fits the first-level
        // cache while a block is processed.
        let block = (24_576 / m.rows).max(TILE) / TILE * TILE;
        for first in (0..whole).step_by(block) {
            let last = (first + block).min(whole);
            let panels = m.singles.len() / (m.rows * PANEL);
            for i in 0..panels {
                let p = if backwards { panels - 1 - i } else { i };
                let panel = &m.singles[p * m.rows * PANEL..(p + 1) * m.rows * PANEL];
                let width = PANEL.min(m.cols - p * PANEL);
                for row in (first..last).step_by(TILE) {
                    let x = &x[row * m.rows..(row + TILE) * m.rows];
                    tile::<T, TILE, 1, FMA>(x, panel, &mut y[row * stride + p * PANEL..], stride, width);
                }
            }
        }
        let x = &x[whole * m.rows..n * m.rows];
        match n - whole {
            0 => {}
            1 => strip::<T, 1, 4, FMA>(x, m, &mut y[whole * stride..], stride, backwards),
            2 => strip::<T, 2, 2, FMA>(x, m, &mut y[whole * stride..], stride, backwards),
            _ => strip::<T, 3, 1, FMA>(x, m, &mut y[whole * stride..], stride, backwards),
        }
    }
}

/// Multiplies `ROWS` rows, fewer than a tile has, by all panels. Several panels are processed at once to hide the
/// latency of the additions (a fused multiply-add takes four cycles, and two can start in each).
#[inline(always)]
fn strip<T: Real, const ROWS: usize, const PANELS: usize, const FMA: bool>(
    x: &[T],
    m: &Packed<T>,
    y: &mut [T],
    stride: usize,
    backwards: bool,
) {
    let size = m.rows * PANEL;
    let panels = m.singles.len() / size;
    let together = panels / PANELS * PANELS;
    let groups = together / PANELS;
    for i in 0..groups {
        let p = PANELS * if backwards { groups - 1 - i } else { i };
        let width = (PANELS * PANEL).min(m.cols - p * PANEL);
        let weights = &m.singles[p * size..(p + PANELS) * size];
        tile::<T, ROWS, PANELS, FMA>(x, weights, &mut y[p * PANEL..], stride, width);
    }
    for p in together..panels {
        let width = PANEL.min(m.cols - p * PANEL);
        let weights = &m.singles[p * size..(p + 1) * size];
        tile::<T, ROWS, 1, FMA>(x, weights, &mut y[p * PANEL..], stride, width);
    }
}

/// Number of f32 values in an AVX2 register.
const LANES: usize = 8;

/// Computes one tile of the product: `ROWS` rows of x by `PANELS` adjacent panels. The sums are kept in
/// registers; each adds the products in the order of the inputs, independently of the tile's shape.
#[inline(always)]
fn tile<T: Real, const ROWS: usize, const PANELS: usize, const FMA: bool>(
    x: &[T],
    panels: &[T],
    y: &mut [T],
    stride: usize,
    width: usize,
) {
    let inner = x.len() / ROWS;
    // Slices of equal, known lengths let the compiler remove the bounds checks from the inner loops, and `while`
    // loops over constants are unrolled, so that `sums` is kept in registers.
    let mut sums = [[[[T::ZERO; LANES]; 2]; PANELS]; ROWS];
    let mut rows = [x; ROWS];
    let mut i = 0;
    while i < ROWS {
        rows[i] = &x[i * inner..(i + 1) * inner];
        i += 1;
    }
    let mut weights = [panels.as_chunks::<PANEL>().0; PANELS];
    let mut p = 0;
    while p < PANELS {
        weights[p] = &weights[p][p * inner..(p + 1) * inner];
        p += 1;
    }
    for k in 0..inner {
        let mut p = 0;
        while p < PANELS {
            let row = &weights[p][k];
            let mut half = 0;
            while half < 2 {
                let mut w = [T::ZERO; LANES];
                w.copy_from_slice(&row[half * LANES..(half + 1) * LANES]);
                let mut i = 0;
                while i < ROWS {
                    let a = rows[i][k];
                    let sum = &mut sums[i][p][half];
                    let mut j = 0;
                    while j < LANES {
                        sum[j] = a.madd::<FMA>(w[j], sum[j]);
                        j += 1;
                    }
                    i += 1;
                }
                half += 1;
            }
            p += 1;
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        let y = &mut y[i * stride..];
        let y = &mut y[..width];
        for (y, &s) in y.iter_mut().zip(sums.as_flattened().as_flattened()) {
            *y += s;
        }
    }
}

/// Adds the gradient of `weights` (in → out) to `dw [out, in]`, for inputs `x [k, in]` and the gradient `dy [k, out]` of
/// the outputs, in the precision of the weights.
///
/// # Panics
/// When a length does not match its shape.
pub fn add_weight_gradient<T: Kernels>(weights: &Packed<T>, dy: &[T], x: &[T], dw: &mut [T]) {
    let (m, n) = (weights.outputs(), weights.inputs());
    if dy.is_empty() || n == 0 || !weights.is_bf16() || !T::add_outer_products_bf16(dy, x, dw, m, n) {
        add_outer_products(dy, x, dw, m, n);
    }
}

/// `c [m, n] += a^T b` with `a [k, m]`, `b [k, n]`: the gradient of weights, summed over k steps.
///
/// # Panics
/// When a length does not match its shape.
pub fn add_outer_products<T: Kernels>(a: &[T], b: &[T], c: &mut [T], m: usize, n: usize) {
    let k = a.len() / m.max(1);
    assert!(a.len() == k * m && b.len() == k * n && c.len() == m * n, "shapes of a weight gradient");
    if k == 0 || m == 0 || n == 0 || T::add_outer_products_wide(a, b, c, m, n) {
        return;
    }
    outer_products(a, b, c, m, n);
}

/// The products of [`add_outer_products`], whose lengths were checked, with m, n and k above 0.
#[cfg(not(feature = "train"))]
fn outer_products<T: Kernels>(a: &[T], b: &[T], c: &mut [T], m: usize, n: usize) {
    for (a, b) in a.chunks_exact(m).zip(b.chunks_exact(n)) {
        for (&a, c) in a.iter().zip(c.chunks_exact_mut(n)) {
            c.iter_mut().zip(b).for_each(|(c, &b)| *c += a * b);
        }
    }
}

/// The products of [`add_outer_products`], whose lengths were checked, with m, n and k above 0.
#[cfg(feature = "train")]
fn outer_products<T: Kernels>(a: &[T], b: &[T], c: &mut [T], m: usize, n: usize) {
    let k = a.len() / m;
    assert!(a.len() == k * m && b.len() == k * n && c.len() == m * n, "shapes of a weight gradient");
    let (rs_m, rs_n) = (m as isize, n as isize);
    // SAFETY: the lengths were checked against the shapes and strides just above.
    unsafe {
        (T::gemm())(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            rs_n,
            true,
            a.as_ptr(),
            rs_m,
            1,
            b.as_ptr(),
            1,
            rs_n,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Adds the rows of `a [k, n]` to `sum [n]`.
pub fn add_rows<T: Real>(a: &[T], sum: &mut [T]) {
    for row in a.chunks_exact(sum.len()) {
        for (s, &x) in sum.iter_mut().zip(row) {
            *s += x;
        }
    }
}

/// Sets every row of `y [k, n]` to `bias [n]`.
pub fn set_rows<T: Real>(y: &mut [T], bias: &[T]) {
    for row in y.chunks_exact_mut(bias.len()) {
        row.copy_from_slice(bias);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::{Precision, Purpose};
    use super::*;

    #[test]
    fn packed_product_equals_the_plain_one() {
        for (n, inner, out) in [(1, 5, 3), (7, 33, 17), (13, 64, 48), (700, 40, 20)] {
            let x: Vec<f64> = (0..n * inner).map(|i| ((i * 37 % 101) as f64 - 50.0) / 50.0).collect();
            let w: Vec<f64> = (0..out * inner).map(|i| ((i * 53 % 97) as f64 - 48.0) / 48.0).collect();
            let expected = |i: usize, j: usize| -> f64 {
                (0..inner).map(|k| x[i * inner + k] * w[j * inner + k]).sum::<f64>() + 1.0
            };
            let mut y = vec![1.0; n * out];
            multiply_add(
                &x,
                &Packed::transposed(&w, out, inner, Purpose::Training(Precision::Fp32)),
                &mut y,
                out,
            );
            let single: Vec<f32> = x.iter().map(|&v| v as f32).collect();
            let weights: Vec<f32> = w.iter().map(|&v| v as f32).collect();
            let mut y32 = vec![1.0f32; n * out];
            multiply_add(
                &single,
                &Packed::transposed(&weights, out, inner, Purpose::Training(Precision::Fp32)),
                &mut y32,
                out,
            );
            for i in 0..n {
                for j in 0..out {
                    assert!((y[i * out + j] - expected(i, j)).abs() < 1e-12);
                    assert!((f64::from(y32[i * out + j]) - expected(i, j)).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn weight_gradient_is_a_sum_of_outer_products() {
        let a = [1.0f32, 2.0, 3.0, 4.0];
        let b = [1.0f32, 0.0, 2.0, 0.0, 1.0, 1.0];
        let mut c = vec![1.0f32; 6];
        add_outer_products(&a, &b, &mut c, 2, 3);
        assert_eq!(c, [2.0, 4.0, 6.0, 3.0, 5.0, 9.0]);
    }
}
