//! The server with hostile or broken clients: their use of resources is bounded, and other clients are served
//! meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::common::server::{
    Client, Program, Server, clip, connect, expected, metric, multipart, s16_bytes, send_raw, upload,
    upload_bytes, wait_until,
};
use hearken::serve::{Limits, Options};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

/// A WAV file of silence at 1000 Hz with 8 bits: a second is a thousand bytes.
fn slow_wav(seconds: usize) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 1000,
        bits_per_sample: 8,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut wav, spec).expect("a header");
    (0..seconds * 1000).for_each(|_| writer.write_sample(0i8).expect("written"));
    writer.finalize().expect("written");
    wav.into_inner()
}

/// A connection with an incomplete upload: `sent` follows the head.
fn upload_in_part(server: &Server, length: usize, sent: &[u8]) -> TcpStream {
    let mut stream = connect(server.address);
    let head = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; \
         boundary=edge\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent)).expect("sent");
    stream
}

const FILE_HEAD: &[u8] =
    b"--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n";

fn status_of(answer: &[u8]) -> Option<u16> {
    String::from_utf8_lossy(answer).split(' ').nth(1)?.parse().ok()
}

// ---------------------------------------------------------------- uploads

#[test]
fn long_recordings_do_not_block_others() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // As many as there are threads for blocking work; each takes hours.
    let long = cores.clamp(2, 8);
    let program = Program::start(&["--max-upload-seconds", "1000000"]);
    let wav = slow_wav(4 * 3600);
    let (kind, body) = multipart(&[], Some(("long.wav", &wav)));
    let open: Vec<TcpStream> = (0..long)
        .map(|_| {
            let mut stream = connect(program.address);
            let head = format!(
                "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n\
                 content-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("sent");
            stream
        })
        .collect();
    wait_until(|| metric(program.address, "hearken_streams", "") == long as f64);
    let pi = std::fs::read(crate::common::server::path("pi.mp3")).expect("a clip");
    let (status, _, text) = upload_bytes(program.address, "pi.mp3", &pi, &[("response_format", "text")]);
    assert_eq!((status, text.trim()), (200, expected("pi.mp3").as_str()));
    assert_eq!(metric(program.address, "hearken_streams", ""), long as f64, "the long ones are not done");
    drop(open);
}

#[test]
fn a_recording_may_not_decode_to_more_than_the_limit() {
    let limits = Limits { upload_seconds: 30.0, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let (status, _, text) = upload_bytes(server.address, "long.wav", &slow_wav(3600), &[]);
    assert!(status == 413 && text.contains("long.wav") && text.contains("30 s"), "{status} {text}");
    assert_eq!(upload(&server, "pi.mp3", &[]).0, 200);
    server.wait_for("hearken_streams", 0.0);
}

#[test]
fn slow_uploads_block_no_others_and_are_refused() {
    let limits = Limits { uploads: 2, idle: Duration::from_millis(500), ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let mut slow: Vec<TcpStream> = (0..4).map(|_| upload_in_part(&server, 1 << 20, FILE_HEAD)).collect();
    assert_eq!(upload(&server, "pi.mp3", &[]).0, 200);
    for stream in &mut slow {
        // A byte from time to time does not count as progress.
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let mut answer = [0; 64];
        let mut read = 0;
        wait_until(|| {
            let _ = stream.write_all(&[0]);
            read = stream.read(&mut answer).unwrap_or(0);
            read > 0
        });
        assert_eq!(status_of(&answer[..read]), Some(408), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn the_memory_for_uploads_is_limited() {
    let limits = Limits { uploads: 1, upload_bytes: 3 << 20, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let half = [FILE_HEAD, &vec![0; (2 << 20) + 1]].concat();
    let mut open = Vec::new();
    // Repeated, since the first may not have been read yet.
    wait_until(|| {
        open.push(upload_in_part(&server, 3 << 20, &half));
        upload_bytes(server.address, "a.wav", &vec![0; 2 << 20], &[]).0 == 503
    });
    assert!(server.metric("hearken_refused_total{reason=\"uploads\"}") >= 1.0);
    drop(open);
    server.wait_until(|| upload(&server, "pi.mp3", &[]).0 == 200);
}

#[test]
fn a_form_without_a_boundary_is_refused_before_its_end() {
    let server = Server::start(Options::default());
    let head = b"--edge\r\ncontent-disposition: form-data; name=\"file\"\r\nx-long: ";
    let filler = vec![b'a'; 100_000];
    for sent in [filler.clone(), [&head[..], &filler].concat()] {
        // The body never ends; the response does not wait for its end.
        let mut stream = upload_in_part(&server, 26_000_000, &sent);
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).expect("an answer");
        assert_eq!(status_of(&answer[..read]), Some(400), "{}", String::from_utf8_lossy(&answer));
        assert!(String::from_utf8_lossy(&answer).contains("boundary"));
    }
    // The content of a field may look like a boundary.
    let wav = std::fs::read(crate::common::server::path("pi.wav")).expect("a clip");
    let almost = [&wav[..], &b"\r\n--edg".repeat(20_000)].concat();
    assert_eq!(upload_bytes(server.address, "pi.wav", &almost, &[]).0, 200);
}

#[test]
fn malformed_chunks_are_the_client_s_error() {
    let server = Server::start(Options::default());
    let head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\
                 content-type: multipart/form-data; boundary=edge\r\nconnection: close\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", FILE_HEAD.len(), String::from_utf8_lossy(FILE_HEAD));
    for broken in ["no number\r\n", "5\r\nabcdefgh\r\n", "ffffffffffffffffff\r\n"] {
        let (status, _, text) = send_raw(server.address, &[head, chunk.as_bytes(), broken.as_bytes()]);
        assert_eq!(status, 400, "{broken:?}: {text}");
    }
}

// ---------------------------------------------------------------- memory and descriptors

/// The memory of messages is bounded by their own size, however low their rate.
#[test]
fn messages_at_a_low_rate_stay_small_in_memory() {
    let program = Program::start(&["--threads", "1"]);
    let resident = || metric(program.address, "hearken_resident_bytes", "");
    let before = resident();
    const CLIENTS: usize = 40;
    let message = vec![1; 1 << 20];
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = program.open("/v1/stream");
            client.say(r#"{"type":"start","sample_rate":4000,"partials":false}"#);
            assert_eq!(client.json()["type"], "ready");
            client.send(&message);
            client
        })
        .collect();
    // By then each of them was processed.
    let mut most = 0.0f64;
    wait_until(|| {
        most = most.max(resident());
        metric(program.address, "hearken_audio_seconds_total", "") >= 5.0 * CLIENTS as f64
    });
    let each = (most - before) / CLIENTS as f64;
    assert!(each < 3e6, "{:.1} MB for each client", each / 1e6);
    drop(clients);
}

#[cfg(unix)]
#[test]
fn a_lack_of_file_descriptors_is_logged_once() {
    let mut program = Program::start_after("ulimit -n 48", &[]);
    let open: Vec<TcpStream> = (0..80).map(|_| connect(program.address)).collect();
    program.wait_for_line("cannot accept new connections");
    drop(open);
    wait_until(|| program.request("GET", "/health").0 == 200);
    program.signal("TERM");
    let (code, errors) = program.wait();
    assert_eq!((code, errors.matches("cannot accept new connections").count()), (Some(0), 1), "{errors}");
}

// ---------------------------------------------------------------- websockets

#[test]
fn a_close_is_answered_on_every_path() {
    let server = Server::start(Options::default());
    for path in ["/", "/v1/stream", "/vosk", "/sherpa", "/sherpa/python"] {
        for is_open in [false, true] {
            let mut client = server.open(path);
            match path {
                "/v1/stream" if is_open => client.say(r#"{"type":"start","sample_rate":16000}"#),
                _ if is_open => client.send(&[0; 3200]),
                _ => {}
            }
            let frame = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
            client.socket.close(Some(frame)).expect("sent");
            let ended = loop {
                match client.socket.read() {
                    Ok(Message::Close(frame)) => assert_eq!(frame.map(|f| u16::from(f.code)), Some(1000)),
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(matches!(ended, tungstenite::Error::ConnectionClosed), "{path}: {ended}");
        }
    }
    server.wait_for("hearken_connections", 1.0);
}

#[test]
fn malformed_frames_are_closed_with_1002() {
    let server = Server::start(Options::default());
    let masked = |first: u8, payload: &[u8]| {
        let mut frame = vec![first];
        match payload.len() {
            short @ ..126 => frame.push(0x80 | short as u8),
            long => frame.extend([0xfe, (long >> 8) as u8, long as u8]),
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    };
    for (what, frame) in [
        ("a ping of 126 bytes", masked(0x89, &[0; 126])),
        ("a close of 126 bytes", masked(0x88, &[&1000u16.to_be_bytes()[..], &[b'a'; 124]].concat())),
        ("a ping in fragments", masked(0x09, &[])),
        ("close code 999", masked(0x88, &999u16.to_be_bytes())),
        ("close code 1005", masked(0x88, &1005u16.to_be_bytes())),
        ("close code 1006", masked(0x88, &1006u16.to_be_bytes())),
        ("half a close code", masked(0x88, &[3])),
        ("reserved bits", masked(0xf2, &[0; 4])),
        ("a reserved kind of frame", masked(0x83, &[0; 4])),
        ("no mask", vec![0x82, 0]),
    ] {
        let mut client = server.open("/vosk");
        client.raw(&frame);
        assert_eq!(client.closed(), 1002, "{what}");
    }
}

#[test]
fn client_input_is_shortened_in_errors() {
    let server = Server::start(Options::default());
    let long = "x".repeat(50_000);
    let mut client = server.open("/v1/stream");
    client.say(&json!({"type": "start", "sample_rate": 16000, (&long): 1}).to_string());
    let error = client.json();
    let message = error["message"].as_str().expect("a message");
    assert!(error["type"] == "error" && message.len() < 1000, "{} bytes", message.len());
    assert_eq!(client.closed(), 1007);
    let mut client = server.open("/vosk");
    client.say(&json!({"config": {"sample_rate": long}}).to_string());
    assert_eq!(client.closed(), 1007);
    for (method, path) in [
        ("POST", format!("/{long}")),
        ("GET", format!("/v1/models/{long}")),
        (&long[..100], "/health".into()),
    ] {
        let (status, _, text) = server.request(method, &path, &[], b"");
        let error: Value = serde_json::from_str(&text).expect("JSON");
        assert!((400..500).contains(&status) && error["error"]["message"].is_string(), "{status}");
        assert!(text.len() < 1000, "{} bytes", text.len());
    }
    let (status, text) = upload(&server, "pi.mp3", &[("response_format", &long[..4000])]);
    assert!(status == 400 && text.len() < 1000, "{status} {} bytes", text.len());
}

// ---------------------------------------------------------------- HTTP

#[test]
fn clients_that_do_not_read_responses_are_disconnected() {
    let limits = Limits { write: Duration::from_millis(500), ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let mut deaf = connect(server.address);
    let request = b"GET /page.js HTTP/1.1\r\nhost: localhost\r\n\r\n";
    deaf.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    // Until neither requests nor responses fit into the sockets' buffers.
    while deaf.write_all(request).is_ok() {}
    server.wait_for("hearken_closed_total{reason=\"slow_reader\"}", 1.0);
    server.wait_for("hearken_connections", 1.0);
}

#[test]
fn host_names_that_others_control_are_refused() {
    let server = Server::start(Options::default());
    for host in ["evil.example", "evil.example:2700", "127.0.0.1.evil.example"] {
        for path in ["/metrics", "/v1/models"] {
            assert_eq!(server.request("GET", path, &[("host", host)], b"").0, 403, "{host}{path}");
        }
        assert_eq!(server.refused("/v1/stream", &[("host", host)]), 403);
    }
    for host in ["localhost:2700", "hearken:2700", "[::1]:2700", "speechbox.local"] {
        assert_eq!(server.request("GET", "/metrics", &[("host", host)], b"").0, 200, "{host}");
    }
}

#[test]
fn idle_connections_do_not_block_health() {
    let limits = Limits { connections: 1, connections_per_second: 1e6, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let open = server.open("/v1/stream");
    for _ in 0..10 {
        let _silent: Vec<TcpStream> = (0..100).map(|_| connect(server.address)).collect();
        assert_eq!(server.request("GET", "/health", &[], b"").0, 200);
        assert_eq!(server.request("GET", "/metrics", &[], b"").0, 200);
        assert_eq!(server.request("GET", "/v1/models", &[], b"").0, 503);
    }
    open.close();
}

#[test]
fn request_heads_are_limited_as_documented() {
    let server = Server::start(Options::default());
    let ask = |bytes: usize, lines: usize| {
        let mut head = String::from("GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        (2..lines).for_each(|i| head += &format!("x-{i}: 1\r\n"));
        if bytes > 0 {
            // The last line fills it up; two line ends follow.
            head.truncate(head.len() - "1\r\n".len());
            head += &"1".repeat(bytes - head.len() - 4);
            head += "\r\n";
        }
        head += "\r\n";
        send_raw(server.address, &[head.as_bytes()]).0
    };
    assert_eq!(ask(64 << 10, 3), 200);
    assert_eq!(ask((64 << 10) + 1, 3), 431);
    assert_eq!(ask(200 << 10, 3), 431);
    assert_eq!(ask(0, 100), 200);
    assert_eq!(ask(0, 101), 431);
}

// ---------------------------------------------------------------- shutdown

#[cfg(unix)]
#[test]
fn sighup_drains_like_sigterm() {
    let mut program = Program::start(&[]);
    let mut client = program.open("/v1/stream");
    client.say(r#"{"type":"start","sample_rate":16000,"partials":false}"#);
    assert_eq!(client.json()["type"], "ready");
    client.send(&s16_bytes(&clip("pi.wav").0));
    program.signal("HUP");
    let last = client.json();
    assert_eq!((&last["type"], last["text"].as_str()), (&json!("final"), Some(expected("pi.wav").as_str())));
    drop(client);
    let (code, errors) = program.wait();
    assert!(code == Some(0) && errors.contains("stopped"), "{code:?} {errors}");
}

#[cfg(unix)]
#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let mut program = Program::start(&["--drain-seconds", "3600", "--idle-seconds", "3600"]);
    // An unfinished upload keeps the server from ending.
    let mut open = connect(program.address);
    let head = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                content-type: multipart/form-data; boundary=edge\r\ncontent-length: 1000\r\n\r\n";
    open.write_all(head.as_bytes()).expect("sent");
    open.read_exact(&mut [0; 25]).expect("it is to go on");
    program.signal("INT");
    program.wait_for_line("draining");
    assert_eq!(program.request("GET", "/health").0, 503);
    program.signal("INT");
    assert_eq!(program.wait().0, Some(130));
}
