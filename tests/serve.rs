//! The server from outside: real sockets, every protocol, good clients beside bad ones. What is
//! heard is compared with what a whole recording gives.

#![cfg(feature = "serve")]

#[path = "common/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use hearken::decode::EndpointOptions;
use hearken::recognizer::StreamOptions;
use hearken::serve::{Access, Ending, Limits, Options};
use serde_json::{Value, json};
use server::{Client, Server, clip, expected, f32_bytes, multipart, s16_bytes};
use tokio_tungstenite::tungstenite::Message;

// ---------------------------------------------------------------- clients, one for each protocol

/// What is special about vosk's client: it reads one reply for each message it sends.
fn vosk(server: &Server, path: &str, clip: &str) -> String {
    let (samples, rate) = server::clip(clip);
    let mut client = server.open(path);
    client.say(&json!({"config": {"sample_rate": rate}}).to_string());
    let mut texts = Vec::new();
    for piece in s16_bytes(&samples).chunks(2 * rate as usize / 5) {
        client.send(piece);
        let reply = client.json();
        assert!(reply.get("partial").is_some() != reply.get("text").is_some(), "{reply}");
        texts.extend(reply["text"].as_str().map(String::from));
    }
    client.say(r#"{"eof" : 1}"#);
    texts.push(client.json()["text"].as_str().expect("a last result").into());
    assert_eq!(client.closed(), 1000);
    joined(&texts)
}

/// sherpa-onnx's client: floats, `Done`, results until the ending.
fn sherpa(server: &Server, path: &str, ending: Ending, clip: &str) -> String {
    let (samples, rate) = server::clip(clip);
    assert_eq!(rate, 16_000, "sherpa-onnx's clients send the server's rate");
    let mut client = server.open(path);
    for piece in f32_bytes(&samples).chunks(4 * 1600) {
        client.send(piece);
    }
    client.say("Done");
    let mut segments: Vec<String> = Vec::new();
    loop {
        let result = match client.message() {
            Message::Text(text) if text.as_str() == "Done!" => {
                assert_eq!(ending, Ending::Cpp);
                client.close();
                break;
            }
            Message::Text(text) => serde_json::from_str::<Value>(&text).expect("JSON"),
            Message::Close(frame) => {
                assert_eq!((ending, frame.map(|f| u16::from(f.code))), (Ending::Python, Some(1000)));
                break;
            }
            other => panic!("{other:?}"),
        };
        let segment = result["segment"].as_u64().expect("a number") as usize;
        if ending == Ending::Cpp {
            let (tokens, times) = (&result["tokens"], &result["timestamps"]);
            assert_eq!(tokens.as_array().map(Vec::len), times.as_array().map(Vec::len));
        }
        segments.resize(segments.len().max(segment + 1), String::new());
        segments[segment] = result["text"].as_str().expect("a text").into();
    }
    joined(&segments)
}

/// Our own, at once or in pieces of `piece` bytes; checks what events must hold to.
fn own(server: &Server, encoding: &str, piece: usize, clip: &str) -> String {
    let (samples, rate) = server::clip(clip);
    let bytes = if encoding == "f32le" { f32_bytes(&samples) } else { s16_bytes(&samples) };
    let mut client = server.start_encoded(rate, encoding, false);
    for piece in bytes.chunks(piece) {
        client.send(piece);
    }
    client.say(r#"{"type":"finish"}"#);
    let (texts, seconds) = finals(&mut client);
    assert!((seconds - samples.len() as f64 / f64::from(rate)).abs() < 0.01, "{seconds}");
    assert_eq!(client.closed(), 1000);
    joined(&texts)
}

/// The finals' texts until the end, and the seconds that it names.
fn finals(client: &mut Client) -> (Vec<String>, f64) {
    let (mut texts, mut before) = (Vec::new(), 0.0);
    loop {
        let event = client.json();
        match event["type"].as_str() {
            Some("partial" | "final") => {
                let words = event["words"].as_array().expect("words");
                let said: Vec<&str> = words.iter().filter_map(|w| w["word"].as_str()).collect();
                assert_eq!(event["text"], said.join(" "));
                let (start, end) = (event["start"].as_f64(), event["end"].as_f64());
                assert!(start >= Some(before) && end >= start, "{event}");
                for word in words {
                    assert!(word["start"].as_f64() <= word["end"].as_f64(), "{event}");
                    assert!(word["end"].as_f64() <= end.map(|e| e + 1e-3), "{event}");
                    assert!((0.0..=1.0).contains(&word["confidence"].as_f64().expect("a number")));
                }
                if event["type"] == "final" {
                    before = end.expect("a number");
                    texts.push(event["text"].as_str().expect("a text").to_string());
                }
            }
            Some("end") => return (texts, event["seconds"].as_f64().expect("a number")),
            Some("flushed" | "trace") => {}
            _ => panic!("{event}"),
        }
    }
}

fn joined(texts: &[String]) -> String {
    texts.iter().filter(|t| !t.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

fn upload(server: &Server, clip: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let bytes = std::fs::read(server::path(clip)).expect("a clip");
    let (kind, body) = multipart(fields, Some((clip, &bytes)));
    let (status, _, text) =
        server.request("POST", "/v1/audio/transcriptions", &[("content-type", &kind)], &body);
    (status, text)
}

// ---------------------------------------------------------------- what is heard

#[test]
fn every_protocol_hears_what_transcribe_hears() {
    for batch in [1, 64] {
        let server = &Server::start(Options { batch, threads: 2, ..Options::default() });
        std::thread::scope(|scope| {
            let all = ["pi.wav", "countdown.wav", "telephone-8k.wav", "stereo-48k-24bit.wav"];
            let heard: Vec<_> = all
                .into_iter()
                .flat_map(|clip| {
                    let mut heard = vec![
                        ("vosk", clip, scope.spawn(move || vosk(server, "/", clip))),
                        ("vosk by path", clip, scope.spawn(move || vosk(server, "/vosk", clip))),
                        ("s16le", clip, scope.spawn(move || own(server, "s16le", 3200, clip))),
                        ("f32le", clip, scope.spawn(move || own(server, "f32le", 4099, clip))),
                        ("at once", clip, scope.spawn(move || own(server, "s16le", usize::MAX, clip))),
                    ];
                    if server::clip(clip).1 == 16_000 {
                        let cpp = move || sherpa(server, "/", Ending::Cpp, clip);
                        let python = move || sherpa(server, "/sherpa/python", Ending::Python, clip);
                        heard.push(("sherpa, C++", clip, scope.spawn(cpp)));
                        heard.push(("sherpa, Python", clip, scope.spawn(python)));
                    }
                    let text = move || upload(server, clip, &[("response_format", "text")]).1;
                    heard.push(("upload", clip, scope.spawn(text)));
                    heard
                })
                .collect();
            for (name, clip, text) in heard {
                let text = text.join().expect("no panic");
                assert_eq!(text.trim(), expected(clip), "{name}, {clip}, batches of {batch}");
            }
        });
        server.wait_for("hearken_streams", 0.0);
        assert_eq!(server.metric("hearken_streams_total"), 28.0);
        assert_eq!(server.metric("hearken_closed_total{reason=\"failed\"}"), 0.0);
    }
}

#[test]
fn utterances_end_by_silence_while_the_client_still_sends() {
    let server = Server::start(Options::default());
    let silence = vec![0.0; 16_000 * 2];
    let scene = [server::clip("pi.wav").0, silence.clone(), server::clip("e.wav").0, silence].concat();
    // Our own: two finals before the client says that it has finished.
    let mut client = server.start_encoded(16_000, "s16le", false);
    client.send(&s16_bytes(&scene));
    let mut texts = Vec::new();
    while texts.len() < 2 {
        let event = client.json();
        if event["type"] == "final" && event["text"] != "" {
            texts.push(event["text"].as_str().expect("a text").to_string());
        }
    }
    assert_eq!(texts, [expected("pi.wav"), expected("e.wav")]);
    // vosk: a result where there were partials.
    let mut client = server.open("/");
    client.say(r#"{"config":{"sample_rate":16000}}"#);
    let mut texts = Vec::new();
    for piece in s16_bytes(&scene).chunks(6400) {
        client.send(piece);
        let reply = client.json();
        texts.extend(reply["text"].as_str().filter(|t| !t.is_empty()).map(String::from));
    }
    assert_eq!(texts, [expected("pi.wav"), expected("e.wav")]);
    // sherpa: the segment's number rises.
    let mut client = server.open("/");
    client.send(&f32_bytes(&scene));
    let mut texts = Vec::new();
    while texts.len() < 2 {
        let result = client.json();
        if result["is_final"] == true && result["text"] != "" {
            assert_eq!(result["segment"], texts.len());
            texts.push(result["text"].as_str().expect("a text").to_string());
        }
    }
    assert_eq!(texts, [expected("pi.wav"), expected("e.wav")]);
}

#[test]
fn without_rules_there_is_one_segment() {
    let server = Server::start(Options { stream: StreamOptions::default(), ..Options::default() });
    let scene = [server::clip("pi.wav").0, vec![0.0; 48_000], server::clip("e.wav").0].concat();
    let mut client = server.start_encoded(16_000, "f32le", false);
    client.send(&f32_bytes(&scene));
    client.say(r#"{"type":"finish"}"#);
    assert_eq!(finals(&mut client).0, [format!("{} {}", expected("pi.wav"), expected("e.wav"))]);
}

#[test]
fn a_flush_ends_the_utterance_and_times_go_on() {
    let server = Server::start(Options::default());
    let mut client = server.start_encoded(16_000, "s16le", false);
    let (samples, _) = clip("pi.wav");
    for _ in 0..2 {
        client.send(&s16_bytes(&samples));
        client.say(r#"{"type":"flush"}"#);
    }
    client.say(r#"{"type":"finish"}"#);
    let (texts, seconds) = finals(&mut client);
    assert_eq!(texts[..2], [expected("pi.wav"), expected("pi.wav")]);
    assert!((seconds - 2.0 * samples.len() as f64 / 16_000.0).abs() < 1e-3, "{seconds}");
    // vosk's word for it.
    let mut client = server.open("/vosk");
    client.say(r#"{"config":{"sample_rate":16000}}"#);
    for _ in 0..2 {
        client.send(&s16_bytes(&samples));
        client.json();
        client.say(r#"{"reset" : 1}"#);
        assert_eq!(client.json()["text"], expected("pi.wav"));
    }
}

#[test]
fn the_network_is_shown_to_those_who_ask_as_far_as_there_are_places() {
    let limits = Limits { traces: 1, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let (mut first, ready) = server.start_with(json!({"sample_rate": 16000, "trace": true}));
    let tokens = ready["tokens"].as_array().expect("tokens").len();
    let (_second, ready) = server.start_with(json!({"sample_rate": 16000, "trace": true}));
    assert_eq!((&ready["trace"], ready.get("tokens")), (&json!(false), None));
    first.send(&s16_bytes(&clip("pi.wav").0));
    first.say(r#"{"type":"finish"}"#);
    let (mut traces, mut time) = (0, 0.0);
    loop {
        let event = first.json();
        match event["type"].as_str() {
            Some("trace") => {
                let log_probs = event["log_probs"].as_array().expect("numbers");
                assert_eq!(log_probs.len(), tokens);
                let sum: f64 = log_probs.iter().map(|x| x.as_f64().expect("a number").exp()).sum();
                assert!((sum - 1.0).abs() < 0.1, "{sum}");
                let state = event["state"].as_array().expect("numbers");
                assert!(
                    !state.is_empty() && state.iter().all(|x| x.as_i64().is_some_and(|x| x.abs() <= 127))
                );
                assert!(event["time"].as_f64() > Some(time), "one trace a step, in order");
                time = event["time"].as_f64().expect("a number");
                traces += 1;
            }
            Some("end") => break,
            _ => {}
        }
    }
    assert!(traces > 60, "a step is 40 ms: {traces}");
}

// ---------------------------------------------------------------- HTTP

#[test]
fn recordings_are_uploaded_as_openai_s_clients_do() {
    let server = Server::start(Options::default());
    for clip in ["pi.wav", "pi.mp3", "voice-note.opus", "golden.flac", "pi.webm"] {
        let (status, text) = upload(&server, clip, &[("model", "whisper-1")]);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((status, &json["text"]), (200, &json!(expected(clip))), "{clip}");
    }
    let verbose = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")];
    let (status, text) = upload(&server, "pi.wav", &verbose);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (status, &json["text"], &json["task"]),
        (200, &json!(expected("pi.wav")), &json!("transcribe"))
    );
    let words: Vec<&str> =
        json["words"].as_array().expect("words").iter().filter_map(|w| w["word"].as_str()).collect();
    assert_eq!(words.join(" "), expected("pi.wav"));
    assert!((json["duration"].as_f64().expect("a number") - 2.87).abs() < 0.01);
    assert_eq!(server.metric("hearken_transcriptions_total"), 6.0);
}

#[test]
fn uploads_that_are_no_good_say_why() {
    let limits = Limits { upload_bytes: 100_000, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let post = |kind: &str, body: &[u8]| {
        let (status, _, text) =
            server.request("POST", "/v1/audio/transcriptions", &[("content-type", kind)], body);
        (status, text)
    };
    let (kind, body) = multipart(&[], Some(("a.wav", b"RIFF is all that this has in common with one")));
    let (status, text) = post(&kind, &body);
    assert_eq!(status, 400);
    let error: Value = serde_json::from_str(&text).expect("JSON");
    assert!(error["error"]["message"].as_str().is_some_and(|m| m.contains("a.wav")), "{text}");
    let (kind, body) = multipart(&[("model", "x")], None);
    assert_eq!(post(&kind, &body).0, 400);
    assert_eq!(upload(&server, "pi.mp3", &[("response_format", "srt")]).0, 400);
    let (kind, body) = multipart(&[], Some(("a.wav", &vec![0; 130_000])));
    assert_eq!(post(&kind, &body).0, 413);
    assert_eq!(post("multipart/form-data", b"no boundary").0, 400);
    assert_eq!(post("text/plain", b"hello").0, 400);
    assert_eq!(post("multipart/form-data; boundary=x", b"--x\r\nnonsense").0, 400);
    assert_eq!(server.request("GET", "/v1/audio/transcriptions", &[], b"").0, 405);
    // More at a time than there is memory for.
    let limits = Limits { uploads: 1, ..Limits::default() };
    let narrow = Server::start(Options { limits, ..Options::default() });
    let head = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\
                content-type: multipart/form-data; boundary=edge\r\n\r\n--edge\r\n";
    let mut half = None;
    narrow.retry(|| {
        // Anew each time: an upload may have come before it, and it was refused in its place.
        let mut stream = TcpStream::connect(narrow.address).expect("connected");
        stream.write_all(head.as_bytes()).expect("sent");
        half = Some(stream);
        upload(&narrow, "pi.mp3", &[]).0 == 503
    });
    drop(half);
    narrow.retry(|| upload(&narrow, "pi.mp3", &[]).0 == 200);
    // And still it works.
    assert_eq!(upload(&server, "pi.mp3", &[]).0, 200);
}

#[test]
fn health_metrics_models_and_the_page() {
    let server = Server::start(Options::default());
    let get = |path: &str| server.request("GET", path, &[], b"");
    let (status, _, text) = get("/health");
    assert_eq!((status, text.as_str()), (200, r#"{"status":"ok"}"#));
    assert_eq!(get("/v1/models").0, 200);
    assert_eq!(get("/no/such/path").0, 404);
    let (status, head, text) = get("/");
    assert_eq!(status, 200);
    assert!(text.contains("<title>hearken"));
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    for file in ["/page.js", "/worklet.js", "/style.css"] {
        let (status, _, text) = get(file);
        assert_eq!(status, 200);
        let elsewhere = ["http://", "https://", "@import"];
        assert!(!elsewhere.iter().any(|word| text.contains(word)), "{file} loads from elsewhere");
    }
    let mut client = server.start_encoded(16_000, "s16le", false);
    client.send(&s16_bytes(&clip("pi.wav").0));
    client.say(r#"{"type":"finish"}"#);
    finals(&mut client);
    let (_, head, text) = get("/metrics");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    for line in text.lines() {
        let good = line.starts_with("# ")
            || line.rsplit_once(' ').is_some_and(|(name, value)| {
                name.starts_with("hearken_") && value.parse::<f64>().is_ok_and(f64::is_finite)
            });
        assert!(good, "{line}");
    }
    assert!((server.metric("hearken_audio_seconds_total") - 2.87).abs() < 0.01);
    assert_eq!(server.metric("hearken_protocol_streams_total{protocol=\"hearken\"}"), 1.0);
    assert!(server.metric("hearken_real_time_factor") > 0.0);
    assert!(server.metric("hearken_lag_seconds_count") > 0.0);
}

// ---------------------------------------------------------------- access

#[test]
fn with_a_token_nothing_is_heard_without_it() {
    let token = "0123456789abcdef";
    let access = Access { token: Some(token.into()), origins: Vec::new() };
    let server = Server::start(Options { access, ..Options::default() });
    let bearer = format!("Bearer {token}");
    for path in ["/", "/v1/stream", "/vosk", "/sherpa"] {
        assert_eq!(server.refused(path, &[]), 401, "{path}");
        assert_eq!(server.refused(path, &[("authorization", "Bearer 0123456789abcdeF")]), 401, "{path}");
    }
    for path in ["/metrics", "/v1/models"] {
        assert_eq!(server.request("GET", path, &[], b"").0, 401, "{path}");
        assert_eq!(server.request("GET", path, &[("authorization", &bearer)], b"").0, 200, "{path}");
    }
    assert_eq!(upload(&server, "pi.mp3", &[]).0, 401);
    // The page asks for the token itself, and whoever looks after the server needs none.
    assert_eq!(server.request("GET", "/", &[], b"").0, 200);
    assert_eq!(server.request("GET", "/health", &[], b"").0, 200);
    server.open_with("/v1/stream", &[("authorization", &bearer)]).close();
    server.open_with("/?token=0123456789abcdef", &[]).close();
    let protocols = format!("hearken, bearer.{token}");
    server.open_with("/", &[("sec-websocket-protocol", &protocols)]).close();
    assert!(server.metric_with("hearken_refused_total{reason=\"token\"}", &bearer) >= 10.0);
}

#[test]
fn pages_of_other_origins_are_refused() {
    let server = Server::start(Options::default());
    let host = format!("http://{}", server.address);
    assert_eq!(server.refused("/", &[("origin", "https://evil.example")]), 403);
    assert_eq!(server.refused("/v1/stream", &[("origin", "null")]), 403);
    assert_eq!(upload_from(&server, "https://evil.example"), 403);
    server.open_with("/", &[("origin", &host)]).close();
    assert_eq!(upload_from(&server, &host), 200);
    let access = Access { token: None, origins: vec!["https://speech.example.org".into()] };
    let server = Server::start(Options { access, ..Options::default() });
    server.open_with("/", &[("origin", "https://speech.example.org")]).close();
    assert_eq!(server.refused("/", &[("origin", "https://speech.example.org.evil.example")]), 403);
    // An allowed page's script may read the answers, and ask whether it may send a token (CORS).
    let allowed = "access-control-allow-origin: https://speech.example.org\r\n";
    let page = ("origin", "https://speech.example.org");
    let (status, head, _) = server.request("GET", "/v1/models", &[page], b"");
    assert!(status == 200 && head.contains(allowed), "{head}");
    let asks = [page, ("access-control-request-method", "POST")];
    let (status, head, _) = server.request("OPTIONS", "/v1/audio/transcriptions", &asks, b"");
    assert!(status == 204 && head.contains(allowed) && head.contains("authorization"), "{head}");
    let asks = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let (status, head, _) = server.request("OPTIONS", "/v1/audio/transcriptions", &asks, b"");
    assert!(status == 403 && !head.contains("access-control"), "{head}");
}

fn upload_from(server: &Server, origin: &str) -> u16 {
    let (kind, body) =
        multipart(&[], Some(("pi.mp3", &std::fs::read(server::path("pi.mp3")).expect("a clip"))));
    server
        .request("POST", "/v1/audio/transcriptions", &[("content-type", &kind), ("origin", origin)], &body)
        .0
}

#[test]
fn by_tls_too() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/serve");
    let tls = Some((folder.join("cert.pem"), folder.join("key.pem")));
    let server = Server::start(Options { tls, ..Options::default() });
    let mut client = server.open_tls("/v1/stream");
    client.say(r#"{"type":"start","sample_rate":16000}"#);
    assert_eq!(client.json()["type"], "ready");
    client.send(&s16_bytes(&clip("pi.wav").0));
    client.say(r#"{"type":"finish"}"#);
    assert_eq!(joined(&finals(&mut client).0), expected("pi.wav"));
    // Who does not speak TLS is let go, and harms nobody.
    let mut plain = TcpStream::connect(server.address).expect("connected");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    server.open_tls("/v1/stream");
}

// ---------------------------------------------------------------- limits

/// A stream in the middle of a recording, to see that it does not notice.
struct Halfway(Client, Vec<u8>);

impl Halfway {
    fn new(server: &Server) -> Self {
        let bytes = s16_bytes(&clip("pi.wav").0);
        let mut client = server.start_encoded(16_000, "s16le", false);
        client.send(&bytes[..bytes.len() / 2]);
        Self(client, bytes)
    }

    fn finish(mut self) {
        self.0.send(&self.1[self.1.len() / 2..]);
        self.0.say(r#"{"type":"finish"}"#);
        assert_eq!(joined(&finals(&mut self.0).0), expected("pi.wav"));
    }
}

#[test]
fn more_streams_than_there_are_places_are_told_to_come_again() {
    let limits = Limits { streams: 2, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let open = [Halfway::new(&server), Halfway::new(&server)];
    for (path, first) in [("/v1/stream", r#"{"type":"start","sample_rate":16000}"#), ("/sherpa", "Done")] {
        let mut client = server.open(path);
        client.say(first);
        assert_eq!(client.closed(), 1013, "{path}");
    }
    let mut client = server.open("/vosk");
    client.send(&[0; 100]);
    assert_eq!(client.closed(), 1013);
    assert_eq!(upload(&server, "pi.mp3", &[]).0, 503);
    assert_eq!(server.metric("hearken_refused_total{reason=\"streams\"}"), 4.0);
    open.into_iter().for_each(Halfway::finish);
    server.wait_for("hearken_streams", 0.0);
    Halfway::new(&server).finish();
}

#[test]
fn more_connections_than_allowed_are_turned_away() {
    let limits = Limits { connections: 3, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let open = Halfway::new(&server);
    let idle = [server.open("/"), server.open("/")];
    assert_eq!(server.refused("/", &[]), 503);
    drop(idle);
    open.finish();
    server.retry(|| server.request("GET", "/health", &[], b"").0 == 200);
    assert_eq!(server.metric("hearken_refused_total{reason=\"connections\"}").min(1.0), 1.0);
}

#[test]
fn a_flood_of_new_connections_is_turned_away() {
    let limits = Limits { connections_per_second: 2.0, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let open = Halfway::new(&server);
    let statuses: Vec<u16> = (0..12).map(|_| server.request("GET", "/health", &[], b"").0).collect();
    assert!(statuses.contains(&503), "{statuses:?}");
    open.finish();
}

#[test]
fn what_takes_too_long_or_is_too_long_is_closed_with_its_code() {
    let limits = Limits {
        message_bytes: 10_000,
        idle: Duration::from_millis(300),
        handshake: Duration::from_secs(1),
        ..Limits::default()
    };
    let server = Server::start(Options { limits, ..Options::default() });
    let mut long = server.start_encoded(16_000, "s16le", false);
    long.send(&[0; 10_001]);
    assert_eq!(long.closed(), 1009);
    let mut idle = server.open("/");
    assert_eq!(idle.closed(), 1008);
    let mut idle = server.start_encoded(16_000, "s16le", false);
    idle.send(&[0; 100]);
    assert_eq!(idle.closed(), 1008);
    // Who does not finish the head of a request is let go too, and who sends no other or none.
    for sent in ["", "GET / HTTP/1.1\r\nhost: ", "GET /health HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut slow = TcpStream::connect(server.address).expect("connected");
        slow.write_all(sent.as_bytes()).expect("sent");
        slow.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut answer = Vec::new();
        assert!(slow.read_to_end(&mut answer).is_ok(), "{sent:?} is not let go");
    }
    assert_eq!(server.metric("hearken_closed_total{reason=\"idle\"}"), 2.0);
    assert_eq!(server.metric("hearken_closed_total{reason=\"too_big\"}"), 1.0);
}

#[test]
fn no_connection_lasts_longer_than_allowed() {
    let limits = Limits { total: Duration::from_millis(700), ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let mut client = server.start_encoded(16_000, "s16le", false);
    let begun = Instant::now();
    let code = loop {
        if client.try_send(&[0; 3200]).is_err() || begun.elapsed() > Duration::from_secs(20) {
            break client.closed();
        }
        if let Some(code) = client.closed_already() {
            break code;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, 1008);
}

#[test]
fn faster_than_real_time_is_slowed_and_heard_to_the_end() {
    let limits = Limits { buffered_seconds: 0.5, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let scene = [clip("pi.wav").0, vec![0.0; 32_000]].concat().repeat(6);
    let mut client = server.start_encoded(16_000, "f32le", false);
    // Larger than one message may be, and than anything that waits.
    for piece in f32_bytes(&scene).chunks(1 << 20) {
        client.send(piece);
    }
    client.say(r#"{"type":"finish"}"#);
    let (texts, seconds) = finals(&mut client);
    assert_eq!(joined(&texts), vec![expected("pi.wav"); 6].join(" "));
    assert!((seconds - scene.len() as f64 / 16_000.0).abs() < 1e-3);
}

// ---------------------------------------------------------------- bad clients beside good ones

#[test]
fn nonsense_is_closed_with_a_code_that_says_what() {
    let server = Server::start(Options::default());
    let good = Halfway::new(&server);
    let nan = f32::NAN.to_le_bytes();
    let text = |text: &str| Message::text(text);
    let start = || text(r#"{"type":"start","sample_rate":16000,"encoding":"f32le"}"#);
    for (path, messages, code) in [
        ("/", vec![text("hello")], 1002),
        ("/", vec![text("")], 1002),
        ("/", vec![text("{\"type\":")], 1007),
        ("/v1/stream", vec![text("[]")], 1007),
        ("/v1/stream", vec![Message::binary(vec![0; 10])], 1003),
        ("/v1/stream", vec![text(r#"{"type":"start","sample_rate":16000,"version":9}"#)], 1002),
        ("/v1/stream", vec![text(r#"{"type":"start","sample_rate":1e99}"#)], 1007),
        ("/v1/stream", vec![text(r#"{"type":"start","sample_rate":-5}"#)], 1007),
        ("/v1/stream", vec![start(), Message::binary(nan.to_vec())], 1007),
        ("/v1/stream", vec![start(), start()], 1002),
        ("/v1/stream", vec![start(), text("text where audio is due")], 1007),
        ("/vosk", vec![text("config")], 1007),
        ("/vosk", vec![text(r#"{"config":{"sample_rate":"fast"}}"#)], 1007),
        ("/vosk", vec![text(r#"{"hello":1}"#)], 1003),
        ("/sherpa", vec![text("text where audio is due")], 1003),
        ("/sherpa", vec![Message::binary(nan.to_vec())], 1007),
        ("/sherpa", vec![Message::binary(f32::INFINITY.to_le_bytes().to_vec())], 1007),
        ("/sherpa", vec![Message::binary(3e38f32.to_le_bytes().to_vec())], 1007),
    ] {
        let mut client = server.open(path);
        for message in &messages {
            let _ = client.socket.send(message.clone());
        }
        assert_eq!(client.closed(), code, "{path} {messages:?}");
    }
    good.finish();
}

#[test]
fn broken_frames_and_requests_end_their_own_connection_only() {
    let server = Server::start(Options::default());
    let good = Halfway::new(&server);
    // Bytes that are no frame, after a good handshake: reserved bits, unmasked, a length beyond
    // all bounds, text that is no UTF-8.
    for bytes in [
        &[0xff; 64][..],
        &[0x81, 0x05, b'h', b'e', b'l', b'l', b'o'],
        &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1],
        &[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28],
        &[0x83, 0x80, 0, 0, 0, 0],
    ] {
        let mut client = server.open("/sherpa");
        client.raw(bytes);
        client.ended();
    }
    // Requests that are none.
    for bytes in [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n", &[0; 2000]] {
        let mut stream = TcpStream::connect(server.address).expect("connected");
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.refused("/", &[("sec-websocket-version", "7")]), 400);
    good.finish();
    server.wait_for("hearken_streams", 0.0);
}

#[test]
fn clients_that_vanish_in_the_middle_of_a_word_leave_nothing_behind() {
    let server = &Server::start(Options { threads: 2, ..Options::default() });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..3 {
                    assert_eq!(own(server, "s16le", 3200, "pi.wav"), expected("pi.wav"));
                }
            });
        }
        for n in 0..4 {
            scope.spawn(move || {
                for round in 0..10 {
                    let bytes = s16_bytes(&clip("countdown.wav").0);
                    let mut client = server.start_encoded(16_000, "s16le", round % 2 == 0);
                    client.send(&bytes[..bytes.len() * (1 + (n + round) % 3) / 4]);
                    // Without a word; some in the middle of a frame.
                    if round % 3 == 0 {
                        client.raw(&[0x82, 0xfe, 0x10]);
                    }
                    drop(client);
                }
            });
        }
    });
    server.wait_for("hearken_streams", 0.0);
    server.wait_for("hearken_connections", 1.0);
}

#[test]
fn who_never_reads_is_cut_off_and_the_others_do_not_notice() {
    let limits = Limits { write: Duration::from_millis(500), ..Limits::default() };
    let server = &Server::start(Options { limits, ..Options::default() });
    let mut deaf = server.open_deaf("/v1/stream");
    deaf.say(r#"{"type":"start","sample_rate":16000,"trace":true}"#);
    std::thread::scope(|scope| {
        let good = scope.spawn(move || {
            for _ in 0..4 {
                assert_eq!(own(server, "s16le", 3200, "pi.wav"), expected("pi.wav"));
            }
        });
        // Sends until it is cut off: what it is told is much more than what it sends.
        let begun = Instant::now();
        let _ = deaf.socket.get_mut().set_write_timeout(Some(Duration::from_secs(5)));
        while deaf.try_send(&[0; 32_000]).is_ok() && begun.elapsed() < Duration::from_secs(60) {}
        good.join().expect("no panic");
    });
    server.wait_for("hearken_closed_total{reason=\"slow_reader\"}", 1.0);
    server.wait_for("hearken_streams", 0.0);
}

#[test]
fn hundreds_come_and_go() {
    let limits = Limits { connections_per_second: 1e6, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let good = Halfway::new(&server);
    for round in 0..400 {
        match round % 4 {
            0 => drop(TcpStream::connect(server.address).expect("connected")),
            1 => drop(server.open("/")),
            2 => drop(server.start_encoded(16_000, "s16le", false)),
            _ => server.open("/vosk").close(),
        }
    }
    good.finish();
    server.wait_for("hearken_connections", 1.0);
    server.wait_for("hearken_streams", 0.0);
}

// ---------------------------------------------------------------- the end

#[test]
fn when_the_server_ends_open_streams_get_their_last_words() {
    let mut server = Server::start(Options::default());
    let (samples, _) = clip("pi.wav");
    let mut own = server.start_encoded(16_000, "s16le", false);
    own.send(&s16_bytes(&samples));
    let mut vosk = server.open("/vosk");
    vosk.say(r#"{"config":{"sample_rate":16000}}"#);
    vosk.send(&s16_bytes(&samples));
    vosk.json();
    let mut sherpa = server.open("/sherpa");
    sherpa.send(&f32_bytes(&samples));
    while sherpa.json()["text"] != expected("pi.wav") {}
    while own.json()["text"] != expected("pi.wav") {}
    let mut waiting = server.open("/");
    server.stop();
    assert_eq!(waiting.closed(), 1001);
    assert_eq!(joined(&finals(&mut own).0), expected("pi.wav"));
    assert_eq!(own.closed(), 1001);
    assert_eq!(vosk.json()["text"], expected("pi.wav"));
    assert_eq!(vosk.closed(), 1001);
    loop {
        match sherpa.message() {
            Message::Text(text) if text.as_str() == "Done!" => break,
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sherpa.closed(), 1001);
    server.ended();
}

#[cfg(unix)]
#[test]
fn the_program_ends_with_0_after_a_sigterm() {
    let mut program = server::Program::start(&["--rule2-min-trailing-silence", "0.8"]);
    let mut client = program.open("/v1/stream");
    client.say(r#"{"type":"start","sample_rate":16000}"#);
    assert_eq!(client.json()["type"], "ready");
    client.send(&s16_bytes(&clip("pi.wav").0));
    while client.json()["text"] != expected("pi.wav") {}
    program.terminate();
    assert_eq!(joined(&finals(&mut client).0), expected("pi.wav"));
    assert_eq!(client.closed(), 1001);
    drop(client);
    let (code, errors) = program.wait();
    assert_eq!(code, Some(0), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    assert!(TcpStream::connect(program.address).is_err());
}

#[test]
fn the_program_refuses_what_is_not_safe() {
    let run = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("hearken").expect("built");
        let output =
            command.arg("serve").args(arguments).timeout(Duration::from_secs(60)).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, errors) = run(&["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("--token-file") && errors.contains("--insecure"), "{errors}");
    let folder = tempfile::tempdir().expect("a folder");
    let short = folder.path().join("token");
    std::fs::write(&short, "short\n").expect("written");
    let (code, errors) = run(&["--token-file", short.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("16 characters"), "{errors}");
    let (code, errors) =
        run(&["--tls-cert", "absent.pem", "--tls-key", "absent.pem", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("absent.pem"), "{errors}");
    assert_eq!(run(&["--rule1-min-trailing-silence=-1"]).0, Some(2));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, errors) = run(&["--listen", &address]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains(&address), "{errors}");
}

#[test]
fn endpoints_are_as_asked() {
    let endpoint = EndpointOptions { rule2_min_trailing_silence: f64::INFINITY, ..Default::default() };
    let stream = StreamOptions { endpoint: Some(endpoint), detector: None };
    let server = Server::start(Options { stream, ..Options::default() });
    let scene = [clip("pi.wav").0, vec![0.0; 32_000], clip("e.wav").0].concat();
    let mut client = server.start_encoded(16_000, "s16le", false);
    client.send(&s16_bytes(&scene));
    client.say(r#"{"type":"finish"}"#);
    let texts: Vec<String> = finals(&mut client).0.into_iter().filter(|t| !t.is_empty()).collect();
    assert_eq!(texts, [format!("{} {}", expected("pi.wav"), expected("e.wav"))]);
}
