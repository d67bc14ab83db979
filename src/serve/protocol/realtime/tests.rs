//! Tests of the realtime protocol.

use super::*;
use crate::audio::{Encoding, RawFormat};
use crate::recognizer::{Segment, Word};
use crate::serve::protocol::word_list::{Refused, WordList};

fn realtime() -> RealtimeProtocol {
    RealtimeProtocol::new("1", &ModelInfo { silence: 1.2, hotwords: true, ..ModelInfo::default() })
}

fn say(realtime: &mut RealtimeProtocol, message: Value) -> Vec<Action> {
    let mut actions = Vec::new();
    realtime.text(&message.to_string(), &mut actions);
    actions
}

fn output(realtime: &mut RealtimeProtocol, output: RecognizerOutput) -> Vec<Action> {
    let mut actions = Vec::new();
    realtime.output(output, &mut actions);
    actions
}

fn sent(actions: &[Action]) -> Vec<Value> {
    let sent = actions.iter().filter_map(|a| if let Action::Send(text) = a { Some(text) } else { None });
    sent.map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

fn types(actions: &[Action]) -> Vec<String> {
    sent(actions).iter().map(|e| e["type"].as_str().expect("a type").into()).collect()
}

fn segment(text: &str, start: f64, end: f64) -> Segment {
    let word = Word { word: text.into(), start: start + 0.5, end: end - 0.5, confidence: 1.0 };
    let words = if text.is_empty() { vec![] } else { vec![word] };
    Segment { text: text.into(), start, end, words, phrases: Vec::new(), alternatives: Vec::new() }
}

fn append(seconds: f64) -> Value {
    let bytes = vec![0; (seconds * 48_000.0) as usize];
    json!({"type": "input_audio_buffer.append", "audio": BASE64.encode(bytes)})
}

const MANUAL: &str = r#"{"type":"session.update","session":{"type":"transcription",
    "audio":{"input":{"turn_detection":null}}}}"#;

#[test]
fn a_commit_becomes_an_item_with_all_text_of_its_audio() {
    let mut realtime = self::realtime();
    let mut actions = Vec::new();
    realtime.begin(&mut actions);
    realtime.text(MANUAL, &mut actions);
    assert_eq!(types(&actions), ["session.created", "session.updated"]);
    assert_eq!(sent(&actions)[0]["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"], 1200);
    assert!(sent(&actions)[1]["session"]["audio"]["input"]["turn_detection"].is_null());
    let early = say(&mut realtime, json!({"type": "input_audio_buffer.commit", "event_id": "mine"}));
    let error = &sent(&early)[0]["error"];
    assert_eq!(
        (&error["code"], &error["event_id"]),
        (&json!("input_audio_buffer_commit_empty"), &json!("mine"))
    );
    let actions = say(&mut realtime, append(2.0));
    assert!(matches!(&actions[..], [Action::Open(request), Action::Audio(_)] if request.silence.is_none()));
    assert_eq!(output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("one", 0.0, 1.0)))), []);
    let actions = say(&mut realtime, json!({"type": "input_audio_buffer.commit"}));
    let item = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"];
    assert_eq!(types(&actions), item);
    assert_eq!(actions.last(), Some(&Action::Restart));
    output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("two", 1.0, 2.0))));
    let events = sent(&output(&mut realtime, RecognizerOutput::Restarted));
    assert_eq!((&events[0]["delta"], &events[1]["delta"]), (&json!("one"), &json!(" two")));
    assert_eq!((&events[2]["transcript"], &events[2]["usage"]["seconds"]), (&json!("one two"), &json!(2.0)));
}

#[test]
fn utterances_found_by_silence_become_items() {
    let mut realtime = self::realtime();
    let actions = say(&mut realtime, append(3.0));
    assert!(matches!(&actions[0], Action::Open(request) if request.silence == Some(1.2)));
    assert_eq!(output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("", 0.0, 1.0)))), []);
    let partial = RecognizerOutput::Event(Event::Partial(segment("one", 1.0, 2.5)));
    let started = sent(&output(&mut realtime, partial));
    assert_eq!(
        (&started[0]["type"], &started[0]["audio_start_ms"]),
        (&json!("input_audio_buffer.speech_started"), &json!(1200))
    );
    let events =
        sent(&output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("one", 1.0, 2.5)))));
    assert_eq!(events[0]["audio_end_ms"], 2000);
    assert_eq!(events.last().expect("events")["transcript"], "one");
    assert!(events.iter().skip(1).all(|e| e["type"] != "input_audio_buffer.speech_started"));
    // A later commit has only the audio since then.
    let actions = say(&mut realtime, json!({"type": "input_audio_buffer.commit"}));
    assert_eq!(sent(&actions)[0]["previous_item_id"], "item_000");
    let events = sent(&output(&mut realtime, RecognizerOutput::Restarted));
    assert_eq!((&events[0]["transcript"], &events[0]["usage"]["seconds"]), (&json!(""), &json!(0.5)));
}

#[test]
fn cleared_audio_leaves_no_text() {
    let mut realtime = self::realtime();
    realtime.text(MANUAL, &mut Vec::new());
    say(&mut realtime, append(1.0));
    let actions = say(&mut realtime, json!({"type": "input_audio_buffer.clear"}));
    assert!(actions.contains(&Action::Restart) && types(&actions) == ["input_audio_buffer.cleared"]);
    say(&mut realtime, append(1.0));
    say(&mut realtime, json!({"type": "input_audio_buffer.commit"}));
    output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("one", 0.0, 1.0))));
    assert_eq!(output(&mut realtime, RecognizerOutput::Restarted), []);
    output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("two", 1.0, 2.0))));
    let events = sent(&output(&mut realtime, RecognizerOutput::Restarted));
    assert_eq!(events.last().expect("an end")["transcript"], "two");
}

#[test]
fn both_versions_of_the_api_set_the_format() {
    let mut realtime = self::realtime();
    let beta = json!({"type": "transcription_session.update", "session": {"input_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "whisper-1", "language": "de"}, "turn_detection": null}});
    let actions = say(&mut realtime, beta);
    assert_eq!(types(&actions), ["transcription_session.updated"]);
    assert_eq!(sent(&actions)[0]["session"]["input_audio_transcription"]["language"], "de");
    assert_eq!(realtime.settings.format.sample_rate, 8_000);
    say(&mut realtime, append(1.0));
    let format = json!({"type": "audio/pcm", "rate": 16_000});
    let update = json!({"type": "session.update", "session": {"audio": {"input": {"format": format}}}});
    let pcm = RawFormat { sample_rate: 16_000, channels: 1, encoding: Encoding::S16Le };
    assert_eq!(say(&mut realtime, update)[0], Action::Format(pcm));
}

#[test]
fn prompt_and_keywords_are_hotwords() {
    let mut realtime = self::realtime();
    let update = |transcription: Value| {
        let session = json!({"audio": {"input": {"transcription": transcription}}});
        json!({"type": "session.update", "session": session})
    };
    let both = json!({"prompt": "Nuuk, one two.", "keywords": ["Anna"]});
    let updated = sent(&say(&mut realtime, update(both)));
    let transcription = &updated[0]["session"]["audio"]["input"]["transcription"];
    assert_eq!((&transcription["keywords"], &updated[0]["warnings"]), (&json!(["Anna"]), &Value::Null));
    let words = |words: &[&str]| Some(WordList::Keywords(words.iter().map(|word| (*word).into()).collect()));
    let actions = say(&mut realtime, append(1.0));
    let expected = words(&["Anna", "Nuuk", "one two"]);
    assert!(matches!(&actions[0], Action::Open(request) if request.words == expected));
    let actions = say(&mut realtime, update(json!({"prompt": null})));
    assert_eq!(actions[0], Action::Words(words(&["Anna"])));
    let warnings = vec!["1 hotword was left out".to_string()];
    let updated = output(&mut realtime, RecognizerOutput::Words { notes: Vec::new(), warnings });
    assert_eq!(sent(&updated)[0]["warnings"][0], "1 hotword was left out");
    let refused = output(&mut realtime, RecognizerOutput::WordsRefused(Refused::Busy));
    assert_eq!(types(&refused), ["error"]);
    assert_eq!(realtime.settings.hotwords(), None);
    // A model that cannot use them.
    let mut realtime = RealtimeProtocol::new("1", &ModelInfo::default());
    let updated = sent(&say(&mut realtime, update(json!({"keywords": ["Anna"]}))));
    assert_eq!(updated[0]["warnings"][0], NO_HOTWORDS);
    assert!(updated[0]["session"]["audio"]["input"]["transcription"].get("keywords").is_none());
}

#[test]
fn an_invalid_update_changes_nothing_and_the_error_names_the_field() {
    for (session, field) in [
        (json!({"type": "realtime"}), "session.type"),
        (json!({"audio": {"input": {"format": {"type": "audio/mp3"}}}}), "session.audio.input.format"),
        (
            json!({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 1}}}}),
            "session.audio.input.format.rate",
        ),
        (
            json!({"audio": {"input": {"transcription": {"keywords": "one"}}}}),
            "session.audio.input.transcription.keywords",
        ),
        (
            json!({"input_audio_transcription": {"prompt": ["one"]}}),
            "session.input_audio_transcription.prompt",
        ),
        (json!({"turn_detection": {"type": "semantic_vad"}}), "session.turn_detection.type"),
        (
            json!({"turn_detection": {"type": "server_vad", "silence_duration_ms": -1}}),
            "session.turn_detection.silence_duration_ms",
        ),
    ] {
        let mut realtime = self::realtime();
        let before = realtime.settings.clone();
        let actions = say(&mut realtime, json!({"type": "session.update", "session": session}));
        assert_eq!(types(&actions), ["error"]);
        assert_eq!(sent(&actions)[0]["error"]["param"], field);
        assert_eq!(realtime.settings, before);
    }
    let mut realtime = self::realtime();
    for message in [
        json!({"type": "response.create"}),
        json!({"type": "input_audio_buffer.append", "audio": "?"}),
        json!([]),
    ] {
        assert_eq!(types(&say(&mut realtime, message)), ["error"]);
    }
}
