//! Trains a tiny model of two invented words, tones of two pitches, and recognizes them; takes half a minute.
//!
//! ```text
//! cargo run --release --example train_tiny
//! ```

use std::f32::consts::TAU;
use std::fs;
use std::sync::atomic::AtomicBool;

use hearken::audio::{WavEncoding, write_wav};
use hearken::train::{ExistingRun, Options, Progress, Recipe, train};
use hearken::{Recognizer, Result};

const RECIPE: &str = r#"
[data]
words = ["high", "low"]
[[data.recordings]]
manifest = "train.jsonl"
weight = 1.0
[network]
cells = ["gru"]
hidden = [24]
input_size = 24
[optimizer]
learning_rate = 5e-3
[schedule]
steps = 300
warmup_steps = 20
[run]
batch_size = 8
eval_interval = 300
checkpoint_interval = 300
"#;

fn tone(word: &str) -> Vec<f32> {
    let (hz, silence) = (if word == "high" { 1800.0 } else { 400.0 }, vec![0.0; 3200]);
    let sound = (0..4800).map(|t| 0.3 * (TAU * hz * t as f32 / 16000.0).sin());
    silence.iter().copied().chain(sound).chain(silence.iter().copied()).collect()
}

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join("hearken-train-tiny");
    fs::create_dir_all(&folder).expect("a temporary folder");
    let mut manifest = String::new();
    for words in [["high", "low"], ["low", "high"], ["low", "low"], ["high", "high"]] {
        let (name, samples) = (words.join("-") + ".wav", words.map(tone).concat());
        write_wav(&folder.join(&name), &samples, 16000, WavEncoding::Pcm16)?;
        manifest += &format!("{{\"audio_filepath\": \"{name}\", \"text\": \"{}\"}}\n", words.join(" "));
    }
    fs::write(folder.join("train.jsonl"), manifest).expect("the manifest is written");
    let options =
        Options { existing_run: ExistingRun::Overwrite, ..Options::new(&folder, folder.join("run")) };
    train(&Recipe::parse(RECIPE)?, &options, &AtomicBool::new(false), &mut |progress| {
        if let Progress::Step(step) = progress {
            println!("update {}: loss {:.3}", step.step, step.loss);
        }
    })?;
    let recognizer = Recognizer::open(folder.join("run/last.onnx"))?;
    println!("{}", recognizer.transcribe(&["low", "high", "low"].map(tone).concat())?);
    Ok(())
}
