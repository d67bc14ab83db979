//! Kaldi's data folders: `wav.scp` (recordings), `text`, and perhaps `segments` and `utt2spk`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::listing::Listing;
use super::reader::{Reader, entry};
use crate::corpus::Entry;

pub fn detect(listing: &Listing) -> bool {
    !listing.named("wav.scp").is_empty()
}

pub fn read(reader: &mut Reader<'_>) {
    for scp in reader.listing.named("wav.scp") {
        let folder = scp.parent().unwrap_or(Path::new("")).to_path_buf();
        let recordings = read_scp(reader, &scp);
        let texts = keyed(reader, &folder.join("text"));
        let utt2spk = folder.join("utt2spk");
        let speakers = if utt2spk.is_file() { keyed(reader, &utt2spk) } else { BTreeMap::new() };
        let segments = folder.join("segments");
        let mut used = BTreeSet::new();
        let utterances: Vec<Utterance> = if segments.is_file() {
            read_segments(reader, &segments, &recordings, &mut used)
        } else {
            let whole = |(id, (line, audio)): (&String, &(usize, Option<PathBuf>))| {
                let audio = audio.clone()?;
                Some(Utterance { id: id.clone(), line: *line, audio, part: None })
            };
            recordings.iter().filter_map(whole).collect()
        };
        let named = if segments.is_file() { &segments } else { &scp };
        for Utterance { id, line, audio, part } in utterances {
            let Some((text_line, text)) = texts.get(&id) else {
                reader.leave_out(named, line, format!("`{id}` has no line in the file `text`"));
                continue;
            };
            let speaker = speakers.get(&id).map(|(_, speaker)| speaker.clone());
            let (offset, duration) = (part.map(|p| p.0), part.and_then(|p| p.1));
            let utterance = Entry { speaker, offset, duration, ..entry(audio, text.clone()) };
            reader.add(&folder.join("text"), *text_line, utterance);
        }
        let known = |id: &String| used.contains(id) || recordings.contains_key(id);
        for (id, (line, _)) in texts.iter().filter(|(id, _)| !known(id)) {
            reader.leave_out(&folder.join("text"), *line, format!("there is no recording of `{id}`"));
        }
    }
}

struct Utterance {
    id: String,
    line: usize,
    audio: PathBuf,
    /// Start and length, seconds; without a length up to the end.
    part: Option<(f64, Option<f64>)>,
}

/// The lines `KEY VALUE…` of a file, with their numbers.
fn keyed(reader: &mut Reader<'_>, path: &Path) -> BTreeMap<String, (usize, String)> {
    let mut found = BTreeMap::new();
    let Some(text) = reader.text(path) else { return found };
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let (key, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        if found.insert(key.to_string(), (number, value.trim().to_string())).is_some() {
            reader.leave_out(path, number, format!("`{key}` is on an earlier line too"));
        }
    }
    found
}

/// The recordings of `wav.scp`; `None` for one that was left out.
fn read_scp(reader: &mut Reader<'_>, path: &Path) -> BTreeMap<String, (usize, Option<PathBuf>)> {
    let lines = keyed(reader, path);
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut found = BTreeMap::new();
    for (id, (line, place)) in lines {
        let audio = if place.ends_with('|') {
            Err("it is a command whose output is the audio, which is not run; write its output to a file"
                .into())
        } else if place
            .rsplit_once(':')
            .is_some_and(|(file, at)| file.ends_with(".ark") && at.parse::<u64>().is_ok())
        {
            Err("it is in a Kaldi archive, which is not read; extract it with wav-copy".into())
        } else {
            reader.listing.find(folder, &place)
        };
        let audio = audio.map_err(|problem| reader.leave_out(path, line, problem)).ok();
        found.insert(id, (line, audio));
    }
    found
}

/// The lines `UTTERANCE RECORDING START END` of `segments`; adds all utterances that they name to `used`.
fn read_segments(
    reader: &mut Reader<'_>,
    path: &Path,
    recordings: &BTreeMap<String, (usize, Option<PathBuf>)>,
    used: &mut BTreeSet<String>,
) -> Vec<Utterance> {
    let mut found = Vec::new();
    for (id, (line, rest)) in keyed(reader, path) {
        used.insert(id.clone());
        let parts: Vec<&str> = rest.split_whitespace().collect();
        let times = match parts.as_slice() {
            [_, start, end] => start.parse::<f64>().ok().zip(end.parse::<f64>().ok()),
            _ => None,
        };
        let Some((start, end)) = times else {
            reader.leave_out(path, line, "expected utterance, recording, start and end");
            continue;
        };
        let audio = match recordings.get(parts[0]) {
            Some((_, Some(audio))) => audio.clone(),
            Some((_, None)) => {
                reader.leave_out(path, line, format!("its recording `{}` was left out", parts[0]));
                continue;
            }
            None => {
                reader.leave_out(path, line, format!("wav.scp has no recording `{}`", parts[0]));
                continue;
            }
        };
        // Kaldi's -1 is the end of the recording.
        let length = (end != -1.0).then_some(end - start);
        found.push(Utterance { id, line, audio, part: Some((start, length)) });
    }
    found
}
