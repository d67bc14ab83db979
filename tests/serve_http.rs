//! HTTP requests to the server: uploads in the form of OpenAI's API and their errors, health, metrics and the
//! page.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::server::{Server, clip, expected, multipart, path, s16_bytes, upload, upload_bytes};
use hearken::serve::{Access, Limits, OfflinePage, Options};
use serde_json::{Value, json};

#[test]
fn recordings_are_uploaded_as_openai_s_clients_do() {
    let server = Server::start(Options::default());
    let get = |path: &str| server.request("GET", path, &[], b"");
    assert_eq!(get("/v1/models/hearken").0, 200);
    assert_eq!(get("/v1/models/whisper-1").0, 404);
    for (method, path, status) in
        [("GET", "/no/such/path", 404), ("GET", "/v1/audio/transcriptions", 405), ("POST", "/v1/models", 405)]
    {
        let (found, _, text) = server.request(method, path, &[], b"");
        let error: Value = serde_json::from_str(&text).expect("JSON");
        assert!(found == status && error["error"]["message"].is_string(), "{path}: {found} {text}");
    }
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
fn recordings_become_subtitles() {
    let server = Server::start(Options::default());
    let words = expected("pi.wav");
    let (status, srt) = upload(&server, "pi.wav", &[("response_format", "srt")]);
    assert!(status == 200 && srt.starts_with("1\n00:00:0") && srt.contains(" --> 00:00:0"), "{srt}");
    assert!(srt.contains(&words), "{srt}");
    let (status, vtt) = upload(&server, "pi.wav", &[("response_format", "vtt")]);
    assert!(status == 200 && vtt.starts_with("WEBVTT\n\n00:00:0") && vtt.contains(&words), "{vtt}");
}

#[test]
fn the_text_is_streamed_on_request() {
    let server = Server::start(Options::default());
    // Two utterances in one recording.
    let scene = [clip("pi.wav").0, vec![0.0; 48_000], clip("e.wav").0].concat();
    let mut wav = std::io::Cursor::new(Vec::new());
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::new(&mut wav, spec).expect("a header");
    scene.iter().for_each(|x| writer.write_sample((x * 32767.0) as i16).expect("written"));
    writer.finalize().expect("written");
    let ask = |fields: &[(&str, &str)], file: &[u8]| {
        let (kind, body) = multipart(fields, Some(("scene.wav", file)));
        server.request("POST", "/v1/audio/transcriptions", &[("content-type", &kind)], &body)
    };
    let (status, head, text) = ask(&[("stream", "true")], wav.get_ref());
    assert!(status == 200 && head.contains("content-type: text/event-stream"), "{head}");
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    let (done, deltas) = events.split_last().expect("events");
    let all = format!("{} {}", expected("pi.wav"), expected("e.wav"));
    assert_eq!(*done, json!({"type": "transcript.text.done", "text": all}));
    assert!(deltas.iter().all(|delta| delta["type"] == "transcript.text.delta"), "{text}");
    let deltas: Vec<&str> = deltas.iter().filter_map(|delta| delta["delta"].as_str()).collect();
    assert_eq!((deltas.len(), deltas.concat()), (2, all));
    assert_eq!(ask(&[("stream", "true")], b"no recording").0, 400);
    assert_eq!(ask(&[("stream", "true"), ("response_format", "srt")], wav.get_ref()).0, 400);
    server.wait_for("hearken_streams", 0.0);
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_uploading() {
    let access = Access { token: Some("0123456789abcdef".into()), origins: Vec::new() };
    let limits = Limits { upload_bytes: 1 << 20, ..Limits::default() };
    let server = Server::start(Options { access, limits, ..Options::default() });
    // Larger than the buffers of sockets: it can only be sent if the server reads.
    let (kind, body) = multipart(&[], Some(("long.wav", &vec![0; 12 << 20])));
    let send = |path: &str, token: &str| {
        let mut stream = TcpStream::connect(server.address).expect("connected");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\n\
             authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(&body).expect("sent to the end");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read to the end");
        answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok())
    };
    assert_eq!(send("/v1/audio/transcriptions", "wrong"), Some(401));
    assert_eq!(send("/v1/audio/transcriptions", "0123456789abcdef"), Some(413));
    assert_eq!(send("/no/such/path", "0123456789abcdef"), Some(404));
    // A client that sends `expect: 100-continue` gets the refusal before it sends the body.
    let mut asking = TcpStream::connect(server.address).expect("connected");
    let head = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
                content-length: 1000000\r\n\r\n";
    asking.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    asking.read_to_string(&mut answer).expect("read to the end");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    // A body without an end is not read forever.
    let mut endless = TcpStream::connect(server.address).expect("connected");
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n";
    endless.write_all(head.as_bytes()).expect("sent");
    let chunk = vec![0; 1 << 20];
    let sent = (0..1000).take_while(|_| endless.write_all(&chunk).is_ok()).count();
    assert!(sent < 1000, "a thousand megabytes were read");
}

#[test]
fn invalid_uploads_are_refused_with_the_reason() {
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
    for (field, value) in [
        ("response_format", "xml"),
        ("timestamp_granularities[]", "letter"),
        ("temperature", "warm"),
        ("stream", "perhaps"),
    ] {
        let (status, text) = upload(&server, "pi.mp3", &[(field, value)]);
        assert!(status == 400 && text.contains(field.trim_end_matches("[]")), "{text}");
    }
    let (status, text) = upload(&server, "pi.mp3", &[("prompt", &"x".repeat(5000))]);
    assert!(status == 413 && text.contains("`prompt`"), "{text}");
    let (kind, body) = multipart(&[], Some(("a.wav", &vec![0; 130_000])));
    let (status, text) = post(&kind, &body);
    assert!(status == 413 && text.contains("a.wav") && text.contains("100000"), "{text}");
    let (status, text) = post("application/json", b"{}");
    assert!(status == 400 && text.contains("curl -F file=@"), "{text}");
    assert_eq!(post("multipart/form-data", b"no boundary").0, 400);
    assert_eq!(post("text/plain", b"hello").0, 400);
    assert_eq!(post("multipart/form-data; boundary=x", b"--x\r\nnonsense").0, 400);
    assert_eq!(server.request("GET", "/v1/audio/transcriptions", &[], b"").0, 405);
    // The server still works.
    assert_eq!(upload(&server, "pi.mp3", &[]).0, 200);
}

#[test]
fn empty_fields_count_as_absent_and_a_missing_file_is_reported() {
    let server = Server::start(Options::default());
    for field in
        ["temperature", "timestamp_granularities[]", "response_format", "stream", "prompt", "hotwords"]
    {
        let (status, text) = upload(&server, "pi.mp3", &[(field, "")]);
        assert_eq!(status, 200, "{field}: {text}");
    }
    let recording = std::fs::read(path("pi.wav")).expect("a clip");
    let body = [
        &b"--edge\r\ncontent-disposition: form-data; name=\"audio\"; filename=\"pi.wav\"\r\n\r\n"[..],
        &recording,
        b"\r\n--edge--\r\n",
    ];
    let kind = ("content-type", "multipart/form-data; boundary=edge");
    let (status, _, text) = server.request("POST", "/v1/audio/transcriptions", &[kind], &body.concat());
    assert!(status == 400 && text.contains("`file`") && text.contains("`audio`"), "{status} {text}");
    let part = b"--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nx\r\n";
    let two = [&part[..], part, b"--edge--\r\n"].concat();
    let (status, _, text) = server.request("POST", "/v1/audio/transcriptions", &[kind], &two);
    assert!(status == 400 && text.contains("one field `file`"), "{status} {text}");
}

#[test]
fn damage_is_reported_in_every_format() {
    let server = Server::start(Options::default());
    let whole = std::fs::read(path("voice-note.opus")).expect("a clip");
    let cut = &whole[..whole.len() * 2 / 3];
    let ask = |fields: &[(&str, &str)], bytes: &[u8]| {
        let (status, head, text) = upload_bytes(server.address, "cut.opus", bytes, fields);
        assert_eq!(status, 200, "{text}");
        (head, text)
    };
    for format in ["json", "verbose_json"] {
        let (_, text) = ask(&[("response_format", format)], cut);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let warning = json["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.contains("cut short"), "{format}: {text}");
        let (_, text) = ask(&[("response_format", format)], &whole);
        assert!(!text.contains("warnings"), "{text}");
    }
    for format in ["text", "srt", "vtt"] {
        let (head, _) = ask(&[("response_format", format)], cut);
        let warning = head.lines().find(|line| line.starts_with("hearken-warnings: "));
        assert!(warning.is_some_and(|warning| warning.contains("cut short")), "{format}: {head}");
        assert!(!ask(&[("response_format", format)], &whole).0.contains("hearken-warnings"));
    }
    let (_, text) = ask(&[("stream", "true")], cut);
    let done = text.lines().find(|line| line.contains("transcript.text.done")).expect("an end");
    assert!(done.contains("cut short"), "{done}");
}

#[test]
fn the_page_for_use_without_the_server_needs_no_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = OfflinePage::read(folder.path()).expect_err("no page").to_string();
    assert!(error.contains("found no index.html") && error.contains("docs/web.md"), "{error}");
    std::fs::create_dir(folder.path().join("hearken")).expect("created");
    for (name, content) in [("index.html", "<title>offline"), ("hearken/hearken_web_bg.wasm", "\0asm")] {
        std::fs::write(folder.path().join(name), content).expect("written");
    }
    let access = Access { token: Some("0123456789abcdef".into()), origins: Vec::new() };
    let offline = Some(OfflinePage::read(folder.path()).expect("the page"));
    let server = Server::start(Options { access, offline, ..Options::default() });
    let get = |path: &str| server.request("GET", path, &[], b"");
    assert!(get("/").2.contains("<p id=\"offline\">"));
    let (status, head, text) = get("/offline/");
    assert_eq!((status, text.as_str()), (200, "<title>offline"));
    assert!(head.contains("'wasm-unsafe-eval'") && head.contains("content-type: text/html"), "{head}");
    let (status, head, text) = get("/offline/hearken/hearken_web_bg.wasm");
    assert_eq!((status, text.as_str()), (200, "\0asm"));
    assert!(head.contains("content-type: application/wasm"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag");
    let known = [("if-none-match", tag)];
    let (status, _, text) = server.request("GET", "/offline/hearken/hearken_web_bg.wasm", &known, b"");
    assert_eq!((status, text.as_str()), (304, ""));
    let (status, head, _) = server.request("HEAD", "/offline/index.html", &[], b"");
    assert!(status == 200 && head.contains("content-length: 14"), "{head}");
    assert!(get("/offline").1.contains("location: offline/"));
    // Other paths need the token, as before.
    assert_eq!(get("/offline/../secret").0, 401);
    assert_eq!(get("/v1/models").0, 401);
    let without = Server::start(Options::default());
    let (status, _, text) = without.request("GET", "/offline/", &[], b"");
    assert!(status == 404 && text.contains("--offline-page"), "{text}");
    assert!(without.request("GET", "/", &[], b"").2.contains("<p id=\"offline\" hidden>"));
}

#[test]
fn health_metrics_models_and_the_page() {
    let server = Server::start(Options::default());
    let get = |path: &str| server.request("GET", path, &[], b"");
    let (status, _, text) = get("/health");
    assert_eq!((status, text.as_str()), (200, r#"{"status":"ok"}"#));
    let models: Value = serde_json::from_str(&get("/v1/models").2).expect("JSON");
    let words = models["data"][0]["words"].as_array().expect("the words that the model can write");
    assert!(words.contains(&json!("seven")) && models["data"][0]["sample_rate"] == 16_000, "{models}");
    assert_eq!(get("/no/such/path").0, 404);
    let (status, head, text) = get("/");
    assert_eq!(status, 200);
    assert!(text.contains("<title>hearken"));
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    let (status, head, text) = get("/captions");
    assert_eq!(status, 200);
    assert!(text.contains("captions.js") && head.contains("content-security-policy: default-src 'none'"));
    for file in [
        "/captions.css",
        "/captions.js",
        "/microphone.js",
        "/page.js",
        "/notices.js",
        "/kept.js",
        "/microphone.js",
        "/pictures.js",
        "/transcript.js",
        "/worklet.js",
        "/style.css",
        "/recordings.js",
        "/server.js",
    ] {
        let (status, _, text) = get(file);
        assert_eq!(status, 200);
        let elsewhere = ["http://", "https://", "@import"];
        assert!(!elsewhere.iter().any(|word| text.contains(word)), "{file} loads from elsewhere");
    }
    let mut client = server.start_encoded(16_000, "s16le", false);
    client.send(&s16_bytes(&clip("pi.wav").0));
    client.say(r#"{"type":"finish"}"#);
    while client.json()["type"] != "end" {}
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
