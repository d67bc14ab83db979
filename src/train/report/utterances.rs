//! The part of the report about the last evaluation: confusions, and the worst utterances with audio, features and
//! alignment.

use std::fmt::Write as _;
use std::path::{Component, Path};

use super::chart::number;
use super::{Context, section, spectrogram};
use crate::corpus::manifest::relative;
use crate::text::phrases::escape_xml;
use crate::train::log::{History, UtteranceLine};
use crate::units::counted;

/// Maximum number of utterances and of confusions for all sets together.
const MAX_UTTERANCES: usize = 20;
const MAX_CONFUSIONS: usize = 20;

/// Width of a second of features, where the page is wide enough.
const PIXELS_PER_SECOND: f64 = 240.0;

/// Both sections.
pub(super) fn sections(history: &History, context: &Context<'_>) -> String {
    let Some(scores) = history.scores.last() else { return String::new() };
    let (mut worst, mut confusions) = (String::new(), String::new());
    let sets =
        scores.dev.iter().enumerate().filter(|(_, set)| !set.worst.is_empty() || !set.confusions.is_empty());
    let count = sets.clone().count().max(1);
    for (number, set) in sets {
        let title =
            if count > 1 { format!("<h3>{}</h3>\n", escape_xml(&set.manifest)) } else { String::new() };
        let (utterances, pairs) =
            (set.worst.iter().take((MAX_UTTERANCES / count).max(3)), set.confusions.iter());
        worst += &title;
        worst.extend(utterances.map(|line| utterance(line, number, context)));
        let pairs = table(pairs.take((MAX_CONFUSIONS / count).max(5)));
        confusions += &format!("<div>{title}{pairs}</div>\n");
    }
    if worst.is_empty() {
        return String::new();
    }
    let about = format!("<p>The utterances with the highest error rates after update {}.</p>\n", scores.step);
    section("Confusions", &format!("<div class=\"grid\">{confusions}</div>"))
        + &section("Worst utterances", &(about + &worst))
}

/// A table of confusions, with bars.
fn table<'a>(pairs: impl Iterator<Item = &'a (String, String, u64)>) -> String {
    let pairs: Vec<_> = pairs.collect();
    let most = pairs.iter().map(|(_, _, count)| *count).max().unwrap_or(1).max(1);
    let word = |word: &str| match word {
        "" => "<i>nothing</i>".into(),
        _ => escape_xml(word),
    };
    let row = |(said, found, count): &&(String, String, u64)| {
        let width = 100.0 * *count as f64 / most as f64;
        format!(
            "<tr><td class=\"name\">{}</td><td class=\"name\">{}</td><td>{count}</td>\
             <td class=\"bar\"><i style=\"width:{width:.0}%\"></i></td></tr>\n",
            word(said),
            word(found)
        )
    };
    format!(
        "<table class=\"confusions\"><thead><tr><th class=\"name\">spoken</th><th class=\"name\">recognized</th><th>times</th>\
         <th></th></tr></thead><tbody>\n{}</tbody></table>\n",
        pairs.iter().map(row).collect::<String>()
    )
}

/// An utterance: what was said and recognized, the recording, and its features with the recognized words.
fn utterance(line: &UtteranceLine, set: usize, context: &Context<'_>) -> String {
    let name = line.audio.file_name().unwrap_or_default().to_string_lossy();
    let errors = match line.words {
        0 => counted(line.errors as usize, "false word"),
        words => format!("{} of {words} words wrong", line.errors),
    };
    let pairs: String = line.alignment.iter().map(|(said, found)| pair(said, found)).collect();
    let address = address(line, context.out);
    let mut html = format!(
        "<article><h4>{errors} <a href=\"{address}\">{name}</a></h4>\n\
         <div class=\"pairs\"><span class=\"pair head\"><b>spoken</b><b>recognized</b></span>{pairs}</div>\n\
         <audio controls preload=\"none\" src=\"{address}\"></audio>\n",
        name = escape_xml(&name),
    );
    if let Some(features) = context.dev.get(set).and_then(|set| set.features(line.utterance)) {
        html += &picture(line, features, context);
    }
    html + "</article>\n"
}

/// A reference word above the recognized one.
fn pair(said: &str, found: &str) -> String {
    let kind = match (said, found) {
        (said, found) if said == found => "",
        ("", _) => " wrong inserted",
        (_, "") => " wrong missed",
        _ => " wrong",
    };
    let word = |word: &str| if word.is_empty() { "—".into() } else { escape_xml(word) };
    format!("<span class=\"pair{kind}\"><span>{}</span><span>{}</span></span>", word(said), word(found))
}

/// The features with the recognized words at their times.
fn picture(line: &UtteranceLine, features: &[f32], context: &Context<'_>) -> String {
    let options = &context.recipe.features;
    let bins = options.num_mel_bins;
    let seconds = (features.len() / bins.max(1)) as f64 * f64::from(options.frame_shift_ms) / 1000.0;
    let Some(image) = spectrogram::address(features, bins) else { return String::new() };
    let width = (seconds * PIXELS_PER_SECOND).max(240.0);
    let percent = |at: f64| 100.0 * (at / seconds).clamp(0.0, 1.0);
    let mut html = format!(
        "<div class=\"picture\" style=\"max-width:{width:.0}px\"><img src=\"{image}\" alt=\"log mel energies\"><div class=\"times\">"
    );
    for (word, start, end) in &line.times {
        let (left, width) = (percent(*start), (percent(*end) - percent(*start)).max(0.3));
        let word = escape_xml(word.trim());
        let _ = write!(
            html,
            "<span style=\"left:{left:.2}%;width:{width:.2}%\" title=\"{word}: {start:.2} to {end:.2} s\">{word}</span>"
        );
    }
    let _ = writeln!(
        html,
        "</div><div class=\"axis\"><span>0 s</span><span>{} mel bands, recognized words below</span><span>{} s</span>\
         </div></div>",
        bins,
        number(seconds)
    );
    html
}

/// The address of the recording, relative to the run's folder, with the part of it that is the utterance.
fn address(line: &UtteranceLine, out: &Path) -> String {
    let path = match out.canonicalize() {
        Ok(folder) => relative(&line.audio, &folder),
        Err(_) => line.audio.clone(),
    };
    let mut address = String::new();
    for (i, part) in path.components().enumerate() {
        match part {
            Component::RootDir => address.push('/'),
            Component::Prefix(prefix) => {
                let _ = write!(address, "file:///{}", encoded(&prefix.as_os_str().to_string_lossy()));
            }
            part => {
                if i > 0 && !address.ends_with('/') {
                    address.push('/');
                }
                address += &encoded(&part.as_os_str().to_string_lossy());
            }
        }
    }
    match (line.offset.unwrap_or(0.0), line.duration) {
        (0.0, None) => {}
        (start, None) => address += &format!("#t={start}"),
        (start, Some(duration)) => address += &format!("#t={start},{}", start + duration),
    }
    address
}

/// A part of a path for an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_relative_and_name_the_part_of_the_recording() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("runs/a");
        [&out, &folder.path().join("data")]
            .into_iter()
            .for_each(|path| std::fs::create_dir_all(path).expect("made"));
        let of = |audio: &Path, offset, duration| {
            let (utterance, errors, words) = (0, 1, 1);
            let (audio, alignment, times) = (audio.to_path_buf(), Vec::new(), Vec::new());
            address(
                &UtteranceLine { utterance, audio, offset, duration, errors, words, alignment, times },
                &out,
            )
        };
        assert_eq!(of(&folder.path().join("data/x y.wav"), None, Some(2.0)), "../../data/x%20y.wav#t=0,2");
        assert_eq!(of(&out.join("%\"<é.wav"), Some(1.5), None), "%25%22%3C%C3%A9.wav#t=1.5");
        assert_eq!(of(Path::new("/absent/b.wav"), Some(1.5), Some(0.5)), "/absent/b.wav#t=1.5,2");
    }

    #[test]
    fn differences_are_marked_without_color_too() {
        assert_eq!(pair("a", "a"), "<span class=\"pair\"><span>a</span><span>a</span></span>");
        assert!(pair("a<", "").contains("wrong missed\"><span>a&lt;</span><span>—</span>"));
        assert!(pair("", "b").contains("wrong inserted"));
    }
}
