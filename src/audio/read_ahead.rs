//! Reading ahead, to find out whether a recording is long before it is processed.

use crate::error::{Error, Result};
use crate::units::seconds_to_samples;

use super::{CHUNK, Problems, Source};

/// Reads up to `seconds` of a source ahead. Returns a source with all samples from the first one on, and whether there
/// are more than that. An error of reading is returned by the new source, after the samples before it.
pub fn read_ahead(mut source: Box<dyn Source>, seconds: f64) -> (Box<dyn Source>, bool) {
    let limit = seconds_to_samples(seconds, source.sample_rate());
    let (mut samples, mut failed) = (Vec::new(), None);
    while samples.len() as u64 <= limit {
        match source.read(&mut samples, CHUNK) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let long = samples.len() as u64 > limit;
    (Box::new(ReadAhead { samples, at: 0, failed, source }), long)
}

/// A source of which the beginning was read ahead.
struct ReadAhead {
    samples: Vec<f32>,
    /// Samples that were returned.
    at: usize,
    /// The error after the samples, if reading failed.
    failed: Option<Error>,
    source: Box<dyn Source>,
}

impl Source for ReadAhead {
    fn sample_rate(&self) -> u32 {
        self.source.sample_rate()
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        let left = &self.samples[self.at..];
        if left.is_empty() {
            return match self.failed.take() {
                Some(error) => Err(error),
                None => {
                    // The beginning is not needed any more.
                    self.samples = Vec::new();
                    self.at = 0;
                    self.source.read(out, max_samples)
                }
            };
        }
        let n = max_samples.min(left.len());
        out.extend_from_slice(&left[..n]);
        self.at += n;
        Ok(n)
    }

    fn problems(&self) -> Problems {
        self.source.problems()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stage;

    /// Samples 0, 1, 2… up to a number, then an error or the end.
    struct Counter {
        next: usize,
        end: usize,
        fails: bool,
    }

    impl Source for Counter {
        fn sample_rate(&self) -> u32 {
            1000
        }

        fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
            let n = max_samples.min(self.end - self.next).min(700);
            if n == 0 && self.fails {
                return Err(Error::new(Stage::Audio, "damaged"));
            }
            out.extend((self.next..self.next + n).map(|i| i as f32));
            self.next += n;
            Ok(n)
        }
    }

    #[test]
    fn all_samples_remain_and_the_length_is_known() {
        for (end, fails, is_long) in [
            (0, false, false),
            (2000, false, false),
            (2001, false, true),
            (5000, true, true),
            (900, true, false),
        ] {
            let (mut source, long) = read_ahead(Box::new(Counter { next: 0, end, fails }), 2.0);
            assert_eq!(long, is_long, "{end}");
            let mut samples = Vec::new();
            let ended = loop {
                match source.read(&mut samples, 333) {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(_) => break false,
                }
            };
            assert_eq!(samples, (0..end).map(|i| i as f32).collect::<Vec<_>>());
            assert_eq!(ended, !fails);
        }
    }
}
