//! The matrix product of the network alone, compiled for another processor by `neon.sh`: computes `y += x M` for x of 1 or 16 rows,
//! as often as the argument says, and prints the sum of y.
#![allow(dead_code, missing_docs)]

// The product for the trainer is that of the crates gemm-*, which are not needed here.
extern crate self as gemm_common;
extern crate self as gemm_f32;
extern crate self as gemm_f64;

pub enum Parallelism {
    None,
}

pub mod gemm {
    macro_rules! unused {
        ($name:ident, $t:ty) => {
            pub mod $name {
                type Pointer = *const $t;
                #[rustfmt::skip]
                pub type Gemm = unsafe fn(
                    usize, usize, usize, *mut $t, isize, isize, bool, Pointer, isize, isize, Pointer, isize, isize, $t, $t,
                    bool, bool, bool, crate::Parallelism,
                );
                pub fn get_gemm_fn() -> Gemm {
                    unreachable!()
                }
            }
        };
    }
    unused!(f32, f32);
    unused!(f64, f64);
}

#[path = "../../src/model"]
mod model {
    pub(crate) mod kernels;
    pub(crate) mod packed;
    pub(crate) mod real;
    #[cfg(target_arch = "x86_64")]
    mod wide;
}

/// Sizes of a recurrent layer of the English model: its 320 inputs, and three gates of 320 units.
const SIZES: (usize, usize) = (320, 960);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().expect("a number"));
    let (rows, rounds) = (arguments.next().expect("rows"), arguments.next().expect("rounds"));
    let (inputs, outputs) = SIZES;
    let value = |i: usize| (i % 17) as f32 / 16.0 - 0.5;
    let weights: Vec<f32> = (0..inputs * outputs).map(value).collect();
    let matrix = model::packed::Packed::transposed(&weights, outputs, inputs);
    let x: Vec<f32> = (0..rows * inputs).map(|i| value(i * 5)).collect();
    let mut y = vec![0.0; rows * outputs];
    for _ in 0..rounds {
        model::kernels::multiply_add(&x, &matrix, &mut y, outputs);
    }
    println!("{}", y.iter().map(|&y| f64::from(y)).sum::<f64>());
}
