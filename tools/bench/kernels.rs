//! The peaks of one core, and how near the kernels come to them: `bench_training --kernels`.

use std::hint::black_box;
use std::time::Instant;

use hearken::model::benchmark::{Packed, add_weight_gradient, multiply_add};
use hearken::model::{Precision, Purpose};
use serde_json::json;

/// Seconds of the fastest of several runs.
fn fastest(mut run: impl FnMut()) -> f64 {
    run();
    let times = (0..7).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::MAX, f64::min)
}

/// Prints one JSON object for each peak and each kernel.
pub fn run() {
    let peak = multiply_adds();
    println!("{}", json!({ "peak": "multiply-adds in registers", "gflops": peak }));
    // Two processors may be the two threads of one core, which share its multipliers.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let together: f64 = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(multiply_adds)).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    });
    println!(
        "{}",
        json!({ "peak": "multiply-adds, all processors", "threads": threads, "gflops": together })
    );
    for kilobytes in [16, 256, 8_192, 262_144] {
        let bandwidth = reading(kilobytes << 10);
        println!("{}", json!({ "peak": "reading", "kilobytes": kilobytes, "gigabytes": bandwidth }));
    }
    let print = |kernel: &str, shape: String, flops: f64, bytes: f64, seconds: f64| {
        let (gflops, gigabytes) = (flops / seconds / 1e9, bytes / seconds / 1e9);
        println!(
            "{}",
            json!({ "kernel": kernel, "shape": shape, "gflops": gflops, "of_peak": gflops / peak,
                    "gigabytes": gigabytes, "kilobytes": bytes / 1024.0 })
        );
    };
    for (rows, inner, out) in PRODUCTS {
        for (purpose, kind) in PURPOSES {
            if purpose == Purpose::Inference && rows > 1 {
                continue;
            }
            let x = numbers(rows * inner, 101);
            // Multiples of 1/64 below 1 are 16-bit floats; for training they are stored as f32 or bf16.
            let m = Packed::transposed(&numbers(out * inner, 97), out, inner, purpose);
            let mut y = vec![0.0f32; rows * out];
            let times = (20_000_000 / (rows * inner * out)).max(1);
            let seconds = fastest(|| (0..times).for_each(|_| multiply_add(&x, &m, black_box(&mut y), out)));
            let shape = format!("[{rows}, {inner}] x [{inner}, {out}]{kind}");
            let bytes = (inner * out * if kind.is_empty() { 4 } else { 2 }) as f64;
            let flops = 2.0 * (rows * inner * out) as f64;
            print("product", shape, flops, bytes, seconds / times as f64);
        }
    }
    for (steps, m, n) in GRADIENTS {
        for (purpose, kind) in &PURPOSES[..2] {
            let (a, b) = (numbers(steps * m, 101), numbers(steps * n, 97));
            let mut c = vec![0.0f32; m * n];
            let weights = Packed::transposed(&numbers(m * n, 97), m, n, *purpose);
            let seconds = fastest(|| add_weight_gradient(&weights, &a, &b, black_box(&mut c)));
            let shape = format!("[{m}, {steps}] x [{steps}, {n}]{kind}");
            print("gradient of weights", shape, 2.0 * (steps * m * n) as f64, 4.0 * (m * n) as f64, seconds);
        }
    }
}

/// The layouts of a matrix, and how their rows are marked.
const PURPOSES: [(Purpose, &str); 3] = [
    (Purpose::Training(Precision::Fp32), ""),
    (Purpose::Training(Precision::Bf16), ", bf16"),
    (Purpose::Inference, ", 16-bit"),
];

/// Rows, inputs and outputs: steps of one stream, steps of a batch, all steps of a batch.
const PRODUCTS: [(usize, usize, usize); 9] = [
    (1, 192, 576),
    (1, 320, 960),
    (1, 512, 2048),
    (2, 1024, 4096),
    (16, 256, 1024),
    (16, 1024, 4096),
    (1200, 64, 256),
    (1200, 256, 1024),
    (1200, 1024, 4096),
];

/// Steps, sums and inputs.
const GRADIENTS: [(usize, usize, usize); 4] =
    [(1200, 256, 64), (1200, 1024, 256), (150, 4096, 1024), (1200, 4096, 1024)];

fn numbers(count: usize, period: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % period) as f32 - (period / 2) as f32) / 64.0).collect()
}

/// Multiply-adds a second on registers alone, in thousand millions of floating-point operations.
fn multiply_adds() -> f64 {
    const TIMES: usize = 1_000_000;
    let lanes = if is_wide() { 16 } else { 8 };
    let seconds = fastest(|| if is_wide() { wide_chains(TIMES) } else { chains::<8>(TIMES) });
    (TIMES * 2 * lanes * CHAINS) as f64 / seconds / 1e9
}

/// Gigabytes a second of reading `bytes` bytes again and again.
fn reading(bytes: usize) -> f64 {
    let values = vec![1.0f32; bytes / 4];
    let times = (200_000_000 / bytes).max(1);
    let seconds = fastest(|| (0..times).for_each(|_| sum(black_box(&values))));
    (times * bytes) as f64 / seconds / 1e9
}

/// Independent sums, enough to hide the latency of an addition.
const CHAINS: usize = 12;

fn is_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Compiles a function for vector instructions too, and selects by the processor.
macro_rules! with_vectors {
    (fn $name:ident<const $n:ident: usize>($($arg:ident: $ty:ty),*) $body:block) => {
        #[allow(unsafe_code)]
        fn $name<const $n: usize>($($arg: $ty),*) {
            #[inline(always)]
            fn body<const $n: usize>($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,fma")]
                fn avx512<const $n: usize>($($arg: $ty),*) {
                    body::<$n>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<const $n: usize>($($arg: $ty),*) {
                    body::<$n>($($arg),*)
                }
                if is_wide() {
                    // SAFETY: the processor supports these instructions, as checked above.
                    return unsafe { avx512::<$n>($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the same.
                    return unsafe { avx2::<$n>($($arg),*) };
                }
            }
            body::<$n>($($arg),*)
        }
    };
}

with_vectors! {
    fn chains<const LANES: usize>(times: usize) {
        let (factor, term) = (black_box([0.999f32; LANES]), black_box([0.001f32; LANES]));
        let mut values = black_box([[0.5f32; LANES]; CHAINS]);
        for _ in 0..times {
            for value in &mut values {
                for ((value, &factor), &term) in value.iter_mut().zip(&factor).zip(&term) {
                    *value = value.mul_add(factor, term);
                }
            }
        }
        black_box(values);
    }
}

/// [`chains`] of 16 lanes, by intrinsics: the compiler does not keep them in registers.
fn wide_chains(times: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};

        #[target_feature(enable = "avx512f")]
        fn avx512(times: usize) {
            let (factor, term) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
            let mut values = [_mm512_set1_ps(black_box(0.5)); CHAINS];
            for _ in 0..times {
                for value in &mut values {
                    *value = _mm512_fmadd_ps(*value, factor, term);
                }
            }
            black_box(values);
        }
        assert!(is_wide(), "a processor with AVX-512");
        // SAFETY: the processor supports these instructions, as checked above.
        #[allow(unsafe_code)]
        unsafe {
            avx512(times);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    chains::<16>(times);
}

with_vectors! {
    fn sums<const LANES: usize>(values: &[f32]) {
        let mut sums = [[0.0f32; LANES]; CHAINS];
        for chunk in values.as_chunks::<LANES>().0.as_chunks::<CHAINS>().0 {
            for (sum, chunk) in sums.iter_mut().zip(chunk) {
                for (sum, &value) in sum.iter_mut().zip(chunk) {
                    *sum += value;
                }
            }
        }
        black_box(sums);
    }
}

fn sum(values: &[f32]) {
    if is_wide() { sums::<16>(values) } else { sums::<8>(values) }
}
