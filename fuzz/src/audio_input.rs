//! Bytes as a recording: from memory, as a file would come, and as a stream that cannot seek.

use std::io::Cursor;

use hearken::audio::{Source, open_bytes, open_reader};
use hearken::error::Error;

/// A minute at 16 kHz: a small compressed file may contain hours of silence.
const MAX_SAMPLES: usize = 60 * 16_000;
const CHUNK: usize = 4_096;

/// One case.
pub fn run(bytes: &[u8]) {
    drain(open_bytes(bytes.to_vec(), "memory", 16_000));
    drain(open_reader(Box::new(Cursor::new(bytes.to_vec())), "stream", 16_000));
}

fn drain(opened: Result<Box<dyn Source>, Error>) {
    let Ok(mut source) = opened else { return };
    assert_eq!(source.sample_rate(), 16_000);
    let (mut samples, mut all) = (Vec::with_capacity(CHUNK), 0);
    while all < MAX_SAMPLES {
        samples.clear();
        match source.read(&mut samples, CHUNK) {
            Ok(n) => {
                assert!(n == samples.len() && n <= CHUNK);
                assert!(samples.iter().all(|s| s.is_finite()));
                if n == 0 {
                    break;
                }
                all += n;
            }
            Err(_) => {
                assert!(samples.is_empty());
                assert_eq!(source.read(&mut samples, CHUNK).ok(), None, "an error is the end");
                break;
            }
        }
    }
    let _ = source.problems();
}
