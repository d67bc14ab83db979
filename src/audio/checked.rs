//! Checks on the output of all decoders: samples must be finite, errors name the file, panics become errors.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Stage, catch_panic};

use super::{Problems, Source};

/// Maximum magnitude of a sample. Full scale is 1, but some programs write floats scaled to 32768; larger values
/// are errors, and would overflow in the features.
const MAX_SAMPLE: f32 = 1e6;

/// Runs a decoder's code; a panic in it becomes an error, since decoders parse untrusted bytes.
pub(super) fn no_panic<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_panic(decode).unwrap_or_else(|| {
        Err(Error::new(Stage::Audio, "the audio decoder failed").hint("the file is probably damaged"))
    })
}

/// A decoder's output, checked: every sample is finite, there is at least one sample, errors name the file.
pub(super) struct Checked {
    source: Box<dyn Source>,
    name: PathBuf,
    position: u64,
    failed: bool,
}

impl Checked {
    pub(super) fn new(source: Box<dyn Source>, name: &Path) -> Self {
        Self { source, name: name.to_path_buf(), position: 0, failed: false }
    }

    fn guard<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.failed {
            return Err(Error::new(Stage::Audio, "an earlier read of this file failed").in_file(&self.name));
        }
        let result = no_panic(|| work(self));
        self.failed = result.is_err();
        result.map_err(|e| e.in_file(&self.name))
    }

    fn check(&self, samples: &[f32]) -> Result<()> {
        let bad = |s: &f32| !s.is_finite() || s.abs() > MAX_SAMPLE;
        let Some(i) = samples.iter().position(bad) else { return Ok(()) };
        let index = self.position + i as u64;
        let seconds = index as f64 / f64::from(self.sample_rate());
        let found = samples[i];
        Err(Error::new(Stage::Audio, format!("expected samples within ±1, found {found}"))
            .at(format!("sample {index} ({seconds:.3} s)")))
    }
}

impl Source for Checked {
    fn sample_rate(&self) -> u32 {
        self.source.sample_rate()
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        let start = out.len();
        let result = self.guard(|this| {
            let n = this.source.read(out, max_samples)?;
            if n == 0 && this.position == 0 && max_samples > 0 {
                return Err(Error::new(Stage::Audio, "expected audio, found a file without any samples"));
            }
            this.check(&out[start..])?;
            this.position += n as u64;
            Ok(n)
        });
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn skip(&mut self, samples: u64) -> Result<u64> {
        self.guard(|this| {
            let n = this.source.skip(samples)?;
            this.position += n;
            Ok(n)
        })
    }

    fn problems(&self) -> Problems {
        self.source.problems()
    }
}
