//! JSON lines of NeMo and of Lhotse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::listing::Listing;
use super::reader::{Reader, entry, read_text};
use crate::corpus::Entry;
use crate::fs::quoted;

fn files(listing: &Listing) -> Vec<PathBuf> {
    listing.with_extension(&["jsonl", "json", "ndjson"])
}

/// The first object of a file.
fn first(path: &Path) -> Option<Map<String, Value>> {
    let text = read_text(path).ok()?;
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

/// Whether a file is one of Lhotse's: cuts, supervisions or recordings.
fn is_lhotse(fields: &Map<String, Value>) -> bool {
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    ["supervisions", "recording_id", "sources"].iter().any(|key| fields.contains_key(*key))
        || kind.ends_with("Cut")
}

/// The files whose first object fits, and the file that the user has chosen; the others are noted.
fn fitting(reader: &mut Reader<'_>, fits: fn(&Map<String, Value>) -> bool) -> Vec<PathBuf> {
    let is_chosen = |path: &Path| reader.listing.chosen() == Some(path);
    let (fitting, others): (Vec<PathBuf>, Vec<PathBuf>) = files(reader.listing)
        .into_iter()
        .partition(|path| is_chosen(path) || first(path).is_some_and(|fields| fits(&fields)));
    let notes =
        others.iter().map(|path| format!("{} begins with no such line and was not read", quoted(path)));
    reader.notes.extend(notes);
    fitting
}

pub fn lhotse_detect(listing: &Listing) -> bool {
    files(listing).iter().filter_map(|path| first(path)).any(|fields| is_lhotse(&fields))
        || listing.with_extension(&["gz"]).iter().any(|path| path.to_string_lossy().ends_with(".jsonl.gz"))
}

pub fn nemo_detect(listing: &Listing) -> bool {
    files(listing).iter().filter_map(|path| first(path)).any(|fields| fields.contains_key("audio_filepath"))
}

pub fn nemo_read(reader: &mut Reader<'_>) {
    for path in fitting(reader, |fields| fields.contains_key("audio_filepath")) {
        for (line, mut fields) in objects(reader, &path) {
            let name = match fields.get("audio_filepath") {
                Some(Value::String(name)) => name.clone(),
                _ => {
                    reader.leave_out(&path, line, "expected `audio_filepath`, the name of a recording");
                    continue;
                }
            };
            fields.remove("audio_filepath");
            let Some(text) = take_text(&mut fields, "text") else {
                reader.leave_out(&path, line, "expected `text`, the words of the recording");
                continue;
            };
            let (offset, duration) =
                (take_number(&mut fields, "offset"), take_number(&mut fields, "duration"));
            let speaker = take_text(&mut fields, "speaker");
            // The length of a whole file is not a part of it, and is often a little wrong.
            let duration = duration.filter(|_| offset.is_some_and(|offset| offset > 0.0));
            let found = Entry { speaker, offset, duration, extra: fields, ..entry(PathBuf::new(), text) };
            reader.add_named(&path, line, &name, found);
        }
    }
}

pub fn lhotse_read(reader: &mut Reader<'_>) {
    for path in reader.listing.with_extension(&["gz"]) {
        reader.leave_out(&path, 0, "it is compressed; unpack it with gunzip");
    }
    let mut lines = Vec::new();
    for path in fitting(reader, is_lhotse) {
        let objects = objects(reader, &path);
        lines.extend(objects.into_iter().map(|(line, fields)| Line { path: path.clone(), line, fields }));
    }
    let is_recording = |line: &Line| line.fields.contains_key("sources");
    let recordings: BTreeMap<String, Map<String, Value>> = lines
        .iter()
        .filter(|line| is_recording(line))
        .filter_map(|line| Some((line.fields.get("id")?.as_str()?.to_string(), line.fields.clone())))
        .collect();
    let has_cuts = lines.iter().any(|line| line.fields.contains_key("supervisions"));
    for Line { path, line, fields } in lines.iter().filter(|line| !is_recording(line)) {
        if let Some(Value::Array(supervisions)) = fields.get("supervisions") {
            read_cut(reader, (path, *line), fields, supervisions);
        } else if fields.contains_key("tracks") {
            reader.leave_out(path, *line, "it is a mixture of several recordings, which is not read");
        } else if has_cuts && fields.contains_key("recording_id") {
            // The cuts contain the supervisions.
        } else if let Some(id) = fields.get("recording_id").and_then(Value::as_str) {
            match recordings.get(id) {
                Some(recording) => read_supervision(reader, (path, *line), recording, 0.0, fields),
                None => reader.leave_out(path, *line, format!("there is no recording `{id}`")),
            }
        } else {
            reader.leave_out(path, *line, "expected a cut, a supervision or a recording of Lhotse");
        }
    }
}

struct Line {
    path: PathBuf,
    line: usize,
    fields: Map<String, Value>,
}

fn read_cut(
    reader: &mut Reader<'_>,
    place: (&Path, usize),
    cut: &Map<String, Value>,
    supervisions: &[Value],
) {
    let start = number(cut, "start").unwrap_or(0.0);
    let Some(recording) = cut.get("recording").and_then(Value::as_object) else {
        return reader.leave_out(place.0, place.1, "the cut has no recording");
    };
    if supervisions.is_empty() {
        reader.leave_out(place.0, place.1, "the cut has no text");
    }
    for supervision in supervisions {
        match supervision {
            Value::Object(fields) => read_supervision(reader, place, recording, start, fields),
            _ => reader.leave_out(place.0, place.1, "expected objects in `supervisions`"),
        }
    }
}

/// A supervision, whose times count from `start` in the recording.
fn read_supervision(
    reader: &mut Reader<'_>,
    (path, line): (&Path, usize),
    recording: &Map<String, Value>,
    start: f64,
    supervision: &Map<String, Value>,
) {
    let source = match recording.get("sources").and_then(Value::as_array).map(Vec::as_slice) {
        Some([source]) => source,
        _ => return reader.leave_out(path, line, "expected a recording with one source"),
    };
    let field = |name: &str| source.get(name).and_then(Value::as_str).unwrap_or_default();
    if field("type") != "file" {
        let problem = format!("its audio is of the type `{}`; only files are read", field("type"));
        return reader.leave_out(path, line, problem);
    }
    let text = |name: &str| supervision.get(name).and_then(Value::as_str).map(String::from);
    let (begin, length) = (number(supervision, "start").unwrap_or(0.0), number(supervision, "duration"));
    let whole =
        start + begin == 0.0 && length.is_none_or(|l| number(recording, "duration").is_some_and(|d| l >= d));
    let (offset, duration) = if whole { (None, None) } else { (Some(start + begin), length) };
    let found = Entry {
        speaker: text("speaker"),
        offset,
        duration,
        ..entry(PathBuf::new(), text("text").unwrap_or_default())
    };
    let name = field("source").to_string();
    reader.add_named(path, line, &name, found);
}

/// The objects of a file with their lines; other lines are left out.
fn objects(reader: &mut Reader<'_>, path: &Path) -> Vec<(usize, Map<String, Value>)> {
    let mut found = Vec::new();
    let Some(text) = reader.text(path) else { return found };
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(Value::Object(fields)) => found.push((number, fields)),
            Ok(_) => reader.leave_out(path, number, "expected a JSON object"),
            Err(error) => {
                reader.leave_out(
                    path,
                    number,
                    format!("expected a JSON object, found an error at column {}", error.column()),
                );
            }
        }
    }
    found
}

fn number(fields: &Map<String, Value>, name: &str) -> Option<f64> {
    fields.get(name).and_then(Value::as_f64)
}

fn take_number(fields: &mut Map<String, Value>, name: &str) -> Option<f64> {
    fields.remove(name).as_ref().and_then(Value::as_f64)
}

/// A text, or a number as text, as some corpora number their speakers.
fn take_text(fields: &mut Map<String, Value>, name: &str) -> Option<String> {
    match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}
