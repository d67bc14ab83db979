//! A server on a separate port, in this process or as the program, and blocking clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hearken::engine::{EngineKind, EngineOptions};
use hearken::recognizer::{Embedded, Recognizer, final_text};
use hearken::serve::{self, Listeners, Options};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{self, HandshakeError, Message, WebSocket};

/// Maximum wait; longer than any step takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes in and out: TCP, or TLS over it.
pub trait Transport: Read + Write + Send {
    fn tcp(&self) -> &TcpStream;
    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.tcp().set_write_timeout(timeout)
    }
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

type Tls = tokio_rustls::rustls::StreamOwned<tokio_rustls::rustls::ClientConnection, TcpStream>;

impl Transport for Tls {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

// ---------------------------------------------------------------- recordings

/// The embedded model.
pub fn recognizer() -> Recognizer {
    static OPEN: OnceLock<Recognizer> = OnceLock::new();
    OPEN.get_or_init(|| {
        Recognizer::embedded(Embedded::Digits, EngineKind::Native, &EngineOptions::default())
            .expect("a model")
    })
    .clone()
}

pub fn path(clip: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("audio").join(clip)
}

/// The text of a whole recording, as `hearken transcribe` prints it.
pub fn expected(clip: &str) -> String {
    let recognizer = recognizer();
    let samples = hearken::audio::read_all(&path(clip), recognizer.sample_rate()).expect("a clip");
    let mut stream = recognizer.stream().expect("a stream");
    let mut events = stream.accept_waveform(&samples).expect("recognized");
    events.extend(stream.finish().expect("recognized"));
    let text = final_text(&events);
    assert!(!text.is_empty(), "{clip} has a text");
    text
}

/// A WAV's samples at its own rate, channels mixed.
pub fn clip(name: &str) -> (Vec<f32>, u32) {
    let mut reader = hound::WavReader::open(path(name)).expect("a WAV file");
    let spec = reader.spec();
    let full = (1i64 << (spec.bits_per_sample - 1)) as f32;
    let values: Vec<f32> = reader.samples::<i32>().map(|s| s.expect("a sample") as f32 / full).collect();
    let channels = usize::from(spec.channels);
    let mono = values.chunks(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32);
    (mono.collect(), spec.sample_rate)
}

pub fn s16_bytes(samples: &[f32]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|x| ((x * 32768.0).round().clamp(-32768.0, 32767.0) as i16).to_le_bytes())
        .collect()
}

pub fn f32_bytes(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|x| x.to_le_bytes()).collect()
}

// ---------------------------------------------------------------- the server

/// A server in this process; it ends when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    /// The address of the Wyoming port.
    pub wyoming: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<hearken::Result<()>>>,
}

impl Server {
    pub fn start(options: Options) -> Self {
        Self::listen(options, false)
    }

    /// A server that also speaks the Wyoming protocol.
    pub fn start_with_wyoming(options: Options) -> Self {
        Self::listen(options, true)
    }

    fn listen(options: Options, wyoming: bool) -> Self {
        let (sender, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let recognizer = recognizer();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = || {
                    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
                    socket.set_send_buffer_size(64 << 10).expect("a size");
                    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
                    socket.listen(1024).expect("a listener")
                };
                let listeners = Listeners { http: listener(), wyoming: wyoming.then(listener) };
                let address = |listener: &tokio::net::TcpListener| listener.local_addr().expect("bound");
                let addresses = (address(&listeners.http), listeners.wyoming.as_ref().map(address));
                sender.send(addresses).expect("received");
                serve::run(listeners, recognizer, options, async { drop(stopped.await) }).await
            })
        });
        let (address, wyoming) = address.recv_timeout(TIMEOUT).expect("the server started");
        Self { address, wyoming, stop: Some(stop), thread: Some(thread) }
    }

    /// Starts the shutdown.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until the server has ended.
    pub fn ended(mut self) {
        self.stop();
        let result = self.thread.take().map(JoinHandle::join);
        result.expect("once").expect("no panic").expect("no error");
    }

    pub fn open(&self, path: &str) -> Client {
        self.open_with(path, &[])
    }

    pub fn open_with(&self, path: &str, headers: &[(&str, &str)]) -> Client {
        Client::open(self.address, path, headers)
    }

    /// The status with which a websocket is refused.
    pub fn refused(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        match Client::try_open(Box::new(connect(self.address)), self.address, path, headers) {
            Ok(_) => panic!("{path} was opened"),
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// A client with a small receive buffer, which does not read.
    pub fn open_without_reading(&self, path: &str) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(4096).expect("a size");
            socket.connect(self.address).await.expect("connected").into_std().expect("a socket")
        });
        stream.set_nonblocking(false).expect("blocking");
        Client::try_open(Box::new(stream), self.address, path, &[]).expect("opened")
    }

    pub fn open_tls(&self, path: &str) -> Client {
        self.try_open_tls(path).expect("opened")
    }

    /// The status with which a websocket over TLS is refused.
    pub fn refused_tls(&self, path: &str) -> u16 {
        match self.try_open_tls(path) {
            Ok(_) => panic!("{path} was opened"),
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    fn try_open_tls(&self, path: &str) -> Result<Client, tungstenite::Error> {
        use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
        use tokio_rustls::rustls::{
            ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
        };
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/serve/cert.pem");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let stream: Tls = StreamOwned::new(connection, connect(self.address));
        Client::try_open(Box::new(stream), self.address, path, &[])
    }

    /// Starts a stream in hearken's own protocol; returns after `ready`.
    pub fn start_with(&self, mut start: Value) -> (Client, Value) {
        start["type"] = json!("start");
        let mut client = self.open("/v1/stream");
        client.say(&start.to_string());
        let ready = client.json();
        assert_eq!(ready["type"], "ready", "{ready}");
        (client, ready)
    }

    pub fn start_encoded(&self, rate: u32, encoding: &str, trace: bool) -> Client {
        self.start_with(json!({"sample_rate": rate, "encoding": encoding, "trace": trace})).0
    }

    /// One request on a connection of its own: status, head in lower case, body.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String, String) {
        request(self.address, method, path, headers, body)
    }

    pub fn metric(&self, name: &str) -> f64 {
        self.metric_with(name, "")
    }

    pub fn metric_with(&self, name: &str, authorization: &str) -> f64 {
        metric(self.address, name, authorization)
    }

    /// Waits until a metric has this value.
    pub fn wait_for(&self, name: &str, value: f64) {
        let begun = Instant::now();
        let mut found = self.metric(name);
        while found != value {
            assert!(begun.elapsed() < TIMEOUT, "{name} is {found}, not {value}");
            std::thread::sleep(Duration::from_millis(20));
            found = self.metric(name);
        }
    }

    /// Waits until something is true.
    pub fn wait_until(&self, is_true: impl FnMut() -> bool) {
        wait_until(is_true);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request on a connection of its own: status, head in lower case, body.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, String) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head += &format!("host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    send_raw(address, &[head.as_bytes(), body])
}

/// Sends bytes on a new connection, and reads the response: status, head in lower case, body.
pub fn send_raw(address: SocketAddr, sent: &[&[u8]]) -> (u16, String, String) {
    let mut stream = connect(address);
    let mut answer = Vec::new();
    // Sending fails if the server refuses the request early.
    let _ = sent.iter().try_for_each(|bytes| stream.write_all(bytes));
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, head.to_lowercase(), body.to_string())
}

/// The value of a metric.
pub fn metric(address: SocketAddr, name: &str, authorization: &str) -> f64 {
    let (_, _, text) = request(address, "GET", "/metrics", &[("authorization", authorization)], b"");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
}

/// Waits until something is true.
pub fn wait_until(mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < TIMEOUT, "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    stream.set_write_timeout(Some(TIMEOUT)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A form with these fields and this file: its content type and body.
pub fn multipart(fields: &[(&str, &str)], file: Option<(&str, &[u8])>) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(part.bytes());
    }
    if let Some((name, bytes)) = file {
        let part =
            format!("--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
        body.extend(part.bytes());
        body.extend(bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".into(), body)
}

/// Uploads a clip, as a client of OpenAI's would: status and body.
pub fn upload(server: &Server, clip: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let bytes = std::fs::read(path(clip)).expect("a clip");
    let (status, _, text) = upload_bytes(server.address, clip, &bytes, fields);
    (status, text)
}

/// Uploads a recording: status, head in lower case, body.
pub fn upload_bytes(
    address: SocketAddr,
    name: &str,
    bytes: &[u8],
    fields: &[(&str, &str)],
) -> (u16, String, String) {
    let (kind, body) = multipart(fields, Some((name, bytes)));
    request(address, "POST", "/v1/audio/transcriptions", &[("content-type", &kind)], &body)
}

/// The program `hearken serve`, killed when it is dropped.
pub struct Program {
    pub address: SocketAddr,
    child: Child,
    errors: std::sync::mpsc::Receiver<String>,
    log: String,
}

impl Program {
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(Command::new(assert_cmd::cargo::cargo_bin!("hearken")), arguments)
    }

    /// Starts the program in a shell after the command `setup`.
    #[cfg(unix)]
    pub fn start_after(setup: &str, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")]);
        shell.arg(assert_cmd::cargo::cargo_bin!("hearken"));
        Self::spawn(shell, arguments)
    }

    fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let (out, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || errors.lines().map_while(Result::ok).all(|line| out.send(line).is_ok()));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut program = Self { address: nowhere, child, errors: lines, log: String::new() };
        let line = program.wait_for_line("listening on");
        let address = line.split("//").nth(1).and_then(|a| a.trim_end_matches('/').parse().ok());
        program.address = address.expect("an address");
        program
    }

    /// Waits until a line on standard error contains `text`.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        loop {
            let line = self.errors.recv_timeout(TIMEOUT);
            let line = line.unwrap_or_else(|_| panic!("expected `{text}` in the output: {}", self.log));
            self.log += &format!("{line}\n");
            if line.contains(text) {
                return line;
            }
        }
    }

    pub fn open(&self, path: &str) -> Client {
        Client::open(self.address, path, &[])
    }

    /// A request without a body: status and body.
    pub fn request(&self, method: &str, path: &str) -> (u16, String) {
        let (status, _, text) = request(self.address, method, path, &[], b"");
        (status, text)
    }

    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        super::signals::send(self.child.id(), name);
    }

    /// Waits for the end: exit code, and standard error.
    pub fn wait(&mut self) -> (Option<i32>, String) {
        loop {
            match self.errors.recv_timeout(TIMEOUT) {
                Ok(line) => self.log += &format!("{line}\n"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    break;
                }
            }
        }
        (self.child.wait().expect("it ends").code(), self.log.clone())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---------------------------------------------------------------- the client

/// A blocking websocket.
pub struct Client {
    pub socket: WebSocket<Box<dyn Transport>>,
}

impl Client {
    fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_open(Box::new(connect(address)), address, path, headers)
            .unwrap_or_else(|error| panic!("{path} is not opened: {error}"))
    }

    fn try_open(
        stream: Box<dyn Transport>,
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, tungstenite::Error> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(HandshakeError::Failure(error)) => Err(error),
            Err(HandshakeError::Interrupted(_)) => panic!("no answer to the handshake"),
        }
    }

    pub fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("sent");
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("sent");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> Result<(), tungstenite::Error> {
        self.socket.send(Message::binary(bytes.to_vec()))
    }

    /// Sends bytes without framing.
    pub fn raw(&mut self, bytes: &[u8]) {
        let stream = self.socket.get_mut();
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    }

    /// The next message other than a ping.
    pub fn message(&mut self) -> Message {
        loop {
            match self.socket.read().expect("a message") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next message, which is JSON.
    pub fn json(&mut self) -> Value {
        match self.message() {
            Message::Text(text) => serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")),
            other => panic!("expected JSON, found {other:?}"),
        }
    }

    /// Reads until the close; returns its code.
    pub fn closed(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.message() {
                return frame.map_or(1005, |frame| frame.code.into());
            }
        }
    }

    /// The code of a close frame, if one was already received.
    pub fn close_code_received(&mut self) -> Option<u16> {
        let short = Some(Duration::from_millis(1));
        self.socket.get_mut().tcp().set_read_timeout(short).expect("a timeout");
        let mut code = None;
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => code = Some(frame.map_or(1005, |frame| frame.code.into())),
                Ok(_) => continue,
                Err(_) => {}
            }
            break;
        }
        self.socket.get_mut().tcp().set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        code
    }

    /// Reads until the connection has ended in any way.
    pub fn ended(&mut self) {
        while self.socket.read().is_ok() {}
    }

    /// Closes the connection, and waits for the reply.
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        self.ended();
    }
}
