//! The protocols of voice assistants from outside: OpenAI's realtime transcription and Wyoming.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearken::audio::Resampler;
use hearken::serve::{Access, Limits, Options};
use serde_json::{Value, json};

use crate::common::server::{Client, Server, clip, connect, expected, s16_bytes};

// ---------------------------------------------------------------- OpenAI's realtime transcription

/// The samples of a clip, resampled.
fn at_rate(name: &str, to: u32) -> Vec<f32> {
    let (samples, rate) = clip(name);
    let (mut resampler, mut out) = (Resampler::new(rate, to).expect("rates"), Vec::new());
    resampler.push(&samples, &mut out).expect("resampled");
    resampler.finish(&mut out).expect("resampled");
    out
}

fn append(client: &mut Client, bytes: &[u8]) {
    for chunk in bytes.chunks(9_600) {
        let message = json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(chunk)});
        client.say(&message.to_string());
    }
}

/// All events up to the first of this type.
fn until(client: &mut Client, kind: &str) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        events.push(client.json());
        if events.last().is_some_and(|event| event["type"] == kind) {
            return events;
        }
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

const COMPLETED: &str = "conversation.item.input_audio_transcription.completed";
const MANUAL: &str = r#"{"type":"session.update","session":{"type":"transcription","audio":{"input":
    {"format":{"type":"audio/pcm","rate":24000},"turn_detection":null}}}}"#;

#[test]
fn committed_audio_is_transcribed() {
    let server = Server::start(Options::default());
    let mut client = server.open("/v1/realtime?intent=transcription");
    let created = client.json();
    assert_eq!(
        (&created["type"], &created["session"]["type"]),
        (&json!("session.created"), &json!("transcription"))
    );
    client.say(MANUAL);
    assert_eq!(client.json()["type"], "session.updated");
    client.say(r#"{"type":"input_audio_buffer.commit","event_id":"too early"}"#);
    assert_eq!(client.json()["error"]["event_id"], "too early");
    for _ in 0..2 {
        append(&mut client, &s16_bytes(&at_rate("pi.wav", 24_000)));
        client.say(r#"{"type":"input_audio_buffer.commit"}"#);
        let events = until(&mut client, COMPLETED);
        let item = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"];
        assert_eq!(types(&events)[..3], item);
        let deltas: Vec<&str> = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(deltas.concat(), expected("pi.wav"));
        let completed = events.last().expect("an end");
        assert_eq!(completed["transcript"], expected("pi.wav"));
        assert!((completed["usage"]["seconds"].as_f64().expect("seconds") - 2.87).abs() < 0.01);
    }
    assert_eq!(server.metric("hearken_protocol_streams_total{protocol=\"realtime\"}"), 1.0);
}

#[test]
fn utterances_end_by_silence_unless_the_client_ends_them() {
    let server = Server::start(Options::default());
    let mut client = server.open("/v1/realtime");
    client.say(
        r#"{"type":"session.update","session":{"audio":{"input":{"turn_detection":
        {"type":"server_vad","silence_duration_ms":600}}}}}"#,
    );
    until(&mut client, "session.updated");
    let pause = vec![0.0; 24_000];
    append(
        &mut client,
        &s16_bytes(&[at_rate("pi.wav", 24_000), pause.clone(), at_rate("e.wav", 24_000), pause].concat()),
    );
    let mut before = Value::Null;
    for name in ["pi.wav", "e.wav"] {
        let events = until(&mut client, COMPLETED);
        let order = [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ];
        assert_eq!(types(&events)[..5], order, "{name}");
        assert!(events[0]["audio_start_ms"].as_u64() < events[1]["audio_end_ms"].as_u64());
        assert_eq!(events[2]["previous_item_id"], before);
        before = events[2]["item_id"].clone();
        assert_eq!(events.last().expect("an end")["transcript"], expected(name));
    }
}

#[test]
fn the_beta_api_and_telephone_audio_are_supported() {
    let token = "0123456789abcdef";
    let access = Access { token: Some(token.into()), origins: Vec::new() };
    let server = Server::start(Options { access, ..Options::default() });
    assert_eq!(server.refused("/v1/realtime", &[]), 401);
    let protocols = format!("realtime, openai-insecure-api-key.{token}");
    let mut client = server.open_with("/v1/realtime", &[("sec-websocket-protocol", &protocols)]);
    until(&mut client, "session.created");
    client.say(
        r#"{"type":"transcription_session.update","session":{"input_audio_format":"pcm16",
        "input_audio_transcription":{"model":"whisper-1"},"turn_detection":null}}"#,
    );
    assert_eq!(client.json()["type"], "transcription_session.updated");
    append(&mut client, &s16_bytes(&at_rate("pi.wav", 24_000)));
    client.say(r#"{"type":"input_audio_buffer.clear"}"#);
    assert_eq!(client.json()["type"], "input_audio_buffer.cleared");
    // The audio that follows has another rate; cleared audio has no text.
    client.say(r#"{"type":"session.update","session":{"audio":{"input":{"format":{"type":"audio/pcm","rate":16000}}}}}"#);
    until(&mut client, "session.updated");
    append(&mut client, &s16_bytes(&clip("e.wav").0));
    client.say(r#"{"type":"input_audio_buffer.commit"}"#);
    assert_eq!(until(&mut client, COMPLETED).last().expect("an end")["transcript"], expected("e.wav"));
    client.say("no JSON");
    assert_eq!(client.json()["type"], "error");
    client.say(r#"{"type":"response.create"}"#);
    assert_eq!(client.json()["error"]["param"], "type", "the session goes on");
}

// ---------------------------------------------------------------- Wyoming

struct Wyoming {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Wyoming {
    fn open(server: &Server) -> Self {
        let stream = connect(server.wyoming.expect("it listens"));
        let reader = BufReader::new(stream.try_clone().expect("a handle"));
        Self { stream, reader }
    }

    fn send(&mut self, kind: &str, data: &Value, payload: &[u8]) {
        let data = data.to_string();
        let line = json!({"type": kind, "data_length": data.len(), "payload_length": payload.len()});
        let bytes = [format!("{line}\n{data}").as_bytes(), payload].concat();
        self.stream.write_all(&bytes).expect("sent");
    }

    /// Sends a clip as one utterance.
    fn say(&mut self, name: &str) {
        let (samples, rate) = clip(name);
        let format = json!({"rate": rate, "width": 2, "channels": 1, "timestamp": 0});
        self.send("transcribe", &json!({"language": "en"}), b"");
        self.send("audio-start", &format, b"");
        for chunk in s16_bytes(&samples).chunks(2048) {
            self.send("audio-chunk", &format, chunk);
        }
        self.send("audio-stop", &json!({"timestamp": null}), b"");
    }

    /// A clip in one utterance, with hotwords.
    fn say_with(&mut self, name: &str, terms: &[&str]) {
        self.send("transcribe", &json!({"language": "en", "transcript_terms": terms}), b"");
        let (samples, rate) = clip(name);
        let format = json!({"rate": rate, "width": 2, "channels": 1});
        self.send("audio-chunk", &format, &s16_bytes(&samples));
        self.send("audio-stop", &json!({}), b"");
    }

    /// Type and data of the next event; `None` at the end.
    fn next(&mut self) -> Option<(String, Value)> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).expect("a line") == 0 {
            return None;
        }
        let head: Value = serde_json::from_str(&line).expect("JSON");
        let mut data = vec![0; head["data_length"].as_u64().unwrap_or(0) as usize];
        self.reader.read_exact(&mut data).expect("data");
        let data = if data.is_empty() { json!({}) } else { serde_json::from_slice(&data).expect("JSON") };
        Some((head["type"].as_str().expect("a type").into(), data))
    }

    /// The chunks and the text of an utterance.
    fn transcript(&mut self) -> (String, String) {
        let (mut chunks, mut text, mut started) = (String::new(), None, false);
        loop {
            let (kind, data) = self.next().expect("an event");
            let is_text = |data: &Value| data["text"].as_str().expect("a text").to_string();
            match kind.as_str() {
                "transcript-start" => started = true,
                "transcript-chunk" => chunks += &is_text(&data),
                "transcript" => text = Some(is_text(&data)),
                "transcript-stop" => return (chunks, text.filter(|_| started).expect("in order")),
                _ => panic!("{kind} {data}"),
            }
        }
    }
}

fn wyoming_server(limits: Limits) -> Server {
    Server::start_with_wyoming(Options { limits, languages: vec!["en".into()], ..Options::default() })
}

#[test]
fn wyoming_clients_get_their_transcripts() {
    let server = wyoming_server(Limits::default());
    let mut client = Wyoming::open(&server);
    client.send("describe", &json!({}), b"");
    let (kind, info) = client.next().expect("an answer");
    let languages = &info["asr"][0]["models"][0]["languages"];
    assert_eq!((kind.as_str(), languages), ("info", &json!(["en"])));
    // Several utterances on one connection, at different rates.
    for name in ["pi.wav", "telephone-8k.wav", "e.wav"] {
        client.say(name);
        assert_eq!(client.transcript(), (expected(name), expected(name)));
    }
    client.send("audio-stop", &json!({}), b"");
    assert_eq!(client.transcript(), (String::new(), String::new()));
    // An utterance with a pause: each part is sent when it is complete.
    let scene = [clip("pi.wav").0, vec![0.0; 48_000], clip("e.wav").0].concat();
    let format = json!({"rate": 16_000, "width": 2, "channels": 1});
    client.send("audio-chunk", &format, &s16_bytes(&scene));
    assert_eq!(client.next().expect("an event").0, "transcript-start");
    assert_eq!(client.next().expect("an event").1["text"], expected("pi.wav"));
    client.send("audio-stop", &json!({}), b"");
    let (kind, data) = client.next().expect("an event");
    assert_eq!(
        (kind.as_str(), data["text"].as_str()),
        ("transcript-chunk", Some(format!(" {}", expected("e.wav")).as_str()))
    );
    let (_, data) = client.next().expect("an event");
    assert_eq!(data["text"], format!("{} {}", expected("pi.wav"), expected("e.wav")));
    assert_eq!(server.metric("hearken_protocol_streams_total{protocol=\"wyoming\"}"), 1.0);
}

#[cfg(feature = "english")]
#[test]
fn wyoming_clients_bring_hotwords() {
    let server = wyoming_server(Limits::default());
    let mut client = Wyoming::open(&server);
    client.say_with("pi.wav", &["wun"]);
    assert_eq!(client.transcript().1, "three wun four wun five");
    // The words of an utterance are not those of the next one.
    client.say("pi.wav");
    assert_eq!(client.transcript().1, expected("pi.wav"));
    client.say_with("pi.wav", &["wun", "\u{43e}\u{434}\u{438}\u{43d}"]);
    let transcript = loop {
        let (kind, data) = client.next().expect("an event");
        if kind == "transcript" {
            break data;
        }
    };
    assert_eq!(transcript["text"], "three wun four wun five");
    assert!(transcript["warnings"][0].as_str().is_some_and(|text| text.contains("left out")), "{transcript}");
}

#[test]
fn invalid_wyoming_clients_are_closed() {
    let server = wyoming_server(Limits { message_bytes: 10_000, ..Limits::default() });
    for bytes in [
        &b"this is not json\n"[..],
        b"\r\n",
        b"{\"type\":\"audio-chunk\",\"payload_length\":99999999999}\n",
        b"{\"type\":\"audio-chunk\",\"data\":{\"rate\":1,\"width\":2,\"channels\":1}}\n",
        &[b'a'; 100_000],
    ] {
        let mut client = Wyoming::open(&server);
        // The server may close the connection before everything was sent.
        let _ = client.stream.write_all(bytes);
        let (kind, data) = client.next().expect("an error");
        assert_eq!(kind, "error", "{data}");
        assert!(client.next().is_none(), "closed");
    }
    server.wait_for("hearken_connections", 1.0);
    server.wait_for("hearken_streams", 0.0);
}

#[test]
fn a_full_server_sends_an_error_to_wyoming_clients() {
    let server = wyoming_server(Limits { connections: 1, ..Limits::default() });
    let open = server.open("/v1/stream");
    assert_eq!(Wyoming::open(&server).next().expect("an error").1["code"], "busy");
    open.close();
    let server = wyoming_server(Limits { streams: 0, ..Limits::default() });
    let mut client = Wyoming::open(&server);
    client.send("audio-start", &json!({"rate": 16_000, "width": 2, "channels": 1}), b"");
    assert_eq!(client.next().expect("an error").1["code"], "busy");
    assert!(client.next().is_none());
}
