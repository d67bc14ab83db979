//! A custom engine: this one counts the frames that another engine computes.
//!
//! ```text
//! cargo run --release --example own_engine
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hearken::engine::{EngineSpec, State};
use hearken::{Engine, Recognizer, audio};

struct Counting {
    inner: Arc<dyn Engine>,
    frames: AtomicUsize,
}

impl Engine for Counting {
    fn spec(&self) -> &EngineSpec {
        self.inner.spec()
    }

    fn zero_state(&self) -> State {
        self.inner.zero_state()
    }

    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> hearken::Result<()> {
        let values: usize = frames.iter().map(|stream| stream.len()).sum();
        self.frames.fetch_add(values / self.spec().num_features, Ordering::Relaxed);
        self.inner.run(frames, states, log_probs)
    }
}

fn main() -> hearken::Result<()> {
    let inside = Recognizer::builder().open()?;
    let engine = Arc::new(Counting { inner: Arc::clone(inside.engine()), frames: AtomicUsize::new(0) });
    let recognizer = Recognizer::new(engine.clone(), inside.metadata().clone())?;
    let samples = audio::read_all(Path::new("audio/pi.wav"), recognizer.sample_rate())?;
    println!("{}", recognizer.transcribe(&samples)?);
    println!("{} frames of 10 ms", engine.frames.load(Ordering::Relaxed));
    Ok(())
}
