//! A substitute for speech and for a trained network: low and high tones, which an engine of a few lines
//! distinguishes.

use hearken::Result;
use hearken::audio::Source;
use hearken::engine::{Engine, EngineSpec, State, StatePort, StateTensor, TensorData};
use hearken::features::FbankOptions;
use hearken::onnx::{DecoderOptions, Metadata};
use hearken::text::TokenTable;

pub const RATE: u32 = 16_000;

/// Samples with a tone of 200 ms for each word (`low`, `high`), each after a pause of 160 ms; nothing
/// follows the last.
pub fn speak(words: &[&str]) -> Vec<f32> {
    let mut samples = Vec::new();
    for word in words {
        samples.extend(std::iter::repeat_n(0.0, 2560));
        let hz = if *word == "low" { 300.0 } else { 5000.0 };
        let step = std::f32::consts::TAU * hz / RATE as f32;
        samples.extend((0..3200).map(|i| 0.5 * (step * i as f32).sin()));
    }
    samples
}

/// Metadata for [`ToneEngine`].
pub fn metadata() -> Metadata {
    let tokens = ["<blk>", "▁low", "▁high"].map(String::from).to_vec();
    Metadata {
        features: FbankOptions { num_mel_bins: 6, ..Default::default() },
        tokens: TokenTable::new(tokens, 0).expect("different tokens"),
        decoder: DecoderOptions::default(),
        license: "CC0-1.0".into(),
        trained_on: "nothing".into(),
        recipe: String::new(),
        created_by: "a test".into(),
        other: Vec::new(),
    }
}

/// An engine that distinguishes low from high tones. Its output is `delay` steps late; pending decisions are in its
/// state.
pub struct ToneEngine {
    spec: EngineSpec,
    delay: usize,
}

impl ToneEngine {
    /// `lookahead` is the number of frames after the four of a step that it uses.
    pub fn new(delay: usize, lookahead: usize) -> Self {
        let state = StatePort {
            input: "state.0".into(),
            output: "next_state.0".into(),
            shape: vec![1, 1, delay],
            batch_axis: 1,
            is_i64: false,
        };
        let spec = EngineSpec {
            name: "native",
            num_features: 6,
            subsampling: 4,
            window: 4 + lookahead,
            shift: 4,
            num_tokens: 3,
            states: vec![state],
        };
        Self { spec, delay }
    }

    fn decide(frames: &[f32]) -> f32 {
        let mut low = 0.0;
        let mut high = 0.0;
        for frame in frames.chunks(6) {
            low += frame[..3].iter().sum::<f32>() / 3.0;
            high += frame[3..].iter().sum::<f32>() / 3.0;
        }
        let n = (frames.len() / 6) as f32;
        match (low / n, high / n) {
            (low, high) if low.max(high) < -6.0 => 0.0,
            (low, high) if low > high => 1.0,
            _ => 2.0,
        }
    }
}

impl Engine for ToneEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn zero_state(&self) -> State {
        let mut state = State::default();
        let data = TensorData::F32(vec![0.0; self.delay]);
        state.tensors.push(StateTensor { shape: vec![1, 1, self.delay], data });
        state
    }

    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        for ((frames, state), out) in frames.iter().zip(states).zip(log_probs) {
            let TensorData::F32(waiting) = &mut state.tensors[0].data else { panic!("f32 was given") };
            let total = frames.len() / 6;
            assert!(total >= self.spec.window && (total - self.spec.window).is_multiple_of(4));
            for step in 0..=(total - self.spec.window) / 4 {
                waiting.push(Self::decide(&frames[step * 24..step * 24 + 24]));
                let token = waiting.remove(0) as usize;
                let mut frame = [0.05f32.ln(); 3];
                frame[token] = 0.9f32.ln();
                out.extend(frame);
            }
        }
        Ok(())
    }
}

/// A recording in memory; reading fails at its end if `fails` is set.
pub struct Memory {
    pub samples: Vec<f32>,
    pub at: usize,
    pub fails: bool,
}

impl Memory {
    pub fn new(samples: Vec<f32>) -> Self {
        Self { samples, at: 0, fails: false }
    }
}

impl Source for Memory {
    fn sample_rate(&self) -> u32 {
        RATE
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        let n = max_samples.min(self.samples.len() - self.at);
        if n == 0 && self.fails {
            return Err(hearken::Error::new(hearken::error::Stage::Audio, "the disk is gone"));
        }
        out.extend(&self.samples[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
