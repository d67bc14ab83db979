//! Silero's voice activity detector compared with the probabilities of its own package's code
//! (`tests/data/vad/silero.json`, by `tools/check/silero_detectors.py --golden`). `HEARKEN_SILERO` names the
//! package's file `silero_vad.onnx`; without it, or without onnxruntime, the test is skipped with a message.

use std::path::{Path, PathBuf};

use hearken::audio;
use hearken::decode::EndpointOptions;
use hearken::engine::{EngineKind, EngineOptions, LibrarySearch};
use hearken::onnx::OnnxFile;
use hearken::recognizer::{Embedded, Recognizer, StreamOptions, silero};

fn options() -> EngineOptions {
    let ort_library = LibrarySearch {
        explicit: std::env::var_os("ORT_DYLIB_PATH").map(Into::into),
        executable_dir: None,
        python_roots: std::env::var_os("VIRTUAL_ENV").map(Into::into).into_iter().collect(),
    };
    EngineOptions { ort_library, ..EngineOptions::default() }
}

fn file() -> Option<PathBuf> {
    let file = std::env::var_os("HEARKEN_SILERO").map(PathBuf::from);
    if file.is_none() || !cfg!(feature = "ort") || options().ort_library.candidates().is_empty() {
        eprintln!("skipped: HEARKEN_SILERO names no silero_vad.onnx, or there is no onnxruntime");
        return None;
    }
    file
}

fn samples() -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("audio/pi.wav");
    let mut source = audio::open(&path, 16_000).expect("a recording");
    let mut samples = Vec::new();
    while source.read(&mut samples, 16_000).expect("read") > 0 {}
    samples
}

#[test]
fn probabilities_are_those_of_the_package() {
    let Some(file) = file() else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vad/silero.json");
    let golden = std::fs::read_to_string(golden).expect("the golden");
    let expected: Vec<f32> = serde_json::from_str(&golden).expect("numbers");
    let mut detector =
        silero::detector(&OnnxFile::read(&file).expect("read"), EngineKind::Ort, &options()).expect("opened");
    let samples = samples();
    for pass in 0..2 {
        let found: Vec<f32> = samples
            .chunks_exact(silero::WINDOW)
            .map(|window| detector.speech(window).expect("recognized"))
            .collect();
        assert_eq!(found.len(), expected.len());
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4, "pass {pass}: {worst}");
        detector.reset();
    }
}

#[test]
fn a_detector_keeps_a_segment_open_during_speech() {
    let Some(file) = file() else { return };
    let recognizer = Recognizer::embedded(Embedded::Digits, EngineKind::Native, &EngineOptions::default())
        .expect("the digits");
    let segments = |with_detector: bool| {
        let detector =
            with_detector.then(|| silero::open(&file, EngineKind::Ort, &options()).expect("opened"));
        let endpoint = EndpointOptions { rule2_min_trailing_silence: 0.1, ..EndpointOptions::default() };
        let options = StreamOptions { endpoint: Some(endpoint), detector, ..Default::default() };
        let mut stream = recognizer.stream_with(&options).expect("a stream");
        let mut events = stream.accept_waveform(&samples()).expect("recognized");
        events.extend(stream.finish().expect("finished"));
        events.iter().filter(|e| matches!(e, hearken::recognizer::Event::Final(_))).count()
    };
    // A tenth of a second without a new label is not silence for the detector.
    assert!(segments(true) < segments(false), "{} of {}", segments(true), segments(false));
}
