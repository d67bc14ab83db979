//! Training on "words" that are tones and noise: it converges, is repeatable, resumes exactly after a stop or a
//! kill, and reports errors of its input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hearken::audio::{WavEncoding, write_wav};
use hearken::recognizer::Recognizer;
use hearken::train::{ExistingRun, Options, Progress, Recipe, train};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

pub const RATE: u32 = 16_000;
const WORDS: [&str; 3] = ["low", "high", "hiss"];

pub const RECIPE: &str = r#"
[data]
words = ["low", "high", "hiss"]
[[data.recordings]]
manifest = "train.jsonl"
weight = 1.0
[[data.dev]]
manifest = "train.jsonl"
weight = 1.0
[features]
num_mel_bins = 20
[network]
cells = ["gru"]
hidden = [20, 20]
input_size = 20
dropout = 0.05
[augment]
gain = { probability = 0.5, gain_db = [-12.0, 6.0] }
[specaugment]
time_masks = 1
time_mask_frames = 3
[optimizer]
learning_rate = 1e-2
ema_decay = 0.95
[schedule]
steps = 160
warmup_steps = 10
final_share = 0.1
[run]
seed = 5
batch_size = 8
eval_interval = 80
checkpoint_interval = 2
log_interval = 10
keep_models = true
[decoder]
flush_ms = 200
"#;

/// A folder of recordings, `train.jsonl` and `recipe.toml`.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        let mut rng = Pcg64Mcg::seed_from_u64(11);
        let mut lines = String::new();
        for i in 0..16 {
            let words: Vec<&str> = (0..1 + i % 3).map(|_| WORDS[rng.random_range(0..WORDS.len())]).collect();
            let name = format!("{i}.wav");
            place.record(&name, &words, RATE, &mut rng);
            lines += &format!("{{\"audio_filepath\": \"{name}\", \"text\": \"{}\"}}\n", words.join(" "));
        }
        place.put("train.jsonl", &lines);
        place.put("recipe.toml", RECIPE);
        place
    }

    /// Writes a recording of words at this rate.
    pub fn record(&self, name: &str, words: &[&str], rate: u32, rng: &mut Pcg64Mcg) {
        write_wav(&self.path(name), &speak(words, rate, rng), rate, WavEncoding::Pcm16).expect("written");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Appends a line to a manifest.
    pub fn add(&self, manifest: &str, line: &str) {
        let text = fs::read_to_string(self.path(manifest)).unwrap_or_default();
        self.put(manifest, &format!("{text}{line}\n"));
    }

    pub fn options(&self, out: &str) -> Options {
        Options {
            data: self.0.path().into(),
            out: self.path(out),
            threads: Some(2),
            existing_run: ExistingRun::Keep,
            accept_changes: false,
            from: None,
            stop_after: None,
            tensorboard: true,
        }
    }

    pub fn train(&self, text: &str, options: &Options) -> hearken::Result<Vec<Progress>> {
        let mut reported = Vec::new();
        train(&Recipe::parse(text)?, options, &AtomicBool::new(false), &mut |progress| {
            reported.push(progress)
        })?;
        Ok(reported)
    }

    pub fn start(&self, out: &str, more: &[&str]) -> Child {
        Command::new(assert_cmd::cargo::cargo_bin!("hearken"))
            .current_dir(self.0.path())
            .args(["train", "recipe.toml", "--threads", "2", "--out", out])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs")
    }

    /// Runs `hearken` to its end: exit code, standard output and standard error.
    pub fn hearken(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(assert_cmd::cargo::cargo_bin!("hearken"))
            .current_dir(self.0.path())
            .args(arguments)
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let errors = text(&output.stderr);
        assert!(!errors.contains("panicked"), "{errors}");
        (output.status.code(), text(&output.stdout), errors)
    }

    /// Runs `hearken train` to its end: exit code and standard error.
    pub fn run(&self, out: &str, more: &[&str]) -> (Option<i32>, String) {
        let output = self.start(out, more).wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!errors.contains("panicked"), "{errors}");
        (output.status.code(), errors)
    }
}

/// Words of 200 to 300 ms with pauses around them, over faint hiss.
pub fn speak(words: &[&str], rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mut samples = Vec::new();
    let second = rate as usize;
    let pause = |samples: &mut Vec<f32>, rng: &mut Pcg64Mcg| {
        let length = rng.random_range(second / 10..second / 5);
        samples.extend((0..length).map(|_| rng.random_range(-0.001..0.001)));
    };
    pause(&mut samples, rng);
    for word in words {
        let hz =
            if *word == "low" { rng.random_range(250.0..400.0) } else { rng.random_range(2500.0..3500.0) };
        let level = rng.random_range(0.1..0.4f32);
        for i in 0..rng.random_range(second / 5..second * 3 / 10) {
            let tone = (std::f32::consts::TAU * hz * i as f32 / rate as f32).sin();
            samples.push(level * if *word == "hiss" { rng.random_range(-1.0..1.0) } else { tone });
        }
        pause(&mut samples, rng);
    }
    samples
}

pub fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(path.as_ref()).expect("the run has written it")
}

/// Trains with the complete recipe; checks the reported losses and the last word error rate.
#[test]
fn training_converges_and_the_model_transcribes() {
    let place = Place::new();
    let reported = place.train(RECIPE, &place.options("run")).expect("trained");
    let losses: Vec<f64> = reported
        .iter()
        .filter_map(|p| if let Progress::Step(step) = p { Some(step.loss) } else { None })
        .collect();
    assert_eq!(losses.len(), 16);
    assert!(losses[15] < 0.2 * losses[0], "the loss falls: {losses:?}");
    let scores = reported.iter().rev().find_map(|p| match p {
        Progress::Scores(scores) => scores.sets[0].score.wer(),
        _ => None,
    });
    assert!(scores.expect("it was scored") < 0.1, "words are learnt: {scores:?} wrong");
    let recognizer = Recognizer::open(place.path("run/best.onnx")).expect("a good model");
    let mut rng = Pcg64Mcg::seed_from_u64(77);
    let mut right = 0;
    for words in [&["low", "hiss"][..], &["high"], &["hiss", "hiss", "low"], &["high", "low"]] {
        let text = recognizer.transcribe(&speak(words, RATE, &mut rng)).expect("recognized");
        right += usize::from(text == words.join(" "));
    }
    assert!(right >= 3, "{right} of 4 new recordings are correct");
    for kept in ["run/at-000080.onnx", "run/at-000160.onnx"] {
        Recognizer::open(place.path(kept)).expect("the model of that dev score");
    }
    assert!(bytes(place.path("run/log.jsonl")).iter().filter(|&&b| b == b'\n').count() >= 18);
}

/// The recipe with phones: "low" is L OW, "high" HH AY, "hiss" HH IH S.
fn phones() -> String {
    RECIPE
        .replace("[[data.recordings]]", "pronunciations = \"words.dict\"\n[[data.recordings]]")
        .replace("[features]", "[data.variants]\nhiss = [\"S\"]\n[features]")
}

#[test]
fn a_model_of_phones_recognizes_words_by_a_lexicon() {
    let place = Place::new();
    place.put("words.dict", "LOW  L OW1\nHIGH  HH AY1\nHISS(2)  HH IH1 S\n");
    // This word has no pronunciation.
    let more = "{\"audio_filepath\": \"0.wav\", \"text\": \"low hum\"}\n";
    place.put("train.jsonl", &(fs::read_to_string(place.path("train.jsonl")).expect("there") + more));
    let text = phones();
    let reported = place.train(&text, &place.options("out")).expect("it trains");
    let left_out = reported.iter().any(|t| matches!(t, Progress::LeftOut(line) if line.contains("`hum`")));
    assert!(left_out, "the transcript with an unknown word is named");

    let recognizer = Recognizer::open(place.path("out/best.onnx")).expect("a model");
    let lexicon = &recognizer.metadata().decoder.lexicon;
    let entries: Vec<&str> = lexicon.iter().map(|entry| entry.word.as_str()).collect();
    assert_eq!(entries, ["low", "high", "hiss", "hiss"]);
    assert!(recognizer.metadata().writes("hiss") && !recognizer.metadata().writes("hum"));
    let mut rng = Pcg64Mcg::seed_from_u64(77);
    let spoken = ["high", "low", "low", "hiss", "high"];
    let recognized = recognizer.transcribe(&speak(&spoken, RATE, &mut rng)).expect("recognized");
    assert_eq!(recognized, spoken.join(" "));

    place.put("words.dict", "LOW  L OW1\nHIGH  HH AY1\n");
    let without = text.replace("hiss = [\"S\"]", "low = [\"L AO\"]");
    let error = place.train(&without, &place.options("out2")).expect_err("a word without phones").to_string();
    assert!(error.contains("`hiss`"), "{error}");
    let wrong = text.replace("[\"S\"]", "[\"QQ\"]");
    let error = place.train(&wrong, &place.options("out3")).expect_err("no such phone").to_string();
    assert!(error.contains("`QQ`") && error.contains("hiss"), "{error}");
}

#[test]
fn lattice_free_mmi_continues_a_training_with_all_auxiliary_losses() {
    let place = Place::new();
    place.put("words.dict", "LOW  L OW1\nHIGH  HH AY1\nHISS  HH IH1 S\nHISS(2)  S\n");
    let helped = phones().replace("dropout = 0.05", "dropout = 0.05\nvariational_dropout = true")
        + "\n[auxiliary]\nlayer = 0\nweight = 0.3\n[loss]\nconsistency_weight = 0.2\n";
    let reported = place.train(&helped, &place.options("out")).expect("it trains");
    let last = reported.iter().rev().find_map(|reported| match reported {
        Progress::Step(step) => Some((
            step.loss,
            step.auxiliary_loss.expect("a second output"),
            step.consistency_loss.expect("two views"),
        )),
        _ => None,
    });
    let (loss, below, apart) = last.expect("steps");
    assert!(loss > 0.0 && below > 0.0 && loss != below && apart > 0.0, "{loss}, {below}, {apart}");

    let mmi = phones().replace("steps = 160", "steps = 60").replace("1e-2", "3e-3")
        + "\n[loss]\nctc_weight = 0.1\n[loss.mmi]\nweight = 1.0\n";
    let options = Options { from: Some(place.path("out/best.onnx")), ..place.options("on") };
    let reported = place.train(&mmi, &options).expect("it trains");
    let losses: Vec<f64> = reported
        .iter()
        .filter_map(|reported| match reported {
            Progress::Step(step) => step.mmi_loss,
            _ => None,
        })
        .collect();
    assert!(losses[losses.len() - 1] < losses[0] && losses.iter().all(|&loss| loss > 0.0), "{losses:?}");
    let recognizer = Recognizer::open(place.path("on/last.onnx")).expect("a model");
    let spoken = ["high", "low", "low", "hiss", "high"];
    let recognized =
        recognizer.transcribe(&speak(&spoken, RATE, &mut Pcg64Mcg::seed_from_u64(77))).expect("recognized");
    assert_eq!(recognized, spoken.join(" "));
}

#[test]
fn the_same_seed_and_threads_give_the_same_bytes() {
    let place = Place::new();
    let text = RECIPE.replace("steps = 160", "steps = 12");
    for out in ["a", "b"] {
        place.train(&text, &place.options(out)).expect("trained");
    }
    let one = bytes(place.path("a/last.onnx"));
    assert!(one == bytes(place.path("b/last.onnx")), "two runs differ");
    let other = text.replace("seed = 5", "seed = 6");
    place.train(&other, &place.options("c")).expect("trained");
    assert!(one != bytes(place.path("c/last.onnx")), "the seed does nothing");
}

#[test]
fn a_stopped_run_resumes_to_the_same_weights() {
    let place = Place::new();
    // Not a multiple of the buckets' batches, nor of the intervals.
    let text = RECIPE.replace("steps = 160", "steps = 24").replace("eval_interval = 80", "eval_interval = 7");
    place.train(&text, &place.options("whole")).expect("trained");
    for (stop, more) in [(13, Some(17)), (14, None)] {
        let out = format!("stopped-{stop}");
        let mut options = Options { stop_after: Some(stop), ..place.options(&out) };
        place.train(&text, &options).expect("trained");
        assert!(
            bytes(place.path("whole/last.onnx")) != bytes(options.out.join("last.onnx")),
            "it did not stop"
        );
        options.existing_run = ExistingRun::Resume;
        for stop_after in more.into_iter().map(Some).chain([None]) {
            options.stop_after = stop_after;
            place.train(&text, &options).expect("resumed");
        }
        for name in ["last.onnx", "best.onnx", "checkpoint.bin"] {
            let same = bytes(place.path("whole").join(name)) == bytes(options.out.join(name));
            assert!(same, "{name} differs after a stop at {stop}");
        }
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_weights() {
    let place = Place::new();
    place.put(
        "recipe.toml",
        &RECIPE.replace("checkpoint_interval = 2", "checkpoint_interval = 1").replace("= 160", "= 120"),
    );
    assert_eq!(place.run("whole", &[]).0, Some(0));
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let checkpoint = place.path("killed/checkpoint.bin");
    let mut killed = 0;
    for _ in 0..6 {
        let mut child = place.start("killed", if checkpoint.exists() { &["--resume"] } else { &[] });
        while !checkpoint.exists() && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(20..250)));
        // SIGKILL cannot be caught.
        child.kill().expect("killed, or already gone");
        killed += usize::from(!child.wait().expect("ended").success());
    }
    assert!(killed > 0, "every run ended before it could be killed");
    let (code, errors) = place.run("killed", &["--resume"]);
    assert_eq!(code, Some(0), "{errors}");
    for name in ["last.onnx", "checkpoint.bin"] {
        let same = bytes(place.path("whole").join(name)) == bytes(place.path("killed").join(name));
        assert!(same, "{name} differs after {killed} kills");
    }
}

#[test]
fn a_bad_checkpoint_is_refused() {
    let place = Place::new();
    let text = RECIPE.replace("steps = 160", "steps = 2");
    let mut options = place.options("run");
    options.existing_run = ExistingRun::Resume;
    let error = place.train(&text, &options).expect_err("nothing to go on from").to_string();
    assert!(error.contains("checkpoint.bin"), "{error}");
    options.existing_run = ExistingRun::Keep;
    place.train(&text, &options).expect("trained");
    options.existing_run = ExistingRun::Resume;
    options.accept_changes = true;
    let other = text.replace("hidden = [20, 20]", "hidden = [20, 24]");
    let error = place.train(&other, &options).expect_err("another network").to_string();
    assert!(error.contains("another network"), "{error}");
    let whole = bytes(place.path("run/checkpoint.bin"));
    fs::write(place.path("run/checkpoint.bin"), &whole[..whole.len() / 2]).expect("written");
    let error = place.train(&text, &options).expect_err("half a checkpoint").to_string();
    assert!(error.contains("checkpoint.bin") && error.contains("a complete checkpoint"), "{error}");
}

#[test]
fn a_transcript_that_does_not_fit_is_named_and_left_out() {
    let place = Place::new();
    let text = RECIPE.replace("steps = 160", "steps = 2");
    let mut manifest = fs::read_to_string(place.path("train.jsonl")).expect("written");
    // The manifest has the duration of only one of the two.
    let long = ["low"; 40].join(" ");
    manifest += &format!("{{\"audio_filepath\": \"0.wav\", \"text\": \"{long}\", \"duration\": 0.5}}\n");
    manifest += &format!("{{\"audio_filepath\": \"3.wav\", \"text\": \"{long}\"}}\n");
    place.put("train.jsonl", &manifest);
    let reported = place.train(&text, &place.options("run")).expect("the others are trained on");
    let left_out: Vec<&String> = reported
        .iter()
        .filter_map(|p| if let Progress::LeftOut(line) = p { Some(line) } else { None })
        .collect();
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    for (line, place) in left_out.iter().zip(["line 17", "line 18"]) {
        assert!(line.contains("train.jsonl") && line.contains(place), "{line}");
        assert!(line.contains("needs 79 steps"), "{line}");
    }
}

#[test]
fn bad_input_is_named() {
    let place = Place::new();
    let manifest = fs::read_to_string(place.path("train.jsonl")).expect("written");
    let error = |code: i32, errors: &str, parts: &[&str]| {
        assert_eq!(code, 1, "{errors}");
        assert!(parts.iter().all(|part| errors.contains(part)), "{parts:?} in {errors}");
    };
    let run = |out: &str| {
        let (code, errors) = place.run(out, &[]);
        (code.unwrap_or(-1), errors)
    };

    place
        .put("train.jsonl", &format!("{manifest}{{\"audio_filepath\": \"1.wav\", \"text\": \"low hum\"}}\n"));
    let (code, errors) = run("run");
    error(code, &errors, &["train.jsonl", "line 17", "hum"]);

    place.put("train.jsonl", &format!("{manifest}{{\"audio_filepath\": \"none.wav\", \"text\": \"low\"}}\n"));
    let (code, errors) = run("run");
    error(code, &errors, &["train.jsonl", "line 17", "none.wav"]);

    place.put("train.jsonl", &manifest);
    place.put("recipe.toml", &RECIPE.replace("warmup_steps", "warm_up_steps"));
    let (code, errors) = run("run");
    error(code, &errors, &["recipe.toml", "line 27", "warm_up_steps", "did you mean `warmup_steps`?"]);

    // A folder cannot be created in place of a file.
    place.put("recipe.toml", &RECIPE.replace("steps = 160", "steps = 2"));
    place.put("file", "");
    let (code, errors) = run("file/run");
    error(code, &errors, &["file/run"]);
    assert!(!place.path("run").join("last.onnx").exists());
}
