//! Ctrl-C: a flag that long work looks at, so that it can end in order.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

/// The exit code of a command that was interrupted.
pub(super) const EXIT_CODE: u8 = 130;

/// Whether the user wants the command to end. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    /// Disconnected when it is asked for.
    channel: Receiver<Infallible>,
    /// Keeps the channel connected until then, also where no handler can be installed.
    #[expect(dead_code, reason = "it is held, not read")]
    connected: Arc<Mutex<Option<Sender<Infallible>>>>,
}

impl Interrupt {
    /// Takes Ctrl-C, SIGTERM and SIGHUP from now on; the second one ends the process at once. A
    /// process that was started to ignore one of them (`nohup`, a script's background job) keeps
    /// the system's way with all of them. To be called once in a process.
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
        // Without a handler Ctrl-C ends the process as it does any.
        let _ = ctrlc::try_set_handler(handler);
        Self { asked, channel, connected }
    }

    /// Whether it was asked for.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The flag itself, for work that looks at one.
    pub fn flag(&self) -> &AtomicBool {
        &self.asked
    }

    /// A channel that is disconnected when it is asked for, to wait for along with others.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.channel
    }
}
