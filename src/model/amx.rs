//! Matrix products in tiles for processors with AMX (Intel 64 and IA-32 Architectures Software Developer's Manual, volume
//! 1, chapter 18).
//!
//! `unsafe` is used for the instructions, which the compiler has no stable intrinsics for, after checking that the
//! processor and the operating system support them and that every length matches. The compiler does not use the tile
//! registers, so what they hold lasts from one instruction to the next.
#![allow(unsafe_code)]

use std::arch::asm;
use std::sync::OnceLock;

use super::bf16_pairs::{OuterProducts, PANEL, Product, TILE_PAIRS, padded};

/// Rows of a tile.
const ROWS: usize = 16;

/// Values that a tile's row of sums has.
const COLUMNS: usize = PANEL;

/// The instructions for products of bf16 factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instructions {
    /// AMX-BF16: tiles of 16 rows of 32 values.
    Amx,
    /// AVX512-BF16: sixteen sums of two products.
    Avx512,
}

/// The best instructions of this processor, if it has any.
pub(super) fn instructions() -> Option<Instructions> {
    static INSTRUCTIONS: OnceLock<Option<Instructions>> = OnceLock::new();
    *INSTRUCTIONS.get_or_init(|| {
        let vectors = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
        vectors.then(|| if available() { Instructions::Amx } else { Instructions::Avx512 })
    })
}

/// Whether the processor has AMX for bf16 and the operating system lets this process use it.
fn available() -> bool {
    // Linux saves the tiles of a process that asked for it (Documentation/arch/x86/xstate.rst).
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        const AMX_BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
        const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
        const XFEATURE_XTILEDATA: i64 = 18;
        if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & AMX_BF16_AND_TILES != AMX_BF16_AND_TILES {
            return false;
        }
        let result: i64;
        // SAFETY: the system call arch_prctl (158) with this request reads and writes no memory of the process.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") 158_i64 => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        result == 0
    }
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    false
}

/// The memory that `ldtilecfg` reads: the rows of each tile and their length in bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    column_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Sets the sizes of the tiles: 0 to 3 for sums, two rows of two; 4 and 5 for the left factor, 6 and 7 for the right one.
/// A size of 0 is a tile that is not used.
///
/// # Safety
/// The processor must support AMX ([`available`]).
unsafe fn configure(rows: [usize; 2], columns: [usize; 2]) {
    let mut configuration =
        Configuration { palette: 1, start_row: 0, reserved: [0; 14], column_bytes: [0; 16], rows: [0; 16] };
    let mut set = |tile: usize, rows: usize, columns: usize| {
        let used = rows > 0 && columns > 0;
        configuration.rows[tile] = if used { rows as u8 } else { 0 };
        configuration.column_bytes[tile] = if used { 4 * columns as u16 } else { 0 };
    };
    for i in 0..2 {
        set(2 * i, rows[i], columns[0]);
        set(2 * i + 1, rows[i], columns[1]);
        set(4 + i, rows[i], TILE_PAIRS);
        set(6 + i, TILE_PAIRS, columns[i]);
    }
    // SAFETY: the configuration is valid for palette 1, whose tiles have up to 16 rows of 64 bytes.
    unsafe {
        asm!("ldtilecfg [{0}]", in(reg) &raw const configuration, options(nostack, preserves_flags, readonly))
    }
}

/// Returns the tiles, so that the operating system need not save them.
fn release() {
    // SAFETY: called after `configure`, so the processor supports AMX.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) }
}

macro_rules! load {
    ($tile:literal, $at:expr, $stride:expr) => {
        asm!(concat!("tileloadd tmm", $tile, ", [{0} + 1*{1}]"), in(reg) $at, in(reg) $stride,
             options(nostack, preserves_flags, readonly))
    };
}

macro_rules! store {
    ($tile:literal, $at:expr, $stride:expr) => {
        asm!(concat!("tilestored [{0} + 1*{1}], tmm", $tile), in(reg) $at, in(reg) $stride,
             options(nostack, preserves_flags))
    };
}

macro_rules! multiply {
    ($sum:literal, $left:literal, $right:literal) => {
        asm!(
            concat!("tdpbf16ps tmm", $sum, ", tmm", $left, ", tmm", $right),
            options(nostack, preserves_flags, nomem)
        )
    };
}

/// Up to four tiles of sums and what is added to them. Distances are in bytes.
struct Block {
    /// The left factor's first pair, the distance of its rows, and that of its second tile.
    left: *const u8,
    left_stride: usize,
    left_next: usize,
    /// The right factor's first pair, the distances of its rows (pairs), of its second tile and of the next pairs.
    right: *const u8,
    right_stride: usize,
    right_next: usize,
    right_step: usize,
    /// Number of tiles that are multiplied.
    depth: usize,
    /// The first sum, and the distance of rows.
    sums: *mut u8,
    sums_stride: usize,
}

impl Block {
    /// Adds the products to `DOWN` by `ACROSS` tiles of sums.
    ///
    /// # Safety
    /// The tiles must be configured, and all that they cover in bounds.
    #[inline(always)]
    unsafe fn run<const DOWN: usize, const ACROSS: usize>(&self) {
        let &Self { left_stride, right_stride, sums_stride, .. } = self;
        let below = self.sums.wrapping_add(ROWS * sums_stride);
        const NEXT: usize = 4 * COLUMNS;
        // SAFETY: guaranteed by the caller.
        unsafe {
            load!("0", self.sums, sums_stride);
            if ACROSS == 2 {
                load!("1", self.sums.wrapping_add(NEXT), sums_stride);
            }
            if DOWN == 2 {
                load!("2", below, sums_stride);
                if ACROSS == 2 {
                    load!("3", below.wrapping_add(NEXT), sums_stride);
                }
            }
            let (mut left, mut right) = (self.left, self.right);
            for _ in 0..self.depth {
                load!("4", left, left_stride);
                load!("6", right, right_stride);
                multiply!("0", "4", "6");
                if ACROSS == 2 {
                    load!("7", right.wrapping_add(self.right_next), right_stride);
                    multiply!("1", "4", "7");
                }
                if DOWN == 2 {
                    load!("5", left.wrapping_add(self.left_next), left_stride);
                    multiply!("2", "5", "6");
                    if ACROSS == 2 {
                        multiply!("3", "5", "7");
                    }
                }
                left = left.wrapping_add(4 * TILE_PAIRS);
                right = right.wrapping_add(self.right_step);
            }
            store!("0", self.sums, sums_stride);
            if ACROSS == 2 {
                store!("1", self.sums.wrapping_add(NEXT), sums_stride);
            }
            if DOWN == 2 {
                store!("2", below, sums_stride);
                if ACROSS == 2 {
                    store!("3", below.wrapping_add(NEXT), sums_stride);
                }
            }
        }
    }

    /// [`Self::run`] for the sizes of a configuration.
    unsafe fn run_sizes(&self, rows: [usize; 2], columns: [usize; 2]) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match (rows[1] > 0, columns[1] > 0) {
                (true, true) => self.run::<2, 2>(),
                (true, false) => self.run::<2, 1>(),
                (false, true) => self.run::<1, 2>(),
                (false, false) => self.run::<1, 1>(),
            }
        }
    }
}

/// The lengths of two tiles over `length` rows or columns.
fn halves(length: usize) -> [usize; 2] {
    [length.min(ROWS), length.saturating_sub(ROWS).min(ROWS)]
}

/// Calls `each` with the sizes and the places (row, column) of blocks of up to 2 x 2 tiles over `m x n` sums; all blocks
/// of the same size follow each other, since a configuration takes as long as several products.
fn for_each_block(
    m: usize,
    n: usize,
    backwards: bool,
    mut each: impl FnMut([usize; 2], [usize; 2], usize, usize),
) {
    let (tall, wide) = (2 * ROWS, 2 * COLUMNS);
    let (rows, columns) = (m / tall * tall, n / wide * wide);
    for (first_row, last_row) in [(0, rows), (rows, m)] {
        for (first_column, last_column) in [(0, columns), (columns, n)] {
            if first_row == last_row || first_column == last_column {
                continue;
            }
            let sizes = (halves(last_row - first_row), halves(last_column - first_column));
            // SAFETY: the callers are used only where AMX is available.
            unsafe { configure(sizes.0, sizes.1) };
            let blocks = (last_column - first_column).div_ceil(wide);
            for i in 0..blocks {
                let column = first_column + wide * if backwards { blocks - 1 - i } else { i };
                for row in (first_row..last_row).step_by(tall) {
                    each(sizes.0, sizes.1, row, column);
                }
            }
        }
    }
    release();
}

/// `y [n, cols] += x M`.
///
/// # Panics
/// When a length does not match its shape.
pub(super) fn multiply_add(product: &Product<'_>, y: &mut [f32]) {
    let &Product { left, panels, pairs, cols, stride, backwards } = product;
    let n = left.len() / pairs;
    assert!(
        pairs.is_multiple_of(TILE_PAIRS)
            && left.len() == n * pairs
            && panels.len() == cols.div_ceil(PANEL) * pairs * PANEL
            && y.len() >= n.saturating_sub(1) * stride + cols,
        "shapes of a product"
    );
    for_each_block(n, cols, backwards, |rows, columns, row, column| {
        let block = Block {
            left: left[row * pairs..].as_ptr().cast(),
            left_stride: 4 * pairs,
            left_next: 4 * pairs * ROWS,
            right: panels[column * pairs..].as_ptr().cast(),
            right_stride: 4 * PANEL,
            right_next: 4 * PANEL * pairs,
            right_step: 4 * PANEL * TILE_PAIRS,
            depth: pairs / TILE_PAIRS,
            sums: y[row * stride + column..].as_mut_ptr().cast(),
            sums_stride: 4 * stride,
        };
        // SAFETY: the tiles cover `rows` rows from `row` on and `columns` columns from `column` on, which exist by the
        // check above, as do all pairs of both factors.
        unsafe { block.run_sizes(rows, columns) }
    });
}

/// `c [m, n] += a^T b`.
///
/// # Panics
/// When a length does not match its shape.
pub(super) fn add_outer_products(products: &OuterProducts<'_>, c: &mut [f32]) {
    let &OuterProducts { left, right, pairs, m, n } = products;
    let (left_width, right_width) = (padded(m), padded(n));
    assert!(
        pairs.is_multiple_of(TILE_PAIRS)
            && left.len() == pairs * left_width
            && right.len() == pairs * right_width
            && c.len() == m * n,
        "shapes of a weight gradient"
    );
    // A tile of the left factor has a row of pairs for each row of c.
    let left = transposed(left, left_width);
    for_each_block(m, n, false, |rows, columns, row, column| {
        let block = Block {
            left: left[row * pairs..].as_ptr().cast(),
            left_stride: 4 * pairs,
            left_next: 4 * pairs * ROWS,
            right: right[column..].as_ptr().cast(),
            right_stride: 4 * right_width,
            right_next: 4 * COLUMNS,
            right_step: 4 * TILE_PAIRS * right_width,
            depth: pairs / TILE_PAIRS,
            sums: c[row * n + column..].as_mut_ptr().cast(),
            sums_stride: 4 * n,
        };
        // SAFETY: the tiles cover `rows` rows from `row` on and `columns` columns from `column` on, which exist by the
        // check above, as do all pairs of both factors.
        unsafe { block.run_sizes(rows, columns) }
    });
}

/// The transpose of `x [rows, width]`, both multiples of 16, in blocks of 16 x 16 that the cache holds.
fn transposed(x: &[u32], width: usize) -> Vec<u32> {
    let rows = x.len() / width.max(1);
    let mut result = vec![0; x.len()];
    for first_row in (0..rows).step_by(16) {
        for first_column in (0..width).step_by(16) {
            for j in 0..16 {
                let to = (first_column + j) * rows + first_row;
                for (i, value) in result[to..to + 16].iter_mut().enumerate() {
                    *value = x[(first_row + i) * width + first_column + j];
                }
            }
        }
    }
    result
}
