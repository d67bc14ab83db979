//! Endpoints of whole streams: they depend only on the audio, lose or repeat no word, and times are those of
//! the stream.

use std::sync::Arc;

use crate::common::speech::{Memory, RATE, ToneEngine, metadata, speak};
use hearken::decode::{EndpointOptions, Greedy};
use hearken::engine::{EngineKind, EngineOptions};
use hearken::onnx::DecoderOptions;
use hearken::recognizer::segments::SegmentDecoder;
use hearken::recognizer::{
    DetectorFactory, Embedded, Event, FrameClock, Pipeline, Recognizer, Segment, SpeechDetector, Stream,
    StreamOptions, WordBuilder, final_text, step_batch,
};
use hearken::text::TokenTable;
use proptest::prelude::*;

/// Endpoints after 0.8 s of silence, 1.2 s without speech, or 3 s.
fn rules(reset: Option<bool>) -> StreamOptions {
    let endpoint = EndpointOptions {
        rule1_min_trailing_silence: 1.2,
        rule2_min_trailing_silence: 0.8,
        rule3_min_utterance_length: 3.0,
        reset_state: reset,
    };
    StreamOptions { endpoint: Some(endpoint), ..Default::default() }
}

fn tones(delay: usize, lookahead: usize) -> Recognizer {
    Recognizer::new(Arc::new(ToneEngine::new(delay, lookahead)), metadata()).expect("they fit")
}

fn silence(ms: usize) -> Vec<f32> {
    vec![0.0; ms * RATE as usize / 1000]
}

/// Words (`low`, `high`) and pauses (milliseconds).
fn scene(parts: &[(&'static str, usize)]) -> Vec<f32> {
    parts.iter().flat_map(|(word, pause)| [speak(&[*word]), silence(*pause)].concat()).collect()
}

fn recognize(stream: &mut Stream, samples: &[f32], sizes: &[usize]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut rest = samples;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*size).min(rest.len()));
        events.extend(stream.accept_waveform(now).expect("recognized"));
        rest = later;
    }
    events.extend(stream.finish().expect("finished"));
    events
}

fn finals(events: &[Event]) -> Vec<Segment> {
    let segment = |event: &Event| match event {
        Event::Final(segment) => Some(segment.clone()),
        Event::Partial(_) => None,
    };
    events.iter().filter_map(segment).collect()
}

fn texts(segments: &[Segment]) -> Vec<&str> {
    segments.iter().map(|s| s.text.as_str()).collect()
}

fn parts() -> impl Strategy<Value = Vec<(&'static str, usize)>> {
    prop::collection::vec((prop_oneof![Just("low"), Just("high")], 0usize..1600), 1..8)
}

/// Segments follow each other without gap or overlap, and words lie in them.
fn in_order(segments: &[Segment]) {
    let mut at = 0.0;
    for segment in segments {
        assert_eq!(segment.start, at, "segments follow each other");
        for word in &segment.words {
            assert!(
                word.start >= at && word.start <= word.end && word.end <= segment.end + 1e-9,
                "{segments:?}"
            );
            at = word.end;
        }
        at = segment.end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn words_are_output_once_and_endpoints_do_not_depend_on_chunks(
        spoken in parts(), sizes in prop::collection::vec(1usize..9000, 1..5), lookahead in 0usize..7,
        reset in any::<bool>()
    ) {
        // The network is 8 steps late, less than half of the silence that ends a segment: its delayed output
        // comes before the state is reset, or from the audio that is processed again.
        let recognizer = tones(8, lookahead);
        let samples = scene(&spoken);
        let options = rules(Some(reset));
        let whole = recognize(&mut recognizer.stream_with(&options).expect("a stream"), &samples, &[samples.len()]);
        let chunked = recognize(&mut recognizer.stream_with(&options).expect("a stream"), &samples, &sizes);
        prop_assert_eq!(finals(&whole), finals(&chunked));
        let pipeline = Pipeline::start_with(
            &recognizer, Box::new(Memory::new(samples.clone())), sizes[0], &options).expect("started");
        let threaded: Vec<Event> = pipeline.map(|event| event.expect("recognized")).collect();
        prop_assert_eq!(finals(&whole), finals(&threaded));
        let words: Vec<_> = spoken.iter().map(|part| part.0).collect();
        prop_assert_eq!(final_text(&whole), words.join(" "));
        in_order(&finals(&whole));
        prop_assert!(matches!(whole.last(), Some(Event::Final(_))));
    }
}

#[test]
fn silence_ends_a_segment_and_a_repeated_word_is_output_twice() {
    let samples = [scene(&[("low", 0), ("high", 1500), ("high", 900), ("high", 0)]), silence(100)].concat();
    for reset in [false, true] {
        let mut stream = tones(8, 0).stream_with(&rules(Some(reset))).expect("a stream");
        let segments = finals(&recognize(&mut stream, &samples, &[1600]));
        assert_eq!(texts(&segments), ["low high", "high", "high"], "reset {reset}");
        in_order(&segments);
        let seconds = samples.len() as f64 / f64::from(RATE);
        assert_eq!(segments.last().map(|s| s.end), Some(seconds));
    }
}

#[test]
fn the_model_determines_whether_its_state_is_reset() {
    // A network that is 24 steps (0.96 s) late, with endpoints after 0.8 s of silence: its delayed output is
    // in its state.
    let samples = scene(&[("low", 660), ("high", 100), ("low", 1500)]);
    let text = |recognizer: &Recognizer, reset| {
        let mut stream = recognizer.stream_with(&rules(reset)).expect("a stream");
        final_text(&recognize(&mut stream, &samples, &[1600]))
    };
    let carrying = tones(24, 0);
    assert_eq!(text(&carrying, None), "low high low", "carried by default");
    let mut metadata = metadata();
    metadata.decoder.reset_at_endpoint = true;
    let resetting = Recognizer::new(Arc::new(ToneEngine::new(24, 0)), metadata).expect("they fit");
    assert_ne!(text(&resetting, None), "low high low", "this network must not be reset");
    assert_eq!(text(&resetting, Some(false)), "low high low", "the option has the last word");
}

#[test]
fn without_rules_a_stream_is_one_segment() {
    let samples = scene(&[("low", 3000), ("high", 3000)]);
    let segments = finals(&recognize(&mut tones(8, 0).stream().expect("a stream"), &samples, &[1600]));
    assert_eq!(texts(&segments), ["low high"]);
}

#[test]
fn streams_in_a_batch_have_separate_endpoints_and_resets() {
    let scenes = [
        scene(&[("low", 1500), ("high", 1500), ("low", 1500)]),
        scene(&[("high", 200), ("high", 2100), ("low", 1500)]),
    ];
    let recognizer = tones(8, 0);
    let options = rules(Some(true));
    let mut streams: Vec<_> = (0..2).map(|_| recognizer.stream_with(&options).expect("a stream")).collect();
    for (stream, samples) in streams.iter_mut().zip(&scenes) {
        stream.compute_features(samples).expect("taken");
        stream.input_finished();
    }
    while streams.iter().any(|s| s.num_steps_ready() > 0) {
        step_batch(&mut streams.iter_mut().collect::<Vec<_>>()).expect("run");
    }
    for (stream, samples) in streams.iter_mut().zip(&scenes) {
        let alone = recognize(&mut recognizer.stream_with(&options).expect("a stream"), samples, &[1600]);
        assert_eq!(finals(&stream.take_events()), finals(&alone));
    }
}

/// A detector that classifies everything above a low level as speech.
struct Loud;

impl SpeechDetector for Loud {
    fn window_samples(&self) -> usize {
        512
    }

    fn speech(&mut self, window: &[f32]) -> hearken::Result<f32> {
        Ok(if window.iter().any(|x| x.abs() > 0.0002) { 0.9 } else { 0.1 })
    }

    fn reset(&mut self) {}
}

#[test]
fn a_detector_keeps_the_segment_open() {
    // Between two words: 1 s of noise that is speech for the detector and not for the recognizer.
    let noise: Vec<f32> = (0..RATE).map(|i| if i % 160 == 0 { 0.0005 } else { 0.0 }).collect();
    let samples = [speak(&["low"]), noise, speak(&["high"]), silence(1000)].concat();
    let detector = Some(DetectorFactory::new(|| Ok(Box::new(Loud))));
    for sizes in [vec![100], vec![16_000], vec![77, 5000]] {
        let mut plain = tones(2, 0).stream_with(&rules(None)).expect("a stream");
        let without = finals(&recognize(&mut plain, &samples, &sizes));
        assert_eq!(texts(&without)[..2], ["low", "high"]);
        let options = StreamOptions { detector: detector.clone(), ..rules(None) };
        let mut stream = tones(2, 0).stream_with(&options).expect("a stream");
        let with = finals(&recognize(&mut stream, &samples, &sizes));
        assert_eq!(texts(&with)[..1], ["low high"], "{sizes:?}");
        let source = Box::new(Memory::new(samples.clone()));
        let pipeline = Pipeline::start_with(&tones(2, 0), source, sizes[0], &options).expect("started");
        let threaded: Vec<Event> = pipeline.map(|event| event.expect("recognized")).collect();
        assert_eq!(finals(&threaded), with);
    }
}

/// A decoder of scripted frames of 40 ms: blank, `▁ze`, `ro`, `▁one`.
fn scripted(options: &EndpointOptions) -> SegmentDecoder {
    let tokens = ["<blk>", "▁ze", "ro", "▁one"].map(String::from).to_vec();
    let table = TokenTable::new(tokens, 0).expect("a good table");
    let decoder = DecoderOptions::default();
    let words = WordBuilder::new(&table, &decoder, FrameClock { step_samples: 640, sample_rate: 16_000 });
    SegmentDecoder::new(Box::new(Greedy::new(&table, &decoder)), words, table.len())
        .with_endpoints(options, false)
}

fn frames(path: &[u32]) -> Vec<f32> {
    path.iter().flat_map(|&best| (0..4).map(move |id| if id == best { 0.97f32 } else { 0.01 }.ln())).collect()
}

#[test]
fn a_word_across_the_maximum_length_is_not_split() {
    let options = EndpointOptions { rule3_min_utterance_length: 0.4, ..Default::default() };
    let mut decoder = scripted(&options);
    let mut events = Vec::new();
    // The cut is after frame 10: `ro` is still missing, and the run of `▁ze` continues.
    decoder.push(&frames(&[0, 3, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 2, 2, 0, 3]), &mut events);
    events.push(decoder.end_segment());
    let segments = finals(&events);
    assert_eq!(texts(&segments)[..2], ["one", "zero one"], "{segments:?}");
    assert_eq!(final_text(&events), "one zero one");
    in_order(&segments);
    assert!(segments[0].end < 8.0 * 0.04, "the segment ends before the word that is kept");
}

#[test]
fn a_partial_follows_a_word_that_is_kept() {
    let options = EndpointOptions { rule3_min_utterance_length: 0.4, ..Default::default() };
    let mut decoder = scripted(&options);
    let mut events = Vec::new();
    decoder.push(&frames(&[3, 0, 0, 0, 0, 0, 0, 0, 3, 0]), &mut events);
    match &events[..] {
        [Event::Final(one), Event::Partial(kept)] => {
            assert_eq!((one.text.as_str(), kept.text.as_str()), ("one", "one"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn times_do_not_drift_over_ten_hours() {
    let mut decoder = scripted(&EndpointOptions::default());
    // One word every four seconds of 100 frames.
    let mut path = vec![0; 100];
    path[20] = 3;
    let chunk = frames(&path);
    let mut segments = 0u32;
    let mut events = Vec::new();
    for round in 0..9000u64 {
        events.clear();
        decoder.push(&chunk, &mut events);
        for segment in finals(&events).iter().filter(|s| !s.text.is_empty()) {
            segments += 1;
            let word = &segment.words[0];
            let expected = (round * 100 + 21) as f64 * 0.04;
            assert!((word.end - expected).abs() < 1e-6, "{} at {expected}", word.end);
            assert!((segment.end - (expected + 1.2)).abs() < 1e-6, "1.2 s of silence after the word");
        }
    }
    assert_eq!(segments, 9000);
}

fn embedded_model() -> Recognizer {
    Recognizer::embedded(Embedded::Digits, EngineKind::Native, &EngineOptions::default())
        .expect("the model inside")
}

/// A recording of the repository, 16 kHz, as samples.
fn recording(name: &str) -> Vec<f32> {
    let path = format!("{}/audio/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut file = hound::WavReader::open(path).expect("there");
    assert_eq!(file.spec().sample_rate, RATE);
    file.samples::<i16>().map(|x| f32::from(x.expect("whole")) / 32768.0).collect()
}

#[test]
fn the_words_of_one_segment_do_not_reject_those_of_the_next() {
    let recognizer = embedded_model();
    // "three": a single word. It would be rejected if the labels of another word counted as other speech.
    let spoken = &recording("pi.wav")[..15_200];
    // Within the window of the rejection, two seconds.
    let scene = [spoken, &vec![0.0; 16_000], spoken, &vec![0.0; 16_000], spoken].concat();
    for reset in [None, Some(true)] {
        let mut stream = recognizer.stream_with(&rules(reset)).expect("a stream");
        let segments = finals(&recognize(&mut stream, &scene, &[1600]));
        let texts: Vec<&str> = texts(&segments).into_iter().filter(|text| !text.is_empty()).collect();
        assert_eq!(texts, ["three"; 3]);
    }
}

#[test]
fn the_embedded_model_loses_no_word_where_long_speech_is_cut() {
    let recognizer = embedded_model();
    let parts = ["pi.wav", "e.wav", "countdown.wav", "pi.wav", "countdown.wav", "e.wav"];
    let scene: Vec<f32> = parts.iter().flat_map(|name| recording(name)).collect();
    let mut whole = recognizer.stream().expect("a stream");
    let expected = final_text(&recognize(&mut whole, &scene, &[1600]));
    assert!(expected.split(' ').count() > 30, "{expected}");
    // In shorter segments the first word after a pause may have no neighbors that its confidence depends on.
    for longest in [1.75, 2.5, 4.0, 8.0] {
        let endpoint = EndpointOptions { rule3_min_utterance_length: longest, ..EndpointOptions::default() };
        let options = StreamOptions { endpoint: Some(endpoint), ..Default::default() };
        let mut stream = recognizer.stream_with(&options).expect("a stream");
        let segments = finals(&recognize(&mut stream, &scene, &[1600]));
        in_order(&segments);
        let texts: Vec<&str> = texts(&segments).into_iter().filter(|text| !text.is_empty()).collect();
        assert_eq!(texts.join(" "), expected, "at most {longest} s");
    }
}
