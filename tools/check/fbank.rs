//! Log mel features of raw 32-bit little-endian samples on standard input, as raw 32-bit
//! little-endian values `[T, F]` on standard output.
//!
//! ```text
//! sox speech.wav -t f32 -r 16000 -c 1 - | cargo run --example fbank -- '{"num_mel_bins": 40}' > features.f32
//! ```
//!
//! Optional arguments: a JSON object of options; the number of samples in a chunk; and, for measuring, how often
//! everything is computed: the time of the fastest run, seconds, is printed on standard error.

use std::error::Error;
use std::io::{Read, Write};
use std::time::Instant;

use hearken::features::{Fbank, FbankOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let options: FbankOptions = serde_json::from_str(&arguments.next().unwrap_or("{}".into()))?;
    let chunk: usize = arguments.next().map_or(Ok(usize::MAX), |a| a.parse())?;
    let repeats: Option<usize> = arguments.next().map(|a| a.parse()).transpose()?;

    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let samples: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();

    let mut fbank = Fbank::new(&options)?;
    let mut features = Vec::new();
    let mut fastest = f64::INFINITY;
    for _ in 0..repeats.unwrap_or(1) {
        features.clear();
        let start = Instant::now();
        for chunk in samples.chunks(chunk.max(1)) {
            fbank.push(chunk, &mut features);
        }
        fbank.finish(&mut features);
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    if repeats.is_some() {
        eprintln!("{fastest}");
    }
    let bytes: Vec<u8> = features.iter().flat_map(|f| f.to_le_bytes()).collect();
    std::io::stdout().write_all(&bytes)?;
    Ok(())
}
