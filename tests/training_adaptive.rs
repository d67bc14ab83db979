//! What a training changes by itself: it ends early, lowers the learning rate on a plateau, backs off when it diverges;
//! and layers that are not trained.

use std::fs;

use hearken::model::Network;
use hearken::onnx;
use hearken::train::checkpoint::Checkpoint;
use hearken::train::{Ended, ExistingRun, Options, Progress};
use serde_json::Value;

use super::training::{Place, RECIPE, bytes};

fn ended(progress: &[Progress]) -> &Ended {
    let last =
        progress.iter().rev().find_map(|p| if let Progress::Done(ended) = p { Some(ended) } else { None });
    last.expect("it ended")
}

fn notes(progress: &[Progress]) -> Vec<&str> {
    progress
        .iter()
        .filter_map(|p| if let Progress::Note(note) = p { Some(note.as_str()) } else { None })
        .collect()
}

fn rates(progress: &[Progress]) -> Vec<(u64, f64)> {
    let steps = progress.iter().filter_map(|p| if let Progress::Step(step) = p { Some(step) } else { None });
    steps.map(|step| (step.step, step.learning_rate)).collect()
}

fn network(place: &Place, name: &str) -> Network<f32> {
    onnx::load::read_file(&place.path(name)).expect("a model").0
}

/// A recipe whose score is never better by the thresholds: evaluated at 2, 4, 6 … updates.
fn stuck(patience: u64) -> String {
    let tables = format!(
        "[schedule.early_stopping]\npatience = {patience}\nmin_delta = 100.0\n\
         [schedule.plateau]\npatience = 2\nthreshold = 0.999\nmin_share = 0.3\n[run]"
    );
    RECIPE
        .replace("steps = 160\nwarmup_steps = 10\nfinal_share = 0.1", "steps = 160\nfinal_share = 1.0")
        .replace("[run]", &tables)
        .replace("eval_interval = 80", "eval_interval = 2")
        .replace("checkpoint_interval = 2", "checkpoint_interval = 4")
        .replace("log_interval = 10", "log_interval = 1")
}

#[test]
fn a_run_without_better_scores_slows_down_and_ends_early() {
    let place = Place::new();
    let progress = place.train(&stuck(7), &place.options("whole")).expect("trained");
    // The first evaluation is the best, after 2 updates; the seventh after it is after 16.
    let end = ended(&progress);
    assert!(end.ended_early && !end.stopped && end.step == 16, "{end:?}");
    let rates: Vec<f64> = rates(&progress).into_iter().map(|(_, rate)| rate).collect();
    let expected: Vec<f64> =
        [(6, 1e-2), (4, 5e-3), (6, 3e-3)].into_iter().flat_map(|(n, rate)| vec![rate; n]).collect();
    assert!(rates.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9) && rates.len() == 16, "{rates:?}");
    let notes = notes(&progress);
    let about: Vec<&&str> = notes.iter().filter(|note| note.contains("no better score")).collect();
    assert!(about.len() == 3 && about[2].starts_with("early stopping"), "{notes:?}");
    let report = fs::read_to_string(place.path("whole/report.html")).expect("the report");
    let log = fs::read_to_string(place.path("whole/log.jsonl")).expect("the log");
    for note in about {
        assert!(report.contains(note) && log.contains(note), "{note}");
    }
    assert!(report.contains("<b>Done</b>"));

    // The counts are in the checkpoint.
    let mut options = Options { stop_after: Some(5), ..place.options("parts") };
    for stop_after in [Some(5), Some(10), None] {
        options.stop_after = stop_after;
        place.train(&stuck(7), &options).expect("trained");
        options.existing_run = ExistingRun::Resume;
    }
    for name in ["last.onnx", "best.onnx", "checkpoint.bin"] {
        assert!(bytes(place.path("whole").join(name)) == bytes(options.out.join(name)), "{name} differs");
    }
    // It has ended, and goes on only with other settings.
    let progress = place.train(&stuck(7), &options).expect("nothing to do");
    assert_eq!((ended(&progress).step, ended(&progress).ended_early), (16, true));
    let error = place.train(&stuck(8), &options).expect_err("another recipe").to_string();
    assert!(error.contains("`schedule.early_stopping.patience` was 7 and is 8"), "{error}");
    options.accept_changes = true;
    assert_eq!(ended(&place.train(&stuck(8), &options).expect("resumed")).step, 18);
}

#[test]
fn the_best_models_are_averaged_at_the_end() {
    let place = Place::new();
    let recipe = RECIPE
        .replace("steps = 160", "steps = 8")
        .replace("eval_interval = 80", "eval_interval = 2")
        .replace("keep_models = true", "average_best = 3");
    // A second dev set, of half the weight.
    let recipe = recipe.replace(
        "[features]",
        "[[data.dev]]\nmanifest = \"train.jsonl\"\nweight = 0.5\nmost = 4\n[features]",
    );
    let progress = place.train(&recipe, &place.options("run")).expect("trained");
    let scores: Vec<f64> = progress
        .iter()
        .filter_map(|p| if let Progress::Scores(scores) = p { scores.total } else { None })
        .collect();
    assert_eq!(scores.len(), 4);
    let mut order: Vec<usize> = (0..4).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a)));
    let dropped = format!("run/at-{:06}.onnx", 2 * (order[3] + 1));
    assert!(!place.path(&dropped).exists(), "only the models that are averaged are kept");
    let best: Vec<Network<f32>> =
        order[..3].iter().map(|i| network(&place, &format!("run/at-{:06}.onnx", 2 * (i + 1)))).collect();
    assert!(Network::mean_of(&best).expect("of one shape") == network(&place, "run/average.onnx"));
    let notes = notes(&progress);
    assert!(notes.iter().any(|note| note.contains("average.onnx is the mean")), "{notes:?}");
    // The second set counts half.
    for scores in progress.iter().filter_map(|p| if let Progress::Scores(s) = p { Some(s) } else { None }) {
        let rates: Vec<f64> = scores.sets.iter().map(|set| set.score.wer().expect("words")).collect();
        assert!((scores.total.expect("a score") - rates[0] - 0.5 * rates[1]).abs() < 1e-12);
    }
    // A resumed run ranks all evaluations.
    let mut options = Options { stop_after: Some(5), ..place.options("parts") };
    place.train(&recipe, &options).expect("trained");
    assert!(!place.path("parts/average.onnx").exists());
    (options.stop_after, options.existing_run) = (None, ExistingRun::Resume);
    place.train(&recipe, &options).expect("resumed");
    assert!(bytes(place.path("run/average.onnx")) == bytes(place.path("parts/average.onnx")));
}

#[test]
fn early_stopping_needs_a_score() {
    let place = Place::new();
    for (from, to, part) in [
        (
            "manifest = \"train.jsonl\"\nweight = 1.0\n[features]",
            "manifest = \"train.jsonl\"\nweight = 0.0\n[features]",
            "a score",
        ),
        ("patience = 7", "patience = 0", "patience"),
        ("min_share = 0.3", "factor = 1.0", "factor"),
        ("min_share = 0.3", "threshold_mode = 1", "threshold_mode"),
        ("[run]", "[run]\nback_off_factor = 0.0", "back_off_factor"),
    ] {
        let error =
            place.train(&stuck(7).replace(from, to), &place.options("run")).expect_err(to).to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// A recipe that diverges at its learning rate, and not at a thousandth of it.
fn diverging(more: &str) -> String {
    RECIPE
        .replace("cells = [\"gru\"]", "cells = [\"rnn-relu\"]\nlayer_norm = false")
        .replace("learning_rate = 1e-2", "learning_rate = 1.0\nbeta2 = 0.0\nclip_norm = 1e6")
        .replace("steps = 160\nwarmup_steps = 10", "steps = 40\nwarmup_steps = 100")
        .replace("checkpoint_interval = 2", &format!("checkpoint_interval = 40\n{more}"))
}

#[test]
fn a_run_that_diverges_backs_off_and_goes_on() {
    let place = Place::new();
    let recipe = diverging("back_off_factor = 0.001");
    let progress = place.train(&recipe, &place.options("whole")).expect("it goes on");
    let notes = notes(&progress);
    let about: Vec<&&str> = notes.iter().filter(|note| note.contains("Going on from update")).collect();
    assert!(!about.is_empty(), "it did not diverge");
    for part in
        ["is not finite; ", " finite gradients", "train.jsonl: line ", ".wav)", "1.0e-3 times", "(1 of 3)"]
    {
        assert!(about[0].contains(part), "{part} is not in {}", about[0]);
    }
    let at = |text: &str| -> u64 {
        let digits = about[0].split(text).nth(1).expect(text).chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse().expect("a number")
    };
    let (diverged, back) = (at("of update "), at("Going on from update "));
    assert!(back < diverged && back.is_multiple_of(40), "{}", about[0]);
    assert_eq!(ended(&progress).step, 40);
    let log = fs::read_to_string(place.path("whole/log.jsonl")).expect("the log");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().any(|line| line["start"] != Value::Null && line["step"] == back));
    assert!(fs::read_to_string(place.path("whole/report.html")).expect("the report").contains(*about[0]));

    // A stop between the checkpoint and the divergence changes nothing.
    let mut options = Options { stop_after: Some(diverged), ..place.options("parts") };
    place.train(&recipe, &options).expect("stopped");
    (options.stop_after, options.existing_run) = (None, ExistingRun::Resume);
    place.train(&recipe, &options).expect("resumed");
    for name in ["last.onnx", "checkpoint.bin"] {
        assert!(bytes(place.path("whole").join(name)) == bytes(options.out.join(name)), "{name} differs");
    }

    // It does so a limited number of times, and ends with a good checkpoint.
    let error =
        place.train(&diverging("max_back_offs = 0"), &place.options("none")).expect_err("an explosion");
    assert!(error.to_string().contains(&format!("of update {diverged} is not finite")), "{error}");
    let checkpoint = Checkpoint::read(&place.path("none/checkpoint.bin")).expect("a checkpoint");
    assert!(checkpoint.is_finite() && checkpoint.header.step == back);
}

/// The parameters that differ between two networks, by layer as messages name them.
fn changed(before: &Network<f32>, after: &Network<f32>) -> Vec<String> {
    let pairs = before.parameters.iter().zip(&after.parameters);
    let mut names: Vec<String> = pairs
        .filter(|(a, b)| a.data.iter().map(|x| x.to_bits()).ne(b.data.iter().map(|x| x.to_bits())))
        .map(|(a, _)| a.name.split('.').take(2).collect::<Vec<_>>().join("."))
        .collect();
    names.dedup();
    names
}

#[test]
fn frozen_layers_keep_their_bits() {
    let place = Place::new();
    let short = RECIPE
        .replace("steps = 160", "steps = 6")
        .replace("eval_interval = 80", "eval_interval = 3")
        .replace("dropout", "residual = true\ndropout");
    place.put("recipe.toml", &short);
    assert_eq!(place.run("first", &[]).0, Some(0));
    let before = network(&place, "first/last.onnx");
    let (first, mut all) = (place.path("first/last.onnx"), Vec::new());
    let from = ["--from", first.to_str().expect("UTF-8")];
    for (freeze, expected) in [
        ("1", &["layers.1", "output.weight", "output.bias"][..]),
        (
            "layer 2,output",
            &["input.weight", "input.bias", "input_norm.gain", "input_norm.bias", "layers.0"][..],
        ),
        ("2", &["output.weight", "output.bias"][..]),
    ] {
        let out = format!("frozen {freeze}");
        let (code, errors) = place.run(&out, &[&from[..], &["--freeze", freeze]].concat());
        assert_eq!(code, Some(0), "{errors}");
        assert_eq!(changed(&before, &network(&place, &format!("{out}/last.onnx"))), expected, "{freeze}");
        all.push(bytes(place.path(&out).join("checkpoint.bin")).len());
    }
    assert!(all[2] < all[0], "the optimizer has state for frozen layers: {all:?}");

    // A resumed run freezes the same layers.
    let (code, errors) = place.run("parts", &[&from[..], &["--freeze", "1", "--stop-after", "3"]].concat());
    assert_eq!(code, Some(0), "{errors}");
    let (code, errors) = place.run("parts", &["--resume"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("`network.freeze` was [\"input\", \"layer 1\"] and is nothing"), "{errors}");
    let (code, errors) = place.run("parts", &["--resume", "--freeze", "1"]);
    assert_eq!(code, Some(0), "{errors}");
    for name in ["last.onnx", "checkpoint.bin"] {
        assert!(bytes(place.path("parts").join(name)) == bytes(place.path("frozen 1").join(name)), "{name}");
    }
    // Trained again.
    place.put("recipe.toml", &short.replace("steps = 6", "steps = 8"));
    let (code, errors) = place.run("parts", &["--resume", "--accept-changes"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(changed(&before, &network(&place, "parts/last.onnx")).contains(&"layers.0".to_string()));

    for (freeze, part) in [("layer 3", "`layer 3`"), ("input,layer 1,layer 2,output", "at least one layer")] {
        let (code, errors) = place.run("none", &["--freeze", freeze]);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(part), "{errors}");
    }
}
