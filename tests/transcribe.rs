//! `hearken transcribe` over many recordings, through pipes, and interrupted.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::place::Place;
#[cfg(unix)]
use crate::common::signals;
use serde_json::Value;

fn clip(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("audio").join(name)).expect("a clip")
}

/// Samples of a clip of 16 bit, 16 kHz, mono.
fn samples(name: &str) -> Vec<u8> {
    clip(name)[44..].to_vec()
}

/// Starts hearken with pipes for standard input, output and error.
fn start(place: &Place, arguments: &[&str]) -> Child {
    Command::new(assert_cmd::cargo::cargo_bin!("hearken"))
        .current_dir(place.0.path())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs")
}

/// A folder of many copies of a recording.
fn copies(place: &Place, count: usize) {
    fs::create_dir(place.path("many")).expect("made");
    for i in 0..count {
        fs::copy(place.path("a.wav"), place.path(&format!("many/{i:03}.wav"))).expect("copied");
    }
}

/// The files of a folder and their contents, except journals.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            files.extend(
                self::files(&entry.path()).into_iter().map(|(below, text)| (format!("{name}/{below}"), text)),
            );
        } else if name != ".hearken-journal.jsonl" {
            files.push((name, fs::read_to_string(entry.path()).expect("text")));
        }
    }
    files.sort();
    files
}

#[test]
fn text_in_a_pipe_comes_utterance_by_utterance() {
    let place = Place::new();
    let mut child = start(&place, &["transcribe", "--raw", "s16le", "-"]);
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let silence = vec![0; 3 * 32_000];
    for _ in 0..2 {
        input.write_all(&samples("pi.wav")).expect("written");
        input.write_all(&silence).expect("written");
        // Before the input has ended.
        let mut line = String::new();
        output.read_line(&mut line).expect("read");
        assert!(line.trim().len() > 5, "{line:?}");
    }
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_recording_of_more_than_a_minute_is_cut_into_utterances() {
    let place = Place::new();
    let minute: Vec<u8> = (0..14).flat_map(|_| [samples("pi.wav"), vec![0; 2 * 32_000]].concat()).collect();
    fs::write(place.path("long.raw"), minute).expect("written");
    let lines = |arguments: &[&str]| {
        let text = place.stdout_of(&[&["transcribe", "--raw", "s16le", "long.raw"], arguments].concat());
        (text.lines().count(), text.split_whitespace().map(String::from).collect::<Vec<_>>())
    };
    let (many, one) = (lines(&[]), lines(&["--endpoint", "off"]));
    assert!(many.0 > 5 && one.0 == 1, "{} and {} lines", many.0, one.0);
    assert_eq!(many.1, one.1, "the words are the same");
}

#[cfg(unix)]
#[test]
fn a_process_with_ignored_signals_transcribes() {
    let place = Place::new();
    let hearken = assert_cmd::cargo::cargo_bin!("hearken").display();
    for signal in ["INT", "HUP"] {
        // As in `nohup` and in background jobs of scripts.
        let script = format!("trap '' {signal}; exec '{hearken}' transcribe --model model.onnx - < a.wav");
        let output =
            Command::new("sh").current_dir(place.0.path()).args(["-c", &script]).output().expect("run");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && output.stdout.len() > 5, "{signal}: {errors}");
    }
}

#[test]
fn captions_follow_live_audio_and_are_empty_at_the_end() {
    let place = Place::new();
    let captions = place.path("captions.txt");
    fs::write(&captions, "old").expect("written");
    let arguments = ["transcribe", "--raw", "s16le", "--captions", "captions.txt", "-"];
    let mut child = start(&place, &arguments);
    let mut input = child.stdin.take().expect("a pipe");
    let seen = std::sync::atomic::AtomicBool::new(false);
    let shown = std::thread::scope(|scope| {
        // Utterances until the captions were seen.
        scope.spawn(|| {
            while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                input.write_all(&samples("pi.wav")).expect("written");
                input.write_all(&vec![0; 3 * 32_000]).expect("written");
            }
            drop(input);
        });
        let shown = loop {
            let text = fs::read_to_string(&captions).expect("never missing");
            if text.len() > 5 {
                break text;
            }
            std::thread::yield_now();
        };
        seen.store(true, std::sync::atomic::Ordering::Relaxed);
        shown
    });
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    for line in shown.lines().chain(text.lines()) {
        assert!(line.starts_with("three"), "{shown:?}, {text:?}");
    }
    assert_eq!(fs::read_to_string(&captions).expect("the file"), "");
}

#[test]
fn captions_are_for_live_audio() {
    let place = Place::new();
    for (arguments, problem) in [
        (&["a.wav", "--captions", "c.txt"][..], "standard input"),
        (&["-", "a.wav", "--captions", "c.txt"], "standard input"),
        (&["-", "--captions", "c.txt", "--out", "folder/"], "one file"),
        (&["-", "--captions", "c.txt", "--out", "c.txt"], "same file"),
        (&["-", "--captions", "-"], "standard output"),
        (&["-", "--captions", "no/such/folder/c.txt"], "no/such/folder"),
    ] {
        let child = start(&place, &[&["transcribe"], arguments].concat());
        let output = child.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(problem), "{arguments:?}: {errors}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_prints_what_was_recognized_so_far() {
    let place = Place::new();
    let mut child = start(&place, &["transcribe", "--json", "--raw", "s16le", "-"]);
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    input.write_all(&samples("pi.wav")).expect("written");
    let mut line = String::new();
    output.read_line(&mut line).expect("read");
    assert!(line.contains("\"partial\""), "{line}");
    // The pipe stays open, so that the program waits for more.
    signals::send(child.id(), "INT");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("read");
    let types = rest.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].clone());
    let types: Vec<Value> = types.collect();
    // The interruption is reported as a warning.
    assert_eq!(types[types.len().saturating_sub(2)..], ["final", "warning"]);
    let mut errors = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("read");
    assert!(errors.contains("interrupted after"), "{errors}");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    drop(input);
}

#[cfg(unix)]
#[test]
fn a_killed_run_resumes_to_the_same_files() {
    let place = Place::new();
    copies(&place, 200);
    let run = |out: &str, more: &[&str]| {
        let arguments = [
            "transcribe",
            "--model",
            "model.onnx",
            "--format",
            "srt",
            "--threads",
            "1",
            "many",
            "--out",
            out,
        ];
        [&arguments, more].concat().into_iter().map(String::from).collect::<Vec<_>>()
    };
    let strings = |arguments: &[String]| arguments.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let whole = run("whole", &[]);
    place.stdout_of(&strings(&whole).lines().collect::<Vec<_>>());
    let expected = files(&place.path("whole"));
    assert_eq!(expected.len(), 200);
    for name in ["KILL", "INT"] {
        let arguments = strings(&run(name, &[]));
        let mut child = start(&place, &arguments.lines().collect::<Vec<_>>());
        let first = place.path(&format!("{name}/000.srt"));
        while !first.exists() && child.try_wait().expect("asked").is_none() {
            std::thread::yield_now();
        }
        signals::send(child.id(), name);
        let status = child.wait().expect("it ends");
        let found = files(&place.path(name));
        assert!(found.len() < 200, "it was too fast to be interrupted");
        if name == "INT" {
            assert_eq!(status.code(), Some(130));
            assert!(found.iter().all(|file| expected.contains(file)), "something is half-written");
        }
        // Transcripts that were complete before are not written again.
        fs::write(&first, "done before").expect("written");
        let (code, error) = place.error_of(&arguments.lines().collect::<Vec<_>>());
        assert!(code == 2 && error.contains("--resume"), "{error}");
        let arguments = strings(&run(name, &["--resume"]));
        place.stdout_of(&arguments.lines().collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(&first).expect("there"), "done before");
        fs::write(&first, &expected[0].1).expect("written");
        assert_eq!(files(&place.path(name)), expected, "after {name}");
        let (code, error) = place
            .error_of(&strings(&run(name, &["--resume", "--endpoint", "on"])).lines().collect::<Vec<_>>());
        assert!(code == 2 && error.contains("--endpoint was not given, and is On now"), "{error}");
    }
}

#[test]
fn folders_patterns_and_manifests_are_recordings_and_each_has_its_transcript() {
    let place = Place::new();
    fs::create_dir_all(place.path("in/deep")).expect("made");
    for name in ["in/x.wav", "in/deep/y.wav", "z1.wav", "z2.wav"] {
        fs::copy(place.path("a.wav"), place.path(name)).expect("copied");
    }
    let lines = "{\"audio_filepath\": \"z1.wav\", \"offset\": 0.5, \"duration\": 1}\n";
    fs::write(place.path("m.jsonl"), lines).expect("written");
    let text = place.stdout_of(&["transcribe", "--model", "model.onnx", "in", "z?.wav", "m.jsonl"]);
    let names: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once('\t')?.0)).collect();
    assert_eq!(names, ["in/deep/y.wav", "in/x.wav", "z1.wav", "z2.wav", "z1.wav#t=0.5,1.5"]);
    place.stdout_of(&[
        "transcribe",
        "--model",
        "model.onnx",
        "in",
        "z?.wav",
        "--format",
        "json",
        "--out",
        "out",
    ]);
    let found = files(&place.path("out"));
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["deep/y.json", "x.json", "z1.json", "z2.json"]);
    let object: Value = serde_json::from_str(&found[0].1).expect("JSON");
    assert_eq!((&object["path"], &object["duration"]), (&"in/deep/y.wav".into(), &2.0.into()));
    place.stdout_of(&["transcribe", "--model", "model.onnx", "z1.wav", "--format", "vtt", "--beside"]);
    assert!(fs::read_to_string(place.path("z1.vtt")).expect("there").starts_with("WEBVTT\n"));
}

#[test]
fn other_files_are_not_overwritten() {
    let place = Place::new();
    fs::write(place.path("a.txt"), "what a person wrote down").expect("written");
    let refused = |arguments: &[&str], expected: &str| {
        let (code, error) =
            place.error_of(&[&["transcribe", "--model", "model.onnx", "a.wav"], arguments].concat());
        assert!(code == 2 && error.contains(expected), "{arguments:?}: {error}");
    };
    refused(&["--beside"], "a.txt: the transcript exists already");
    refused(&["--beside", "--resume"], "a.txt: the transcript exists already");
    fs::write(place.path("a.jsonl"), "{\"audio_filepath\": \"a.wav\"}\n").expect("written");
    let over =
        ["transcribe", "--model", "model.onnx", "a.jsonl", "--beside", "--format", "jsonl", "--overwrite"];
    let (code, error) = place.error_of(&over);
    assert!(code == 2 && error.contains("over a recording or manifest"), "{error}");
    assert_eq!(fs::read_to_string(place.path("a.txt")).expect("there"), "what a person wrote down");
    place.stdout_of(&["transcribe", "--model", "model.onnx", "a.wav", "--beside", "--overwrite"]);
    assert_ne!(fs::read_to_string(place.path("a.txt")).expect("there"), "what a person wrote down");
}

#[test]
fn options_that_do_not_fit_together_are_wrong_usage() {
    let place = Place::new();
    for (arguments, expected) in [
        (&["a.wav", "a.wav", "--format", "srt"][..], "a file of the format srt holds one recording"),
        (&["a.wav", "--resume"], "--resume needs a file per recording"),
        (&["-", "--beside"], "standard input is not in a folder"),
        (&["a.wav", "--json", "--format", "srt"], "--json"),
        (&["a.wav", "--json", "--out", "folder"], "--format jsonl"),
        (&["a.wav", "--no-partials"], "--json"),
        (&["a.wav", "--json", "--nbest", "3"], "`--nbest` has no effect"),
        (&["a.wav", "--endpoint", "off", "--endpoint-state", "reset"], "--endpoint-state has no effect"),
        (&["a.wav", "--phrases", "absent.txt", "--lm-scale", "2"], "`--lm-scale` has no effect"),
        (&["a.wav", "a.wav", "--out", "all.srt"], "a file of the format srt holds one recording"),
        (&["a.wav", "--out", "other.mp3"], "other.mp3: the result would have the name of a recording"),
        (&["a.wav", "--format", "doc"], "[possible values: txt, json, jsonl, srt, vtt, ctm, tsv, textgrid]"),
        (&["a.wav", "--engine", "abacus"], "[possible values: native, tract, ort]"),
    ] {
        let (code, error) = place.error_of(&[&["transcribe", "--model", "model.onnx"], arguments].concat());
        assert!(code == 2 && error.contains(expected), "{arguments:?}: {error}");
    }
    fs::create_dir(place.path("none")).expect("made");
    for (arguments, expected) in
        [(["none"], "none: the folder is empty"), (["x*.wav"], "no file has this name")]
    {
        let (code, error) =
            place.error_of(&[&["transcribe", "--model", "model.onnx"], &arguments[..]].concat());
        assert!(code == 1 && error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn the_length_of_a_recording_is_limited() {
    let place = Place::new();
    let output =
        place.run(&["transcribe", "--model", "model.onnx", "--max-seconds", "1.5", "--json", "a.wav"]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let problem = "the recording is longer than the limit of 1.5 s; the rest was not read";
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains(&format!("a.wav: {problem}")) && text.contains(problem), "{errors}{text}");
    let mut events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let end = events.rfind(|event| event["type"] == "final").and_then(|event| event["end"].as_f64());
    assert!(end.is_some_and(|end| (end - 1.5).abs() < 0.01), "{text}");
    place.stdout_of(&["transcribe", "--model", "model.onnx", "--max-seconds", "2", "a.wav"]);
    place.stdout_of(&["transcribe", "--model", "model.onnx", "--max-seconds", "0", "a.wav"]);
    fs::write(place.path("a.pcm"), [2, 0, 1, 0, 255, 255, 247, 255].repeat(2000)).expect("written");
    let (code, error) = place.error_of(&["transcribe", "--model", "model.onnx", "a.pcm"]);
    assert!(code == 1 && error.contains("hearken transcribe --raw s16le:16000:1"), "{error}");
}

#[test]
fn recordings_that_fail_are_named_and_the_others_are_written() {
    let place = Place::new();
    copies(&place, 3);
    fs::write(place.path("many/bad.wav"), "this is no audio at all, but it is long enough to be looked at")
        .expect("written");
    let arguments = ["transcribe", "--model", "model.onnx", "many", "--out", "out"];
    let (code, error) = place.error_of(&arguments);
    assert!(
        code == 1 && error.contains("many/bad.wav: expected audio") && error.contains("; 1 failed"),
        "{error}"
    );
    assert_eq!(files(&place.path("out")).len(), 3);
    // Recordings that failed are tried again, and truncated ones are reported again.
    let good = fs::read(place.path("a.wav")).expect("read");
    fs::write(place.path("many/bad.wav"), &good[..good.len() / 2]).expect("written");
    for again in ["first", "second"] {
        let (code, error) = place.error_of(&[&arguments[..], &["--resume"]].concat());
        assert!(code == 1 && error.contains("many/bad.wav: the recording is cut short"), "{again}: {error}");
        assert_eq!(files(&place.path("out")).len(), 4, "{again}");
    }
}

#[cfg(unix)]
#[test]
fn file_names_of_any_bytes_are_printed_on_one_line_and_stay_distinct() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    fs::create_dir(place.path("odd")).expect("made");
    for name in [&b"a\nb.wav"[..], b"c\xff.wav"] {
        fs::copy(place.path("a.wav"), place.path("odd").join(OsStr::from_bytes(name))).expect("copied");
    }
    let text = place.stdout_of(&["transcribe", "--model", "model.onnx", "odd"]);
    let names: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once('\t')?.0)).collect();
    assert_eq!(names, ["\"odd/a\\nb.wav\"", "\"odd/c\\xff.wav\""]);
    fs::write(place.path("odd").join(OsStr::from_bytes(b"d\xfe.wav")), "").expect("written");
    let (_, error) = place.error_of(&["transcribe", "--model", "model.onnx", "odd"]);
    assert!(error.contains("hearken: \"odd/d\\xfe.wav\": "), "{error}");
}

#[cfg(unix)]
#[test]
fn output_through_a_symlink_keeps_the_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let place = Place::new();
    fs::write(place.path("real.txt"), "old").expect("written");
    fs::set_permissions(place.path("real.txt"), fs::Permissions::from_mode(0o600)).expect("set");
    symlink("real.txt", place.path("link.txt")).expect("linked");
    let text = place.stdout_of(&["transcribe", "--model", "model.onnx", "a.wav"]);
    place.stdout_of(&["transcribe", "--model", "model.onnx", "a.wav", "--out", "link.txt"]);
    assert!(fs::symlink_metadata(place.path("link.txt")).expect("there").is_symlink());
    assert_eq!(fs::read_to_string(place.path("real.txt")).expect("there"), text);
    assert_eq!(fs::metadata(place.path("real.txt")).expect("there").permissions().mode() & 0o777, 0o600);
    // Models are written in the same way.
    symlink("real.onnx", place.path("link.onnx")).expect("linked");
    place.stdout_of(&["export", "model.onnx", "--for", "onnxruntime", "-o", "link.onnx"]);
    assert!(fs::symlink_metadata(place.path("link.onnx")).expect("there").is_symlink());
    assert!(place.path("real.onnx").is_file());
}

#[test]
fn pages_completions_and_the_version_are_printed() {
    let place = Place::new();
    assert!(place.stdout_of(&["generate", "completions", "bash"]).contains("--format"));
    assert!(place.stdout_of(&["generate", "man"]).contains(".TH hearken 1"));
    let pages = place.stdout_of(&["generate", "man", "--out", "man"]);
    assert!(pages.lines().count() > 8 && place.path("man/hearken-transcribe.1").is_file(), "{pages}");
    assert_eq!(place.stdout_of(&["--version"]), format!("hearken {}\n", env!("CARGO_PKG_VERSION")));
    let verbose = place.stdout_of(&["--version", "--verbose"]);
    assert!(
        verbose.contains("features: ") && verbose.contains("license of the program: MIT OR Apache-2.0"),
        "{verbose}"
    );
    assert!(
        !cfg!(feature = "digits") || verbose.contains("license of the model digits: CC BY-SA 4.0"),
        "{verbose}"
    );
    assert_eq!(place.error_of(&["--verbose"]).0, 2);
}
