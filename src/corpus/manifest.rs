//! Manifests in NeMo's format: JSON lines, one utterance per line.
//!
//! ```json
//! {"audio_filepath": "a/one.flac", "text": "one", "duration": 1.25, "offset": 0.0, "speaker": "ann"}
//! ```
//!
//! `audio_filepath` is relative to the manifest's folder (or absolute), `text` is the transcript, `""` if nothing is said;
//! the other fields are optional, and unknown fields are kept. Empty lines are skipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result, Stage, io};
use crate::fs::quoted;

/// Maximum length of a line; a file with longer ones is not a manifest.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// An utterance: one line of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Path of the audio file, resolved against the manifest's folder.
    pub audio: PathBuf,
    /// The transcript, without white space at the ends.
    pub text: String,
    /// Duration according to the manifest, seconds; the file may differ.
    pub duration: Option<f64>,
    /// Start of the utterance in the file, seconds.
    pub offset: Option<f64>,
    /// Name or number of the speaker.
    pub speaker: Option<String>,
    /// Line number in the manifest, from 1.
    pub line: usize,
    /// Fields unknown to hearken.
    pub extra: Map<String, Value>,
}

/// Options for reading a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// What is required of `text`.
    pub text: TextRule,
    /// Whether the existence of each audio file is checked.
    pub check_audio: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { text: TextRule::NotEmpty, check_audio: true }
    }
}

/// What is required of `text` in a line of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRule {
    /// It contains words.
    NotEmpty,
    /// It may be empty, for utterances of silence or noise, but not absent.
    Present,
    /// It may be absent, which is the same as empty.
    Optional,
}

/// Reads a manifest with the default options: no `text` may be empty, and every audio file must exist.
///
/// # Errors
/// When a line is not JSON, has no `audio_filepath`, an audio file is missing, a text is empty, a duration is
/// negative and so on; the error names file and line.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Entry>> {
    read_with(path, ReadOptions::default())
}

/// Reads a manifest with the given options.
///
/// # Errors
/// As [`read`], except for what `options` allow.
pub fn read_with(path: impl AsRef<Path>, options: ReadOptions) -> Result<Vec<Entry>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| io(Stage::Corpus, path, e))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut reader = BufReader::new(file);
    let mut entries = Vec::new();
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut bytes)
            .map_err(|e| io(Stage::Corpus, path, e))?;
        if read == 0 {
            break;
        }
        let place = |e: Error| e.at(format!("line {number}")).in_file(path);
        if read as u64 == MAX_LINE_BYTES {
            return Err(place(problem(format!("the line is longer than {MAX_LINE_BYTES} bytes"))));
        }
        if let Some(entry) = parse_line(&bytes, number, folder, options).map_err(place)? {
            entries.push(entry);
        }
    }
    if entries.is_empty() {
        return Err(problem("expected at least one utterance, found none").in_file(path));
    }
    Ok(entries)
}

/// Writes a manifest, with the paths of the recordings relative to its folder where there is a way.
///
/// # Errors
/// When the folder is not there or cannot be written to, or the name of a recording is not UTF-8.
pub fn write(path: &Path, entries: &[Entry]) -> Result<()> {
    let failed = |e| io(Stage::Output, path, e);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(failed)?;
    let mut text = String::new();
    for entry in entries {
        text += &(to_value(entry, &folder)?.to_string() + "\n");
    }
    crate::fs::write(path, text.as_bytes()).map_err(failed)
}

/// The object of a line in a manifest in `folder`.
fn to_value(entry: &Entry, folder: &Path) -> Result<Value> {
    let audio = relative(&entry.audio, folder);
    let Some(name) = audio.to_str() else {
        return Err(problem("the name of the recording is not UTF-8").in_file(&entry.audio));
    };
    let mut fields = Map::new();
    fields.insert("audio_filepath".into(), name.replace(std::path::MAIN_SEPARATOR, "/").into());
    fields.insert("text".into(), entry.text.clone().into());
    let speaker = entry.speaker.clone().map(Value::from);
    let numbers = [("offset", entry.offset), ("duration", entry.duration)];
    // Milliseconds are more than a label of speech is good for; more digits are the noise of subtraction.
    let round = |seconds: f64| Value::from((seconds * 1e4).round() / 1e4);
    fields.extend(speaker.map(|speaker| ("speaker".to_string(), speaker)));
    fields.extend(numbers.into_iter().filter_map(|(name, number)| Some((name.to_string(), round(number?)))));
    fields.extend(entry.extra.clone());
    Ok(Value::Object(fields))
}

/// The path of a file from a folder, which is canonical; unchanged if there is no way from one to the other.
pub(crate) fn relative(file: &Path, folder: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (Ok(parent), Some(name)) = (parent.canonicalize(), file.file_name()) else { return file.into() };
    let common = parent.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    if common == 0 {
        return parent.join(name);
    }
    let up = folder.components().skip(common).map(|_| std::path::Component::ParentDir);
    let down = parent.components().skip(common);
    up.chain(down).collect::<PathBuf>().join(name)
}

fn problem(text: impl Into<String>) -> Error {
    Error::new(Stage::Corpus, text)
}

/// Parses one line; `None` if it is blank. The caller adds file and line to errors.
fn parse_line(bytes: &[u8], line: usize, folder: &Path, options: ReadOptions) -> Result<Option<Entry>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| problem(format!("not UTF-8 at byte {} of the line", e.valid_up_to() + 1)))?;
    let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { text };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let hint = "a manifest is JSON lines: {\"audio_filepath\": …, \"text\": …}";
    let value: Value = serde_json::from_str(text)
        .map_err(|e| problem(format!("not JSON: {}", json_message(&e))).hint(hint))?;
    let Value::Object(mut fields) = value else {
        return Err(problem(format!("expected a JSON object, found {}", kind(&value))).hint(hint));
    };
    let audio = take_string(&mut fields, "audio_filepath")?
        .filter(|name| !name.is_empty())
        .ok_or_else(|| problem("`audio_filepath` is missing").hint(hint))?;
    let audio = folder.join(audio);
    let text = take_string(&mut fields, "text")?;
    if text.is_none() && options.text != TextRule::Optional {
        return Err(problem("`text` is missing").hint(match options.text {
            TextRule::NotEmpty => "write what is spoken, or remove the line",
            _ => "write what is spoken, or `\"text\": \"\"` if nothing is",
        }));
    }
    let text = text.unwrap_or_default().trim().to_string();
    if text.is_empty() && options.text == TextRule::NotEmpty {
        return Err(problem("`text` is empty").hint("write what is spoken, or remove the line"));
    }
    let duration = take_number(&mut fields, "duration")?;
    let offset = take_number(&mut fields, "offset")?;
    let speaker = take_string(&mut fields, "speaker")?;
    if options.check_audio && !audio.is_file() {
        let found = if audio.is_dir() { "is a folder" } else { "is not there" };
        return Err(problem(format!("the audio file {} {found}", quoted(&audio)))
            .hint("paths are relative to the manifest"));
    }
    Ok(Some(Entry { audio, text, duration, offset, speaker, line, extra: fields }))
}

/// serde_json's message with its column but without its line, which is always 1 here.
fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    format!("{message} at column {}", error.column())
}

/// The name of a value's JSON type.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn take_string(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        // Some corpora number their speakers.
        Some(Value::Number(number)) if name == "speaker" => Ok(Some(number.to_string())),
        Some(other) => Err(problem(format!("`{name}`: expected a string, found {}", kind(&other)))),
    }
}

/// A number of seconds that is not negative.
fn take_number(fields: &mut Map<String, Value>, name: &str) -> Result<Option<f64>> {
    let value = match fields.remove(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    match value.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(problem(format!("`{name}`: expected seconds, 0 or more, found {value}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn folder(manifest: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.wav"), b"x").expect("written");
        let path = folder.path().join("m.jsonl");
        fs::write(&path, manifest).expect("written");
        (folder, path)
    }

    fn message(manifest: &str) -> String {
        let (_folder, path) = folder(manifest.as_bytes());
        read(&path).expect_err("the manifest is bad").to_string()
    }

    #[test]
    fn every_field_arrives_and_unknown_ones_are_kept() {
        let (folder, path) = folder(
            "{\"audio_filepath\": \"a.wav\", \"text\": \" one two \", \"duration\": 1.5, \"offset\": 2, \
             \"speaker\": 7, \"age\": 6}\n\n{\"audio_filepath\": \"a.wav\", \"text\": \"x\"}"
                .as_bytes(),
        );
        let entries = read(&path).expect("a good manifest");
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].audio, folder.path().join("a.wav"));
        assert_eq!(entries[0].text, "one two");
        assert_eq!((entries[0].duration, entries[0].offset), (Some(1.5), Some(2.0)));
        assert_eq!(entries[0].speaker.as_deref(), Some("7"));
        assert_eq!(entries[0].extra.get("age"), Some(&Value::from(6)));
        assert_eq!((entries[0].line, entries[1].line), (1, 3));
    }

    #[test]
    fn errors_name_file_and_line() {
        let good = "{\"audio_filepath\": \"a.wav\", \"text\": \"x\"}\n";
        for (bad, expected) in [
            ("{\"audio_filepath\": ", "not JSON"),
            ("[1]", "found a list"),
            ("{\"text\": \"x\"}", "`audio_filepath` is missing"),
            ("{\"audio_filepath\": \"b.wav\", \"text\": \"x\"}", "b.wav is not there"),
            ("{\"audio_filepath\": \".\", \"text\": \"x\"}", "is a folder"),
            ("{\"audio_filepath\": \"a.wav\", \"text\": \" \"}", "`text` is empty"),
            ("{\"audio_filepath\": \"a.wav\"}", "`text` is missing"),
            ("{\"audio_filepath\": \"a.wav\", \"text\": 3}", "expected a string, found a number"),
            ("{\"audio_filepath\": \"a.wav\", \"text\": \"x\", \"duration\": -1}", "`duration`"),
        ] {
            let text = message(&format!("{good}{bad}\n"));
            assert!(text.contains("m.jsonl: line 2: ") && text.contains(expected), "{text}");
        }
        assert!(message("\n").contains("at least one utterance"));
    }

    #[test]
    fn a_manifest_that_was_written_is_read_again() {
        let (folder, path) = folder(b"");
        let other = folder.path().join("lists");
        fs::create_dir(&other).expect("created");
        let entry = Entry {
            audio: folder.path().join("a.wav"),
            text: "one \"two\"".into(),
            duration: Some(0.5),
            offset: Some(1.25),
            speaker: Some("ann".into()),
            line: 1,
            extra: Map::from_iter([("age".to_string(), Value::from(6))]),
        };
        for (path, name) in [(path, "a.wav"), (other.join("m.jsonl"), "../a.wav")] {
            write(&path, std::slice::from_ref(&entry)).expect("written");
            assert!(fs::read_to_string(&path).expect("there").contains(&format!("\"{name}\"")));
            let read = read(&path).expect("a good manifest");
            let audio = path.parent().expect("a folder").join(name);
            assert_eq!(read, [Entry { audio, ..entry.clone() }]);
        }
    }

    #[test]
    fn text_may_be_empty_or_absent_only_where_that_is_allowed() {
        let options = |text| ReadOptions { text, check_audio: false };
        let (_folder, path) = folder(b"{\"audio_filepath\": \"gone.wav\"}");
        assert_eq!(read_with(&path, options(TextRule::Optional)).expect("allowed")[0].text, "");
        let error = read_with(&path, options(TextRule::Present)).expect_err("absent").to_string();
        assert!(error.contains("m.jsonl: line 1: `text` is missing"), "{error}");
        let (_folder, path) = folder(b"{\"audio_filepath\": \"gone.wav\", \"text\": \"\"}");
        assert_eq!(read_with(&path, options(TextRule::Present)).expect("silence")[0].text, "");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_give_entries_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (_folder, path) = folder(&bytes);
            let _ = read(&path);
        }
    }
}
