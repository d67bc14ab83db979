//! The command line: standard output, standard error and exit codes for good and bad input. The model has
//! random weights, so texts are only compared with each other.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;

use crate::common::networks::{self, Numbers};
use assert_cmd::Command;
use hearken::audio::{WavEncoding, write_wav};
use hearken::engine::NativeEngine;
use hearken::model::{CellKind, Network};
use hearken::recognizer::Recognizer;
use serde_json::Value;

/// A folder with `model.onnx`, `a.wav` and `b.wav`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        let config = networks::config(&[(CellKind::Gru, 12)], true, false);
        let metadata = networks::metadata(&config);
        // The first random model whose texts of both recordings are not empty.
        let words = |network: &Network<f32>, seed: u64| {
            let engine = NativeEngine::new(network.clone()).expect("a good network");
            let recognizer = Recognizer::new(Arc::new(engine), metadata.clone()).expect("they fit");
            recognizer.transcribe(&signal(seed)).expect("recognized").split(' ').count()
        };
        let mut networks = (0..1000).map(|seed| strong(networks::random(&config, seed)));
        let network = networks.find(|n| words(n, 1) > 4 && words(n, 2) > 4).expect("a network with words");
        let model = place.path("model.onnx");
        hearken::onnx::write_file(&model, &network, &metadata).expect("written");
        for (name, seed) in [("a.wav", 1), ("b.wav", 2)] {
            place.wav(name, &signal(seed));
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn wav(&self, name: &str, samples: &[f32]) {
        write_wav(&self.path(name), samples, 16_000, WavEncoding::Pcm16).expect("written");
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("written");
    }

    /// Runs hearken in this folder; adds `--model` to `transcribe` and `evaluate`.
    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, Vec::new())
    }

    fn run_with_input(&self, arguments: &[&str], input: Vec<u8>) -> Output {
        let mut command = Command::cargo_bin("hearken").expect("built");
        command.current_dir(self.0.path()).args(arguments).write_stdin(input);
        let output = command.output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
        output
    }

    fn transcribe(&self, arguments: &[&str]) -> Output {
        self.run(&[&["transcribe", "--model", "model.onnx"], arguments].concat())
    }
}

/// Scales the output weights so that the random log-probabilities are peaked.
fn strong(mut network: Network<f32>) -> Network<f32> {
    for parameter in network.parameters.iter_mut().filter(|p| p.name == "output.weight") {
        parameter.data.iter_mut().for_each(|x| *x *= 8.0);
    }
    network
}

/// Noise of varying level.
fn signal(seed: u64) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    (0..24_000).map(|i| numbers.next() * 0.4 * (i as f32 / 1500.0).sin().powi(2)).collect()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn one_file_prints_its_text_and_several_print_paths_in_order() {
    let place = Place::new();
    let (a, b) = (place.transcribe(&["a.wav"]), place.transcribe(&["b.wav"]));
    assert_eq!((code(&a), code(&b)), (Some(0), Some(0)), "{}", stderr(&a));
    assert!(stdout(&a).len() > 5, "the random model outputs words: {:?}", stdout(&a));
    assert_ne!(stdout(&a), stdout(&b));
    let both = place.transcribe(&["b.wav", "a.wav", "b.wav"]);
    assert_eq!(stdout(&both), format!("b.wav\t{0}a.wav\t{1}b.wav\t{0}", stdout(&b), stdout(&a)));
    assert_eq!(stderr(&both), "");
}

#[test]
fn chunks_threads_input_and_output_do_not_change_the_text() {
    let place = Place::new();
    let text = stdout(&place.transcribe(&["a.wav"]));
    for chunk in ["1", "37", "60000"] {
        assert_eq!(stdout(&place.transcribe(&["--chunk-ms", chunk, "a.wav"])), text, "{chunk} ms");
    }
    let bytes = fs::read(place.path("a.wav")).expect("read");
    let piped = place.run_with_input(&["transcribe", "--model", "model.onnx", "-"], bytes.clone());
    assert_eq!(stdout(&piped), text);
    let raw = bytes[bytes.len() - 48_000..].to_vec();
    place.put("a.raw", &raw);
    assert_eq!(stdout(&place.transcribe(&["--raw", "s16le:16000:1", "a.raw"])), text);
    let piped =
        place.run_with_input(&["transcribe", "--model", "model.onnx", "--raw", "s16le:16000:1", "-"], raw);
    assert_eq!(stdout(&piped), text);
    let out = place.transcribe(&["--out", "a.txt", "a.wav"]);
    assert_eq!((code(&out), stdout(&out)), (Some(0), String::new()));
    assert_eq!(fs::read_to_string(place.path("a.txt")).expect("written"), text);
    let many = ["a.wav"; 9];
    let one = place.transcribe(&[&["--threads", "1"], &many[..]].concat());
    let four = place.transcribe(&[&["--threads", "4"], &many[..]].concat());
    assert_eq!(stdout(&one), stdout(&four));
    assert_eq!(stdout(&one).lines().count(), 9);
}

#[test]
fn json_events_are_lines_with_a_final_at_the_end() {
    let place = Place::new();
    let text = stdout(&place.transcribe(&["a.wav"]));
    let output = stdout(&place.transcribe(&["--json", "a.wav"]));
    let events: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    let (last, partials) = events.split_last().expect("at least one event");
    assert!(!partials.is_empty() && partials.iter().all(|e| e["type"] == "partial"));
    assert_eq!((&last["type"], &last["path"]), (&Value::from("final"), &Value::from("a.wav")));
    assert_eq!(last["text"], text.trim());
    assert_eq!((&last["start"], &last["end"]), (&Value::from(0.0), &Value::from(1.5)));
    let words = last["words"].as_array().expect("words");
    assert_eq!(words.len(), text.split_whitespace().count());
    for word in words {
        let number = |key: &str| word[key].as_f64().expect(key);
        assert!(number("start") <= number("end") && number("end") <= 1.5);
        assert!((0.0..=1.0).contains(&number("confidence")));
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let place = Place::new();
    for arguments in [
        &["transcribe"][..],
        &["sing"],
        &["transcribe", "--engine", "abacus", "--model", "model.onnx", "a.wav"],
        &["transcribe", "--chunk-ms", "0", "--model", "model.onnx", "a.wav"],
        &["transcribe", "--raw", "s17le", "--model", "model.onnx", "a.wav"],
        &["transcribe", "--model", "model.onnx", "-", "-"],
        &["evaluate", "--model", "model.onnx"],
        &["evaluate", "--model", "model.onnx", "--equal", "oh", "m.jsonl"],
    ] {
        let output = place.run(arguments);
        assert_eq!((code(&output), stdout(&output)), (Some(2), String::new()), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let help = place.run(&["help", "transcribe"]);
    assert_eq!(code(&help), Some(0));
    assert!(stdout(&help).contains("Examples:"));
}

#[test]
fn a_bad_file_is_named_and_the_others_are_transcribed() {
    let place = Place::new();
    place.put("empty.wav", b"");
    place.put("text.wav", b"this is no audio at all, but it is long enough to be looked at");
    let good = fs::read(place.path("a.wav")).expect("read");
    place.put("header.wav", &good[..30]);
    let mut rate = good.clone();
    rate[24..28].fill(0);
    place.put("zero-hertz.wav", &rate);
    fs::create_dir(place.path("folder.wav")).expect("made");
    let mut numbers = vec![0.1f32; 4000];
    numbers[2000] = f32::NAN;
    place.put("nan.f32", &numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    let expected = stdout(&place.transcribe(&["a.wav"]));
    for bad in ["empty.wav", "text.wav", "header.wav", "zero-hertz.wav", "folder.wav", "absent.wav"] {
        let output = place.transcribe(&["a.wav", bad, "a.wav"]);
        assert_eq!(code(&output), Some(1), "{bad}");
        assert_eq!(stdout(&output), format!("a.wav\t{expected}a.wav\t{expected}"), "{bad}");
        assert!(stderr(&output).starts_with(&format!("hearken: {bad}: ")), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
    let output = place.transcribe(&["--raw", "f32le:16000:1", "nan.f32"]);
    assert_eq!((code(&output), stdout(&output)), (Some(1), String::new()));
    assert!(stderr(&output).contains("nan.f32"), "{}", stderr(&output));
}

#[test]
fn a_truncated_file_is_transcribed_and_reported() {
    let place = Place::new();
    let good = fs::read(place.path("a.wav")).expect("read");
    place.put("cut.wav", &good[..good.len() / 2]);
    let output = place.transcribe(&["cut.wav"]);
    assert_eq!(code(&output), Some(1));
    assert!(!stdout(&output).trim().is_empty());
    assert!(stderr(&output).contains("cut.wav"), "{}", stderr(&output));
}

#[test]
fn a_bad_model_is_named() {
    let place = Place::new();
    let good = fs::read(place.path("model.onnx")).expect("read");
    place.put("cut.onnx", &good[..good.len() / 2]);
    place.put("empty.onnx", b"");
    for bad in ["cut.onnx", "empty.onnx", "a.wav", "absent.onnx", "."] {
        let output = place.run(&["transcribe", "--model", bad, "a.wav"]);
        assert_eq!((code(&output), stdout(&output)), (Some(1), String::new()), "{bad}");
        assert!(stderr(&output).starts_with(&format!("hearken: {bad}: ")), "{}", stderr(&output));
        let output = place.run(&["inspect", bad]);
        assert_eq!(code(&output), Some(1), "{bad}");
    }
}

#[test]
fn a_failed_output_leaves_nothing_behind() {
    let place = Place::new();
    let output = place.transcribe(&["--out", "no/such/folder.txt", "a.wav"]);
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("no/such/folder.txt"), "{}", stderr(&output));
    let output = place.transcribe(&["--out", "some.txt", "absent.wav", "a.wav"]);
    assert_eq!(code(&output), Some(1));
    assert_eq!(fs::read_to_string(place.path("some.txt")).expect("written").lines().count(), 1);
    let parts = fs::read_dir(place.0.path()).expect("read");
    assert!(parts.flatten().all(|e| !e.file_name().to_string_lossy().ends_with(".part")));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("hearken"))
        .current_dir(place.0.path())
        .args(["transcribe", "--json", "--model", "model.onnx"])
        .args(vec!["a.wav"; 50])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

fn manifest(place: &Place, name: &str, lines: &[(&str, &str)]) {
    let lines: Vec<String> = lines
        .iter()
        .map(|(audio, text)| serde_json::json!({"audio_filepath": audio, "text": text}).to_string())
        .collect();
    place.put(name, lines.join("\n").as_bytes());
}

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

#[test]
fn evaluation_scores_the_texts_of_transcribe() {
    let place = Place::new();
    let text = |name| stdout(&place.transcribe(&[name])).trim().to_string();
    let (a, b) = (text("a.wav"), text("b.wav"));
    let words = (a.split_whitespace().count() + b.split_whitespace().count()) as u64;
    manifest(&place, "right.jsonl", &[("a.wav", &a), ("b.wav", &b)]);
    manifest(&place, "wrong.jsonl", &[("a.wav", &format!("{a} more words"))]);
    let arguments = ["evaluate", "--model", "model.onnx", "--json", "right.jsonl", "wrong.jsonl"];
    let output = place.run(&arguments);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let lines = json_lines(&output);
    let of = |kind: &str| lines.iter().filter(|l| l["type"] == kind).collect::<Vec<_>>();
    assert_eq!((of("utterance").len(), of("manifest").len()), (3, 2));
    assert_eq!((&of("manifest")[0]["wer"], &of("manifest")[0]["words"]), (&0.0.into(), &words.into()));
    let total = lines.last().expect("a last line");
    assert_eq!(total["type"], "total");
    assert_eq!((&total["deletions"], &total["utterances"]), (&2.into(), &3.into()));
    assert_eq!((&total["substitutions"], &total["insertions"]), (&0.into(), &0.into()));
    assert_eq!(total["audio_seconds"], 4.5);
    for key in ["cer", "compute_seconds", "rtf"] {
        assert!(total[key].as_f64().is_some_and(|x| x > 0.0), "{key}");
    }
    let table = place.run(&[&arguments[..3], &arguments[4..]].concat());
    let table = stdout(&table);
    for expected in ["right.jsonl", "wrong.jsonl", "total", "words -> (nothing)", "worst", "real-time"] {
        assert!(table.contains(expected), "{expected} is not in\n{table}");
    }
}

#[test]
fn bad_manifests_are_named_by_file_and_line_and_the_rest_is_scored() {
    let place = Place::new();
    place.put("bad.jsonl", b"{\"audio_filepath\": \"a.wav\", \"text\": \"1\"}\n{\"audio_filepath\": ");
    manifest(&place, "good.jsonl", &[("a.wav", "1")]);
    manifest(&place, "half.jsonl", &[("absent.wav", "1"), ("a.wav", "1")]);
    let output =
        place.run(&["evaluate", "--model", "model.onnx", "--json", "bad.jsonl", "good.jsonl", "half.jsonl"]);
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("bad.jsonl: line 2: not JSON"), "{}", stderr(&output));
    assert!(stderr(&output).contains("absent.wav"), "{}", stderr(&output));
    let lines = json_lines(&output);
    let total = lines.last().expect("a last line");
    assert_eq!((&total["utterances"], &total["failed"]), (&2.into(), &1.into()));
}

#[test]
fn a_line_without_text_is_not_silence() {
    let place = Place::new();
    place.put(
        "half.jsonl",
        b"{\"audio_filepath\": \"a.wav\", \"text\": \"\"}\n{\"audio_filepath\": \"a.wav\"}\n",
    );
    for command in [&["evaluate", "--model", "model.onnx"][..], &["data", "check"]] {
        let output = place.run(&[command, &["half.jsonl"]].concat());
        assert_eq!(code(&output), Some(1), "{command:?}");
        assert!(stderr(&output).contains("half.jsonl: line 2: `text` is missing"), "{}", stderr(&output));
    }
    manifest(&place, "silence.jsonl", &[("a.wav", "")]);
    assert_eq!(code(&place.run(&["evaluate", "--model", "model.onnx", "silence.jsonl"])), Some(0));
}

#[test]
fn inspect_describes_a_model() {
    let place = Place::new();
    let output = place.run(&["inspect", "--json", "model.onnx"]);
    let lines = json_lines(&output);
    assert_eq!((&lines[0]["license"], &lines[0]["blank"]), (&"CC0-1.0".into(), &0.into()));
    assert!(stdout(&place.run(&["inspect", "model.onnx"])).contains("gru"));
}

#[test]
fn a_folder_does_not_hide_an_embedded_model() {
    let place = Place::new();
    fs::create_dir(place.path("digits")).expect("created");
    let output = place.run(&["inspect", "--json", "digits"]);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    fs::remove_dir(place.path("digits")).expect("removed");
    place.put("digits", b"not a model");
    assert_eq!(code(&place.run(&["inspect", "--json", "digits"])), Some(1), "a file has the name");
}

#[test]
fn without_a_model_the_embedded_one_is_used() {
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/audio/pi.wav");
    let output = Place::new().run(&["transcribe", clip]);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "three one four one five\n");
}

#[test]
fn data_check_reports_what_is_wrong_and_fails_on_unusable_recordings() {
    let place = Place::new();
    let line = |name: &str, text: &str| format!("{{\"audio_filepath\":\"{name}\",\"text\":\"{text}\"}}\n");
    place.put("good.jsonl", [line("a.wav", "one"), line("b.wav", "two")].concat().as_bytes());
    let output = place.run(&["data", "check", "good.jsonl"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("good.jsonl: 2 recordings") && text.ends_with("nothing is wrong\n"), "{text}");
    place.put("bad.jsonl", [line("a.wav", "2"), line("gone.wav", "one")].concat().as_bytes());
    let output = place.run(&["data", "check", "good.jsonl", "bad.jsonl", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    let found: Vec<_> = findings.iter().map(|f| (f["line"].as_u64(), f["kind"].as_str())).collect();
    let expected = [(1, "digits"), (1, "duplicate"), (2, "unreadable")];
    assert_eq!(found, expected.map(|(line, kind)| (Some(line), Some(kind))));
}
