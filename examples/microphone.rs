//! Transcribes the microphone, with a line for each utterance.
//!
//! ```text
//! cargo run --release --features microphone --example microphone
//! ```

use std::time::Duration;

use hearken::audio::microphone::Microphone;
use hearken::{EndpointOptions, Event, Recognizer, StreamOptions};

fn main() -> hearken::Result<()> {
    let recognizer = Recognizer::builder().open()?;
    let options = StreamOptions { endpoint: Some(EndpointOptions::default()), ..StreamOptions::default() };
    let mut stream = recognizer.stream_with(&options)?;
    let mut microphone = Microphone::open(None, recognizer.sample_rate())?;
    eprintln!("listening to {}", microphone.name());
    let mut samples = Vec::new();
    loop {
        samples.clear();
        if microphone.read(&mut samples)? == 0 {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        for event in stream.accept_waveform(&samples)? {
            match event {
                Event::Partial(segment) => eprint!("\r{}", segment.text),
                Event::Final(segment) if segment.text.is_empty() => {}
                Event::Final(segment) => println!("\r{}", segment.text),
            }
        }
    }
}
