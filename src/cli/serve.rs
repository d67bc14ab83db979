//! `hearken serve`

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpSocket;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::endpoint::EndpointArgs;
use super::model::ModelChoice;
use super::{Outcome, Stop};
use crate::error::{Error, Result, Stage};
use crate::serve::{self, Access, Limits, Listeners, Options, SherpaFlavor, Tls};

/// Run a speech recognition server: websockets as vosk-server and sherpa-onnx speak them, whole
/// recordings by POST, and a page for the browser.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: hearken serve --listen 127.0.0.1:2700\n         \
                        then open http://127.0.0.1:2700/")]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelChoice,

    /// The address to listen on; a port alone is on this computer only.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2700", value_parser = listen_address)]
    listen: SocketAddr,

    /// The file whose first line is the token that clients must send.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Listen on other addresses than loopback without a token.
    #[arg(long)]
    insecure: bool,

    /// Pages of this origin may connect too (https://speech.example.org), and clients may use its
    /// name for the server; `*` is all.
    #[arg(long, value_name = "ORIGIN", value_parser = serve::origin::normalized)]
    allow_origin: Vec<String>,

    /// The certificate (chain), PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Threads of the recognizer; by default as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Largest number of streams in one call of the network.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,

    /// Serve the Wyoming protocol too, for Home Assistant; its usual port is 10300.
    #[arg(long, value_name = "tcp://HOST:PORT", value_parser = wyoming_address)]
    wyoming: Option<SocketAddr>,

    /// A language of the model, as `en`, for clients that choose by language; en for the digits model.
    #[arg(long, value_name = "LANGUAGE")]
    language: Vec<String>,

    /// How a sherpa-onnx client on `/` is answered: as by the C++ or the Python server.
    #[arg(long, value_name = "cpp|python", default_value = "cpp", value_parser = ["cpp", "python"])]
    sherpa_ending: String,

    #[command(flatten)]
    endpoint: EndpointArgs,

    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Connections at a time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    max_connections: usize,
    /// Streams at a time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().streams)]
    max_streams: usize,
    /// Streams at a time that may be sent the network's output and state.
    #[arg(long, value_name = "N", default_value_t = Limits::default().traces)]
    max_traces: usize,
    /// Bytes of a websocket message.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().message_bytes)]
    max_message: usize,
    /// Recordings that are transcribed at a time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().uploads)]
    max_uploads: usize,
    /// Bytes of an uploaded recording.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().upload_bytes)]
    max_upload: usize,
    /// Seconds of audio in an uploaded recording.
    #[arg(long, value_name = "S", default_value_t = Limits::default().upload_seconds, value_parser = seconds)]
    max_upload_seconds: f64,
    /// Seconds after which a client that sends nothing is closed.
    #[arg(long, value_name = "S", default_value_t = Limits::default().idle.as_secs_f64(), value_parser = seconds)]
    idle_seconds: f64,
    /// Seconds that a connection may last.
    #[arg(long, value_name = "S", default_value_t = Limits::default().total.as_secs_f64(), value_parser = seconds)]
    max_seconds: f64,
    /// Seconds after which a client that reads nothing is disconnected.
    #[arg(long, value_name = "S", default_value_t = Limits::default().write.as_secs_f64(), value_parser = seconds)]
    write_seconds: f64,
    /// Seconds of a client's audio that may wait for the recognizer.
    #[arg(long, value_name = "S", default_value_t = Limits::default().buffered_seconds, value_parser = seconds)]
    buffer_seconds: f64,
    /// New connections a second.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections_per_second, value_parser = seconds)]
    connect_rate: f64,
    /// Seconds that open streams have to end when the server is stopped.
    #[arg(long, value_name = "S", default_value_t = Limits::default().drain.as_secs_f64(), value_parser = seconds)]
    drain_seconds: f64,
}

/// An address with a port; `localhost` and a port alone are this computer.
fn listen_address(text: &str) -> std::result::Result<SocketAddr, String> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(port) = text.parse() {
        return Ok(here(port));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Err(format!("expected a port too: {}", SocketAddr::new(ip, 2700)));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "2700"));
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!("expected a port from 0 to 65535, found `{port}`"));
    };
    match host {
        "localhost" => Ok(here(port)),
        // Elsewhere it means all addresses; here those have to be asked for.
        "" | "*" => {
            Err(format!("write 127.0.0.1:{port} for this computer only, 0.0.0.0:{port} for all addresses"))
        }
        _ if host.parse::<Ipv6Addr>().is_ok() => Err(format!("write [{host}]:{port}")),
        _ => Err(format!("expected an address of this computer in numbers, as in 127.0.0.1:{port}")),
    }
}

/// An address as Wyoming's programs write it.
fn wyoming_address(text: &str) -> std::result::Result<SocketAddr, String> {
    let address =
        text.strip_prefix("tcp://").ok_or("expected tcp://HOST:PORT, as in tcp://127.0.0.1:10300")?;
    listen_address(address)
}

/// A positive number of a size that durations can have.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_string())?;
    if value > 0.0 && value <= 1e9 { Ok(value) } else { Err("expected a number above 0".into()) }
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        Limits {
            // What a semaphore can count.
            connections: self.max_connections.min(1 << 20),
            streams: self.max_streams.min(1 << 20),
            traces: self.max_traces.min(1 << 20),
            uploads: self.max_uploads.min(1 << 20),
            message_bytes: self.max_message,
            upload_bytes: self.max_upload,
            upload_seconds: self.max_upload_seconds,
            idle: Duration::from_secs_f64(self.idle_seconds),
            total: Duration::from_secs_f64(self.max_seconds),
            write: Duration::from_secs_f64(self.write_seconds),
            buffered_seconds: self.buffer_seconds,
            connections_per_second: self.connect_rate,
            drain: Duration::from_secs_f64(self.drain_seconds),
            ..Limits::default()
        }
    }
}

fn failed(problem: impl Into<String>) -> Error {
    Error::new(Stage::Serve, problem)
}

/// A line for the server's operator; standard error may be closed.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "hearken: {line}");
}

/// Size of a socket's send buffer, bytes.
const SEND_BUFFER: u32 = 128 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let token = args.token_file.as_deref().map(read_token).transpose()?;
    if !args.listen.ip().is_loopback() && token.is_none() && !args.insecure {
        let problem = format!("{} is reached from outside, and no token is asked for", args.listen);
        let hint = "set --token-file, or say --insecure";
        return Err(Error::new(Stage::Usage, problem).hint(hint).into());
    }
    if let Some(address) = args.wyoming.filter(|address| !address.ip().is_loopback() && !args.insecure) {
        let problem = format!("{address} is reached from outside, and the Wyoming protocol knows no token");
        return Err(Error::new(Stage::Usage, problem).hint("say --insecure, behind a firewall").into());
    }
    let languages = match &args.model.network.model {
        _ if !args.language.is_empty() => args.language.clone(),
        None => vec!["en".into()],
        Some(_) if args.wyoming.is_some() => {
            let problem =
                "Wyoming's clients choose a model by its language, which this model's file does not say";
            return Err(Error::new(Stage::Usage, problem).hint("name it: --language en").into());
        }
        Some(_) => Vec::new(),
    };
    let tls = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    let tls = tls.map(|(certificate, key)| Tls::read(certificate, key)).transpose()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        limits: args.limits.limits(),
        access: Access { token, origins: args.allow_origin.clone() },
        tls,
        threads: args.threads.map_or(cores, usize::from),
        batch: usize::from(args.batch),
        stream: args.endpoint.stream_options(true)?,
        flavor: if args.sherpa_ending == "python" { SherpaFlavor::Python } else { SherpaFlavor::Cpp },
        languages,
        log: say,
    };
    let recognizer = args.model.open()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(4))
        .max_blocking_threads(cores.max(2))
        .enable_all()
        .build()
        .map_err(|e| failed(format!("cannot start the runtime: {e}")))?;
    let outcome = runtime.block_on(async {
        let (listener, address) = bind(args.listen)?;
        let mut signals = Signals::listen()?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        say(&format!("listening on {scheme}://{address}/"));
        let wyoming = args.wyoming.map(bind).transpose()?;
        if let Some((_, address)) = &wyoming {
            say(&format!("listening on tcp://{address} (Wyoming)"));
        }
        let listeners = Listeners { http: listener, wyoming: wyoming.map(|(listener, _)| listener) };
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        tokio::select! {
            served = serve::run(listeners, recognizer, options, shutdown) => served.map(|()| Outcome::Done),
            () = async {
                signals.any().await;
                drop(stop);
                signals.interrupt().await;
            } => {
                say("stopped at once");
                Ok(Outcome::Interrupted)
            }
        }
    })?;
    // A decoder that hangs in a recording must not keep the program.
    runtime.shutdown_background();
    Ok(outcome)
}

/// The signals that end the server; none of them is missed from when it is made.
#[cfg(unix)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` where the process was started to go on when its terminal closes.
    hangup: Option<Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|e| failed(format!("cannot wait for signals: {e}")));
        let hangup = (!is_hangup_ignored()).then(|| listen(SignalKind::hangup())).transpose()?;
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup,
        })
    }

    /// Waits for SIGTERM, Ctrl-C, or the end of the terminal.
    async fn any(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {}, _ = hangup => {} }
    }

    /// Waits for Ctrl-C.
    async fn interrupt(&mut self) {
        self.interrupt.recv().await;
    }
}

/// Whether the process was started with SIGHUP ignored, as `nohup` does; where the system says it.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A bit for each signal; SIGHUP is the first.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self)
    }

    /// Waits for Ctrl-C.
    async fn any(&mut self) {
        self.interrupt().await;
    }

    /// Waits for Ctrl-C. Where that is impossible, Ctrl-C ends the program as it does any.
    async fn interrupt(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

fn bind(address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr)> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let bound = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, bound))
    };
    bind().map_err(|e| failed(format!("cannot listen on {address}: {e}")))
}

fn read_token(path: &std::path::Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|e| crate::error::io(Stage::Serve, path, e))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.len() < 16 {
        let problem = format!("expected a token of at least 16 characters, found {}", token.len());
        return Err(Error::new(Stage::Serve, problem).in_file(path).hint("openssl rand -hex 24"));
    }
    if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
        let problem = "expected a token of letters, digits and -._~";
        return Err(Error::new(Stage::Serve, problem).in_file(path));
    }
    Ok(token.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_or_say_what_to_write() {
        for (text, expected) in [
            ("127.0.0.1:2700", "127.0.0.1:2700"),
            ("localhost:0", "127.0.0.1:0"),
            ("2701", "127.0.0.1:2701"),
            ("localhost", "127.0.0.1:2700"),
            ("[::1]:2700", "[::1]:2700"),
        ] {
            assert_eq!(listen_address(text).map(|a| a.to_string()).as_deref(), Ok(expected));
        }
        for (text, hint) in [
            (":2700", "0.0.0.0:2700"),
            ("*:2700", "127.0.0.1:2700"),
            ("127.0.0.1", "127.0.0.1:2700"),
            ("::1", "[::1]:2700"),
            ("speech.example.org:2700", "127.0.0.1:2700"),
            ("tcp://127.0.0.1:10300", "127.0.0.1"),
            ("localhost:70000", "65535"),
            ("localhost:http", "`http`"),
            ("", "127.0.0.1:2700"),
        ] {
            let problem = listen_address(text).expect_err(text);
            assert!(problem.contains(hint), "{text}: {problem}");
        }
    }
}
