//! Training runs: what they refuse, keep and report; on the recordings of `training`.

use std::fs;
use std::process::{Child, Command};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hearken::model::CellKind;
use hearken::onnx;
use hearken::recognizer::Recognizer;
use hearken::train::checkpoint::Checkpoint;
use hearken::train::{ExistingRun, Options, Progress, Recipe, train};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde_json::Value;

use super::training::{Place, RATE, RECIPE, bytes, speak};
#[cfg(unix)]
use crate::common::signals;

/// The recipe with another number of updates, which is evaluated and saved at the end.
fn steps(count: u64) -> String {
    RECIPE
        .replace("steps = 160", &format!("steps = {count}"))
        .replace("eval_interval = 80", &format!("eval_interval = {count}"))
}

fn notes(progress: &[Progress]) -> Vec<&str> {
    progress
        .iter()
        .filter_map(|p| if let Progress::Note(note) = p { Some(note.as_str()) } else { None })
        .collect()
}

fn left_out(progress: &[Progress]) -> Vec<&str> {
    progress
        .iter()
        .filter_map(|p| if let Progress::LeftOut(line) = p { Some(line.as_str()) } else { None })
        .collect()
}

fn entry(audio: &str, text: &str) -> String {
    serde_json::json!({ "audio_filepath": audio, "text": text }).to_string()
}

/// Waits until a condition is met; fails if the process ends first.
fn await_condition(child: &mut Child, name: &str, is_met: impl Fn() -> bool) {
    while !is_met() {
        assert!(child.try_wait().expect("a child").is_none(), "it ended before {name}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_finished_run_is_kept_without_overwrite() {
    let place = Place::new();
    place.put("recipe.toml", &steps(2));
    assert_eq!(place.run("run", &[]).0, Some(0));
    let before = bytes(place.path("run/last.onnx"));
    fs::write(place.path("run/at-000099.onnx"), b"of the first run").expect("written");
    let (code, errors) = place.run("run", &["--seed", "9"]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("this folder already contains a training"), "{errors}");
    assert!(before == bytes(place.path("run/last.onnx")), "the model was replaced");
    let (code, errors) = place.run("run", &["--seed", "9", "--overwrite"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(before != bytes(place.path("run/last.onnx")), "the model was not replaced");
    assert!(!place.path("run/at-000099.onnx").exists(), "what the first run left is still there");
}

#[test]
fn a_folder_takes_one_training_at_a_time() {
    let place = Place::new();
    place.put("recipe.toml", &steps(1_000_000));
    let mut first = place.start("run", &[]);
    let checkpoint = place.path("run/checkpoint.bin");
    await_condition(&mut first, "a checkpoint", || checkpoint.exists());
    for more in [&["--resume"][..], &["--overwrite"]] {
        let (code, errors) = place.run("run", more);
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains("another training is running"), "{errors}");
    }
    assert!(first.try_wait().expect("a child").is_none(), "the first one ended");
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    place.put("recipe.toml", &steps(1_000_000));
    let (code, errors) = place.run("run", &["--resume", "--stop-after", "1"]);
    assert_eq!(code, Some(0), "the lock of a killed run is gone: {errors}");
}

#[test]
fn a_failed_start_leaves_no_folder() {
    let place = Place::new();
    place.put("recipe.toml", &steps(2));
    place.add("train.jsonl", &entry("0.wav", "unknown"));
    let (code, errors) = place.run("runs/new", &[]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(!place.path("runs").exists(), "a folder is left of a run that never began");
    fs::create_dir_all(place.path("mine")).expect("created");
    place.put("mine/notes.txt", "mine");
    place.run("mine", &[]);
    let left: Vec<_> =
        fs::read_dir(place.path("mine")).expect("there").map(|e| e.expect("read").file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
}

#[test]
fn models_of_8_khz_train_stream_export_and_verify() {
    let place = Place::new();
    // Recordings with both sample rates.
    let mut rng = Pcg64Mcg::seed_from_u64(3);
    for (i, words) in [&["low", "hiss"][..], &["high"], &["hiss", "low", "high"]].iter().enumerate() {
        place.record(&format!("call-{i}.wav"), words, 8_000, &mut rng);
        place.add("train.jsonl", &entry(&format!("call-{i}.wav"), &words.join(" ")));
    }
    // Every part of training that depends on the sample rate.
    let recipe = RECIPE
        .replace("[features]", "[features]\nsample_rate = 8000")
        .replace(
            "[[data.recordings]]",
            "noise = [\"noise.jsonl\"]\nsilence_weight = 0.1\n[[data.recordings]]",
        )
        .replace(
            "[augment]",
            "[augment]\nspeed = { probability = 0.2 }\nreverb = { probability = 0.1, rooms = 2 }",
        )
        .replace("steps = 160", "steps = 300");
    place.put("noise.jsonl", "{\"audio_filepath\": \"0.wav\"}\n");
    place.put("recipe.toml", &recipe);
    let (code, errors) = place.run("run", &[]);
    assert_eq!(code, Some(0), "{errors}");

    let (code, out, errors) =
        place.hearken(&["evaluate", "--json", "--model", "run/best.onnx", "--chunk-ms", "30", "train.jsonl"]);
    assert_eq!(code, Some(0), "{errors}");
    let total: Value = serde_json::from_str(out.lines().last().expect("a total")).expect("JSON");
    assert!(total["wer"].as_f64().is_some_and(|wer| wer < 0.1), "the model is wrong: {total}");

    let (code, out, errors) = place.hearken(&["verify", "run/best.onnx", "--audio", "call-0.wav"]);
    assert_eq!(code, Some(0), "{out}{errors}");
    // sherpa-onnx computes features only at 16 kHz.
    for target in ["onnxruntime", "triton", "whole"] {
        let folder = format!("for-{target}");
        let (code, out, errors) =
            place.hearken(&["export", "run/best.onnx", "--for", target, "--out", &folder]);
        assert_eq!(code, Some(0), "{target}: {out}{errors}");
    }
    let model = Recognizer::open(place.path("run/best.onnx")).expect("a model");
    assert_eq!(model.sample_rate(), 8_000);
    let samples = speak(&["high", "low", "hiss"], 8_000, &mut rng);
    let mut stream = model.stream().expect("a stream");
    let mut events = Vec::new();
    for chunk in samples.chunks(77) {
        events.extend(stream.accept_waveform(chunk).expect("pushed"));
    }
    events.extend(stream.finish().expect("finished"));
    let text = hearken::recognizer::final_text(&events);
    assert_eq!(text, model.transcribe(&samples).expect("transcribed"));
    assert_eq!(text, "high low hiss");
}

#[test]
fn resuming_compares_recipe_seed_and_threads() {
    let place = Place::new();
    place.put("recipe.toml", &steps(8));
    assert_eq!(place.run("run", &["--stop-after", "4"]).0, Some(0));
    let refused = |more: &[&str], parts: &[&str]| {
        let (code, errors) = place.run("run", &[&["--resume"], more].concat());
        assert_eq!(code, Some(1), "{errors}");
        assert!(parts.iter().all(|part| errors.contains(part)), "{parts:?} in {errors}");
    };
    refused(&["--seed", "6"], &["`run.seed` was 5 and is 6"]);
    place.put(
        "recipe.toml",
        &steps(8).replace("learning_rate = 1e-2", "learning_rate = 0.5").replace("= 8\neval", "= 4\neval"),
    );
    refused(&[], &["`optimizer.learning_rate` was 0.01 and is 0.5", "1 more differ"]);
    // The test's command has --threads 2.
    place.put("recipe.toml", &steps(8));
    let mut options = Options { existing_run: ExistingRun::Resume, threads: Some(1), ..place.options("run") };
    let error = place.train(&steps(8), &options).expect_err("other threads").to_string();
    assert!(error.contains("the number of threads was 2 and is 1"), "{error}");
    // Without --threads, the number is that of the checkpoint.
    options.threads = None;
    place.train(&steps(8), &Options { stop_after: Some(6), ..options }).expect("the same");

    place.put("recipe.toml", &steps(8).replace("learning_rate = 1e-2", "learning_rate = 1e-3"));
    let (code, errors) = place.run("run", &["--resume", "--accept-changes"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        errors.contains("since the checkpoint, `optimizer.learning_rate` was 0.01 and is 0.001"),
        "{errors}"
    );
    // Keys that only affect the model file may change after the end of the run.
    let decoder = steps(8)
        .replace("learning_rate = 1e-2", "learning_rate = 1e-3")
        .replace("flush_ms = 200", "flush_ms = 200\nblank_bias = -1.0");
    place.put("recipe.toml", &decoder);
    let (code, errors) = place.run("run", &["--resume"]);
    assert_eq!(code, Some(0), "{errors}");
    let (_, metadata) = onnx::load::read_file(&place.path("run/last.onnx")).expect("a model");
    assert_eq!(metadata.decoder.blank_bias, -1.0);
}

#[test]
fn mixed_cells_are_trained_verified_and_trained_further() {
    let place = Place::new();
    let text = steps(2).replace("cells = [\"gru\"]", "cells = [\"mingru\", \"lstm\"]");
    place.put("recipe.toml", &text);
    let (code, errors) = place.run("run", &[]);
    assert_eq!(code, Some(0), "{errors}");
    let (network, _) = onnx::load::read_file(&place.path("run/last.onnx")).expect("a model");
    let cells: Vec<CellKind> = network.config.layers.iter().map(|layer| layer.cell).collect();
    assert_eq!(cells, [CellKind::MinGru, CellKind::Lstm]);
    let (code, out, errors) = place.hearken(&["verify", "run/last.onnx", "--audio", "0.wav"]);
    assert_eq!(code, Some(0), "{out}{errors}");
    let last = place.path("run/last.onnx");
    let (code, errors) = place.run("again", &["--from", last.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn a_model_holds_the_recipe_as_it_was_resolved() {
    let place = Place::new();
    place.put("recipe.toml", &steps(2));
    assert_eq!(place.run("run", &["--seed", "77"]).0, Some(0));
    let (_, metadata) = onnx::load::read_file(&place.path("run/last.onnx")).expect("a model");
    let recipe = Recipe::parse(&metadata.recipe).expect("a recipe");
    assert_eq!(recipe.run.seed, 77);
    for default in ["weight_decay", "bucket_batches", "preemphasis", "max_duration", "packet_loss"] {
        assert!(metadata.recipe.contains(default), "{default} is not in\n{}", metadata.recipe);
    }
    // It leads to the same weights.
    place.put("recipe.toml", &metadata.recipe);
    assert_eq!(place.run("again", &[]).0, Some(0));
    assert!(bytes(place.path("run/last.onnx")) == bytes(place.path("again/last.onnx")));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_a_checkpoint_and_130() {
    let place = Place::new();
    place.put("recipe.toml", &steps(60));
    assert_eq!(place.run("whole", &[]).0, Some(0));
    let recipe = steps(60).replace("checkpoint_interval = 2", "checkpoint_interval = 1000");
    place.put("recipe.toml", &recipe.replace("log_interval = 10", "log_interval = 1"));
    let mut child = place.start("stopped", &[]);
    let log = place.path("stopped/log.jsonl");
    // The log begins with a line for the start; those of updates have a loss.
    await_condition(&mut child, "an update", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("\"loss\""))
    });
    signals::send(child.id(), "INT");
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    let step = Checkpoint::read(&place.path("stopped/checkpoint.bin")).expect("a checkpoint").header.step;
    assert!(step < 60, "it was not stopped");
    assert!(errors.contains("--out stopped --resume"), "{errors}");
    assert_eq!(place.run("stopped", &["--resume"]).0, Some(0));
    let weights = |run: &str| onnx::load::read_file(&place.path(run)).expect("a model").0;
    assert!(weights("whole/last.onnx") == weights("stopped/last.onnx"), "stopped after {step} updates");
}

#[test]
fn a_stop_while_recordings_are_read_leaves_nothing() {
    let place = Place::new();
    let stop = AtomicBool::new(true);
    let recipe = Recipe::parse(RECIPE).expect("a recipe");
    let ended = train(&recipe, &place.options("run"), &stop, &mut |_| {}).expect("stopped");
    assert!(ended.stopped && ended.step == 0);
    assert!(!place.path("run").exists());
}

/// A recipe that diverges: a ReLU network with a very high learning rate.
fn diverging_recipe() -> String {
    RECIPE
        .replace("cells = [\"gru\"]", "cells = [\"rnn-relu\"]\nlayer_norm = false")
        .replace("learning_rate = 1e-2", "learning_rate = 1.0\nbeta2 = 0.0\nclip_norm = 1e6")
        .replace("checkpoint_interval = 2", "checkpoint_interval = 1")
        .replace("warmup_steps = 10", "warmup_steps = 100")
}

#[test]
fn a_diverged_run_keeps_a_valid_checkpoint() {
    let place = Place::new();
    // Backing off does not help: the rate remains too high.
    let diverging_recipe = || diverging_recipe().replace("[decoder]", "back_off_factor = 0.99\n[decoder]");
    let error =
        place.train(&diverging_recipe(), &place.options("run")).expect_err("an explosion").to_string();
    assert!(error.contains("not finite; ") && error.contains(" finite "), "{error}");
    let checkpoint = Checkpoint::read(&place.path("run/checkpoint.bin")).expect("a checkpoint");
    assert!(checkpoint.is_finite());
    let good = format!("the checkpoint of update {} is good", checkpoint.header.step);
    assert!(error.contains(&good), "{error}");
    // With a lower learning rate, the run can be resumed.
    let calm = diverging_recipe().replace("learning_rate = 1.0", "learning_rate = 1e-9");
    let step = checkpoint.header.step + 1;
    let options = Options {
        existing_run: ExistingRun::Resume,
        accept_changes: true,
        stop_after: Some(step),
        ..place.options("run")
    };
    place.train(&calm, &options).expect("it goes on");
    assert_eq!(Checkpoint::read(&place.path("run/checkpoint.bin")).expect("a checkpoint").header.step, step);
}

#[test]
fn capitals_punctuation_and_composition_are_read_alike() {
    let place = Place::new();
    // "Höhe" composed in the recipe, decomposed in the transcripts.
    let text = fs::read_to_string(place.path("train.jsonl")).expect("there");
    place.put("train.jsonl", &text.replace("high", "Ho\u{308}he!").replace("low", "LOW"));
    let recipe = RECIPE.replace("\"low\", \"high\"", "\"Low\", \"H\u{f6}he\"");
    let progress = place.train(&recipe, &place.options("run")).expect("trained");
    let Some(Progress::Scores(scores)) = progress.iter().rev().find(|p| matches!(p, Progress::Scores(_)))
    else {
        panic!("it was scored");
    };
    assert!(scores.sets[0].score.wer().is_some_and(|wer| wer < 0.1) && !scores.outputs_nothing);
    assert!(scores.sets[0].score.words.hypothesis() > 20, "words are written");
    let punctuation: Vec<_> =
        notes(&progress).into_iter().filter(|note| note.contains("punctuation")).collect();
    assert!(punctuation.len() == 1 && punctuation[0].starts_with("train.jsonl"), "{punctuation:?}");
    let tokens = Recognizer::open(place.path("run/best.onnx")).expect("a model");
    assert_eq!(tokens.metadata().tokens.tokens()[1..], ["▁low", "▁h\u{f6}he", "▁hiss"]);
}

#[test]
fn unused_words_and_recordings_are_reported_before_the_first_update() {
    let place = Place::new();
    for (line, text) in [("0.wav", "low hum"), ("1.wav", "click"), ("2.wav", "hum")] {
        place.add("train.jsonl", &entry(line, text));
    }
    let error = place.train(&steps(2), &place.options("run")).expect_err("unknown words").to_string();
    for part in
        ["train.jsonl: line 17", "`hum` is not among `words`, nor is `click`", "ignore_other_words = true"]
    {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    let recipe = steps(2)
        .replace("[\"low\"", "[\"low\", \"never\"")
        .replace("[[data.rec", "ignore_other_words = true\n[[data.rec");
    let progress = place.train(&recipe, &place.options("run")).expect("trained");
    assert!(
        notes(&progress).iter().any(|note| note.contains("no recording contains `never`")),
        "{:?}",
        notes(&progress)
    );

    let silent = recipe.replace("\"low\", \"never\", \"high\", \"hiss\"", "\"never\", \"nothing\"");
    let error = place.train(&silent, &place.options("silent")).expect_err("nothing to learn").to_string();
    assert!(error.contains("no recording contains anything that the model can output"), "{error}");
}

#[test]
fn without_words_there_is_no_score_and_a_model_without_output_is_reported() {
    let place = Place::new();
    place.put("quiet.jsonl", &entry("0.wav", ""));
    let recipe = steps(2)
        .replace("[[data.dev]]\nmanifest = \"train.jsonl\"", "[[data.dev]]\nmanifest = \"quiet.jsonl\"");
    place.put("recipe.toml", &recipe);
    let (code, errors) = place.run("run", &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("quiet.jsonl: it contains no words"), "{errors}");
    assert!(errors.contains("no score, the latest is kept as the best"), "{errors}");
    assert!(!errors.contains("0.00 %") && !errors.contains("best so far"), "{errors}");

    // A model that prefers the blank outputs no words.
    place.put("recipe.toml", &steps(2).replace("flush_ms = 200", "flush_ms = 200\nblank_bias = 900.0"));
    let (_, errors) = place.run("mute", &[]);
    assert!(errors.contains("the model writes nothing yet"), "{errors}");
    assert!(errors.contains("the best model writes nothing"), "{errors}");
}

#[test]
fn broken_recordings_are_left_out_and_named_all_at_once() {
    let place = Place::new();
    let wav = bytes(place.path("0.wav"));
    fs::write(place.path("empty.wav"), &wav[..44]).expect("written");
    fs::write(place.path("cut.wav"), &wav[..wav.len() / 2]).expect("written");
    fs::write(place.path("noise.wav"), b"no audio at all").expect("written");
    for name in ["empty.wav", "cut.wav", "noise.wav"] {
        place.add("train.jsonl", &entry(name, "low"));
    }
    let progress = place.train(&steps(2), &place.options("run")).expect("the others are trained on");
    let lines = left_out(&progress);
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, parts) in
        lines.iter().zip([["line 17", "empty"], ["line 18", "damaged"], ["line 19", "noise.wav"]])
    {
        assert!(line.starts_with("train.jsonl") && parts.iter().all(|part| line.contains(part)), "{line}");
    }
    assert_eq!(fs::read_to_string(place.path("run/left_out.txt")).expect("written").lines().count(), 3);
    let Some(Progress::Started(start)) = progress.iter().find(|p| matches!(p, Progress::Started(_))) else {
        panic!("it started");
    };
    assert_eq!(start.recordings, 16);

    // Three of 19 are more than a tenth.
    let strict = steps(2).replace("[[data.rec", "max_unreadable = 0.1\n[[data.rec");
    place.put("recipe.toml", &strict);
    let (code, errors) = place.run("strict", &[]);
    assert_eq!(code, Some(1), "{errors}");
    for part in ["recordings cannot be used", "line 17", "line 18", "line 19", "max_unreadable"] {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
    assert!(!place.path("strict").exists());
}

#[test]
fn manifests_mean_what_the_guide_says() {
    let place = Place::new();
    let mut rng = Pcg64Mcg::seed_from_u64(5);
    // Only the first two of 40 seconds are used; the whole recording would be too long.
    let mut samples = speak(&["low"], RATE, &mut rng);
    samples.resize(40 * RATE as usize, 0.0);
    hearken::audio::write_wav(&place.path("long.wav"), &samples, RATE, hearken::audio::WavEncoding::Pcm16)
        .expect("written");
    place.add("train.jsonl", r#"{"audio_filepath": "long.wav", "text": "low", "duration": 2.0}"#);
    place.add("train.jsonl", r#"{"audio_filepath": "0.wav", "text": "low", "offset": 99.0}"#);
    // Recordings without text are used too.
    place.add("train.jsonl", &entry("1.wav", ""));
    let progress = place.train(&steps(2), &place.options("run")).expect("trained");
    let lines = left_out(&progress);
    assert!(lines.len() == 1 && lines[0].contains("line 18") && lines[0].contains("99 s"), "{lines:?}");
    let Some(Progress::Started(start)) = progress.iter().find(|p| matches!(p, Progress::Started(_))) else {
        panic!("it started");
    };
    assert!(start.recordings == 17 && start.hours < 0.01, "{start:?}");

    place.put("dev.jsonl", r#"{"audio_filepath": "long.wav", "text": "low", "duration": 2.0}"#);
    let (code, out, errors) = place.hearken(&["evaluate", "--json", "--model", "run/last.onnx", "dev.jsonl"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("\"audio_seconds\":2.0"), "{out}");
    place.put("dev.jsonl", r#"{"audio_filepath": "0.wav", "text": "low", "offset": 99.0}"#);
    let (code, out, errors) = place.hearken(&["evaluate", "--json", "--model", "run/last.onnx", "dev.jsonl"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(errors.contains("expected audio at 99 s"), "{errors}");
    assert!(out.contains("\"failed\":1") && out.contains("\"type\":\"failed\""), "{out}");
    // A forgotten text is not silence.
    place.add("train.jsonl", r#"{"audio_filepath": "1.wav"}"#);
    let error = place.train(&steps(2), &place.options("other")).expect_err("no text").to_string();
    assert!(error.contains("train.jsonl: line 20: `text` is missing"), "{error}");
}

#[test]
fn damaged_recordings_are_not_scored_in_silence() {
    let place = Place::new();
    place.put("recipe.toml", &steps(2));
    assert_eq!(place.run("run", &[]).0, Some(0));
    let wav = bytes(place.path("0.wav"));
    fs::write(place.path("cut.wav"), &wav[..wav.len() / 2]).expect("written");
    place.put("dev.jsonl", &[entry("cut.wav", "low"), entry("1.wav", "low")].join("\n"));
    let (code, out, errors) = place.hearken(&["evaluate", "--model", "run/last.onnx", "dev.jsonl"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(errors.contains("cut.wav: damaged"), "{errors}");
    assert!(out.contains("1 of 2 recordings could not be scored"), "{out}");
    // Faults of the dev set of a training are reported in the same way.
    let recipe = steps(2)
        .replace("[[data.dev]]\nmanifest = \"train.jsonl\"", "[[data.dev]]\nmanifest = \"dev.jsonl\"");
    let progress = place.train(&recipe, &place.options("other")).expect("trained");
    assert!(
        left_out(&progress).iter().any(|line| line.starts_with("dev.jsonl: line 1")),
        "{:?}",
        left_out(&progress)
    );
}

#[test]
fn evaluation_has_rates_only_with_spoken_words() {
    let place = Place::new();
    place.put("recipe.toml", RECIPE);
    assert_eq!(place.run("run", &[]).0, Some(0));
    let texts = fs::read_to_string(place.path("train.jsonl")).expect("there");
    let first: Value = serde_json::from_str(texts.lines().next().expect("a line")).expect("JSON");
    let spoken = first["text"].as_str().expect("text");
    let evaluate = |manifest: &str, more: &[&str]| {
        let (code, out, errors) =
            place.hearken(&[&["evaluate", "--model", "run/best.onnx", manifest], more].concat());
        assert_eq!(code, Some(0), "{errors}");
        (out, errors)
    };
    // Punctuation and case are ignored.
    place.put("marks.jsonl", &entry("0.wav", &format!("{}!", spoken.to_uppercase().replace(' ', ", "))));
    let (out, _) = evaluate("marks.jsonl", &["--json"]);
    assert!(out.lines().last().expect("a total").contains("\"wer\":0.0"), "{out}");
    // Without spoken words there are false words per hour, and no percentage.
    place.put("quiet.jsonl", &entry("0.wav", ""));
    let (out, _) = evaluate("quiet.jsonl", &[]);
    let row = out.lines().nth(1).expect("a row");
    let columns: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((columns[6], columns[7]), ("-", "-"), "{out}");
    assert!(columns[8].parse::<f64>().is_ok_and(|rate| rate > 100.0), "{out}");
    assert!(out.contains("false words") && !out.contains("00.0 %"), "{out}");
    let (out, _) = evaluate("quiet.jsonl", &["--json"]);
    assert!(out.lines().all(|line| line.contains("\"wer\":null")), "{out}");
    // Other words dominate.
    place.put("other.jsonl", &entry("0.wav", &format!("{spoken} and many other words that it cannot write")));
    let (_, errors) = evaluate("other.jsonl", &[]);
    assert!(errors.contains("8 of ") && errors.contains("--known-words"), "{errors}");
    let (out, errors) = evaluate("other.jsonl", &["--known-words", "--json"]);
    assert!(
        out.lines().last().expect("a total").contains("\"wer\":0.0") && errors.is_empty(),
        "{out}{errors}"
    );
}

#[test]
fn evaluation_groups_utterances_by_a_field() {
    let place = Place::new();
    place.put("recipe.toml", &steps(2));
    assert_eq!(place.run("run", &[]).0, Some(0));
    let lines = [
        r#"{"audio_filepath": "0.wav", "text": "low", "speaker": "ann", "age": 9}"#,
        r#"{"audio_filepath": "1.wav", "text": "low high", "speaker": "ben", "age": 30}"#,
        r#"{"audio_filepath": "2.wav", "text": "low", "speaker": "ann", "age": 9}"#,
    ];
    place.put("dev.jsonl", &lines.join("\n"));
    let groups = |key: &str| {
        let arguments = ["evaluate", "--json", "--model", "run/last.onnx", "--group-by", key, "dev.jsonl"];
        let (code, out, errors) = place.hearken(&arguments);
        assert_eq!(code, Some(0), "{errors}");
        let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let groups = lines.filter(|line| line["type"] == "group");
        groups
            .map(|g| {
                (
                    g["value"].as_str().unwrap_or_default().to_string(),
                    g["utterances"].clone(),
                    g["words"].clone(),
                )
            })
            .collect::<Vec<_>>()
    };
    let row = |name: &str, utterances: u64, words: u64| (name.to_string(), utterances.into(), words.into());
    assert_eq!(groups("speaker"), [row("ann", 2, 2), row("ben", 1, 2)]);
    assert_eq!(groups("age:14"), [row("below 14", 2, 2), row("14 and above", 1, 2)]);
    let (_, table, _) =
        place.hearken(&["evaluate", "--model", "run/last.onnx", "--group-by", "age", "dev.jsonl"]);
    assert!(table.lines().any(|line| line.starts_with("age ")), "{table}");
    let (code, _, errors) =
        place.hearken(&["evaluate", "--model", "run/last.onnx", "--group-by", "agee", "dev.jsonl"]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("no line of the manifests has `agee`"), "{errors}");
}

#[test]
fn models_are_averaged() {
    let place = Place::new();
    place.put("recipe.toml", &steps(4).replace("eval_interval = 4", "eval_interval = 2"));
    assert_eq!(place.run("run", &[]).0, Some(0));
    let models = ["run/at-000002.onnx", "run/at-000004.onnx"];
    let (code, out, errors) = place.hearken(&["average", models[0], models[1], "-o", "mean.onnx"]);
    assert_eq!((code, out.as_str()), (Some(0), "mean.onnx\n"), "{errors}");
    let read = |name: &str| onnx::load::read_file(&place.path(name)).expect("a model");
    let ((a, metadata), (b, _), (mean, of_mean)) = (read(models[0]), read(models[1]), read("mean.onnx"));
    assert!(metadata == of_mean && a != b);
    for ((a, b), mean) in a.parameters.iter().zip(&b.parameters).zip(&mean.parameters) {
        for ((a, b), mean) in a.data.iter().zip(&b.data).zip(&mean.data) {
            assert!((mean - (a + b) / 2.0).abs() < 1e-6, "{mean} is not between {a} and {b}");
        }
    }
    place.put("recipe.toml", &steps(2).replace("hidden = [20, 20]", "hidden = [20, 24]"));
    assert_eq!(place.run("wider", &[]).0, Some(0));
    let (code, _, errors) = place.hearken(&["average", models[0], "wider/last.onnx", "-o", "none.onnx"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("wider/last.onnx: its layers are not those of"), "{errors}");
    assert!(!place.path("none.onnx").exists());
}

#[test]
fn recordings_are_counted_once_and_the_log_explains_its_terms() {
    let place = Place::new();
    // The same recordings, directly and as words to be joined.
    let single: Vec<String> = ["low", "high", "hiss"]
        .iter()
        .enumerate()
        .map(|(i, word)| {
            let name = format!("word-{i}.wav");
            place.record(&name, &[word], RATE, &mut Pcg64Mcg::seed_from_u64(i as u64));
            entry(&name, word)
        })
        .collect();
    place.put("train.jsonl", &single.join("\n"));
    let strings = "[data.strings]\nweight = 1.0\nwords = [1, 2]\npools = [{ manifest = \"train.jsonl\", weight = 1.0 }]\n";
    let recipe = steps(4)
        .replace("log_interval = 10", "log_interval = 2")
        .replace("[features]", &format!("{strings}[features]"));
    place.put("recipe.toml", &recipe);
    let (code, errors) = place.run("run", &[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("; 3 recordings, "), "{errors}");
    assert!(errors.contains("gradient: its norm before clipping"), "{errors}");
    assert!(
        errors.contains("learning rate") && !errors.contains("|g|") && !errors.contains("aux "),
        "{errors}"
    );
}

/// The names of TensorBoard's files in a folder.
fn event_files(folder: &std::path::Path) -> usize {
    let names = fs::read_dir(folder).expect("there").map(|entry| entry.expect("read").file_name());
    names.filter(|name| name.to_string_lossy().starts_with("events.out.tfevents.")).count()
}

#[test]
fn the_report_and_the_events_follow_the_log_of_a_resumed_run() {
    let place = Place::new();
    place.add("train.jsonl", &entry("0.wav", &"low ".repeat(99)));
    let mut options = Options { stop_after: Some(10), ..place.options("run") };
    place.train(&steps(20), &options).expect("trained");
    let page = |name: &str| fs::read_to_string(place.path(name)).expect("the report");
    let report = page("run/report.html");
    for part in ["<b>Stopped</b>", "update 10 of 20", "Not evaluated yet", "the transcript needs", "layer 2"]
    {
        assert!(report.contains(part), "{part}");
    }
    (options.stop_after, options.existing_run) = (None, ExistingRun::Resume);
    place.train(&steps(20), &options).expect("resumed");
    let report = page("run/report.html");
    // The recordings of the worst utterances are beside the run's folder.
    for part in ["<b>Done</b>", "update 20 of 20", "Word error rate", "update 10: ", "src=\"../", "image/bmp"]
    {
        assert!(report.contains(part), "{part}");
    }
    let lines = fs::read_to_string(place.path("run/log.jsonl")).expect("the log");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds =
        ["start", "loss", "dev"].map(|key| lines.iter().filter(|line| line[key] != Value::Null).count());
    assert_eq!(kinds, [2, 2, 1]);
    assert_eq!(lines[1]["layers"][1]["name"], "layer 1");
    assert!(lines[1]["layers"][1]["update"].as_f64().is_some_and(|norm| norm > 0.0));
    assert_eq!(event_files(&options.out), 2, "one for each start");
    options.existing_run = ExistingRun::Overwrite;
    options.tensorboard = false;
    place.train(&steps(2), &options).expect("trained");
    assert_eq!(event_files(&options.out), 0, "those of the run before are removed");
}

#[test]
fn a_report_that_cannot_be_written_is_reported_and_ends_no_training() {
    let place = Place::new();
    fs::create_dir_all(place.path("run/report.html")).expect("a folder in its place");
    let reported = place.train(&steps(20), &place.options("run")).expect("trained");
    let about = notes(&reported).into_iter().filter(|note| note.contains("the report could not be written"));
    assert_eq!(about.count(), 1);
}

/// Files of more than 8 KiB cannot be written, as on a full disk; the signal that the limit would send is ignored.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_with_an_error_and_the_run_can_be_resumed() {
    let place = Place::new();
    place.put("recipe.toml", &steps(40));
    assert_eq!(place.run("whole", &[]).0, Some(0));
    let (code, errors) = place.run("run", &["--stop-after", "4"]);
    assert_eq!(code, Some(0), "{errors}");
    let files = || {
        let names = fs::read_dir(place.path("run")).expect("there").map(|e| e.expect("read").file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let before = files();
    let output = Command::new("sh")
        .current_dir(place.path(""))
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""])
        .arg(assert_cmd::cargo::cargo_bin!("hearken"))
        .args(["train", "recipe.toml", "--threads", "2", "--out", "run", "--resume"])
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("too large") && errors.contains("run/") && !errors.contains("panicked"),
        "{errors}"
    );
    let left: Vec<_> = files().difference(&before).cloned().collect();
    assert!(left.iter().all(|name| name == "report.html"), "{left:?}");
    // With space again, nothing is lost.
    let (code, errors) = place.run("run", &["--resume"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(bytes(place.path("whole/last.onnx")) == bytes(place.path("run/last.onnx")), "the weights differ");
}

/// Also for root, who may write into any folder that takes files.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_no_files_is_an_error_before_the_first_update() {
    let place = Place::new();
    place.put("recipe.toml", &steps(2));
    for out in ["/proc/run", "train.jsonl/run"] {
        let (code, errors) = place.run(out, &[]);
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains(out) && !errors.contains("updates 0 to"), "{errors}");
    }
}
