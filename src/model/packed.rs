//! Weight matrices in the layout of the kernels.

use half::f16;
use serde::{Deserialize, Serialize};

use super::real::Real;

/// Columns per panel: two registers of eight f32, or one of sixteen.
pub(super) const PANEL: usize = 16;

/// Inputs that are transposed together: a cache line of a row of the weights.
const LINE: usize = 16;

/// A weight matrix laid out for `y += x M`: panels of 16 columns, each in row-major order, the last padded with zeros.
#[derive(Clone, Debug, Default)]
pub struct Packed<T> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// `[panels, in, 16]`; empty if `halves` or `bf16` is not.
    pub(super) singles: Vec<T>,
    /// The same values as 16-bit floats.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    halves: Vec<f16>,
    /// The same values rounded to bf16, in pairs (`model::bf16`).
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    bf16: Vec<u32>,
}

/// The precision of the products in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// Factors of matrix products are rounded to bf16 (8 bits of precision in place of 24); sums and all else are f32.
    Bf16,
}

impl Precision {
    /// Whether this processor has instructions for it. Without them the products of bf16 are computed in f32.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Fp32 => true,
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => super::amx::instructions().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Bf16 => false,
        }
    }
}

/// What a matrix is packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Outputs only.
    Inference,
    /// Gradients too.
    Training(Precision),
}

impl Purpose {
    /// Whether gradients will be computed.
    pub fn is_training(self) -> bool {
        self != Self::Inference
    }
}

/// The values of a packed matrix, `[panels, in, 16]`.
#[cfg(target_arch = "x86_64")]
pub(super) enum Panels<'a, T> {
    /// As they are.
    Single(&'a [T]),
    /// As 16-bit floats, which have the same values.
    Half(&'a [f16]),
    /// Rounded to bf16, in pairs: `[panels, pairs, 16]`.
    Bf16(&'a [u32]),
}

/// Whether the processor has the instructions of the products with intrinsics, `model::avx2`, which read 16-bit floats.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_wide_kernels() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_wide_kernels() -> bool {
    false
}

impl<T: Real> Packed<T> {
    /// Packs the transpose of `w [out, in]`, so that `y [n, out] = x [n, in] w^T`. For inference, matrices whose values
    /// are 16-bit floats are stored as such if the processor has instructions for them: a product of few rows takes as
    /// long as reading the weights.
    pub fn transposed(w: &[T], out: usize, inner: usize, purpose: Purpose) -> Self {
        let mut packed = Self::zeros(inner, out);
        for (w, panel) in
            w.chunks(PANEL * inner.max(1)).zip(packed.singles.chunks_exact_mut(inner.max(1) * PANEL))
        {
            let panel = panel.as_chunks_mut::<PANEL>().0;
            for (first, lines) in (0..inner).step_by(LINE).zip(panel.chunks_mut(LINE)) {
                for (j, row) in w.chunks_exact(inner).enumerate() {
                    for (line, &value) in lines.iter_mut().zip(&row[first..]) {
                        line[j] = value;
                    }
                }
            }
        }
        packed.stored_for(purpose)
    }

    /// Packs `w [in, out]`, so that `y [n, out] = x [n, in] w`, for the gradient of the inputs: nothing if there is none.
    pub fn backward(w: &[T], inner: usize, out: usize, purpose: Purpose) -> Option<Self> {
        if !purpose.is_training() {
            return None;
        }
        let mut packed = Self::zeros(inner, out);
        for (p, panel) in packed.singles.chunks_exact_mut(inner.max(1) * PANEL).enumerate() {
            let columns = p * PANEL..out.min((p + 1) * PANEL);
            for (row, w) in panel.chunks_exact_mut(PANEL).zip(w.chunks_exact(out)) {
                row[..columns.len()].copy_from_slice(&w[columns.clone()]);
            }
        }
        Some(packed.stored_for(purpose))
    }

    /// Stores the values as the kernels for this purpose read them.
    fn stored_for(mut self, purpose: Purpose) -> Self {
        match purpose {
            Purpose::Inference if has_wide_kernels() => {
                if let Some(halves) = self.singles.iter().map(|value| value.exact_half()).collect() {
                    self.halves = halves;
                    self.singles = Vec::new();
                }
            }
            #[cfg(target_arch = "x86_64")]
            Purpose::Training(Precision::Bf16) if super::amx::instructions().is_some() => {
                if let Some(values) =
                    self.singles.iter().map(|value| value.bf16()).collect::<Option<Vec<_>>>()
                {
                    self.bf16 = super::bf16_pairs::pair_panels(&values, self.rows);
                    self.singles = Vec::new();
                }
            }
            Purpose::Inference | Purpose::Training(_) => {}
        }
        self
    }

    fn zeros(rows: usize, cols: usize) -> Self {
        let singles = vec![T::ZERO; cols.div_ceil(PANEL) * rows * PANEL];
        Self { rows, cols, singles, halves: Vec::new(), bf16: Vec::new() }
    }
}

impl<T: Real> Packed<T> {
    /// Number of inputs, the length of a row of x.
    pub fn inputs(&self) -> usize {
        self.rows
    }

    /// Number of outputs, the length of a row of y.
    pub fn outputs(&self) -> usize {
        self.cols
    }

    /// The packed values, for the kernels with intrinsics.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn panels(&self) -> Panels<'_, T> {
        if self.is_bf16() {
            Panels::Bf16(&self.bf16)
        } else if self.halves.is_empty() {
            Panels::Single(&self.singles)
        } else {
            Panels::Half(&self.halves)
        }
    }

    /// Whether the products, and those of the weights' gradient, round their factors to bf16.
    pub(super) fn is_bf16(&self) -> bool {
        !self.bf16.is_empty()
    }
}
