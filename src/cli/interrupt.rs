//! Ctrl-C: a flag that long-running commands check, so that they can end in order.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

/// The exit code of a command that was interrupted.
pub(super) const EXIT_CODE: u8 = 130;

/// The request to end the command. Cheap to clone; all clones share one flag.
#[derive(Clone, Debug)]
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    /// Disconnected by the first signal.
    channel: Receiver<Infallible>,
    /// Keeps the channel connected until then, even if no handler can be installed.
    #[expect(dead_code, reason = "it is held, not read")]
    connected: Arc<Mutex<Option<Sender<Infallible>>>>,
}

impl Interrupt {
    /// Installs the handler of Ctrl-C, SIGTERM and SIGHUP; a second signal ends the process at once. If the
    /// process was started with one of them ignored (by `nohup`, or as a background job of a script), no
    /// handler is installed. To be called once in a process.
    pub fn install() -> Self {
        let (sender, channel) = bounded(0);
        let asked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&asked);
        let connected = Arc::new(Mutex::new(Some(sender)));
        let sender = Arc::clone(&connected);
        let handler = move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(EXIT_CODE));
            }
            sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        };
        // Without a handler Ctrl-C ends the process.
        let _ = ctrlc::try_set_handler(handler);
        Self { asked, channel, connected }
    }

    /// Whether a signal was received.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The flag itself, for code that polls an `AtomicBool`.
    pub fn flag(&self) -> &AtomicBool {
        &self.asked
    }

    /// A channel that is disconnected by the first signal, for waiting together with other channels.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.channel
    }
}
