//! `hearken align` from outside, and the library's alignment, with the digits model inside the program.

use std::path::Path;

use hearken::Recognizer;
use hearken::recognizer::alignment::MIN_CONFIDENCE;
use serde_json::Value;

use crate::common::place::Place;

fn clip(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("audio").join(name).to_string_lossy().into_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Words with start and end.
fn words(alignment: &Value) -> Vec<(String, f64, f64)> {
    let word = |word: &Value| {
        let number = |key: &str| word[key].as_f64().expect("a number");
        (word["word"].as_str().expect("a word").to_string(), number("start"), number("end"))
    };
    alignment["words"].as_array().expect("words").iter().map(word).collect()
}

#[test]
fn aligned_words_have_the_times_of_the_recognizer() {
    let place = Place::new();
    let found =
        json(&place.stdout_of(&["align", &clip("pi.wav"), "three one four one five", "--format", "json"]));
    let recognized = json(&place.stdout_of(&["transcribe", &clip("pi.wav"), "--format", "json"]));
    let (found, recognized) = (words(&found), words(&recognized["segments"][0]));
    assert_eq!(found.len(), 5);
    for (found, recognized) in found.iter().zip(&recognized) {
        assert_eq!(found.0, recognized.0);
        let apart = (found.1 - recognized.1).abs().max((found.2 - recognized.2).abs());
        assert!(apart < 0.13, "{found:?} {recognized:?}");
    }
    assert!(found.windows(2).all(|w| w[0].1 < w[0].2 && w[0].2 <= w[1].1), "{found:?}");
}

#[test]
fn a_text_is_words_or_a_file_of_them() {
    let place = Place::new();
    std::fs::write(place.path("pi.txt"), "\u{feff}Three, one;\nfour - one: FIVE!\n").expect("written");
    let table = place.stdout_of(&["align", &clip("pi.wav"), "pi.txt"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    let spoken: Vec<&str> = rows.iter().map(|row| row[3]).collect();
    assert_eq!(spoken, ["Three", "one", "four", "one", "FIVE"]);
    assert_eq!(rows[0][4], "TH R IY");
    assert!(rows.iter().all(|row| row[2].parse::<f64>().expect("a number") > 0.5), "{table}");
    // Digits are converted to words.
    let digits = place.stdout_of(&["align", &clip("pi.wav"), "3 1 4 1 5"]);
    let tokens = |table: &str| -> Vec<String> {
        table.lines().map(|line| line.split('\t').next_back().expect("tokens").to_string()).collect()
    };
    assert_eq!(tokens(&digits), tokens(&table));
}

#[test]
fn a_manifest_has_the_texts_of_its_recordings() {
    let place = Place::new();
    let lines = place.stdout_of(&["align", &clip("manifest.jsonl"), "--format", "json"]);
    let found: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!(found.len(), 11);
    for alignment in &found {
        assert_eq!(alignment["fits"], true, "{alignment}");
        let tokens = alignment["words"][0]["tokens"].as_array().expect("tokens");
        assert!(!tokens.is_empty() && alignment["log_prob"].as_f64().is_some_and(|p| p < 0.0));
    }
    // A part of a recording is aligned separately.
    let line = format!(
        "{{\"audio_filepath\": {:?}, \"text\": \"one five\", \"offset\": 1.4, \"duration\": 1.4}}\n",
        clip("pi.wav")
    );
    std::fs::write(place.path("parts.jsonl"), line).expect("written");
    let table = place.stdout_of(&["align", "parts.jsonl"]);
    assert!(table.lines().count() == 2 && table.contains("pi.wav#t=1.4,2.8\t"), "{table}");
}

#[test]
fn recordings_with_wrong_texts_are_left_out() {
    let place = Place::new();
    let line = |text: &str| {
        format!("{{\"audio_filepath\": {:?}, \"text\": {text:?}, \"age\": 7}}\n", clip("pi.wav"))
    };
    let lines = line("three one four one five") + &line("six six six six six six six six");
    std::fs::write(place.path("texts.jsonl"), lines).expect("written");
    place.stdout_of(&["align", "texts.jsonl", "--fitting", "good.jsonl"]);
    let good = std::fs::read_to_string(place.path("good.jsonl")).expect("written");
    assert_eq!(good.lines().count(), 1, "{good}");
    assert_eq!((&json(&good)["text"], &json(&good)["age"]), (&"three one four one five".into(), &7.into()));
    let (code, error) = place.error_of(&["align", "texts.jsonl", "--fitting", "texts.jsonl"]);
    assert!(code == 2 && error.contains("over a recording or manifest"), "{error}");
    let (code, error) = place.error_of(&["align", &clip("pi.wav"), "one", "--fitting", "good.jsonl"]);
    assert!(code == 2 && error.contains("expected a manifest"), "{error}");
}

#[test]
fn formats_and_places() {
    let place = Place::new();
    let pi = clip("pi.wav");
    let text = "three one four one five";
    place.stdout_of(&["align", &pi, text, "--format", "ctm", "--out", "pi.ctm"]);
    let ctm = std::fs::read_to_string(place.path("pi.ctm")).expect("written");
    assert!(ctm.lines().count() == 5 && ctm.starts_with("pi 1 "), "{ctm}");
    place.stdout_of(&["align", &pi, text, "--format", "textgrid", "--out", "grids"]);
    let grid = std::fs::read_to_string(place.path("grids/pi.TextGrid")).expect("written");
    assert!(grid.contains("name = \"words\"") && grid.contains("name = \"phones\""), "{grid}");
    let (code, error) = place.error_of(&["align", &pi, text, "--format", "textgrid", "--out", "grids"]);
    assert!(code == 2 && error.contains("--overwrite"), "{error}");
    place.stdout_of(&["align", &pi, text, "--format", "textgrid", "--out", "grids", "--overwrite"]);
    place.stdout_of(&["align", &pi, text, "--format", "srt"]);
    // Without --format the name decides.
    place.stdout_of(&["align", &pi, text, "-o", "pi.textgrid"]);
    assert_eq!(std::fs::read_to_string(place.path("pi.textgrid")).expect("written"), grid);
    // The parts of a recording keep different names.
    let ctm = place.stdout_of(&["align", &clip("manifest.jsonl"), "--format", "ctm"]);
    assert!(ctm.starts_with("pi#t=0,2.87 1 "), "{ctm}");
}

#[test]
fn speech_without_text_and_text_without_speech_are_named() {
    let place = Place::new();
    let pi = clip("pi.wav");
    let output = place.run(&["align", &pi, "three one nine one five", "--format", "json"]);
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{note}");
    let found = json(&String::from_utf8_lossy(&output.stdout));
    let fits: Vec<bool> =
        found["words"].as_array().expect("words").iter().map(|word| word["fits"] == true).collect();
    assert_eq!(fits, [true, true, false, true, true], "{found}");
    assert_eq!(found["fits"], false);
    assert!(note.contains("1 of 5 words do not fit") && note.contains("`nine` at 1."), "{note}");
    // Speech without a text.
    let output = place.run(&["align", &pi, "three one"]);
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(note.contains("speech without text: 1."), "{note}");
    let help = place.stdout_of(&["help", "align"]);
    assert!(help.contains("trained with CTC") && help.contains("[default: 0.1]"), "{help}");
}

#[test]
fn a_text_that_cannot_be_aligned_is_an_error_that_names_the_word() {
    let place = Place::new();
    let pi = clip("pi.wav");
    let long = "three one four one five ".repeat(40);
    for (text, expected) in [
        (long.as_str(), "is the first that does not fit"),
        ("three 一 four", "`一`"),
        ("three 50% four", "`50%`"),
        (" - ?", "no words"),
        ("missing.txt", "missing.txt"),
    ] {
        let (code, error) = place.error_of(&["align", &pi, text]);
        assert!(code == 1 && error.contains(expected), "{text}: {error}");
    }
    std::fs::write(place.path("latin.txt"), b"three \xe9").expect("written");
    let (code, error) = place.error_of(&["align", &pi, "latin.txt"]);
    assert!(code == 1 && error.contains("latin.txt") && error.contains("byte 7"), "{error}");
    // One of several fails; the others are aligned.
    let lines = format!(
        "{{\"audio_filepath\": {pi:?}, \"text\": \"three %\"}}\n{{\"audio_filepath\": {pi:?}, \"text\": \"three\"}}\n"
    );
    std::fs::write(place.path("two.jsonl"), lines).expect("written");
    let output = place.run(&["align", "two.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
fn wrong_usage_is_refused() {
    let place = Place::new();
    let (pi, manifest) = (clip("pi.wav"), clip("manifest.jsonl"));
    std::fs::write(place.path("b.wav"), b"x").expect("written");
    for arguments in [
        vec!["align", &pi],
        vec!["align", &manifest, "three"],
        vec!["align", "-", "-"],
        vec!["align", &pi, "three", "--min-confidence", "2"],
        vec!["align", &manifest, "--format", "textgrid"],
        vec!["align", &pi, "three", "--out", "a.txt", "--overwrite"],
        vec!["align", "b.wav", "three", "--out", "b.wav"],
        vec!["transcribe", "b.wav", "--out", "b.wav"],
        vec!["transcribe", &pi, "--out", "b.wav"],
    ] {
        let (code, error) = place.error_of(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {error}");
    }
    assert_eq!(std::fs::read(place.path("b.wav")).expect("still there"), b"x");
}

#[cfg(feature = "english")]
#[test]
fn words_outside_the_model_are_looked_up_or_guessed() {
    let place = Place::new();
    let output =
        place.run(&["align", &clip("no-digits.wav"), "the quick brown zorgle", "--min-confidence", "0"]);
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{note}");
    assert!(note.contains("guessed pronunciations: `zorgle` as Z AO R G"), "{note}");
    std::fs::write(place.path("own.txt"), "zorgle  Z AO R\nthree  F AY V\n").expect("written");
    let arguments =
        ["align", &clip("pi.wav"), "zorgle three", "--lexicon", "own.txt", "--min-confidence", "0"];
    let table = place.stdout_of(&arguments);
    let tokens: Vec<&str> = table.lines().filter_map(|line| line.split('\t').next_back()).collect();
    assert_eq!(tokens, ["Z AO R", "F AY V"], "the user's own go before the model's");
}

#[test]
fn the_library_aligns_samples() {
    let recognizer = Recognizer::builder().open().expect("the model inside");
    let mut source = hearken::audio::open(clip("e.wav").as_ref(), recognizer.sample_rate()).expect("a clip");
    let reference = recognizer.reference("two seven one eight", None).expect("words of the lexicon");
    assert_eq!(reference.words().collect::<Vec<_>>(), ["two", "seven", "one", "eight"]);
    let alignment = recognizer.align(&mut *source, &reference, MIN_CONFIDENCE).expect("aligned");
    assert!(alignment.fits && alignment.has_phones);
    let tokens: Vec<&str> = alignment.words[3].tokens.iter().map(|token| token.token.as_str()).collect();
    assert_eq!(tokens[0], "EY");
    assert!(alignment.words.iter().all(|word| word.word.confidence > MIN_CONFIDENCE));
    let error = recognizer.reference("two blue", None).expect_err("not in the lexicon").to_string();
    assert!(error.contains("`blue`"), "{error}");
}

#[test]
fn numbers_are_written_in_digits_on_request() {
    let place = Place::new();
    let pi = clip("pi.wav");
    let text = |option: &str| place.stdout_of(&["transcribe", &pi, "--numbers", option]);
    assert_eq!(text("words"), "three one four one five\n");
    assert_eq!(text("digits"), "31415\n");
    let spoken = json(&place.stdout_of(&["transcribe", &pi, "--format", "json"]));
    let written = json(&place.stdout_of(&["transcribe", &pi, "--format", "json", "--numbers", "all"]));
    let (spoken, written) = (words(&spoken["segments"][0]), words(&written["segments"][0]));
    assert_eq!(written, [("31415".to_string(), spoken[0].1, spoken[4].2)]);
    // Texts are normalized before they are compared.
    let score = place.stdout_of(&["evaluate", &clip("manifest.jsonl"), "--numbers", "digits", "--json"]);
    let total = json(score.lines().last().expect("a total"));
    assert_eq!(total["wer"].as_f64(), Some(0.0), "{total}");
    std::fs::write(place.path("phrases.txt"), "two lights\n").expect("written");
    let (code, _) = place.error_of(&["transcribe", &pi, "--phrases", "phrases.txt", "--numbers", "digits"]);
    assert_eq!(code, 2);
}
