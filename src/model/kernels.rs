//! The arithmetic under the layers: matrix products and the loops over gates.
//!
//! `unsafe` stands here for two reasons only: calling a function compiled for vector instructions
//! after asking the processor for them, and the `gemm` crates' pointer interface, behind a
//! function that checks every length. Everything exported is safe.
#![allow(unsafe_code)]

use gemm_common::Parallelism;

use super::real::Real;

/// Compiles a function twice, for any processor and for AVX2 with FMA, and picks at run time.
/// The body sees a constant `FMA`: whether a fused multiply-add is one instruction.
macro_rules! vectorised {
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
                    // SAFETY: the processor has just said that it has these instructions.
                    return unsafe { avx2::<$t $(, $n)?>($($arg),*) };
                }
            }
            body::<$t $(, $n)?, { cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// Columns of a panel: two registers of eight f32, or one of sixteen.
pub(super) const PANEL: usize = 16;
/// Rows of a tile: its 4 x 2 sums are enough to keep both multipliers busy, and leave registers for
/// the weights. (With six rows the compiler spills sums to the stack, and the tile is half as fast.)
const TILE: usize = 4;

/// A weight matrix laid out for `y += x M`: panels of 16 columns, each row after row,
/// padded with zeros.
#[derive(Clone, Debug, Default)]
pub struct Packed<T> {
    rows: usize,
    cols: usize,
    panels: Vec<T>,
}

impl<T: Real> Packed<T> {
    /// Packs the transpose of `w [out, in]`, so that `y [n, out] = x [n, in] w^T`.
    pub fn transposed(w: &[T], out: usize, inner: usize) -> Self {
        let mut packed = Self::default();
        packed.pack(out, inner, |k, j| w[j * inner + k]);
        packed
    }

    /// Packs `w [in, out]` as it is, so that `y [n, out] = x [n, in] w`.
    pub fn plain(w: &[T], inner: usize, out: usize) -> Self {
        let mut packed = Self::default();
        packed.pack(out, inner, |k, j| w[k * out + j]);
        packed
    }

    fn pack(&mut self, cols: usize, rows: usize, at: impl Fn(usize, usize) -> T) {
        (self.rows, self.cols) = (rows, cols);
        let panels = cols.div_ceil(PANEL);
        self.panels.clear();
        self.panels.resize(panels * rows * PANEL, T::ZERO);
        for (p, panel) in self.panels.chunks_exact_mut(rows.max(1) * PANEL).enumerate() {
            for (k, row) in panel.chunks_exact_mut(PANEL).enumerate() {
                for (j, value) in row.iter_mut().enumerate().take(cols - p * PANEL) {
                    *value = at(k, p * PANEL + j);
                }
            }
        }
    }

    /// Length of a row of x.
    pub fn inputs(&self) -> usize {
        self.rows
    }

    /// Length of a row of y.
    pub fn outputs(&self) -> usize {
        self.cols
    }

    /// `[panels, in, 16]`.
    pub(super) fn panels(&self) -> &[T] {
        &self.panels
    }
}

/// `y [n, out] += x [n, in] M`, where a row of y begins every `stride` values. A row's result is the
/// same to the last bit however many rows come with it.
pub fn multiply_add<T: Real>(x: &[T], m: &Packed<T>, y: &mut [T], stride: usize) {
    multiply_add_from(x, m, y, stride, false);
}

/// The same as [`multiply_add`], begun at the last panel when `backwards`. Weights larger than the
/// cache that are used step after step go through it in turns there and back: the panels used
/// last are still in it when they are the first of the next step.
pub fn multiply_add_from<T: Real>(x: &[T], m: &Packed<T>, y: &mut [T], stride: usize, backwards: bool) {
    if m.rows == 0 || m.cols == 0 {
        return;
    }
    let done = T::multiply_add_wide(x, m, y, stride, backwards);
    let rest = &x[done * m.rows..];
    if !rest.is_empty() {
        multiply_add_rest(rest, m, &mut y[done * stride..], stride, backwards);
    }
}

vectorised! {
    fn multiply_add_rest<T: Real>(x: &[T], m: &Packed<T>, y: &mut [T], stride: usize, backwards: bool) {
        let n = x.len() / m.rows;
        let whole = n / TILE * TILE;
        // Rows in blocks that stay in the second-level cache while the panels pass by; a panel
        // stays in the first-level cache while a block passes by.
        let block = (24_576 / m.rows).max(TILE) / TILE * TILE;
        for first in (0..whole).step_by(block) {
            let last = (first + block).min(whole);
            let panels = m.panels.len() / (m.rows * PANEL);
            for i in 0..panels {
                let p = if backwards { panels - 1 - i } else { i };
                let panel = &m.panels[p * m.rows * PANEL..(p + 1) * m.rows * PANEL];
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

/// `ROWS` rows, fewer than a tile has, against all panels: several panels at once, since the sums
/// of one would wait for each other (a fused multiply-add takes four cycles, two begin in each).
#[inline(always)]
fn strip<T: Real, const ROWS: usize, const PANELS: usize, const FMA: bool>(
    x: &[T],
    m: &Packed<T>,
    y: &mut [T],
    stride: usize,
    backwards: bool,
) {
    let size = m.rows * PANEL;
    let panels = m.panels.len() / size;
    let together = panels / PANELS * PANELS;
    let groups = together / PANELS;
    for i in 0..groups {
        let p = PANELS * if backwards { groups - 1 - i } else { i };
        let width = (PANELS * PANEL).min(m.cols - p * PANEL);
        let weights = &m.panels[p * size..(p + PANELS) * size];
        tile::<T, ROWS, PANELS, FMA>(x, weights, &mut y[p * PANEL..], stride, width);
    }
    for p in together..panels {
        let width = PANEL.min(m.cols - p * PANEL);
        let weights = &m.panels[p * size..(p + 1) * size];
        tile::<T, ROWS, 1, FMA>(x, weights, &mut y[p * PANEL..], stride, width);
    }
}

/// Values that fit one register of AVX2.
const LANES: usize = 8;

/// One tile of the product: `ROWS` rows of x against `PANELS` panels side by side. The sums stay in
/// registers; each is one chain of additions over the inputs, in order, whatever the tile's shape.
#[inline(always)]
fn tile<T: Real, const ROWS: usize, const PANELS: usize, const FMA: bool>(
    x: &[T],
    panels: &[T],
    y: &mut [T],
    stride: usize,
    width: usize,
) {
    let inner = x.len() / ROWS;
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

/// `c [m, n] += a^T b` with `a [k, m]`, `b [k, n]`: the gradient of weights, summed over k steps.
///
/// # Panics
/// When a length does not fit its shape.
pub fn add_outer_products<T: Real>(a: &[T], b: &[T], c: &mut [T], m: usize, n: usize) {
    let k = a.len() / m.max(1);
    assert!(a.len() == k * m && b.len() == k * n && c.len() == m * n, "shapes of a weight gradient");
    if k == 0 || m == 0 || n == 0 || T::add_outer_products_wide(a, b, c, m, n) {
        return;
    }
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

vectorised! {
    /// A step of RNN rows: `h = tanh(a)`, or `max(0, a)`.
    pub fn rnn_gates<T: Real>(a: &[T], relu: bool, h: &mut [T]) {
        if relu {
            for (h, &a) in h.iter_mut().zip(a) {
                *h = if a > T::ZERO { a.flush() } else { T::ZERO };
            }
        } else {
            for (h, &a) in h.iter_mut().zip(a) {
                *h = a.tanh().flush();
            }
        }
    }
}

vectorised! {
    /// One row of a GRU with the reset gate after the product. `g [3H]` holds the sums from the
    /// input (z, r, n) and for z and r those from the state too, and is replaced by the gates;
    /// `q [H]` is the state's share of n.
    pub fn gru_gates<T: Real>(g: &mut [T], q: &[T], before: &[T], h: &mut [T]) {
        let n = h.len();
        let (z, rest) = g.split_at_mut(n);
        let (r, c) = rest.split_at_mut(n);
        let (r, c, q, before) = (&mut r[..n], &mut c[..n], &q[..n], &before[..n]);
        for i in 0..n {
            let zi = z[i].sigmoid();
            let ri = r[i].sigmoid();
            let ci = ri.madd::<FMA>(q[i], c[i]).tanh();
            h[i] = zi.madd::<FMA>(before[i] - ci, ci).flush();
            (z[i], r[i], c[i]) = (zi, ri, ci);
        }
    }
}

vectorised! {
    /// Gradient of [`gru_gates`] for one row: `dg [3H]` for the input's sums, `dr [3H]` for the
    /// state's; `dh` becomes the part that reaches the state before directly.
    pub fn gru_gates_backward<T: Real>(g: &[T], q: &[T], before: &[T], dh: &mut [T], dx: &mut [T], ds: &mut [T]) {
        let n = dh.len();
        let (z, r, c) = (&g[..n], &g[n..2 * n], &g[2 * n..3 * n]);
        let (q, before) = (&q[..n], &before[..n]);
        let (dxz, rest) = dx.split_at_mut(n);
        let (dxr, dxc) = rest.split_at_mut(n);
        let (dsz, rest) = ds.split_at_mut(n);
        let (dsr, dsc) = rest.split_at_mut(n);
        let (dxr, dxc, dsr, dsc) = (&mut dxr[..n], &mut dxc[..n], &mut dsr[..n], &mut dsc[..n]);
        for i in 0..n {
            let d = dh[i];
            let dz = d * (before[i] - c[i]) * z[i] * (T::ONE - z[i]);
            let dc = d * (T::ONE - z[i]) * (T::ONE - c[i] * c[i]);
            let dr = dc * q[i] * r[i] * (T::ONE - r[i]);
            dxz[i] = dz;
            dsz[i] = dz;
            dxr[i] = dr;
            dsr[i] = dr;
            dxc[i] = dc;
            dsc[i] = dc * r[i];
            dh[i] = d * z[i];
        }
    }
}

vectorised! {
    /// In place: `a = sigmoid(a)`.
    pub fn sigmoid_rows<T: Real>(a: &mut [T]) {
        for a in a.iter_mut() {
            *a = a.sigmoid();
        }
    }
}

vectorised! {
    /// The second half of a GRU row with the reset gate before the product: `c [H]` holds the
    /// sums of n and is replaced by n; `h = z before + (1 - z) n`.
    pub fn gru_candidate<T: Real>(z: &[T], c: &mut [T], before: &[T], h: &mut [T]) {
        let n = h.len();
        let (z, c, before) = (&z[..n], &mut c[..n], &before[..n]);
        for i in 0..n {
            let ci = c[i].tanh();
            h[i] = z[i].madd::<FMA>(before[i] - ci, ci).flush();
            c[i] = ci;
        }
    }
}

vectorised! {
    /// One row of an LSTM: `g [4H]` holds the sums of i, o, f, c and is replaced by the gates.
    pub fn lstm_gates<T: Real>(g: &mut [T], before: &[T], cell: &mut [T], squashed: &mut [T], h: &mut [T]) {
        let n = h.len();
        let (i, rest) = g.split_at_mut(n);
        let (o, rest) = rest.split_at_mut(n);
        let (f, c) = rest.split_at_mut(n);
        let (o, f, c) = (&mut o[..n], &mut f[..n], &mut c[..n]);
        let (before, cell, squashed) = (&before[..n], &mut cell[..n], &mut squashed[..n]);
        for k in 0..n {
            let (ik, ok, fk, ck) = (i[k].sigmoid(), o[k].sigmoid(), f[k].sigmoid(), c[k].tanh());
            cell[k] = fk.madd::<FMA>(before[k], ik * ck).flush();
            squashed[k] = cell[k].tanh();
            h[k] = (ok * squashed[k]).flush();
            (i[k], o[k], f[k], c[k]) = (ik, ok, fk, ck);
        }
    }
}

vectorised! {
    /// Gradient of [`lstm_gates`] for one row; `dc` holds the gradient of the cell from later
    /// steps and becomes that for the step before.
    pub fn lstm_gates_backward<T: Real>(g: &[T], before: &[T], squashed: &[T], dh: &[T], dc: &mut [T], dg: &mut [T]) {
        let n = dh.len();
        let (i, o, f, c) = (&g[..n], &g[n..2 * n], &g[2 * n..3 * n], &g[3 * n..4 * n]);
        let (before, squashed, dc) = (&before[..n], &squashed[..n], &mut dc[..n]);
        let (di, rest) = dg.split_at_mut(n);
        let (dok, rest) = rest.split_at_mut(n);
        let (df, dcc) = rest.split_at_mut(n);
        let (dok, df, dcc) = (&mut dok[..n], &mut df[..n], &mut dcc[..n]);
        for k in 0..n {
            let d = dc[k] + dh[k] * o[k] * (T::ONE - squashed[k] * squashed[k]);
            dok[k] = dh[k] * squashed[k] * o[k] * (T::ONE - o[k]);
            di[k] = d * c[k] * i[k] * (T::ONE - i[k]);
            df[k] = d * before[k] * f[k] * (T::ONE - f[k]);
            dcc[k] = d * i[k] * (T::ONE - c[k] * c[k]);
            dc[k] = d * f[k];
        }
    }
}

#[cfg(test)]
mod tests {
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
            multiply_add(&x, &Packed::transposed(&w, out, inner), &mut y, out);
            let single: Vec<f32> = x.iter().map(|&v| v as f32).collect();
            let weights: Vec<f32> = w.iter().map(|&v| v as f32).collect();
            let mut y32 = vec![1.0f32; n * out];
            multiply_add(&single, &Packed::transposed(&weights, out, inner), &mut y32, out);
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
