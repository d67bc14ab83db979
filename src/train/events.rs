//! TensorBoard's event files: the log's numbers as scalars.
//!
//! A file is a sequence of TFRecords, each an `Event` message of `tensorflow/core/util/event.proto`:
//!
//! ```text
//! u64 length, u32 masked CRC-32C of the length, message, u32 masked CRC-32C of the message     (little endian)
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use prost::{Message, Oneof};

use super::log::{Line, now};
use crate::error::{Error, Result, Stage, io};

/// The beginning of the names of event files.
pub(super) const PREFIX: &str = "events.out.tfevents.";
/// The version of the format, in the first record of each file.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`.
const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    // A member of a oneof, so that 0 is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An event file that is being written.
pub(super) struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Creates a file in `folder`, with a name like those of PyTorch's `SummaryWriter`.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create(folder: &Path) -> Result<Self> {
        let time = now();
        let name = |n: u32| format!("{PREFIX}{:010}.hearken.{}.{n}", time as u64, std::process::id());
        let free = (0..).map(|n| folder.join(name(n))).find(|path| !path.exists());
        let path = free.unwrap_or_else(|| folder.join(name(0)));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut events = Self { file: file.map_err(|e| io(Stage::Train, &path, e))?, path };
        events.put(&Event { wall_time: time, step: 0, what: Some(What::FileVersion(VERSION.into())) })?;
        Ok(events)
    }

    /// Writes the scalars of a line of the log. The start of a run that was resumed makes TensorBoard drop later
    /// values in earlier files.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let (step, time) = match line {
            Line::Start(line) => (line.step + 1, Some(line.time)),
            Line::Step(line) => (line.step, line.time),
            Line::Scores(line) => (line.step, line.time),
            // Not a number.
            Line::Note(_) => return Ok(()),
        };
        let what = match line {
            Line::Start(line) if line.step == 0 => return Ok(()),
            Line::Start(_) => What::SessionLog(SessionLog { status: START }),
            _ => What::Summary(Summary {
                value: scalars(line)
                    .into_iter()
                    .map(|(tag, value)| Scalar { tag, simple_value: Some(value as f32) })
                    .collect(),
            }),
        };
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.put(&Event { wall_time: time.unwrap_or_else(now), step, what: Some(what) })
    }

    fn put(&mut self, event: &Event) -> Result<()> {
        let written = self.file.write_all(&record(&event.encode_to_vec()));
        written.map_err(|e| io(Stage::Train, &self.path, e))
    }
}

/// Whether a folder has an event file.
///
/// # Errors
/// When the folder cannot be read.
pub(super) fn exist(folder: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(folder).map_err(|e| io(Stage::Train, folder, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::new(Stage::Train, e.to_string()).in_file(folder))?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The scalars of a line with their tags; TensorBoard shows those with the same text before the first `/` as a group.
fn scalars(line: &Line) -> Vec<(String, f64)> {
    let mut found: Vec<(String, Option<f64>)> = Vec::new();
    match line {
        Line::Start(_) | Line::Note(_) => {}
        Line::Step(line) => {
            for (name, value) in [
                ("loss", Some(line.loss)),
                ("auxiliary_loss", line.auxiliary_loss),
                ("mmi_loss", line.mmi_loss),
                ("consistency_loss", line.consistency_loss),
                ("gradient_norm", Some(line.gradient_norm)),
                ("learning_rate", Some(line.learning_rate)),
                ("blank_share", Some(line.blank_share)),
                ("utterances_per_second", Some(line.utterances_per_second)),
            ] {
                found.push((format!("train/{name}"), value));
            }
            for layer in &line.layers {
                let name = layer.name.replace(' ', "_");
                found.push((format!("gradient_norm/{name}"), Some(layer.gradient)));
                found.push((format!("update_norm/{name}"), Some(layer.update)));
                found.push((format!("weight_norm/{name}"), Some(layer.weights)));
            }
        }
        Line::Scores(line) => {
            found.push(("dev/score".into(), line.score));
            for set in &line.dev {
                let name = &set.manifest;
                found.push((format!("dev/wer/{name}"), set.wer));
                found.push((format!("dev/cer/{name}"), set.cer));
                found.push((format!("dev/false_words_per_hour/{name}"), set.false_words_per_hour));
            }
        }
    }
    found.into_iter().filter_map(|(tag, value)| Some((tag, value?))).collect()
}

/// A TFRecord.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(message.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked(crc32c(&length)).to_le_bytes());
    record.extend_from_slice(message);
    record.extend_from_slice(&masked(crc32c(message)).to_le_bytes());
    record
}

/// The form in which TFRecords store a checksum, since that of data with checksums in them would be weak.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: the messages are short.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::log::tests::{start, step};

    /// The events of a file, whose checksums are compared.
    fn read(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
            let count = u64::from_le_bytes(*length) as usize;
            let (message, after) = rest[4..].split_at(count);
            assert_eq!(rest[..4], masked(crc32c(length)).to_le_bytes());
            assert_eq!(after[..4], masked(crc32c(message)).to_le_bytes());
            events.push(Event::decode(message).expect("a message"));
            bytes = &after[4..];
        }
        events
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        // The first record of a file by PyTorch's SummaryWriter at time 0.
        let event = Event { wall_time: 0.0, step: 0, what: Some(What::FileVersion(VERSION.into())) };
        let message = event.encode_to_vec();
        assert_eq!(message, b"\x1a\x0dbrain.Event:2");
        assert_eq!(record(&message)[..8], 15u64.to_le_bytes());
    }

    #[test]
    fn scalars_are_those_of_the_log_and_a_resumed_run_replaces_later_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!exist(folder.path()).expect("read"));
        let mut file = EventFile::create(folder.path()).expect("created");
        for line in [Line::Start(start(0)), Line::Step(step(50, 0.0)), Line::Start(start(40))] {
            file.write(&line).expect("written");
        }
        assert!(exist(folder.path()).expect("read"));
        let events = read(&std::fs::read(&file.path).expect("written"));
        assert_eq!(events.len(), 3);
        let Some(What::Summary(summary)) = &events[1].what else { panic!("{:?}", events[1]) };
        let value = |tag: &str| summary.value.iter().find(|value| value.tag == tag)?.simple_value;
        assert_eq!((events[1].step, events[1].wall_time), (50, 1025.0));
        assert_eq!((value("train/loss"), value("update_norm/layer_1")), (Some(0.0), Some(0.01)));
        assert_eq!(value("train/mmi_loss"), None);
        let purge = (events[2].step, events[2].what.clone());
        assert_eq!(purge, (41, Some(What::SessionLog(SessionLog { status: START }))));
        let second = EventFile::create(folder.path()).expect("created");
        assert_ne!(second.path, file.path);
    }
}
