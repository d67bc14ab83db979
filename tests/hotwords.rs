//! Hotwords, language models without a lexicon, and the n best texts, from outside: with the model of digits, whose
//! tokens are the phones of English.
#![cfg(all(feature = "digits", feature = "english"))]

use serde_json::Value;

use crate::common::place::Place;

/// A folder with a recording of digits and a language model of them.
fn place() -> Place {
    let place = Place::new();
    let clip = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("audio/pi.wav");
    std::fs::copy(clip, place.path("pi.wav")).expect("copied");
    let digits = "one two three four five six seven eight nine zero\nthree one four one five nine\n";
    std::fs::write(place.path("digits.txt"), digits.repeat(3)).expect("written");
    place.stdout_of(&["lm", "digits.txt", "-o", "digits.lm"]);
    place
}

/// Standard error of a command that fails with an exit code.
fn errors(place: &Place, code: i32, arguments: &[&str]) -> String {
    let (found, errors) = place.error_of(arguments);
    assert_eq!(found, code, "{arguments:?}: {errors}");
    errors
}

fn put(place: &Place, name: &str, text: &str) {
    std::fs::write(place.path(name), text).expect("written");
}

#[test]
fn a_language_model_needs_no_lexicon_and_prefers_hotwords() {
    let place = place();
    let text = place.stdout_of(&["transcribe", "--lm", "digits.lm", "pi.wav"]);
    assert!(text.contains("three one four one five"), "{text}");
    put(&place, "names.txt", "# a word that no text has\nqwertibly\nthree one\n");
    let preferred =
        ["transcribe", "--lm", "digits.lm", "--hotwords", "names.txt", "--hotwords-score", "0", "pi.wav"];
    let output = place.run(&preferred);
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notes.contains("guessed pronunciations: `qwertibly` as "), "{notes}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), text, "without a reward nothing changes");
    // A boost so high that the audio does not matter, nor the confidence.
    put(&place, "nine.txt", "/60/ nine\n");
    let nines =
        ["transcribe", "--lm", "digits.lm", "--hotwords", "nine.txt", "--least-confidence", "0", "pi.wav"];
    let nines = place.stdout_of(&nines);
    assert!(nines.matches("nine").count() > text.matches("nine").count(), "{nines}");
}

#[test]
fn words_are_added_to_the_lexicon_of_a_model() {
    let place = place();
    let text = place.stdout_of(&["transcribe", "pi.wav"]);
    put(&place, "known.txt", "Seven\nzero :0\n");
    let same = ["transcribe", "--hotwords", "known.txt", "--hotwords-score", "0", "pi.wav"];
    assert_eq!(place.stdout_of(&same), text);
    put(&place, "homophone.txt", "wun :5\n");
    put(&place, "mine.txt", "wun  W AH1 N\n");
    let output =
        place.stdout_of(&["transcribe", "--hotwords", "homophone.txt", "--lexicon", "mine.txt", "pi.wav"]);
    assert!(output.contains("wun") && !output.contains("one"), "{output}");
}

#[test]
fn errors_in_hotwords_name_line_and_column() {
    let place = place();
    for (text, expected) in [
        ("one\ntwo :x\n", "bad.txt: line 2, column 6: expected a boost"),
        ("one (two|three)\n", "bad.txt: line 1, column 5: expected words, found `(`"),
        ("one\n  … two\n", "bad.txt: line 2, column 3: expected a word"),
        ("one\nпривет two\n", "bad.txt: line 2, column 1: no pronunciation for `привет`"),
        ("# nothing\n", "bad.txt: expected hotwords"),
    ] {
        put(&place, "bad.txt", text);
        for with in [&[][..], &["--lm", "digits.lm"]] {
            let errors =
                errors(&place, 1, &[&["transcribe", "--hotwords", "bad.txt", "pi.wav"], with].concat());
            assert!(errors.contains(expected), "{text:?}: {errors}");
        }
    }
    put(&place, "good.txt", "one\n");
    let both = ["transcribe", "--hotwords", "good.txt", "--phrases", "good.txt", "pi.wav"];
    assert!(errors(&place, 2, &both).contains("--phrases"));
    let score = ["transcribe", "--hotwords", "good.txt", "--hotwords-score", "101", "pi.wav"];
    assert!(errors(&place, 2, &score).contains("from 0 to 100"));
    let lexicon = errors(&place, 2, &["transcribe", "--lexicon", "good.txt", "pi.wav"]);
    assert!(lexicon.contains("--lexicon") && lexicon.contains("no effect"), "{lexicon}");
}

#[test]
fn the_n_best_texts_are_alternatives() {
    let place = place();
    for with in [&[][..], &["--lm", "digits.lm"]] {
        let line = ["transcribe", "--format", "jsonl", "pi.wav", "--endpoint", "off"];
        let one: Value = serde_json::from_str(&place.stdout_of(&[&line, with].concat())).expect("JSON");
        assert!(one.get("alternatives").is_none());
        let line = [&line[..], &["--nbest", "5"], with].concat();
        let five: Value = serde_json::from_str(&place.stdout_of(&line)).expect("JSON");
        assert_eq!(five["text"], one["text"], "the best is the same");
        let alternatives = five["alternatives"].as_array().expect("a list");
        assert!((1..=5).contains(&alternatives.len()), "{five}");
        assert_eq!(alternatives[0]["text"], one["text"]);
        assert_eq!(alternatives[0]["words"], one["words"]);
        let scores: Vec<f64> = alternatives.iter().map(|a| a["score"].as_f64().expect("a number")).collect();
        assert!(scores[0] == 0.0 && scores.windows(2).all(|pair| pair[0] >= pair[1]), "{scores:?}");
        let sum: f64 = alternatives.iter().map(|a| a["confidence"].as_f64().expect("a number")).sum();
        assert!((sum - 1.0).abs() < 0.01, "{sum}");
        let mut texts: Vec<&str> = alternatives.iter().filter_map(|a| a["text"].as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), alternatives.len(), "all are different");
    }
    assert!(errors(&place, 2, &["transcribe", "--nbest", "3", "pi.wav"]).contains("--nbest"));
}
