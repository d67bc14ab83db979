//! Where bytes come from: a file that can go back, or a stream that cannot.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use symphonia::core::io::MediaSource;

use crate::error::{self, Error, Result, Stage};

/// Bytes looked at to recognise a format.
const HEAD: usize = 64;
/// The most that a stream remembers for going back to its start.
const MOST_REMEMBERED: usize = 1 << 20;

/// Bytes of an audio file, from the start; can go back to it as long as no more than a header
/// has been read.
pub(super) enum Input {
    File(BufReader<File>),
    Memory(Cursor<Vec<u8>>),
    Stream(Stream),
}

/// A reader with a memory of its start.
pub(super) struct Stream {
    reader: Box<dyn Read + Send + Sync>,
    remembered: Vec<u8>,
    /// Read position within `remembered`.
    at: usize,
    /// Whether what is read is remembered still.
    remembers: bool,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::from_file(File::open(path).map_err(|e| error::io(Stage::Audio, path, e))?, path)
    }

    /// A file that is open; `path` is its name.
    pub(super) fn from_file(file: File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|e| error::io(Stage::Audio, path, e))?;
        if metadata.is_dir() {
            return Err(Error::new(Stage::Audio, "expected an audio file, found a directory").in_file(path));
        }
        // Pipes and devices have names too.
        if !metadata.is_file() {
            return Ok(Self::stream(Box::new(BufReader::new(file))));
        }
        Ok(Self::File(BufReader::with_capacity(1 << 16, file)))
    }

    pub(super) fn stream(reader: Box<dyn Read + Send + Sync>) -> Self {
        Self::Stream(Stream { reader, remembered: Vec::new(), at: 0, remembers: true })
    }

    /// The first bytes, 64 at most; leaves the position at the start.
    pub(super) fn peek(&mut self) -> Result<Vec<u8>> {
        let mut head = Vec::with_capacity(HEAD);
        self.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(unreadable)?;
        self.rewind()?;
        Ok(head)
    }

    /// Back to the first byte.
    pub(super) fn rewind(&mut self) -> Result<()> {
        match self {
            Input::File(f) => f.rewind().map_err(unreadable),
            Input::Memory(m) => m.rewind().map_err(unreadable),
            Input::Stream(s) if s.remembers => {
                s.at = 0;
                Ok(())
            }
            Input::Stream(_) => {
                Err(Error::new(Stage::Audio, "expected the audio format within the first MiB, found none"))
            }
        }
    }

    /// No way back from here: a stream stops remembering.
    pub(super) fn commit(&mut self) {
        if let Input::Stream(s) = self {
            s.remembers = false;
        }
    }

    /// Moves forward by up to `bytes` and returns by how many.
    pub(super) fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        match self {
            Input::File(f) => {
                let here = f.stream_position()?;
                let end = f.get_ref().metadata()?.len();
                let step = bytes.min(end.saturating_sub(here));
                f.seek_relative(i64::try_from(step).map_err(io::Error::other)?)?;
                Ok(step)
            }
            Input::Memory(m) => {
                let step = bytes.min((m.get_ref().len() as u64).saturating_sub(m.position()));
                m.set_position(m.position() + step);
                Ok(step)
            }
            Input::Stream(_) => io::copy(&mut self.by_ref().take(bytes), &mut io::sink()),
        }
    }
}

/// An input/output error without a file's name; whoever knows the name adds it.
pub(super) fn unreadable(e: io::Error) -> Error {
    Error::new(Stage::Audio, e.to_string())
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::File(f) => f.read(buffer),
            Input::Memory(m) => m.read(buffer),
            Input::Stream(s) => s.read(buffer),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at < self.remembered.len() {
            let n = buffer.len().min(self.remembered.len() - self.at);
            buffer[..n].copy_from_slice(&self.remembered[self.at..self.at + n]);
            self.at += n;
            return Ok(n);
        }
        let n = self.reader.read(buffer)?;
        if self.remembers && self.remembered.len() + n <= MOST_REMEMBERED {
            self.remembered.extend_from_slice(&buffer[..n]);
            self.at += n;
        } else if n > 0 {
            self.remembers = false;
            self.remembered = Vec::new();
            self.at = 0;
        }
        Ok(n)
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Input::File(f) => f.seek(to),
            Input::Memory(m) => m.seek(to),
            Input::Stream(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "a stream cannot go back")),
        }
    }
}

impl MediaSource for Input {
    fn is_seekable(&self) -> bool {
        !matches!(self, Input::Stream(_))
    }

    fn byte_len(&self) -> Option<u64> {
        match self {
            Input::File(f) => f.get_ref().metadata().ok().map(|m| m.len()),
            Input::Memory(m) => Some(m.get_ref().len() as u64),
            Input::Stream(_) => None,
        }
    }
}
