//! Runs several recordings as streams that share each call of the network, as a server does.
//!
//! ```text
//! cargo run --release --example many_streams -- audio/pi.wav audio/countdown.wav
//! ```

use std::path::Path;

use hearken::recognizer::{final_text, step_batch};
use hearken::{Recognizer, Stream, audio};

fn main() -> hearken::Result<()> {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        paths = vec!["audio/pi.wav".into(), "audio/countdown.wav".into()];
    }
    let recognizer = Recognizer::builder().open()?;
    let rate = recognizer.sample_rate();
    let sources = paths.iter().map(|path| audio::open(Path::new(path), rate));
    let mut sources = sources.collect::<hearken::Result<Vec<_>>>()?;
    let streams = paths.iter().map(|_| recognizer.stream());
    let mut streams = streams.collect::<hearken::Result<Vec<Stream>>>()?;
    let mut events = vec![Vec::new(); paths.len()];
    let mut open = paths.len();
    let mut chunk = Vec::new();
    while open > 0 {
        open = 0;
        for (source, stream) in sources.iter_mut().zip(&mut streams) {
            chunk.clear();
            if source.read(&mut chunk, 1600)? > 0 {
                stream.compute_features(&chunk)?;
                open += 1;
            } else {
                stream.input_finished();
            }
        }
        // One call of the network for all streams, until none has frames for another step.
        while step_batch(&mut streams.iter_mut().collect::<Vec<_>>())? > 0 {}
        for (stream, events) in streams.iter_mut().zip(&mut events) {
            events.extend(stream.take_events());
        }
    }
    for (path, events) in paths.iter().zip(&events) {
        println!("{path}\t{}", final_text(events));
    }
    Ok(())
}
