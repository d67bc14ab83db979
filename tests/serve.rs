//! The server with real sockets: every protocol, and good clients together with bad ones. Texts are compared
//! with those of whole recordings.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::common::server::{self, Client, Server, clip, expected, f32_bytes, multipart, s16_bytes, upload};
use hearken::decode::EndpointOptions;
use hearken::recognizer::StreamOptions;
use hearken::serve::{Access, Limits, Options, SherpaFlavor, Tls};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

// ---------------------------------------------------------------- clients, one for each protocol

/// A client of vosk: it reads one reply for each message that it sends.
fn vosk(server: &Server, path: &str, clip: &str) -> String {
    let (samples, rate) = server::clip(clip);
    let mut client = server.open(path);
    client.say(&json!({"config": {"sample_rate": rate}}).to_string());
    let mut texts = Vec::new();
    for chunk in s16_bytes(&samples).chunks(2 * rate as usize / 5) {
        client.send(chunk);
        let reply = client.json();
        assert!(reply.get("partial").is_some() != reply.get("text").is_some(), "{reply}");
        texts.extend(reply["text"].as_str().map(String::from));
    }
    client.say(r#"{"eof" : 1}"#);
    texts.push(client.json()["text"].as_str().expect("a last result").into());
    assert_eq!(client.closed(), 1000);
    joined(&texts)
}

/// sherpa-onnx's client: sends floats and `Done`, and reads results until the end.
fn sherpa(server: &Server, path: &str, flavor: SherpaFlavor, clip: &str) -> String {
    let (samples, rate) = server::clip(clip);
    assert_eq!(rate, 16_000, "sherpa-onnx's clients send the server's rate");
    let mut client = server.open(path);
    for chunk in f32_bytes(&samples).chunks(4 * 1600) {
        client.send(chunk);
    }
    client.say("Done");
    let mut segments: Vec<String> = Vec::new();
    loop {
        let result = match client.message() {
            Message::Text(text) if text.as_str() == "Done!" => {
                assert_eq!(flavor, SherpaFlavor::Cpp);
                client.close();
                break;
            }
            Message::Text(text) => serde_json::from_str::<Value>(&text).expect("JSON"),
            Message::Close(frame) => {
                assert_eq!((flavor, frame.map(|f| u16::from(f.code))), (SherpaFlavor::Python, Some(1000)));
                break;
            }
            other => panic!("{other:?}"),
        };
        let segment = result["segment"].as_u64().expect("a number") as usize;
        if flavor == SherpaFlavor::Cpp {
            let (tokens, times) = (&result["tokens"], &result["timestamps"]);
            assert_eq!(tokens.as_array().map(Vec::len), times.as_array().map(Vec::len));
        }
        segments.resize(segments.len().max(segment + 1), String::new());
        segments[segment] = result["text"].as_str().expect("a text").into();
    }
    joined(&segments)
}

/// hearken's own client, in chunks of `chunk` bytes; checks the invariants of events.
fn hearken_client(server: &Server, encoding: &str, chunk: usize, clip: &str) -> String {
    let (samples, rate) = server::clip(clip);
    let bytes = if encoding == "f32le" { f32_bytes(&samples) } else { s16_bytes(&samples) };
    let mut client = server.start_encoded(rate, encoding, false);
    for chunk in bytes.chunks(chunk) {
        client.send(chunk);
    }
    client.say(r#"{"type":"finish"}"#);
    let (texts, seconds) = finals(&mut client);
    assert!((seconds - samples.len() as f64 / f64::from(rate)).abs() < 0.01, "{seconds}");
    assert_eq!(client.closed(), 1000);
    joined(&texts)
}

/// The texts of the finals until the end of the stream, and its duration in seconds.
fn finals(client: &mut Client) -> (Vec<String>, f64) {
    let (mut texts, mut before) = (Vec::new(), 0.0);
    loop {
        let event = client.json();
        match event["type"].as_str() {
            Some("partial" | "final") => {
                let words = event["words"].as_array().expect("words");
                let spoken: Vec<&str> = words.iter().filter_map(|w| w["word"].as_str()).collect();
                assert_eq!(event["text"], spoken.join(" "));
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

// ---------------------------------------------------------------- results

#[test]
fn every_protocol_gives_the_text_of_transcribe() {
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
                        ("s16le", clip, scope.spawn(move || hearken_client(server, "s16le", 3200, clip))),
                        ("f32le", clip, scope.spawn(move || hearken_client(server, "f32le", 4099, clip))),
                        (
                            "at once",
                            clip,
                            scope.spawn(move || hearken_client(server, "s16le", usize::MAX, clip)),
                        ),
                    ];
                    if server::clip(clip).1 == 16_000 {
                        let cpp = move || sherpa(server, "/", SherpaFlavor::Cpp, clip);
                        let python = move || sherpa(server, "/sherpa/python", SherpaFlavor::Python, clip);
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
    // hearken's protocol: two finals before the client sends `finish`.
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
    // vosk: a result instead of a partial.
    let mut client = server.open("/");
    client.say(r#"{"config":{"sample_rate":16000}}"#);
    let mut texts = Vec::new();
    for chunk in s16_bytes(&scene).chunks(6400) {
        client.send(chunk);
        let reply = client.json();
        texts.extend(reply["text"].as_str().filter(|t| !t.is_empty()).map(String::from));
    }
    assert_eq!(texts, [expected("pi.wav"), expected("e.wav")]);
    // sherpa: the segment's number increases.
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
fn a_flush_ends_the_utterance_and_times_continue() {
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
    // The same request in vosk's protocol.
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
fn traces_are_sent_on_request_up_to_the_limit() {
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

// ---------------------------------------------------------------- access

#[test]
fn with_a_token_requests_without_it_are_refused() {
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
    // The page asks the user for the token, and `/health` needs none.
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
    // A script of an allowed page may read responses, and send preflight requests (CORS).
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
fn streams_and_requests_work_over_tls() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/serve");
    let tls = Tls::read(&folder.join("cert.pem"), &folder.join("key.pem")).expect("a certificate");
    let server = Server::start(Options { tls: Some(tls), ..Options::default() });
    let mut client = server.open_tls("/v1/stream");
    client.say(r#"{"type":"start","sample_rate":16000}"#);
    assert_eq!(client.json()["type"], "ready");
    client.send(&s16_bytes(&clip("pi.wav").0));
    client.say(r#"{"type":"finish"}"#);
    assert_eq!(joined(&finals(&mut client).0), expected("pi.wav"));
    // A client without TLS gets an error, and others are not affected.
    let mut plain = TcpStream::connect(server.address).expect("connected");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).expect("an answer to its end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("https://"), "{answer}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    server.open_tls("/v1/stream");
}

// ---------------------------------------------------------------- limits

/// An unfinished stream, to check that it is not affected.
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
fn streams_beyond_the_limit_are_closed_with_try_again_later() {
    let limits = Limits { streams: 2, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let open = [Halfway::new(&server), Halfway::new(&server)];
    for (path, first) in [("/v1/stream", r#"{"type":"start","sample_rate":16000}"#), ("/sherpa", "Done")] {
        let mut client = server.open(path);
        client.say(first);
        if path == "/v1/stream" {
            assert_eq!(client.json()["code"], "busy");
        }
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
fn connections_beyond_the_limit_are_refused() {
    let limits = Limits { connections: 3, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let open = Halfway::new(&server);
    let idle = [server.open("/"), server.open("/")];
    assert_eq!(server.refused("/", &[]), 503);
    assert_eq!(upload(&server, "pi.mp3", &[]).0, 503);
    assert_eq!(server.request("GET", "/health", &[], b"").0, 200);
    assert_eq!(server.metric("hearken_connections"), 3.0);
    assert_eq!(server.metric("hearken_refused_total{reason=\"connections\"}"), 2.0);
    // The reserve is bounded; connections in it that send no request are replaced.
    let silent: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(server.address).expect("connected")).collect();
    server.wait_until(|| server.request("GET", "/health", &[], b"").0 == 200);
    drop(silent);
    drop(idle);
    open.finish();
    server.wait_until(|| server.request("GET", "/health", &[], b"").0 == 200);
}

#[test]
fn a_full_server_refuses_by_tls_too() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/serve");
    let tls = Tls::read(&folder.join("cert.pem"), &folder.join("key.pem")).expect("a certificate");
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = Server::start(Options { limits, tls: Some(tls), ..Options::default() });
    let _open = server.open_tls("/v1/stream");
    assert_eq!(server.refused_tls("/v1/stream"), 503);
}

#[test]
fn a_flood_of_new_connections_is_refused() {
    let limits = Limits { connections_per_second: 2.0, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let open = Halfway::new(&server);
    let statuses: Vec<u16> = (0..12).map(|_| server.request("GET", "/", &[], b"").0).collect();
    assert!(statuses.contains(&503), "{statuses:?}");
    // `/health` and `/metrics` still work.
    for _ in 0..12 {
        assert_eq!(server.request("GET", "/health", &[], b"").0, 200);
    }
    assert!(server.metric("hearken_refused_total{reason=\"rate\"}") >= 1.0);
    open.finish();
}

#[test]
fn limits_of_time_and_size_close_with_their_codes() {
    let limits = Limits {
        message_bytes: 10_000,
        idle: Duration::from_millis(300),
        handshake: Duration::from_secs(1),
        ..Limits::default()
    };
    let server = Server::start(Options { limits, ..Options::default() });
    let mut long = server.start_encoded(16_000, "s16le", false);
    long.send(&[0; 10_001]);
    assert_eq!(long.json()["code"], "too_big");
    assert_eq!(long.closed(), 1009);
    let mut idle = server.open("/");
    assert!(matches!(idle.message(), Message::Close(Some(frame)) if u16::from(frame.code) == 1008));
    let mut idle = server.open("/v1/stream");
    assert_eq!(idle.json()["code"], "idle");
    assert_eq!(idle.closed(), 1008);
    // So are connections with an incomplete head, with no further request, and with none at all.
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
fn the_last_results_are_sent_before_a_time_limit_closes() {
    let limits = [
        ("idle", Limits { idle: Duration::from_secs(2), ..Limits::default() }),
        ("total", Limits { total: Duration::from_secs(2), ..Limits::default() }),
    ];
    for (name, limits) in limits {
        let server = Server::start(Options { limits, ..Options::default() });
        let (samples, _) = clip("pi.wav");
        let mut client = server.start_encoded(16_000, "s16le", false);
        client.send(&s16_bytes(&samples));
        let mut vosk = server.open("/vosk");
        vosk.say(r#"{"config":{"sample_rate":16000}}"#);
        vosk.send(&s16_bytes(&samples));
        assert_eq!(joined(&finals(&mut client).0), expected("pi.wav"), "{name}");
        assert_eq!(client.json()["code"], name);
        assert_eq!(client.closed(), 1008);
        vosk.json();
        assert_eq!(vosk.json()["text"], expected("pi.wav"), "{name}");
        assert_eq!(vosk.closed(), 1008);
        assert_eq!(server.metric(&format!("hearken_closed_total{{reason=\"{name}\"}}")), 2.0);
    }
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
        if let Some(code) = client.close_code_received() {
            break code;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, 1008);
}

#[test]
fn audio_faster_than_real_time_is_slowed_down_and_fully_recognized() {
    let limits = Limits { buffered_seconds: 0.5, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let scene = [clip("pi.wav").0, vec![0.0; 32_000]].concat().repeat(6);
    let mut client = server.start_encoded(16_000, "f32le", false);
    // Larger than a message, and than all queues.
    for chunk in f32_bytes(&scene).chunks(1 << 20) {
        client.send(chunk);
    }
    client.say(r#"{"type":"finish"}"#);
    let (texts, seconds) = finals(&mut client);
    assert_eq!(joined(&texts), vec![expected("pi.wav"); 6].join(" "));
    assert!((seconds - scene.len() as f64 / 16_000.0).abs() < 1e-3);
}

// ---------------------------------------------------------------- invalid clients

#[test]
fn invalid_messages_are_closed_with_a_matching_code() {
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
    // Invalid frames after a valid handshake: reserved bits, no mask, a length beyond
    // all limits, text that is not UTF-8.
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
    // Invalid requests.
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
fn clients_that_disconnect_leave_no_streams_behind() {
    let server = &Server::start(Options { threads: 2, ..Options::default() });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..3 {
                    assert_eq!(hearken_client(server, "s16le", 3200, "pi.wav"), expected("pi.wav"));
                }
            });
        }
        for n in 0..4 {
            scope.spawn(move || {
                for round in 0..10 {
                    let bytes = s16_bytes(&clip("countdown.wav").0);
                    let mut client = server.start_encoded(16_000, "s16le", round % 2 == 0);
                    client.send(&bytes[..bytes.len() * (1 + (n + round) % 3) / 4]);
                    // Disconnects without a close, sometimes within a frame.
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
fn a_client_that_never_reads_is_disconnected_without_harm_to_others() {
    let limits = Limits { write: Duration::from_millis(500), ..Limits::default() };
    let server = &Server::start(Options { limits, ..Options::default() });
    let mut deaf = server.open_without_reading("/v1/stream");
    deaf.say(r#"{"type":"start","sample_rate":16000,"trace":true}"#);
    std::thread::scope(|scope| {
        let good = scope.spawn(move || {
            for _ in 0..4 {
                assert_eq!(hearken_client(server, "s16le", 3200, "pi.wav"), expected("pi.wav"));
            }
        });
        // Sends until it is disconnected: the responses are much larger than what it sends.
        let begun = Instant::now();
        let _ = deaf.socket.get_mut().set_write_timeout(Some(Duration::from_secs(5)));
        while deaf.try_send(&[0; 32_000]).is_ok() && begun.elapsed() < Duration::from_secs(60) {}
        good.join().expect("no panic");
    });
    server.wait_for("hearken_closed_total{reason=\"slow_reader\"}", 1.0);
    server.wait_for("hearken_streams", 0.0);
}

#[test]
fn hundreds_of_clients_connect_and_disconnect() {
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

// ---------------------------------------------------------------- shutdown

#[test]
fn open_streams_get_their_last_results_at_the_shutdown() {
    let mut server = Server::start(Options::default());
    let (samples, _) = clip("pi.wav");
    let mut client = server.start_encoded(16_000, "s16le", false);
    client.send(&s16_bytes(&samples));
    let mut vosk = server.open("/vosk");
    vosk.say(r#"{"config":{"sample_rate":16000}}"#);
    vosk.send(&s16_bytes(&samples));
    vosk.json();
    let mut sherpa = server.open("/sherpa");
    sherpa.send(&f32_bytes(&samples));
    while sherpa.json()["text"] != expected("pi.wav") {}
    while client.json()["text"] != expected("pi.wav") {}
    let mut waiting = server.open("/");
    server.stop();
    assert_eq!(waiting.closed(), 1001);
    assert_eq!(joined(&finals(&mut client).0), expected("pi.wav"));
    assert_eq!(client.closed(), 1001);
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

#[test]
fn health_reports_the_shutdown() {
    let limits = Limits { drain: Duration::from_secs(60), ..Limits::default() };
    let mut server = Server::start(Options { limits, ..Options::default() });
    // An unfinished upload keeps the server from ending; `100 Continue` shows that it has begun.
    let bytes = std::fs::read(server::path("pi.mp3")).expect("a clip");
    let (kind, body) = multipart(&[], Some(("pi.mp3", &bytes)));
    let mut upload_of_old = TcpStream::connect(server.address).expect("connected");
    let head = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    upload_of_old.write_all(head.as_bytes()).expect("sent");
    let mut interim = [0; 25];
    upload_of_old.read_exact(&mut interim).expect("an answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.stop();
    server.wait_until(|| server.request("GET", "/health", &[], b"").0 == 503);
    let (_, _, text) = server.request("GET", "/health", &[], b"");
    assert_eq!(text, r#"{"status":"draining"}"#);
    assert_eq!(server.metric("hearken_connections"), 1.0);
    assert_eq!(server.refused("/v1/stream", &[]), 503);
    assert_eq!(upload(&server, "pi.mp3", &[]).0, 503);
    upload_of_old.write_all(&body).expect("sent");
    let mut answer = String::new();
    upload_of_old.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&expected("pi.mp3")), "{answer}");
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
    program.signal("TERM");
    assert_eq!(joined(&finals(&mut client).0), expected("pi.wav"));
    assert_eq!(client.closed(), 1001);
    drop(client);
    let (code, errors) = program.wait();
    assert_eq!(code, Some(0), "{errors}");
    let draining = errors.find("hearken: draining: 1 streams\n");
    assert!(draining.is_some() && draining < errors.find("hearken: stopped\n"), "{errors}");
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
    assert!(!errors.contains("listening on"), "{errors}");
    let encrypted = folder.path().join("key.pem");
    std::fs::write(&encrypted, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").expect("written");
    let certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/serve/cert.pem");
    let (code, errors) = run(&["--tls-cert", certificate, "--tls-key", encrypted.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("encrypted") && errors.contains("openssl pkey"), "{errors}");
    let (code, errors) = run(&["--allow-origin", "speech.example.org"]);
    assert!(code == Some(2) && errors.contains("https://speech.example.org"), "{errors}");
    let (code, errors) = run(&["--listen", ":2700"]);
    assert!(code == Some(2) && errors.contains("0.0.0.0:2700"), "{errors}");
    assert_eq!(run(&["--rule1-min-trailing-silence=-1"]).0, Some(2));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, errors) = run(&["--listen", &address]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains(&address), "{errors}");
}

#[test]
fn endpoint_options_are_applied() {
    let endpoint = EndpointOptions { rule2_min_trailing_silence: f64::INFINITY, ..Default::default() };
    let stream = StreamOptions { endpoint: Some(endpoint), ..Default::default() };
    let server = Server::start(Options { stream, ..Options::default() });
    let scene = [clip("pi.wav").0, vec![0.0; 32_000], clip("e.wav").0].concat();
    let mut client = server.start_encoded(16_000, "s16le", false);
    client.send(&s16_bytes(&scene));
    client.say(r#"{"type":"finish"}"#);
    let texts: Vec<String> = finals(&mut client).0.into_iter().filter(|t| !t.is_empty()).collect();
    assert_eq!(texts, [format!("{} {}", expected("pi.wav"), expected("e.wav"))]);
}
