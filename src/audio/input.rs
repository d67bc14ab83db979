//! The bytes of an audio file: a seekable file, memory, or a stream that cannot seek.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "compressed-audio")]
use symphonia::core::io::MediaSource;

use crate::error::{self, Error, Result, Stage};

/// Number of first bytes by which a format is recognized.
const HEAD: usize = 64;
/// Maximum number of bytes that a stream keeps for returning to its start.
const MAX_BUFFERED: usize = 1 << 20;

/// Bytes of an audio file, starting after any tags. It can return to that start while no more than
/// [`MAX_BUFFERED`] bytes have been read.
pub(super) struct Input {
    bytes: Bytes,
    /// Offset of the audio within the bytes.
    base: u64,
}

enum Bytes {
    File(BufReader<File>),
    Memory(Cursor<Shared>),
    Stream(Stream),
}

/// Bytes in memory, shared by several readers.
#[derive(Clone)]
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A reader that keeps the first bytes, so that they can be read again.
pub(super) struct Stream {
    reader: Box<dyn Read + Send + Sync>,
    buffered: Vec<u8>,
    /// Read position within `buffered`.
    at: usize,
    /// Whether bytes are still kept.
    is_buffering: bool,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::from_file(File::open(path).map_err(|e| error::io(Stage::Audio, path, e))?, path)
    }

    /// An input over an open file; `path` is its name.
    pub(super) fn from_file(file: File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|e| error::io(Stage::Audio, path, e))?;
        if metadata.is_dir() {
            return Err(Error::new(Stage::Audio, "expected an audio file, found a folder").in_file(path));
        }
        // Pipes and devices have names too.
        if !metadata.is_file() {
            return Ok(Self::stream(Box::new(BufReader::new(file))));
        }
        Ok(Self { bytes: Bytes::File(BufReader::with_capacity(1 << 16, file)), base: 0 })
    }

    pub(super) fn memory(bytes: Vec<u8>) -> Self {
        Self { bytes: Bytes::Memory(Cursor::new(Shared(Arc::new(bytes)))), base: 0 }
    }

    pub(super) fn stream(reader: Box<dyn Read + Send + Sync>) -> Self {
        let stream = Stream { reader, buffered: Vec::new(), at: 0, is_buffering: true };
        Self { bytes: Bytes::Stream(stream), base: 0 }
    }

    /// Whether the input cannot seek.
    #[cfg(feature = "compressed-audio")]
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.bytes, Bytes::Stream(_))
    }

    /// A second reader of the same bytes, from the start. Both readers of a file share its position, so only one
    /// may be in use at a time.
    #[cfg(feature = "compressed-audio")]
    pub(super) fn reopen(&self) -> Result<Self> {
        let bytes = match &self.bytes {
            Bytes::File(f) => {
                Bytes::File(BufReader::with_capacity(1 << 16, f.get_ref().try_clone().map_err(unreadable)?))
            }
            Bytes::Memory(m) => Bytes::Memory(Cursor::new(m.get_ref().clone())),
            Bytes::Stream(_) => return Err(not_seekable()),
        };
        let mut input = Self { bytes, base: self.base };
        input.rewind()?;
        Ok(input)
    }

    /// The first [`HEAD`] bytes, or fewer at the end; leaves the position at the start.
    pub(super) fn peek(&mut self) -> Result<Vec<u8>> {
        let mut head = Vec::with_capacity(HEAD);
        self.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(unreadable)?;
        self.rewind()?;
        Ok(head)
    }

    /// Returns to the start.
    pub(super) fn rewind(&mut self) -> Result<()> {
        let base = self.base;
        match &mut self.bytes {
            Bytes::File(f) => f.seek(SeekFrom::Start(base)).map(drop).map_err(unreadable),
            Bytes::Memory(m) => {
                m.set_position(base);
                Ok(())
            }
            Bytes::Stream(s) if s.is_buffering => {
                s.at = 0;
                Ok(())
            }
            Bytes::Stream(_) => Err(not_seekable()),
        }
    }

    /// Moves the start past a tag of `bytes` bytes; the position must be at the current start.
    pub(super) fn set_start_after(&mut self, bytes: u64) -> Result<()> {
        let skipped = self.skip(bytes).map_err(unreadable)?;
        if skipped < bytes {
            let problem =
                format!("expected audio after a tag of {bytes} bytes, found the end of the file inside it");
            return Err(Error::new(Stage::Audio, problem));
        }
        self.base += skipped;
        if let Bytes::Stream(s) = &mut self.bytes {
            s.buffered.drain(..s.at.min(s.buffered.len()));
            (s.at, s.is_buffering) = (0, true);
        }
        Ok(())
    }

    /// Declares that [`rewind`](Self::rewind) is no longer needed: a stream stops keeping bytes.
    pub(super) fn commit(&mut self) {
        if let Bytes::Stream(s) = &mut self.bytes {
            s.is_buffering = false;
        }
    }

    /// Skips up to `bytes` bytes and returns how many were skipped.
    pub(super) fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        match &mut self.bytes {
            Bytes::File(f) => {
                let here = f.stream_position()?;
                let end = f.get_ref().metadata()?.len();
                let step = bytes.min(end.saturating_sub(here));
                f.seek_relative(i64::try_from(step).map_err(io::Error::other)?)?;
                Ok(step)
            }
            Bytes::Memory(m) => {
                let step = bytes.min((m.get_ref().0.len() as u64).saturating_sub(m.position()));
                m.set_position(m.position() + step);
                Ok(step)
            }
            Bytes::Stream(_) => io::copy(&mut self.by_ref().take(bytes), &mut io::sink()),
        }
    }
}

fn not_seekable() -> Error {
    Error::new(Stage::Audio, "expected the audio format within the first MiB, found none")
}

/// Converts an input/output error; the caller that knows the file's name adds it.
pub(super) fn unreadable(e: io::Error) -> Error {
    Error::new(Stage::Audio, e.to_string()).caused_by(e)
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Bytes::File(f) => f.read(buffer),
            Bytes::Memory(m) => m.read(buffer),
            Bytes::Stream(s) => s.read(buffer),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at < self.buffered.len() {
            let n = buffer.len().min(self.buffered.len() - self.at);
            buffer[..n].copy_from_slice(&self.buffered[self.at..self.at + n]);
            self.at += n;
            return Ok(n);
        }
        let n = self.reader.read(buffer)?;
        if self.is_buffering && self.buffered.len() + n <= MAX_BUFFERED {
            self.buffered.extend_from_slice(&buffer[..n]);
            self.at += n;
        } else if n > 0 {
            self.is_buffering = false;
            self.buffered = Vec::new();
            self.at = 0;
        }
        Ok(n)
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(at.saturating_add(self.base)),
            other => other,
        };
        let at = match &mut self.bytes {
            Bytes::File(f) => f.seek(to)?,
            Bytes::Memory(m) => m.seek(to)?,
            Bytes::Stream(_) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "a stream cannot go back"));
            }
        };
        Ok(at.saturating_sub(self.base))
    }
}

#[cfg(feature = "compressed-audio")]
impl MediaSource for Input {
    fn is_seekable(&self) -> bool {
        !self.is_stream()
    }

    fn byte_len(&self) -> Option<u64> {
        let length = match &self.bytes {
            Bytes::File(f) => f.get_ref().metadata().ok()?.len(),
            Bytes::Memory(m) => m.get_ref().0.len() as u64,
            Bytes::Stream(_) => return None,
        };
        Some(length.saturating_sub(self.base))
    }
}
