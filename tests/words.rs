//! `hearken lm`, `hearken pronounce` and `hearken phrases check`: their files and output, and errors of their
//! input.

use std::path::PathBuf;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

/// A folder to run commands in.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::cargo_bin("hearken").expect("built");
        command.current_dir(self.0.path()).args(arguments).write_stdin(input).output().expect("run")
    }

    /// Standard output of a command that succeeds.
    fn stdout_of(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
        text(&output)
    }

    /// Standard error of a command that fails.
    fn stderr_of(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {} {}", text(&output), errors(&output));
        errors(&output)
    }
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

const LETTER: &str =
    "Dear Anna, the light is on. Turn the light off!\nThe light in the kitchen is on, too.\n";

#[test]
fn a_text_becomes_a_model_that_predicts_it() {
    let place = Place::new();
    place.put("letter.txt", LETTER);
    place.put("other.txt", "the light is on\nthe garage is dark\n");
    let made = place.stdout_of(&["lm", "letter.txt", "-o", "words.lm"]);
    assert!(made.contains("words.lm: 14 1-grams"), "{made}");
    let tested = place.stdout_of(&["lm", "--model", "words.lm", "--test", "other.txt", "--json"]);
    let tested: Value = serde_json::from_str(&tested).expect("JSON");
    let test = &tested["tests"][0];
    assert_eq!((&test["words"], &test["sentences"], &test["unknown"]), (&8.into(), &2.into(), &2.into()));
    let (all, known) = (&test["perplexity"], &test["perplexity_of_known"]);
    assert!(known.as_f64() < all.as_f64() && known.as_f64() > Some(1.0), "{test}");
    // The same from standard input, and as ARPA, with or without the model in memory.
    let output = place.run_with_input(&["lm", "-", "-o", "input.lm"], LETTER);
    assert!(output.status.success(), "{}", errors(&output));
    let bytes = |name: &str| std::fs::read(place.path(name)).expect("written");
    assert_eq!(bytes("input.lm"), bytes("words.lm"));
    place.stdout_of(&["lm", "letter.txt", "-o", "words.arpa"]);
    place.stdout_of(&["lm", "letter.txt", "-o", "tested.arpa", "--test", "other.txt"]);
    assert_eq!(bytes("words.arpa"), bytes("tested.arpa"));
    let from_arpa = place.stdout_of(&["lm", "--model", "words.arpa", "--test", "letter.txt", "--json"]);
    let own = place.stdout_of(&["lm", "--model", "words.lm", "--test", "letter.txt", "--json"]);
    let perplexity = |json: &str| {
        let json: Value = serde_json::from_str(json).expect("JSON");
        json["tests"][0]["perplexity"].as_f64().expect("a number")
    };
    let ratio = perplexity(&from_arpa) / perplexity(&own);
    assert!((0.98..1.02).contains(&ratio), "the compact file is rounded: {ratio}");
}

#[test]
fn models_are_limited_pruned_and_mixed() {
    let place = Place::new();
    place.put("letter.txt", LETTER);
    place.put("words.txt", "light\nkitchen\nsofa\n");
    let made = place.stdout_of(&["lm", "letter.txt", "--vocabulary", "words.txt", "-o", "few.lm"]);
    assert!(made.contains("few.lm: 6 1-grams"), "{made}");
    let made = place.stdout_of(&["lm", "letter.txt", "--vocabulary", "2", "--order", "2", "-o", "two.lm"]);
    assert!(
        made.contains("two.lm: 5 1-grams") && made.contains("2-grams") && !made.contains("3-grams"),
        "{made}"
    );
    let counts = |made: &str| -> Vec<u64> {
        let made: Value = serde_json::from_str(made).expect("JSON");
        made["ngrams"].as_array().expect("a list").iter().map(|n| n.as_u64().expect("a number")).collect()
    };
    let all = counts(&place.stdout_of(&["lm", "letter.txt", "-o", "all.lm", "--json"]));
    for prune in ["0,0,1", "1", "0.1"] {
        let pruned =
            counts(&place.stdout_of(&["lm", "letter.txt", "--prune", prune, "-o", "less.lm", "--json"]));
        assert!(pruned[0] == all[0] && pruned[2] < all[2], "{prune}: {pruned:?} of {all:?}");
    }
    place.put("more.txt", "the garage door is open\n");
    let mixed = ["lm", "more.txt", "--interpolate", "all.lm", "--weight", "0.3", "-o", "both.lm", "--json"];
    assert_eq!(counts(&place.stdout_of(&mixed))[0], all[0] + 3);
}

#[test]
fn errors_in_texts_and_models_are_reported() {
    let place = Place::new();
    std::fs::write(place.path("bytes.txt"), b"one two\nthree \xff\n").expect("written");
    place.put("empty.txt", "\n  \n");
    place.put("marks.txt", "a b\nc </s> d\n");
    place.put("good.txt", "a b c\n");
    place.put("broken.arpa", "\\data\\\nngram 1=1\n\n\\1-grams:\nx\ta\n\n\\end\\\n");
    place.stdout_of(&["lm", "good.txt", "-o", "good.lm"]);
    let mut cut = std::fs::read(place.path("good.lm")).expect("written");
    cut.truncate(cut.len() - 3);
    std::fs::write(place.path("cut.lm"), cut).expect("written");
    for (arguments, expected) in [
        (&["bytes.txt", "-o", "x.lm"][..], "bytes.txt: line 2, column 7: expected text in UTF-8"),
        (&["--raw", "marks.txt", "-o", "x.lm"], "marks.txt: line 2, column 3: `</s>`"),
        (&["empty.txt", "-o", "x.lm"], "expected sentences, found none"),
        (&["nowhere.txt", "-o", "x.lm"], "nowhere.txt: "),
        (
            &["--model", "broken.arpa", "--test", "good.txt"],
            "broken.arpa: line 5, column 1: expected the logarithm",
        ),
        (&["--model", "cut.lm", "--test", "good.txt"], "cut.lm: "),
        (&["--model", "good.txt", "--test", "good.txt"], "`hearken lm` makes a language model of a text"),
        (&["good.txt", "--vocabulary", "nowhere.txt", "-o", "x.lm"], "nowhere.txt: "),
    ] {
        let error = place.stderr_of(1, &[&["lm"], arguments].concat());
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(!place.path("x.lm").exists(), "nothing is half-written");
    }
    for (arguments, expected) in [
        (&["good.txt"][..], "--out"),
        (&["good.txt", "-o", "x.lm", "--prune", "often"], "expected counts"),
        (&["good.txt", "-o", "x.lm", "--order", "11"], "--order"),
        (&["good.txt", "-o", "x.lm", "--interpolate", "good.lm", "--weight", "2"], "--weight"),
        (&["--model", "good.lm", "--prune", "0,0,1", "-o", "x.lm"], "an existing model has no counts"),
    ] {
        let error = place.stderr_of(2, &[&["lm"], arguments].concat());
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn a_file_that_a_command_reads_is_not_overwritten() {
    let place = Place::new();
    place.put("lamps.txt", "turn on the light\n");
    place.put("small.dict", DICTIONARY);
    for (arguments, file) in [
        (&["lm", "lamps.txt", "-o", "lamps.txt"][..], "lamps.txt"),
        (&["phrases", "check", "lamps.txt", "--svg", "./lamps.txt"], "lamps.txt"),
        (&["pronounce", "--train", "small.dict", "-o", "small.dict"], "small.dict"),
        (&["average", "lamps.txt", "-o", "lamps.txt"], "lamps.txt"),
        (&["import", "lamps.txt", "-o", "lamps.txt"], "lamps.txt"),
    ] {
        let before = std::fs::read(place.path(file)).expect("read");
        let error = place.stderr_of(2, arguments);
        assert!(error.contains("over a file that the command reads"), "{arguments:?}: {error}");
        assert_eq!(std::fs::read(place.path(file)).expect("read"), before);
    }
    let error = place.stderr_of(2, &["lm", "lamps.txt", "-o", "-"]);
    assert!(error.contains("standard output") && !place.path("-").exists(), "{error}");
}

const DICTIONARY: &str = "cat  K AE1 T\nbat  B AE1 T\nhat  HH AE1 T\nsat  S AE1 T\nsit  S IH1 T\nbit  B IH1 T\nhit  HH IH1 T\nkit  K IH1 T\n";

#[test]
fn pronunciations_are_learnt_from_a_dictionary() {
    let place = Place::new();
    place.put("small.dict", DICTIONARY);
    let made = place.stdout_of(&["pronounce", "--train", "small.dict", "-o", "small.pron", "--order", "4"]);
    assert!(made.contains("small.pron: 8 words"), "{made}");
    let printed = place.stdout_of(&["pronounce", "--pronunciations", "small.pron", "cat", "cit", "Hat"]);
    assert!(printed.contains("cat  K AE T  # dictionary\n"), "{printed}");
    assert!(printed.contains("cit  K IH T  # guessed "), "{printed}");
    assert!(printed.contains("Hat  HH AE T  # dictionary\n"), "{printed}");
    // The user's pronunciations have precedence over all others.
    place.put("mine.txt", "cat  M Y AW\n");
    let own = ["pronounce", "--pronunciations", "small.pron", "--lexicon", "mine.txt", "cat", "--json"];
    let own: Value = serde_json::from_str(&place.stdout_of(&own)).expect("JSON");
    assert_eq!((&own["phones"], &own["source"]), (&"M Y AW".into(), &"user".into()));
    // The output is a valid dictionary.
    place.put("again.txt", &printed);
    let again = ["pronounce", "--pronunciations", "small.pron", "--lexicon", "again.txt", "cit"];
    assert!(place.stdout_of(&again).starts_with("cit  K IH T  # user\n"));
}

#[test]
fn errors_in_dictionaries_and_words_are_reported() {
    let place = Place::new();
    place.put("small.dict", DICTIONARY);
    place.stdout_of(&["pronounce", "--train", "small.dict", "-o", "small.pron", "--order", "3"]);
    place.put("phone.txt", "cat  K AE T\ndog  D OO G\n");
    place.put("none.txt", "cat\n");
    place.put("empty.txt", "# nothing\n");
    let mut damaged = std::fs::read(place.path("small.pron")).expect("written");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(place.path("damaged.pron"), damaged).expect("written");
    for (arguments, expected) in [
        (&["--lexicon", "phone.txt", "cat"][..], "phone.txt: line 2, column 8: `OO` is not a phone"),
        (&["--lexicon", "none.txt", "cat"], "none.txt: line 1, column 4: expected the phones of `cat`"),
        (&["--train", "phone.txt", "-o", "x.pron"], "phone.txt: line 2, column 8"),
        (&["--train", "empty.txt", "-o", "x.pron"], "empty.txt: "),
        (&["--pronunciations", "damaged.pron", "cat"], "damaged.pron: the file is damaged"),
        (&["--pronunciations", "small.dict", "cat"], "small.dict: expected a pronunciation file of hearken"),
        (&["--pronunciations", "small.pron", "дом"], "`д` is not a letter of English"),
    ] {
        let all = if arguments.contains(&"--pronunciations") || arguments.contains(&"--train") {
            [&["pronounce"], arguments].concat()
        } else {
            [&["pronounce", "--pronunciations", "small.pron"], arguments].concat()
        };
        let error = place.stderr_of(1, &all);
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(!place.path("x.pron").exists(), "nothing is half-written");
    }
    // The other words are printed if one has no pronunciation.
    let output = place.run(&["pronounce", "--pronunciations", "small.pron", "cat", "!?", "hat"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output), "cat  K AE T  # dictionary\nhat  HH AE T  # dictionary\n");
    assert!(errors(&output).contains("`!?`"), "{}", errors(&output));
    place.stderr_of(2, &["pronounce"]);
    place.stderr_of(2, &["pronounce", "--train", "small.dict"]);
}

#[cfg(feature = "english")]
#[test]
fn embedded_english_pronounces_known_and_unknown_words() {
    let place = Place::new();
    let printed =
        place.stdout_of(&["pronounce", "light", "NASA", "covid19", "o'neill", "21st", "gruyere", "café"]);
    for line in [
        "light  L AY T  # dictionary\n",
        "NASA  N AE S AH  # dictionary\n",
        "covid19  K OW V IH D N AY N T IY N  # guessed",
        "o'neill  OW N IY L  # dictionary\n",
        "21st  T W EH N T IY F ER S T  # derived\n",
        "gruyere  ",
        "café  ",
    ] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
}

const LAMPS: &str = "turn (on|off) [the] {room} lamp[s] # a remark\n@intent set\nset it to {1..9} please\n{room} = attic | attics -> loft\n";
const LAMP_WORDS: &str = "turn  T ER N\non  AA N\noff  AO F\nthe  DH AH\nattic  AE T IH K\nattics  AE T IH K S\nlamp  L AE M P\nlamps  L AE M P S\nset  S EH T\nit  IH T\nto  T UW\nplease  P L IY Z\none  W AH N\ntwo  T UW\nthree  TH R IY\nfour  F AO R\nfive  F AY V\nsix  S IH K S\nseven  S EH V AH N\neight  EY T\nnine  N AY N\n";

#[test]
fn phrases_are_checked() {
    let place = Place::new();
    place.put("small.dict", DICTIONARY);
    place.stdout_of(&["pronounce", "--train", "small.dict", "-o", "small.pron", "--order", "3"]);
    place.put("lamps.txt", LAMPS);
    place.put("words.txt", LAMP_WORDS);
    let check = |more: &[&str]| {
        let arguments =
            ["phrases", "check", "lamps.txt", "--pronunciations", "small.pron", "--lexicon", "words.txt"];
        place.run(&[&arguments, more].concat())
    };
    let checked = check(&["--examples", "3", "--svg", "lamps.svg"]);
    assert!(checked.status.success(), "{}", errors(&checked));
    let printed = text(&checked);
    assert!(printed.starts_with("lamps.txt: 25 sentences of 2 phrases and 21 words; "), "{printed}");
    assert!(
        printed.contains("\"turn off attic lamp\" and \"turn off attics lamp\": they differ by one sound"),
        "{printed}"
    );
    assert_eq!(printed.lines().filter(|line| line.contains("# @set, number=")).count(), 1, "{printed}");
    assert!(!printed.contains("in no dictionary") && errors(&checked).is_empty(), "{printed}");
    assert!(std::fs::read_to_string(place.path("lamps.svg")).expect("written").contains("{room}"));
    let json: Value =
        serde_json::from_str(&text(&check(&["--json", "--examples", "2", "--seed", "5"]))).expect("JSON");
    assert_eq!((&json["sentences"], &json["phrases"], &json["words"]), (&25.0.into(), &2.into(), &21.into()));
    assert_eq!(json["examples"].as_array().expect("a list").len(), 2);
    assert_eq!(json["sound_alike"][0]["distance"], 1.0);
    // A word without a pronunciation is an error; guesses are printed.
    place.put("lamps.txt", "turn on\nдом hats bit\n");
    let checked = check(&[]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(errors(&checked).contains("lamps.txt: no pronunciation for `дом`"), "{}", errors(&checked));
    assert!(text(&checked).contains("\n  hats  HH AE T"), "{}", text(&checked));
}

#[test]
#[cfg(all(feature = "digits", feature = "english"))]
fn symbols_that_are_not_spoken_are_named_in_every_command() {
    let place = Place::new();
    let clip = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("audio/pi.wav");
    std::fs::copy(clip, place.path("pi.wav")).expect("copied");
    place.put("stars.txt", "three one* four\nfifty% * of it\n");
    place.put("names.txt", "AT&T\nC#\n");
    let expected =
        "stars.txt: line 1, column 10: `*`: symbols without a spoken name are left out (lines 1, 2)";
    for arguments in [
        &["phrases", "check", "stars.txt"][..],
        &["transcribe", "--model", "digits", "--phrases", "stars.txt", "pi.wav"],
        &["transcribe", "--model", "digits", "--phrases", "stars.txt", "--json", "pi.wav"],
    ] {
        let output = place.run(arguments);
        let warnings = errors(&output);
        assert!(
            output.status.success() && warnings.matches(expected).count() == 1,
            "{arguments:?}: {warnings}"
        );
    }
    let checked: Value =
        serde_json::from_str(&place.stdout_of(&["phrases", "check", "--json", "stars.txt"])).expect("JSON");
    assert!(checked["warnings"][0].as_str().expect("a warning").contains(expected), "{checked}");
    let notes = errors(&place.run(&["transcribe", "--hotwords", "names.txt", "pi.wav"]));
    assert!(notes.contains("hotwords whose symbols are not spoken: `C#` (line 2) as `C`"), "{notes}");
    let error = place.stderr_of(2, &["transcribe", "--wake-word", "hey * computer", "pi.wav"]);
    assert!(error.contains("found `*`"), "{error}");
}

#[test]
fn errors_in_phrases_are_reported() {
    let place = Place::new();
    place.put("bracket.txt", "good night\nturn (on|off\n");
    place.put("list.json", "[\"a\", 2]");
    place.put("rule.gram", "#JSGF V1.0;\ngrammar g;\npublic <a> = <b>;\n");
    place.put("ha.yaml", "sentences:\n  - turn {x}\n");
    for (file, expected) in [
        ("bracket.txt", "bracket.txt: line 2, column 6: `(` has no `)`"),
        ("list.json", "list.json: line 1, column 7: expected a JSON list of phrases"),
        ("rule.gram", "rule.gram: line 3, column 14: `<b>` is not defined"),
        ("ha.yaml", "ha.yaml: line 2, column 10: `{x}` is not defined"),
        ("nowhere.txt", "nowhere.txt: "),
    ] {
        let error = place.stderr_of(1, &["phrases", "check", file]);
        assert!(error.contains(expected), "{file}: {error}");
    }
    place.stderr_of(2, &["phrases", "check"]);
    place.stderr_of(2, &["phrases"]);
    place.stderr_of(2, &["phrases", "check", "bracket.txt", "--seed", "3"]);
}

#[test]
#[cfg(feature = "english")]
fn phrases_are_recognized_in_dictation() {
    let place = Place::new();
    place.put("fox.txt", "@intent jump\njumps over the {size} dog\n@intent look\nthe quick {seen}\n{size} = lazy | crazy -> mad\n{seen} = <dictation>\n");
    let clip = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("audio/no-digits.wav");
    let clip = clip.to_str().expect("a path");
    let finals = |arguments: &[&str]| -> Vec<Value> {
        let all = [&["transcribe", "--json", "--lm", "english", "--phrases", "fox.txt"], arguments, &[clip]]
            .concat();
        let events = place.stdout_of(&all);
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events.filter(|event| event["type"] == "final").collect()
    };
    // The first phrase contains dictation up to the second one.
    let found = finals(&[]);
    let phrases = found[0]["phrases"].as_array().expect("phrases").clone();
    assert_eq!(phrases.len(), 2, "{found:?}");
    assert_eq!((&phrases[0]["intent"], &phrases[1]["intent"]), (&Value::from("look"), &Value::from("jump")));
    // What is dictated are words of the language model.
    let seen = phrases[0]["slots"][0]["value"].as_str().expect("a value").to_string();
    assert!(seen.starts_with("brown "), "{found:?}");
    assert_eq!(phrases[1]["slots"][0]["value"], "lazy");
    assert_eq!(found[0]["text"], format!("the quick {seen} jumps over the lazy dog"));
    assert!(phrases[0]["end"].as_f64() <= phrases[1]["start"].as_f64());
    // Short phrases that cost much are not found, and the text is that of the language model; long ones cost nothing.
    let found = finals(&["--phrase-cost", "200"]);
    let phrases = found[0]["phrases"].as_array().expect("a phrase");
    assert!(phrases.len() == 1 && phrases[0]["intent"] == "jump", "{found:?}");
    assert!(found[0]["text"].as_str().expect("a text").contains("brown"));
    // Without the words outside phrases, in partials too.
    place.put("brown.txt", "quick (brown|red) fox\n");
    let arguments =
        ["transcribe", clip, "--phrases", "brown.txt", "--lm", "english", "--only-phrases", "--json"];
    let output = place.run(&arguments);
    assert!(output.status.success());
    let events = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(events.matches("\"final\"").count(), 1, "{events}");
    for event in events.lines() {
        let event: Value = serde_json::from_str(event).expect("JSON");
        let text = event["text"].as_str().expect("a text");
        let expected = match event["type"].as_str() {
            Some("final") => {
                text == "quick brown fox" && event["words"].as_array().is_some_and(|words| words.len() == 3)
            }
            _ => "quick brown fox".starts_with(text) || text.starts_with("quick"),
        };
        assert!(expected, "{event}");
    }
    place.put("stop.txt", "stop\n");
    for (arguments, problem) in [
        (&["--phrases", "fox.txt"][..], "`<dictation>` in a phrase needs a language model"),
        (&["--phrases", "fox.txt", "--phrase-cost", "2"], "--lm"),
        (&["--phrases", "fox.txt", "--lm", "english", "--other-speech-cost", "2"], "no effect with `--lm`"),
        (&["--phrases", "fox.txt", "--hotwords", "fox.txt"], "`--hotwords` has no effect"),
        (&["--phrases", "stop.txt", "--other-speech-cost", "nan"], "cost of other speech: expected a number"),
        (&["--phrases", "stop.txt", "--beam", "nan"], "beam: expected a number from 0 to 1000"),
    ] {
        let error = place.stderr_of(2, &[&["transcribe", clip], arguments].concat());
        assert!(error.contains(problem), "{arguments:?}: {error}");
    }
    for (text, problem) in [
        ("<dictation> please\n", "line 1, column 1: a phrase cannot begin with `<dictation>`"),
        ("<dictation> = a\nb\n", "line 1, column 1: `<dictation>` stands for"),
    ] {
        place.put("bad.txt", text);
        let error = place.stderr_of(1, &["phrases", "check", "bad.txt"]);
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
#[cfg(all(feature = "digits", feature = "english"))]
fn an_utterance_without_a_certain_word_gives_no_text() {
    let place = Place::new();
    let clip = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("audio/no-digits.wav");
    let clip = clip.to_str().expect("a path");
    let transcribe = |arguments: &[&str]| {
        let output = place.run(&[&["transcribe", "--model", "english"], arguments, &[clip]].concat());
        assert!(output.status.success());
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    assert!(transcribe(&[])[0].contains("brown"), "the most certain word is far above the limit");
    // No word of a network that can err is certain.
    let [none, _] = transcribe(&["--least-confidence", "1"]);
    assert_eq!(none.trim(), "");
    let [_, why] = transcribe(&["--least-confidence", "1", "--explain"]);
    assert!(why.contains("rejected; of `") && why.contains("brown"), "{why}");
    for (arguments, problem) in [
        (&["--model", "english", "--least-confidence", "2"][..], "expected a number from 0 to 1, found 2"),
        (&["--model", "digits", "--least-confidence", "0.5"], "`--least-confidence` has no effect"),
        (&["--model", "digits", "--explain"], "--explain has no effect"),
    ] {
        let error = place.stderr_of(2, &[&["transcribe", clip], arguments].concat());
        assert!(error.contains(problem), "{arguments:?}: {error}");
    }
}

#[test]
#[cfg(feature = "english")]
fn phrases_are_exported_for_sherpa_onnx() {
    let place = Place::new();
    place.put("lamps.txt", "turn (on|off) the light\nstop\n");
    place.stdout_of(&["export", "--for", "sherpa-onnx", "--phrases", "lamps.txt", "-o", "lamps"]);
    let words = std::fs::read_to_string(place.path("lamps/words.txt")).expect("the words");
    assert_eq!(words, "<eps> 0\nlight 1\noff 2\non 3\nstop 4\nthe 5\nturn 6\n");
    assert!(place.path("lamps/HL.fst").exists() && place.path("lamps/words-text.fst").exists());
    let error = place.stderr_of(2, &["export", "--for", "triton", "--phrases", "lamps.txt", "-o", "other"]);
    assert!(error.contains("`--phrases` has no effect"), "{error}");
}
