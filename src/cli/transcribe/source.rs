//! Opening of recordings: sources that count what is read, and end at Ctrl-C.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, bounded, select};

use super::super::interrupt::Interrupt;
use super::inputs::Input;
use crate::audio::{self, Problems, RawFormat, Source};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::recognizer::StreamOptions;

/// A longer recording is cut into utterances unless the options say otherwise, seconds.
const LONG_SECONDS: f64 = 60.0;
/// Bytes that are read of standard input at a time.
const BLOCK: usize = 1 << 16;

/// Amount of audio that was read so far, over all recordings.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    microseconds: AtomicU64,
}

impl Meter {
    /// Bytes read of files.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Seconds of audio read.
    pub fn seconds(&self) -> f64 {
        self.microseconds.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// Settings by which recordings are opened.
pub(super) struct Opener {
    pub raw: Option<RawFormat>,
    /// Maximum length of a file, seconds.
    pub max_seconds: f64,
    /// Hz.
    pub sample_rate: u32,
    pub meter: Arc<Meter>,
    pub interrupt: Interrupt,
    /// Options for recordings of up to a minute.
    pub short: StreamOptions,
    /// Options for longer recordings and pipes.
    pub long: StreamOptions,
}

impl Opener {
    /// Opens a recording, and chooses the options by its length.
    pub fn open(&self, input: &Input) -> Result<(Box<dyn Source>, &StreamOptions)> {
        let (source, file) = self.source(input)?;
        let live = file.is_none();
        let meter = Arc::clone(&self.meter);
        let interrupt = self.interrupt.clone();
        // Standard input may have no end; its text is printed as it comes.
        let source = if live { source } else { audio::limited(source, self.max_seconds) };
        let watched = MeteredReader { source, file, at: 0, meter, interrupt: interrupt.clone() };
        if live {
            return Ok((Box::new(watched), &self.long));
        }
        let (source, long) = audio::read_ahead(Box::new(watched), LONG_SECONDS);
        let options = if long { &self.long } else { &self.short };
        Ok((Box::new(Interruptible { source, interrupt }), options))
    }

    /// The recording, and its file unless it is a pipe.
    fn source(&self, input: &Input) -> Result<(Box<dyn Source>, Option<File>)> {
        let name = input.name();
        if input.is_stdin() {
            let stdin = Box::new(Stdin::new(&self.interrupt));
            let source = match self.raw {
                None => audio::open_reader(stdin, &name, self.sample_rate)?,
                Some(format) => audio::open_raw(stdin, &name, format, self.sample_rate)?,
            };
            return Ok((source, None));
        }
        let failed = |e| io_error(Stage::Audio, &input.path, e);
        let file = File::open(&input.path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(Error::new(Stage::Audio, "expected a recording, found a folder"));
        }
        // Both handles share their position, from which progress is computed.
        let watched = if found.is_file() { Some(file.try_clone().map_err(failed)?) } else { None };
        let source = match (self.raw, input.part) {
            (None, None) => audio::open_file(file, &input.path, self.sample_rate)?,
            (None, Some(part)) => {
                audio::open_part(file, &input.path, self.sample_rate, Some(part.offset), part.duration)?
            }
            (Some(format), _) => audio::open_raw(Box::new(file), &name, format, self.sample_rate)?,
        };
        Ok((source, watched))
    }
}

/// A source that counts what is read, and ends when the user interrupts the command.
struct MeteredReader {
    source: Box<dyn Source>,
    file: Option<File>,
    /// The position in the file after the last read.
    at: u64,
    meter: Arc<Meter>,
    interrupt: Interrupt,
}

impl Source for MeteredReader {
    fn sample_rate(&self) -> u32 {
        self.source.sample_rate()
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        if self.interrupt.is_asked() {
            return Ok(0);
        }
        let n = self.source.read(out, max_samples)?;
        let microseconds = n as u64 * 1_000_000 / u64::from(self.sample_rate().max(1));
        self.meter.microseconds.fetch_add(microseconds, Ordering::Relaxed);
        if let Some(at) = self.file.as_mut().and_then(|file| file.stream_position().ok()) {
            self.meter.bytes.fetch_add(at.saturating_sub(self.at), Ordering::Relaxed);
            self.at = self.at.max(at);
        }
        Ok(n)
    }

    fn problems(&self) -> Problems {
        self.source.problems()
    }
}

/// A source that ends when the user interrupts the command, even within what was read ahead.
struct Interruptible {
    source: Box<dyn Source>,
    interrupt: Interrupt,
}

impl Source for Interruptible {
    fn sample_rate(&self) -> u32 {
        self.source.sample_rate()
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        if self.interrupt.is_asked() {
            return Ok(0);
        }
        self.source.read(out, max_samples)
    }

    fn problems(&self) -> Problems {
        self.source.problems()
    }
}

/// Standard input, which ends when the user interrupts the command, even while a read waits for more: blocks are
/// read on a separate thread.
struct Stdin {
    blocks: Receiver<io::Result<Vec<u8>>>,
    interrupt: Interrupt,
    block: Vec<u8>,
    at: usize,
}

impl Stdin {
    fn new(interrupt: &Interrupt) -> Self {
        let (out, blocks) = bounded(4);
        // The thread ends with its input, or with the process.
        thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            loop {
                let mut block = vec![0; BLOCK];
                let read = stdin.read(&mut block).map(|n| {
                    block.truncate(n);
                    block
                });
                let last = !matches!(&read, Ok(block) if !block.is_empty());
                if matches!(&read, Err(e) if e.kind() == io::ErrorKind::Interrupted) {
                    continue;
                }
                if out.send(read).is_err() || last {
                    return;
                }
            }
        });
        Self { blocks, interrupt: interrupt.clone(), block: Vec::new(), at: 0 }
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.at = 0;
            self.block = select! {
                recv(self.blocks) -> block => block.unwrap_or_else(|_| Ok(Vec::new()))?,
                recv(self.interrupt.channel()) -> _ => Vec::new(),
            };
        }
        let n = buffer.len().min(self.block.len() - self.at);
        buffer[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
