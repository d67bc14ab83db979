//! Wake words from outside, with the embedded model of English and recordings of digits.
#![cfg(feature = "english")]

use hearken::audio::read_all;
use hearken::decode::EndpointOptions;
use hearken::recognizer::Embedded;
use hearken::text::pronunciation::Pronouncer;
use hearken::{Event, Recognizer, StreamOptions, WakeWordOptions};
use serde_json::Value;

use crate::common::place::Place;

/// A folder with recordings of digits and of silence.
fn place() -> Place {
    let place = Place::new();
    for name in ["pi.wav", "silence.wav", "noise.wav", "countdown.wav"] {
        let clip = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("audio").join(name);
        std::fs::copy(clip, place.path(name)).expect("copied");
    }
    place
}

/// The events of a type, with their text and the first word.
fn events(output: &str, kind: &str) -> Vec<(String, Value)> {
    let events = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let events = events.filter(|event| event["type"] == kind);
    events.map(|event| (event["text"].as_str().expect("a text").into(), event["words"][0].clone())).collect()
}

#[test]
fn a_wake_word_is_an_event_before_the_utterance_ends_and_other_sounds_are_none() {
    let place = place();
    let wake = ["transcribe", "--json", "--wake-word", "Three one"];
    let output = place.stdout_of(&[&wake[..], &["pi.wav"]].concat());
    let partials = events(&output, "partial");
    assert_eq!(partials.len(), 1, "{output}");
    let word = &partials[0].1;
    assert_eq!((partials[0].0.as_str(), word["word"].as_str()), ("three one", Some("three one")));
    assert!(word["end"].as_f64() < Some(1.6) && word["confidence"].as_f64() > Some(0.0), "{output}");
    assert_eq!(events(&output, "final")[0].0, "three one");
    for sound in ["silence.wav", "noise.wav", "countdown.wav"] {
        let output = place.stdout_of(&[&wake[..], &[sound]].concat());
        let finals = events(&output, "final");
        assert!(finals.iter().all(|(text, _)| text.is_empty()), "{sound}: {output}");
    }
}

#[test]
fn phrases_are_recognized_after_the_wake_word_only() {
    let place = place();
    std::fs::write(place.path("phrases.txt"), "four one five\nnine eight\n").expect("written");
    let after = |wake: &str, clip: &str| {
        let arguments = ["transcribe", "--json", "--phrases", "phrases.txt", "--wake-word", wake, clip];
        let output = place.stdout_of(&arguments);
        let finals = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let phrases = finals.flat_map(|event| event["phrases"].as_array().cloned().unwrap_or_default());
        phrases.map(|phrase| phrase["text"].as_str().expect("a text").to_string()).collect::<Vec<_>>()
    };
    assert_eq!(after("three one", "pi.wav"), ["four one five"]);
    assert_eq!(after("hey computer", "pi.wav"), [""; 0]);
}

#[test]
fn the_text_does_not_depend_on_the_chunks() {
    let pronouncer = Pronouncer::english().expect("inside the program");
    let recognizer = Recognizer::builder().embedded(Embedded::English).open().expect("inside the program");
    let recognizer =
        recognizer.with_wake_words(&WakeWordOptions::new(["three one"]), &pronouncer).expect("a wake word");
    let clip = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("audio/pi.wav");
    let samples = read_all(&clip, recognizer.sample_rate()).expect("a recording");
    let finals = |chunk: usize| {
        let endpoint = Some(EndpointOptions::default());
        let options = StreamOptions { endpoint, partials: false, ..StreamOptions::default() };
        let mut stream = recognizer.stream_with(&options).expect("a stream");
        let mut events: Vec<Event> =
            samples.chunks(chunk).flat_map(|chunk| stream.accept_waveform(chunk).expect("samples")).collect();
        events.extend(stream.finish().expect("finished"));
        events
    };
    let whole = finals(samples.len());
    assert!(whole.iter().any(|event| matches!(event, Event::Final(segment) if segment.text == "three one")));
    assert_eq!(finals(517), whole);
}

#[test]
fn options_without_effect_and_wake_words_that_are_too_short_are_refused() {
    let place = place();
    for (arguments, expected) in [
        (&["--wake-word", "no"][..], "wake word `no`: expected 4 to 40 phones, found 2"),
        (&["--wake-word", "three one", "--wake-threshold", "0"], "expected a number from 0.001 to 1000"),
        (&["--wake-word", "three one", "--beam", "9"], "`--beam` has no effect without"),
        (&["--wake-threshold", "2"], "--wake-word"),
    ] {
        let (code, errors) = place.error_of(&[&["transcribe", "pi.wav"], arguments].concat());
        assert!(code == 2 && errors.contains(expected), "{arguments:?}: {code} {errors}");
    }
}
