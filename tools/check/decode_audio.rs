//! Decodes recordings with hearken's decoders and writes the samples of all files to standard output: mono, 32-bit
//! floats. `tools/check/opus.py` compares them with libopus.
//!
//! ```sh
//! cargo run --release --example decode_audio -- 48000 voice.opus > voice.f32
//! ```

use std::io::Write;
use std::path::Path;

use hearken::audio;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let rate = arguments.next().ok_or("expected a sample rate and files")?.parse()?;
    let mut out = std::io::stdout().lock();
    for name in arguments {
        let mut source = audio::open(Path::new(&name), rate)?;
        let mut samples = Vec::new();
        while source.read(&mut samples, 8192)? > 0 {
            let bytes: Vec<u8> = samples.iter().flat_map(|s: &f32| s.to_le_bytes()).collect();
            out.write_all(&bytes)?;
            samples.clear();
        }
    }
    Ok(())
}
