//! `--captions FILE`: live captions for programs that show a text file.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::check_output;
use crate::error::{Error, Result, Stage, io as io_error};
use crate::output::{CaptionFile, Writer};
use crate::recognizer::Event;

/// The captions of a command. A write that fails is reported, and repeated until it succeeds: captions must not end a
/// live transcript.
pub(super) struct Captions {
    file: CaptionFile,
    /// The last write failed, which was reported.
    failing: bool,
}

impl Captions {
    pub fn create(path: &Path) -> Result<Self> {
        check_output(path, [])?;
        let file = CaptionFile::create(path, Instant::now()).map_err(|e| io_error(Stage::Output, path, e))?;
        Ok(Self { file, failing: false })
    }

    /// Shows the text of an event; returns a failure that is to be reported.
    pub fn event(&mut self, event: &Event) -> Option<Error> {
        let written = self.file.event(event, Instant::now());
        self.new_failure(written)
    }

    /// Writes what is due, such as an empty file after silence; returns a failure that is to be reported.
    pub fn update(&mut self) -> Option<Error> {
        let written = self.file.update(Instant::now());
        self.new_failure(written)
    }

    fn new_failure(&mut self, written: io::Result<()>) -> Option<Error> {
        let is_new = written.is_err() && !self.failing;
        self.failing = written.is_err();
        let error = written.err().filter(|_| is_new)?;
        Some(
            io_error(Stage::Output, self.file.path(), error)
                .hint("the captions are old until it can be written"),
        )
    }
}

/// A writer with captions beside it.
pub(super) struct WithCaptions<'a> {
    pub writer: Box<dyn Writer + 'a>,
    pub captions: Captions,
}

impl WithCaptions<'_> {
    fn report(&mut self, failure: Option<Error>) -> io::Result<()> {
        if let Some(error) = failure {
            self.writer.clear()?;
            super::print_error(&error);
        }
        Ok(())
    }
}

impl Writer for WithCaptions<'_> {
    fn event(&mut self, path: &str, event: &Event) -> io::Result<()> {
        let failure = self.captions.event(event);
        self.report(failure)?;
        self.writer.event(path, event)
    }

    fn end(&mut self, path: &str, warnings: &[String]) -> io::Result<()> {
        self.writer.end(path, warnings)
    }

    fn wants_partials(&self) -> bool {
        true
    }

    fn status(&mut self, status: &str) -> io::Result<()> {
        let failure = self.captions.update();
        self.report(failure)?;
        self.writer.status(status)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.writer.clear()
    }
}
