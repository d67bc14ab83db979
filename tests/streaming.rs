//! Invariants of streams: chunking is invisible, the last word is never lost, streams are independent of each
//! other, and all ways to run a stream give the same results.

use std::sync::Arc;

use crate::common::networks;
use crate::common::speech::{self, Memory, ToneEngine, metadata, speak};
use hearken::engine::{Engine, NativeEngine};
use hearken::error::Stage;
use hearken::recognizer::front_end::FrontEnd;
use hearken::recognizer::streaming_network::StreamingNetwork;
use hearken::recognizer::{
    Event, Pipeline, Recognizer, Segment, Stream, StreamOptions, final_text, step_batch,
};
use proptest::prelude::*;

fn tones(delay: usize, lookahead: usize) -> Recognizer {
    Recognizer::new(Arc::new(ToneEngine::new(delay, lookahead)), metadata()).expect("they fit")
}

fn last_final(events: &[Event]) -> &Segment {
    match events.last() {
        Some(Event::Final(segment)) => segment,
        other => panic!("expected a final, found {other:?}"),
    }
}

/// Pushes samples in chunks of these sizes, in turn.
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

fn words() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop_oneof![Just("low"), Just("high")], 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_words_and_times(
        spoken in words(), sizes in prop::collection::vec(1usize..5000, 1..5), lookahead in 0usize..7
    ) {
        let recognizer = tones(8, lookahead);
        let samples = speak(&spoken);
        let whole = recognize(&mut recognizer.stream().expect("a stream"), &samples, &[samples.len()]);
        let chunked = recognize(&mut recognizer.stream().expect("a stream"), &samples, &sizes);
        prop_assert_eq!(&last_final(&whole).text, &spoken.join(" "));
        prop_assert_eq!(last_final(&whole), last_final(&chunked));
    }

    #[test]
    fn the_last_word_is_never_lost(spoken in words(), cut in 0usize..1600) {
        // The samples contain at least half of the last tone, and nothing after it.
        let samples = speak(&spoken);
        let samples = &samples[..samples.len() - cut];
        prop_assert_eq!(tones(9, 0).transcribe(samples).expect("recognized"), spoken.join(" "));
    }

    #[test]
    fn times_are_monotone_and_within_the_stream(spoken in words()) {
        let samples = speak(&spoken);
        let mut stream = tones(8, 0).stream().expect("a stream");
        let duration = samples.len() as f64 / f64::from(speech::RATE);
        for event in recognize(&mut stream, &samples, &[1600]) {
            let (Event::Partial(segment) | Event::Final(segment)) = event;
            let times: Vec<f64> = segment.words.iter().flat_map(|w| [w.start, w.end]).collect();
            prop_assert!(times.windows(2).all(|t| t[0] <= t[1]), "{:?}", times);
            prop_assert!(times.iter().all(|t| (0.0..=duration).contains(t)), "{:?}", times);
            prop_assert!(segment.words.iter().all(|w| (w.confidence - 0.9).abs() < 1e-5));
        }
        prop_assert_eq!(stream.seconds(), duration);
    }

    #[test]
    fn interleaved_streams_are_independent(one in words(), two in words(), size in 1usize..4000) {
        let recognizer = tones(8, 0);
        let samples = [speak(&one), speak(&two)];
        let mut streams = [recognizer.stream().expect("a stream"), recognizer.stream().expect("a stream")];
        let mut events = [Vec::new(), Vec::new()];
        for at in (0..samples[0].len().max(samples[1].len())).step_by(size) {
            for i in 0..2 {
                let end = (at + size).min(samples[i].len());
                events[i].extend(streams[i].accept_waveform(&samples[i][at.min(end)..end]).expect("recognized"));
            }
        }
        for (i, spoken) in [one, two].iter().enumerate() {
            events[i].extend(streams[i].finish().expect("finished"));
            prop_assert_eq!(final_text(&events[i]), spoken.join(" "));
        }
    }

    #[test]
    fn batched_steps_equal_the_steps_of_each_stream(
        spoken in prop::collection::vec(words(), 1..5), sizes in prop::collection::vec(1usize..4000, 4)
    ) {
        let recognizer = tones(8, 0);
        let samples: Vec<Vec<f32>> = spoken.iter().map(|w| speak(w)).collect();
        let mut streams: Vec<Stream> = spoken.iter().map(|_| recognizer.stream().expect("a stream")).collect();
        let mut events = vec![Vec::new(); spoken.len()];
        let mut at = vec![0; spoken.len()];
        while at.iter().zip(&samples).any(|(at, samples)| *at <= samples.len()) {
            for (i, stream) in streams.iter_mut().enumerate() {
                let end = (at[i] + sizes[i]).min(samples[i].len());
                if at[i] == samples[i].len() {
                    stream.input_finished();
                    at[i] += 1;
                } else if at[i] < end {
                    stream.compute_features(&samples[i][at[i]..end]).expect("accepted");
                    at[i] = end;
                }
            }
            while step_batch(&mut streams.iter_mut().collect::<Vec<_>>()).expect("stepped") > 0 {}
            for (stream, events) in streams.iter_mut().zip(&mut events) {
                events.extend(stream.take_events());
            }
        }
        for (events, spoken) in events.iter().zip(&spoken) {
            prop_assert_eq!(final_text(events), spoken.join(" "));
        }
    }

    #[test]
    fn the_pipeline_gives_the_results_of_a_stream(spoken in words(), size in 1usize..20_000) {
        let recognizer = tones(8, 3);
        let samples = speak(&spoken);
        let expected = recognize(&mut recognizer.stream().expect("a stream"), &samples, &[1600]);
        let source = Box::new(Memory::new(samples));
        let received: Vec<Event> = Pipeline::start(&recognizer, source, size).expect("started")
            .collect::<hearken::Result<_>>().expect("recognized");
        prop_assert_eq!(last_final(&received), last_final(&expected));
    }
}

/// Partials of a long utterance have only the words that may still change, so that their total size grows with its
/// length, not with its square; the final has all words, whatever the sizes of the chunks.
#[test]
fn partials_of_a_long_utterance_stay_short_and_its_final_is_whole() {
    let spoken: Vec<&str> = (0..500).map(|i| if i % 7 < 3 { "low" } else { "high" }).collect();
    let samples = speak(&spoken);
    let recognizer = tones(8, 0);
    let events = recognize(&mut recognizer.stream().expect("a stream"), &samples, &[1600]);
    let partials: Vec<&Segment> = events
        .iter()
        .filter_map(|event| match event {
            Event::Partial(segment) => Some(segment),
            Event::Final(_) => None,
        })
        .collect();
    assert!(partials.len() >= spoken.len(), "every word has a partial");
    for segment in &partials {
        assert!(segment.words.len() <= 112, "at most 40 s of words of 0.36 s");
        assert!(segment.words.iter().all(|word| word.start >= segment.start), "{segment:?}");
    }
    let last = partials.last().expect("partials");
    assert!(last.start > 0.0 && spoken.join(" ").ends_with(&last.text));
    let whole = last_final(&events);
    assert_eq!((&whole.text, whole.start), (&spoken.join(" "), 0.0));
    assert!(whole.words.windows(2).all(|pair| pair[0].end <= pair[1].start));
    let again = recognize(&mut recognizer.stream().expect("a stream"), &samples, &[samples.len()]);
    assert_eq!(last_final(&again), whole);
}

#[test]
fn partials_are_left_out_on_request() {
    let options = StreamOptions { partials: false, ..Default::default() };
    let mut stream = tones(8, 0).stream_with(&options).expect("a stream");
    let events = recognize(&mut stream, &speak(&["low", "high"]), &[1600]);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(last_final(&events).text, "low high");
}

/// All log-probabilities of a signal that is pushed in chunks of these sizes.
fn log_probs(engine: &Arc<dyn Engine>, samples: &[f32], sizes: &[usize]) -> Vec<f32> {
    let metadata = networks::metadata(&networks::config(&[], false, false));
    let mut front_end = FrontEnd::new(&metadata).expect("good options");
    let mut network = StreamingNetwork::new(Arc::clone(engine), &metadata);
    let mut out = Vec::new();
    let mut rest = samples;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*size).min(rest.len()));
        front_end.push(now, network.frames_mut()).expect("numbers");
        network.run(&mut out).expect("run");
        rest = later;
    }
    front_end.finish(network.frames_mut());
    network.finish();
    network.run(&mut out).expect("run");
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_log_probs(
        layers in prop::collection::vec((prop::sample::select(networks::CELLS.to_vec()), 4usize..7), 1..5),
        seed in 0u64..1000, sizes in prop::collection::vec(1usize..3000, 1..5), n in 1usize..12_000
    ) {
        let config = networks::config(&layers, true, true);
        let network = networks::random(&config, seed);
        let engine: Arc<dyn Engine> = Arc::new(NativeEngine::new(network).expect("a good network"));
        let samples = networks::Numbers(seed).vec(n, 0.5);
        let whole = log_probs(&engine, &samples, &[n]);
        let chunked = log_probs(&engine, &samples, &sizes);
        prop_assert_eq!(whole.len(), chunked.len());
        // 480 ms of silence after the signal, and every frame belongs to a step.
        prop_assert!(whole.len() / config.num_tokens >= (n + 7680) / 640);
        for (a, b) in whole.iter().zip(&chunked) {
            prop_assert!((a - b).abs() < 1e-4, "{} {}", a, b);
        }
    }
}

#[test]
fn partials_grow_and_come_before_the_end() {
    let samples = speak(&["low", "high", "low"]);
    let mut stream = tones(2, 0).stream().expect("a stream");
    let mut texts = Vec::new();
    for chunk in samples.chunks(800) {
        for event in stream.accept_waveform(chunk).expect("recognized") {
            let Event::Partial(segment) = event else { panic!("no final before the end") };
            texts.push(segment.text);
        }
    }
    assert_eq!(texts[..2], ["low".to_string(), "low high".to_string()]);
    let events = stream.finish().expect("finished");
    assert_eq!(last_final(&events).text, "low high low");
    assert_eq!(events.iter().filter(|e| matches!(e, Event::Final(_))).count(), 1);
}

#[test]
fn a_segment_may_end_within_a_word_and_the_stream_continues() {
    let samples = speak(&["low", "low", "high"]);
    let recognizer = tones(1, 0);
    for cut in (0..samples.len()).step_by(640) {
        let mut stream = recognizer.stream().expect("a stream");
        let mut events = stream.accept_waveform(&samples[..cut]).expect("recognized");
        stream.end_segment();
        events.extend(stream.accept_waveform(&samples[cut..]).expect("recognized"));
        events.extend(stream.finish().expect("finished"));
        assert_eq!(final_text(&events), "low low high", "cut at {cut}");
        let finals: Vec<&Segment> =
            events.iter().filter_map(|e| if let Event::Final(s) = e { Some(s) } else { None }).collect();
        assert_eq!(finals.len(), 2);
        assert_eq!(finals[0].end, finals[1].start, "every moment is in one segment");
    }
}

#[test]
fn after_reset_a_stream_is_new() {
    let mut stream = tones(8, 0).stream().expect("a stream");
    let _ = stream.accept_waveform(&speak(&["low", "high"])).expect("recognized");
    stream.reset();
    let first = recognize(&mut stream, &speak(&["high"]), &[1000]);
    assert_eq!(final_text(&first), "high");
    let error = stream.accept_waveform(&[0.0]).expect_err("the stream is finished");
    assert!(error.to_string().contains("finished"), "{error}");
    assert_eq!(stream.finish().expect("finished"), []);
    stream.reset();
    assert_eq!(last_final(&recognize(&mut stream, &speak(&["high"]), &[7])), last_final(&first));
}

#[test]
fn a_stream_of_no_samples_has_one_empty_final() {
    let events = tones(8, 0).stream().expect("a stream").finish().expect("finished");
    assert_eq!(
        events,
        [Event::Final(Segment {
            text: String::new(),
            start: 0.0,
            end: 0.0,
            words: vec![],
            phrases: Vec::new(),
            alternatives: Vec::new()
        })]
    );
}

#[test]
fn samples_that_are_not_numbers_are_refused_without_side_effects() {
    let mut stream = tones(8, 0).stream().expect("a stream");
    for bad in [f32::NAN, f32::INFINITY] {
        let error = stream.accept_waveform(&[0.0, bad]).expect_err("no number");
        assert_eq!(error.stage(), Stage::Audio);
    }
    assert_eq!(final_text(&recognize(&mut stream, &speak(&["low"]), &[100])), "low");
}

#[test]
fn the_pipeline_passes_errors_on_and_stops_when_it_is_dropped() {
    let recognizer = tones(8, 0);
    let mut source = Memory::new(speak(&["low"; 20]));
    source.fails = true;
    let last = Pipeline::start(&recognizer, Box::new(source), 1600).expect("started").last();
    assert!(last.expect("an end").expect_err("the source fails").to_string().contains("the disk is gone"));

    let source = Memory::new(speak(&["low"; 500]));
    let mut pipeline = Pipeline::start(&recognizer, Box::new(source), 160).expect("started");
    assert!(pipeline.next().expect("an event").is_ok());
    // Joins the threads; if they did not end, this test would hang.
    drop(pipeline);
}

#[test]
fn a_model_whose_parts_do_not_fit_is_refused() {
    let mut wrong = metadata();
    wrong.features.num_mel_bins = 80;
    let error = Recognizer::new(Arc::new(ToneEngine::new(1, 0)), wrong).expect_err("they do not fit");
    assert!(error.to_string().contains("6 features"), "{error}");
}
