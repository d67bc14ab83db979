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
use super::model::{ModelChoice, ModelSource, check_nbest};
use super::{Outcome, Stop};
use crate::decode::MAX_NBEST;
use crate::error::{Error, Result, Stage};
use crate::recognizer::StreamOptions;
use crate::serve::{self, Access, Limits, Listeners, OfflinePage, Options, SherpaFlavor, Tls};

/// Run a speech recognition server for clients of vosk-server, sherpa-onnx and OpenAI, with a web page.
///
/// One port serves websockets, uploads of recordings by HTTP, and the page; docs/serve.md describes the protocols.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hearken serve --listen 127.0.0.1:2700    # then open http://127.0.0.1:2700/"
)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelChoice,

    /// Address and port to listen on; a port without an address accepts connections from this computer only.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2700", value_parser = listen_address)]
    listen: SocketAddr,

    /// File whose first line is the token that clients must send.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Allow an address that other computers can reach, without a token.
    #[arg(long)]
    insecure: bool,

    /// Origin, such as https://speech.example.org, whose web pages may connect, and whose host name clients may use
    /// for this server; `*` is any origin; may be repeated.
    #[arg(long, value_name = "ORIGIN", value_parser = serve::origin::normalized)]
    allow_origin: Vec<String>,

    /// TLS certificate or certificate chain, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM, not encrypted.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Folder of the page for browsers that bindings/web/build.sh writes (target/web/site), which recognizes without the
    /// server; served at /offline/.
    #[arg(long, value_name = "DIR")]
    offline_page: Option<PathBuf>,

    /// Number of threads of the recognizer [default: the number of CPU cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Maximum number of streams in one call of the network.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,

    /// Serve the Wyoming protocol, for Home Assistant, on this address too; the usual port is 10300.
    #[arg(long, value_name = "tcp://HOST:PORT", value_parser = wyoming_address)]
    wyoming: Option<SocketAddr>,

    /// Language of the model, such as `en`, for clients that choose a server by language; may be repeated [default:
    /// en for the embedded models].
    #[arg(long, value_name = "LANGUAGE")]
    language: Vec<String>,

    /// Server of sherpa-onnx that is imitated for its clients on `/`: the C++ or the Python one.
    #[arg(long, value_name = "cpp|python", default_value = "cpp", value_parser = ["cpp", "python"])]
    sherpa_ending: String,

    /// Send the N most likely texts of each utterance as `alternatives` in hearken's own protocol, unless the client
    /// asks for another number; with words of a lexicon, a language model or phrases.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAX_NBEST as i64))]
    nbest: Option<u8>,

    #[command(flatten)]
    endpoint: EndpointArgs,

    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Maximum number of open connections.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    max_connections: usize,
    /// Maximum number of open streams, including uploads.
    #[arg(long, value_name = "N", default_value_t = Limits::default().streams)]
    max_streams: usize,
    /// Maximum number of open streams with traces: the network's output and state.
    #[arg(long, value_name = "N", default_value_t = Limits::default().traces)]
    max_traces: usize,
    /// Maximum number of different lists of phrases and hotwords of clients that are in use; 0 to refuse them.
    #[arg(long, value_name = "N", default_value_t = Limits::default().word_lists)]
    max_word_lists: usize,
    /// Maximum size of a websocket message, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().message_bytes)]
    max_message: usize,
    /// Maximum number of recordings that are transcribed at the same time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().uploads)]
    max_uploads: usize,
    /// Maximum size of an uploaded recording, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().upload_bytes)]
    max_upload: usize,
    /// Maximum length of an uploaded recording, seconds of audio.
    #[arg(long, value_name = "S", default_value_t = Limits::default().upload_seconds, value_parser = seconds)]
    max_upload_seconds: f64,
    /// Time after which a client that sends nothing is disconnected, seconds.
    #[arg(long, value_name = "S", default_value_t = Limits::default().idle.as_secs_f64(), value_parser = seconds)]
    idle_seconds: f64,
    /// Maximum duration of a connection, seconds.
    #[arg(long, value_name = "S", default_value_t = Limits::default().total.as_secs_f64(), value_parser = seconds)]
    max_seconds: f64,
    /// Time after which a client that reads nothing is disconnected, seconds.
    #[arg(long, value_name = "S", default_value_t = Limits::default().write.as_secs_f64(), value_parser = seconds)]
    write_seconds: f64,
    /// Maximum length of a client's audio that waits for the recognizer, seconds.
    #[arg(long, value_name = "S", default_value_t = Limits::default().buffered_seconds, value_parser = seconds)]
    buffer_seconds: f64,
    /// Maximum rate of new connections per second, on average; a burst may be twice as large.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections_per_second, value_parser = seconds)]
    connect_rate: f64,
    /// Maximum time for open streams to end when the server shuts down, seconds.
    #[arg(long, value_name = "S", default_value_t = Limits::default().drain.as_secs_f64(), value_parser = seconds)]
    drain_seconds: f64,
}

/// Parses an address with a port; `localhost` and a port alone are the loopback address.
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
        return Err(format!("expected an address with a port, such as {}", SocketAddr::new(ip, 2700)));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "2700"));
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!("expected a port from 0 to 65535, found `{port}`"));
    };
    match host {
        "localhost" => Ok(here(port)),
        // Other programs listen on all addresses then; here that must be explicit.
        "" | "*" => {
            Err(format!("use 127.0.0.1:{port} for this computer only, or 0.0.0.0:{port} for all addresses"))
        }
        _ if host.parse::<Ipv6Addr>().is_ok() => Err(format!("use [{host}]:{port}")),
        _ => Err(format!("expected a numeric IP address of this computer, such as 127.0.0.1:{port}")),
    }
}

/// Parses an address in the form of other Wyoming programs.
fn wyoming_address(text: &str) -> std::result::Result<SocketAddr, String> {
    let address =
        text.strip_prefix("tcp://").ok_or("expected tcp://HOST:PORT, such as tcp://127.0.0.1:10300")?;
    listen_address(address)
}

/// Parses a positive number that fits a duration.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_string())?;
    if value > 0.0 && value <= 1e9 { Ok(value) } else { Err("expected a number above 0".into()) }
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        Limits {
            // Within the range of tokio's semaphores.
            connections: self.max_connections.min(1 << 20),
            streams: self.max_streams.min(1 << 20),
            traces: self.max_traces.min(1 << 20),
            word_lists: self.max_word_lists.min(1 << 20),
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

/// Writes a log line.
fn say(line: &str) {
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "hearken: {line}");
}

/// Size of a socket's send buffer, bytes.
const SEND_BUFFER: u32 = 128 << 10;
/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let token = args.token_file.as_deref().map(read_token).transpose()?;
    if !args.listen.ip().is_loopback() && token.is_none() && !args.insecure {
        let problem = format!("other computers can reach {}, and no token is required", args.listen);
        let hint = "set --token-file, or --insecure to allow it";
        return Err(Error::new(Stage::Usage, problem).hint(hint).into());
    }
    if let Some(address) = args.wyoming.filter(|address| !address.ip().is_loopback() && !args.insecure) {
        let problem = format!("other computers can reach {address}, and the Wyoming protocol has no token");
        let hint = "--insecure allows it, for a server behind a firewall";
        return Err(Error::new(Stage::Usage, problem).hint(hint).into());
    }
    let languages = match args.model.source() {
        _ if !args.language.is_empty() => args.language.clone(),
        ModelSource::Embedded(_) => vec!["en".into()],
        ModelSource::Path(_) if args.wyoming.is_some() => {
            let problem =
                "Wyoming clients choose a server by language, and the language of this model is unknown";
            return Err(Error::new(Stage::Usage, problem).hint("set it, for example: --language en").into());
        }
        ModelSource::Path(_) => Vec::new(),
    };
    let tls = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    let tls = tls.map(|(certificate, key)| Tls::read(certificate, key)).transpose()?;
    let offline = args.offline_page.as_deref().map(OfflinePage::read).transpose()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        limits: args.limits.limits(),
        access: Access { token, origins: args.allow_origin.clone() },
        tls,
        threads: args.threads.map_or(cores, usize::from),
        batch: usize::from(args.batch),
        stream: StreamOptions {
            nbest: args.nbest.map_or(1, usize::from),
            ..args.endpoint.stream_options(true)?
        },
        words: args.model.word_options(),
        flavor: if args.sherpa_ending == "python" { SherpaFlavor::Python } else { SherpaFlavor::Cpp },
        languages,
        offline,
        log: say,
    };
    let recognizer = args.model.open_for_clients()?;
    check_nbest(options.stream.nbest, &recognizer)?;
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
    // A decoder that hangs must not keep the process running.
    runtime.shutdown_background();
    Ok(outcome)
}

/// The signals that end the server; signals received after it is created are not lost.
#[cfg(unix)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the process was started with SIGHUP ignored.
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

    /// Waits for SIGTERM, SIGINT (Ctrl-C) or SIGHUP.
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

/// Whether the process was started with SIGHUP ignored, for example by `nohup`; known on Linux only.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A bit mask of signals, in which SIGHUP is the lowest bit.
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

    /// Waits for Ctrl-C. If no handler can be installed, Ctrl-C ends the process.
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
        let hint = "`openssl rand -hex 24` generates a token";
        return Err(Error::new(Stage::Serve, problem).in_file(path).hint(hint));
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
    fn addresses_are_parsed_and_errors_suggest_a_valid_one() {
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
