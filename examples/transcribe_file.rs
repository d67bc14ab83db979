//! Transcribes a recording chunk by chunk, like a live source, with the embedded model or another one.
//!
//! ```text
//! cargo run --release --example transcribe_file -- audio/pi.wav [MODEL.onnx]
//! ```

use std::path::Path;

use hearken::{Event, Recognizer, audio};

fn main() -> hearken::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let recording = arguments.next().unwrap_or_else(|| "audio/pi.wav".into());
    let builder = match arguments.next() {
        Some(model) => Recognizer::builder().model(model),
        None => Recognizer::builder(),
    };
    let recognizer = builder.open()?;
    let mut source = audio::open(Path::new(&recording), recognizer.sample_rate())?;
    let mut stream = recognizer.stream()?;
    let mut chunk = Vec::new();
    while source.read(&mut chunk, 1600)? > 0 {
        print(&stream.accept_waveform(&chunk)?);
        chunk.clear();
    }
    print(&stream.finish()?);
    for problem in source.problems().messages() {
        eprintln!("{recording}: {problem}");
    }
    Ok(())
}

fn print(events: &[Event]) {
    for event in events {
        match event {
            Event::Partial(segment) => eprintln!("… {}", segment.text),
            Event::Final(segment) => {
                for word in &segment.words {
                    println!("{:6.2} {:6.2} {:4.2} {}", word.start, word.end, word.confidence, word.word);
                }
            }
        }
    }
}
