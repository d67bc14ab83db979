//! `hearken data import`: small corpora of every format, made of the recordings in `audio/`, and broken ones.

use std::fs;
use std::path::{Path, PathBuf};

use hearken::corpus::import::{ImportOptions, Imported, import};
use hearken::corpus::{Entry, manifest};

use crate::common::place::Place;

/// A folder of a corpus that is made file by file.
struct Corpus(tempfile::TempDir);

impl Corpus {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Adds a file of text.
    fn put(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, text).expect("written");
        self
    }

    /// Adds copies of recordings in `audio/`, under other names.
    fn audio(self, names: &[&str]) -> Self {
        let sources = ["e.wav", "pi.wav", "telephone-8k.wav", "countdown.wav", "noise.wav", "pi.mp3"];
        names.iter().zip(sources.iter().cycle()).fold(self, |corpus, (name, source)| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("audio").join(source);
            corpus.put(name, fs::read(path).expect("a recording"))
        })
    }

    fn import_with(&self, name: &str, options: &ImportOptions) -> hearken::Result<Imported> {
        import(&self.path(name), options)
    }

    /// Reads the folder, whose format must be `format`; returns its recordings and what was left out, as text.
    fn read(&self, format: &str) -> (Vec<Row>, Vec<String>) {
        let imported = self.import_with("", &ImportOptions::default()).expect("a corpus");
        assert_eq!(imported.format.name, format, "{:?}", imported.notes);
        let left_out = imported
            .left_out
            .iter()
            .map(|e| e.to_string().replace(self.0.path().to_str().unwrap(), ""))
            .collect();
        (imported.entries.iter().map(|entry| self.row(entry)).collect(), left_out)
    }

    fn row(&self, entry: &Entry) -> Row {
        let audio =
            entry.audio.strip_prefix(self.0.path()).expect("in the folder").to_string_lossy().into_owned();
        Row {
            audio,
            text: entry.text.clone(),
            speaker: entry.speaker.clone(),
            part: entry.offset.zip(entry.duration),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    audio: String,
    text: String,
    speaker: Option<String>,
    part: Option<(f64, f64)>,
}

fn row(audio: &str, text: &str) -> Row {
    Row { audio: audio.into(), text: text.into(), speaker: None, part: None }
}

fn by(speaker: &str, row: Row) -> Row {
    Row { speaker: Some(speaker.into()), ..row }
}

fn part(start: f64, length: f64, row: Row) -> Row {
    Row { part: Some((start, length)), ..row }
}

/// Whether each text of `expected` is in the message at its place.
fn assert_left_out(found: &[String], expected: &[(&str, &str)]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (message, (place, problem)) in found.iter().zip(expected) {
        assert!(
            message.contains(place) && message.contains(problem),
            "{message}: expected {place}: {problem}"
        );
    }
}

#[test]
fn tables_with_any_delimiter_and_with_or_without_a_header() {
    let expected = [by("ann", row("a.wav", "one two")), by("ben", row("b.wav", "three"))];
    let tables = [
        ("list.csv", "file,speaker,text\na.wav,ann,one two\nb.wav,ben,three\n"),
        ("list.csv", "\u{feff}Text;Speaker;Audio File\r\n\"one two\";ann;a.wav\r\nthree;ben;b.wav\r\n"),
        ("list.tsv", "client_id\tname\twhat\nann\ta\tone two\nben\tb\tthree\n"),
        ("list.csv", "text|spk|x\none two|ann|.\\a.wav\nthree|ben|b.wav\n"),
    ];
    for (name, table) in tables {
        let (rows, left_out) = Corpus::new().audio(&["a.wav", "b.wav"]).put(name, table).read("table");
        assert_eq!((rows.as_slice(), left_out.len()), (&expected[..], 0), "{table}");
    }
    let bare = Corpus::new().audio(&["x/a.wav", "x/b.wav"]).put("t.csv", "a.wav,\"one, two\"\nb.wav,three\n");
    assert_eq!(bare.read("table").0, [row("x/a.wav", "one, two"), row("x/b.wav", "three")]);
}

#[test]
fn columns_of_a_table_by_name_or_number() {
    let corpus = Corpus::new().audio(&["a.wav", "b.wav"]);
    let corpus = corpus.put("t.csv", "old,raw,new,start,end\na.wav,eins,one,0.5,1\nb.wav,zwei,two,0,0.75\n");
    let options = ImportOptions {
        audio_column: Some("1".into()),
        text_column: Some("new".into()),
        ..ImportOptions::default()
    };
    let imported = corpus.import_with("t.csv", &options).expect("a table");
    let rows: Vec<Row> = imported.entries.iter().map(|entry| corpus.row(entry)).collect();
    assert_eq!(rows, [part(0.5, 0.5, row("a.wav", "one")), part(0.0, 0.75, row("b.wav", "two"))]);
    let unknown = ImportOptions { text_column: Some("neu".into()), ..options };
    let error = corpus.import_with("t.csv", &unknown).expect_err("no such column").to_string();
    assert!(error.contains("`neu`") && error.contains("old, raw, new"), "{error}");
}

#[test]
fn bad_lines_of_a_table() {
    let table = "path,sentence,start,end\na.wav,one,0,1\ngone.wav,two,0,1\na.wav,,0,1\na.wav,three\n\na.wav,four,1,x\n\
                 a.wav,five,2,1\nsame.wav,six,0,1\n";
    let corpus = Corpus::new().audio(&["a.wav", "x/same.wav", "y/same.wav"]).put("t.csv", table);
    let (rows, left_out) = corpus.read("table");
    assert_eq!(rows, [part(0.0, 1.0, row("a.wav", "one"))]);
    assert_left_out(
        &left_out,
        &[
            ("/t.csv: line 3: ", "`gone.wav` is not there"),
            ("/t.csv: line 4: ", "the text is empty"),
            ("/t.csv: line 5: ", "expected 4 columns"),
            ("/t.csv: line 7: ", "expected a time in seconds, found `x`"),
            ("/t.csv: line 8: ", "expected an end after 2 s"),
            ("/t.csv: line 9: ", "2 recordings are named"),
        ],
    );
    let quote =
        Corpus::new().audio(&["a.wav"]).put("t.csv", "a.wav,zero\r\n\r\na.wav,\"one\r\na.wav,two\r\n");
    let (rows, left_out) = quote.read("table");
    assert_eq!(rows, [row("a.wav", "zero")]);
    assert_left_out(&left_out, &[("/t.csv: line 3: ", "2 lines")]);
    let latin = Corpus::new().audio(&["a.wav"]).put("t.csv", b"a.wav,one\na.wav,f\xfcnf\n");
    let error = latin.import_with("", &ImportOptions::default()).expect_err("not UTF-8").to_string();
    assert!(error.contains("t.csv: line 2: expected UTF-8"), "{error}");
}

#[test]
fn common_voice_and_lj_speech() {
    let header = "client_id\tpath\tsentence\tup_votes\tage\n";
    let rows = "s1\tcv_1\t\"Yes\" is it.\t2\ttwenties\ns2\tcv_2.mp3\tNo.\t2\t\ns2\tcv_3.mp3\tGone.\t2\t\n";
    let corpus = Corpus::new().audio(&["clips/cv_1.wav", "clips/cv_2.mp3"]);
    let corpus = corpus
        .put("validated.tsv", format!("{header}{rows}"))
        .put("other.tsv", format!("{header}s3\tcv_1\tx\t0\t\n"));
    let (found, left_out) = corpus.read("common-voice");
    assert_eq!(
        found,
        [by("s1", row("clips/cv_1.wav", "\"Yes\" is it.")), by("s2", row("clips/cv_2.mp3", "No."))]
    );
    assert_left_out(&left_out, &[("/validated.tsv: line 4: ", "`cv_3.mp3` is not there")]);

    let corpus = Corpus::new().audio(&["wavs/LJ001-0001.wav", "wavs/LJ001-0002.wav"]);
    let metadata = "LJ001-0001|In 2, \"so|In two, \"so\nLJ001-0002|x|y\nLJ001-0003|x|y\nLJ001-0002|x\n";
    let (found, left_out) = corpus.put("metadata.csv", metadata).read("ljspeech");
    assert_eq!(found, [row("wavs/LJ001-0001.wav", "In two, \"so"), row("wavs/LJ001-0002.wav", "y")]);
    assert_left_out(
        &left_out,
        &[
            ("/metadata.csv: line 3: ", "`LJ001-0003` is not there"),
            ("/metadata.csv: line 4: ", "expected 3 columns"),
        ],
    );
}

#[test]
fn texts_beside_recordings() {
    let corpus = Corpus::new().audio(&["ann/1.wav", "ann/2.WAV", "ben/1.mp3", "ben/2.wav"]);
    let corpus = corpus.put("ann/1.txt", "one\ntwo\n").put("ann/2.lab", "three").put("ben/1.txt", " \n");
    let corpus = corpus.put("ben/2.txt", "four").put("README.txt", "About.").put("x.txt", "");
    let options = ImportOptions { speaker_folders: true, ..ImportOptions::default() };
    let imported = corpus.import_with("", &options).expect("a corpus");
    let rows: Vec<Row> = imported.entries.iter().map(|entry| corpus.row(entry)).collect();
    let expected =
        [("ann", "ann/1.wav", "one two"), ("ann", "ann/2.WAV", "three"), ("ben", "ben/2.wav", "four")];
    assert_eq!(rows, expected.map(|(speaker, audio, text)| by(speaker, row(audio, text))));
    assert!(imported.notes.iter().any(|note| note.starts_with("2 files of text")), "{:?}", imported.notes);
    assert_left_out(&corpus.read("text-files").1, &[("/ben/1.txt: ", "the text is empty")]);
}

#[test]
fn a_folder_for_each_word() {
    let names = [
        "yes/0a_nohash_0.wav",
        "yes/0b_nohash_0.wav",
        "turn_off/0a_nohash_1.wav",
        "_background_noise_/rain.wav",
    ];
    let corpus =
        Corpus::new().audio(&names).put("README.md", "x").put("testing_list.txt", "yes/0b_nohash_0.wav\n");
    let (rows, left_out) = corpus.read("word-folders");
    let expected = [(names[2], "turn off", "0a"), (names[0], "yes", "0a"), (names[1], "yes", "0b")];
    assert_eq!(rows, expected.map(|(audio, text, speaker)| by(speaker, row(audio, text))));
    assert!(left_out.is_empty());
}

#[test]
fn labels_of_audacity() {
    let labels = "0.5\t1.25\tone\n\\\t100\t2000\n1,5\t2,0\ttwo three\n2.0\t2.0\tpoint\n2.1\tx\tfour\n2.2\t2.3\n2.3\t2.4\t\n";
    let corpus = Corpus::new().audio(&["s/a.wav", "t/talk.wav"]).put("s/a.txt", labels);
    // The only file of labels beside the only recording, as Audacity names it.
    let (rows, left_out) = corpus.put("t/Label Track.txt", "0\t1\tfive\n").read("audacity");
    let expected =
        [(0.5, 0.75, "s/a.wav", "one"), (1.5, 0.5, "s/a.wav", "two three"), (0.0, 1.0, "t/talk.wav", "five")];
    assert_eq!(rows, expected.map(|(start, length, audio, text)| part(start, length, row(audio, text))));
    assert_left_out(
        &left_out,
        &[
            ("/s/a.txt: line 4: ", "an end after the start"),
            ("/s/a.txt: line 5: ", "separated by tabs"),
            ("/s/a.txt: line 6: ", "the label has no text"),
            ("/s/a.txt: line 7: ", "the text is empty"),
        ],
    );
}

const LONG: &str = r#"File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.4
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 2.4
        points: size = 1
        points [1]:
            number = 1.5
            mark = "ding"
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 2.4
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 1.5
            text = "say ""one"""
        intervals [3]:
            xmin = 1.5
            xmax = 1.5
            text = "x"
"#;

const SHORT: &str = "File type = \"ooTextFile\"\nObject class = \"TextGrid\"\n\n0\n2\n<exists>\n2\n\"IntervalTier\"\n\"other\"\n\
                     0\n2\n1\n0\n2\n\"no\"\n\"IntervalTier\"\n\"Words\"\n0\n2\n2\n0\n1\n\"two\"\n1\n2\n\"three\"\n";

#[test]
fn textgrids_long_and_short() {
    // Praat writes UTF-16 where a text is not ASCII.
    let utf16: Vec<u8> = format!("\u{feff}{SHORT}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let corpus =
        Corpus::new().audio(&["a.wav", "b.wav", "c.wav"]).put("a.TextGrid", LONG).put("b.TextGrid", utf16);
    let corpus = corpus.put("c.TextGrid", &LONG[..LONG.len() - 40]).put("d.TextGrid", SHORT);
    let (rows, left_out) = corpus.read("textgrid");
    let expected =
        [(0.5, 1.0, "a.wav", "say \"one\""), (0.0, 1.0, "b.wav", "two"), (1.0, 1.0, "b.wav", "three")];
    assert_eq!(rows, expected.map(|(start, length, audio, text)| part(start, length, row(audio, text))));
    assert_left_out(
        &left_out,
        &[
            ("/a.TextGrid: line 33: ", "an end after the start"),
            ("/c.TextGrid: line 34: ", "found the end of the file"),
            ("/d.TextGrid: ", "no recording of this name"),
        ],
    );
    let options = ImportOptions { tier: Some("other".into()), ..ImportOptions::default() };
    let imported = corpus.import_with("", &options).expect("a tier");
    let unused = ImportOptions { text_column: Some("2".into()), ..ImportOptions::default() };
    let error = corpus.import_with("", &unused).expect_err("no table").to_string();
    assert!(error.contains("`text_column` has no effect") && error.contains("read as textgrid"), "{error}");
    assert_eq!(imported.entries.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["no"]);
    assert!(imported.left_out[0].to_string().contains("found `phones`"), "{}", imported.left_out[0]);
}

#[test]
fn librispeech() {
    let corpus = Corpus::new().audio(&["84/121/84-121-0000.wav", "84/121/84-121-0001.wav"]);
    let corpus = corpus.put("84/121/84-121.trans.txt", "84-121-0000 GO DO\n84-121-0001\n84-121-0002 NO\n");
    let (rows, left_out) = corpus.put("SPEAKERS.TXT", "84 | F").read("librispeech");
    assert_eq!(rows, [by("84", row("84/121/84-121-0000.wav", "GO DO"))]);
    assert_left_out(
        &left_out,
        &[
            ("/84/121/84-121.trans.txt: line 2: ", "expected the name of a recording and its text"),
            ("/84/121/84-121.trans.txt: line 3: ", "`84-121-0002` is not there"),
        ],
    );
}

#[test]
fn kaldis_folders() {
    let scp = "r1 wav/a.wav\nr2 sph2pipe -f wav b.sph |\nr3 b.ark:1234\nr4 gone.wav\nr5 b.wav\n";
    let corpus = Corpus::new().audio(&["wav/a.wav", "wav/b.wav"]).put("data/train/wav.scp", scp);
    let corpus = corpus.put("data/train/text", "r1 one two\nr2 x\nr3 x\nr4 x\nr6 six\n");
    let (rows, left_out) = corpus.put("data/train/utt2spk", "r1 ann\n").read("kaldi");
    assert_eq!(rows, [by("ann", row("wav/a.wav", "one two"))]);
    assert_left_out(
        &left_out,
        &[
            ("wav.scp: line 2: ", "a command"),
            ("wav.scp: line 3: ", "a Kaldi archive"),
            ("wav.scp: line 4: ", "`gone.wav` is not there"),
            ("wav.scp: line 5: ", "`r5` has no line"),
            ("text: line 5: ", "no recording of `r6`"),
        ],
    );

    let corpus = Corpus::new()
        .audio(&["a.wav"])
        .put("wav.scp", "r1 a.wav\nr2 x |\n")
        .put("text", "u1 one\nu2 two\nu3 three\n");
    let segments = "u1 r1 0.5 1.25\nu2 r1 1.5 -1\nu3 r1 one 2\nu4 r2 0 1\nu5 r9 0 1\n";
    let (rows, left_out) = corpus.put("segments", segments).read("kaldi");
    assert_eq!(rows, [part(0.5, 0.75, row("a.wav", "one")), row("a.wav", "two")]);
    assert_left_out(
        &left_out,
        &[
            ("wav.scp: line 2: ", "a command"),
            ("segments: line 3: ", "expected utterance, recording, start and end"),
            ("segments: line 4: ", "its recording `r2` was left out"),
            ("segments: line 5: ", "wav.scp has no recording `r9`"),
        ],
    );
    let pipes = Corpus::new().audio(&["a.wav"]).put("wav.scp", "r1 cat a.wav |\n").put("text", "r1 one\n");
    let error = pipes.import_with("", &ImportOptions::default()).expect_err("only a pipe").to_string();
    assert!(error.contains("wav.scp: line 1") && error.contains("which is not run"), "{error}");
}

#[test]
fn json_lines_of_nemo_and_lhotse() {
    let nemo = "{\"audio_filepath\": \"a.wav\", \"text\": \"one\", \"duration\": 2.44, \"speaker\": 7, \"age\": 6}\n\
                {\"audio_filepath\": \"a.wav\", \"text\": \"two\", \"offset\": 1.0, \"duration\": 0.5}\n{\"text\": \"x\"}\n{\"audio_filepath\": \"a.wav\"}\n{\n";
    let corpus = Corpus::new().audio(&["a.wav"]).put("m.json", nemo).put("config.json", "{\n}\n");
    let (rows, left_out) = corpus.read("nemo");
    assert_eq!(rows, [by("7", row("a.wav", "one")), part(1.0, 0.5, row("a.wav", "two"))]);
    assert_left_out(
        &left_out,
        &[
            ("/m.json: line 5: ", "column"),
            ("/m.json: line 3: ", "`audio_filepath`"),
            ("/m.json: line 4: ", "`text`"),
        ],
    );
    let imported = corpus.import_with("", &ImportOptions::default()).expect("a corpus");
    assert_eq!(imported.entries[0].extra.get("age"), Some(&6.into()));
    assert!(imported.notes.iter().any(|note| note.contains("config.json")), "{:?}", imported.notes);

    let recording = |kind: &str| {
        format!(
            "{{\"id\": \"r\", \"sources\": [{{\"type\": \"{kind}\", \"source\": \"a.wav\"}}], \"duration\": 2.445}}"
        )
    };
    let supervision = "{\"id\": \"s\", \"recording_id\": \"r\", \"start\": 0.25, \"duration\": 1.0, \"text\": \"one\", \"speaker\": \"ann\"}";
    let cut = |kind: &str| {
        let recording = recording(kind);
        format!(
            "{{\"id\": \"c\", \"start\": 0.5, \"duration\": 1.5, \"supervisions\": [{supervision}], \"recording\": {recording}, \"type\": \"MonoCut\"}}\n"
        )
    };
    let cuts = format!(
        "{}{}{{\"id\": \"m\", \"tracks\": [], \"type\": \"MixedCut\"}}\n",
        cut("file"),
        cut("command")
    );
    let corpus = Corpus::new().audio(&["a.wav"]).put("cuts.jsonl", cuts).put("old.jsonl.gz", b"\x1f\x8b");
    let (rows, left_out) = corpus.read("lhotse");
    assert_eq!(rows, [by("ann", part(0.75, 1.0, row("a.wav", "one")))]);
    assert_left_out(
        &left_out,
        &[
            ("/old.jsonl.gz: ", "gunzip"),
            ("/cuts.jsonl: line 2: ", "of the type `command`"),
            ("/cuts.jsonl: line 3: ", "a mixture"),
        ],
    );
    let lost = supervision.replace("\"r\"", "\"q\"");
    let corpus = Corpus::new().audio(&["a.wav"]).put("recordings.jsonl", recording("file"));
    let (rows, left_out) =
        corpus.put("supervisions.jsonl", format!("{supervision}\n{lost}\n")).read("lhotse");
    assert_eq!(rows, [by("ann", part(0.25, 1.0, row("a.wav", "one")))]);
    assert_left_out(&left_out, &[("/supervisions.jsonl: line 2: ", "no recording `q`")]);
}

#[test]
fn folders_without_a_corpus() {
    let error = |corpus: &Corpus, options: &ImportOptions| {
        corpus.import_with("", options).expect_err("none").to_string()
    };
    let none = error(&Corpus::new().put("a.md", "x"), &ImportOptions::default());
    assert!(none.contains("there are no recordings in it") && none.contains("LibriSpeech"), "{none}");
    let alone = error(&Corpus::new().audio(&["a.wav"]), &ImportOptions::default());
    assert!(alone.contains("1 recording, but no transcripts"), "{alone}");
    let options = ImportOptions { format: Some("kaldi".into()), ..ImportOptions::default() };
    assert!(error(&Corpus::new().audio(&["a.wav"]), &options).contains("in the format `kaldi`"));
    let options = ImportOptions { format: Some("timit".into()), ..ImportOptions::default() };
    assert!(error(&Corpus::new(), &options).contains("found `timit`"));
    assert!(Corpus::new().import_with("gone", &ImportOptions::default()).is_err());
}

#[test]
fn the_command_writes_manifests_and_a_recipe() {
    let place = Place::new();
    let put = |name: &str, bytes: &[u8]| {
        let path = place.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, bytes).expect("written");
    };
    let audio =
        |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("audio").join(name)).expect("one");
    for (word, source) in
        [("one", "e.wav"), ("two", "pi.wav"), ("three", "countdown.wav"), ("four", "telephone-8k.wav")]
    {
        put(&format!("rec/{word}/s{word}_nohash_0.wav"), &audio(source));
    }
    let command = [
        "data",
        "import",
        "rec",
        "-o",
        "out/train.jsonl",
        "--split",
        "0.25",
        "--seed",
        "3",
        "--recipe",
        "out/r.toml",
    ];
    let report = place.stdout_of(&command);
    assert!(report.contains("(word-folders)") && report.contains("out/dev.jsonl: 1 recording,"), "{report}");
    let read = |name: &str| manifest::read(place.path(name)).expect("a manifest");
    let (train, dev) = (read("out/train.jsonl"), read("out/dev.jsonl"));
    assert_eq!((train.len(), dev.len()), (3, 1));
    assert!(train.iter().all(|entry| entry.speaker != dev[0].speaker && entry.duration.is_some()));
    assert!(train[0].audio.ends_with(
        Path::new("../rec").join(&train[0].text).join(format!("s{}_nohash_0.wav", train[0].text))
    ));
    #[cfg(feature = "english")]
    {
        assert!(report.ends_with("hearken train out/r.toml --data out --from english\n"), "{report}");
        assert!(place.path("out/r.dict").is_file());
    }
    hearken::train::Recipe::read(&place.path("out/r.toml")).expect("a recipe");
    // The manifests that were written are no part of the folder.
    put("rec/train.jsonl", b"{}");
    place.stdout_of(&["data", "import", "rec", "-o", "rec/train.jsonl"]);
    assert!(place.stdout_of(&["data", "import", "rec", "-o", "rec/train.jsonl"]).contains("(word-folders)"));

    fs::remove_file(place.path("rec/train.jsonl")).expect("removed");
    put("rec/one/broken_nohash_0.wav", b"RIFF");
    let output = place.run(&["data", "import", "rec", "-o", "out/all.jsonl"]);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("left out: 1\n  rec/one/broken_nohash_0.wav: "), "{report}");
    assert_eq!(read("out/all.jsonl").len(), 4);
}

#[test]
fn a_split_without_speakers_says_so() {
    let place = Place::new();
    fs::write(place.path("list.csv"), "a.wav,one\nb.wav,two\n").expect("written");
    let audio = Path::new(env!("CARGO_MANIFEST_DIR")).join("audio/pi.wav");
    fs::copy(audio, place.path("b.wav")).expect("copied");
    let output = place.run(&["data", "import", "list.csv", "-o", "all.jsonl", "--split", "0.5"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the split is by file"));
    assert!(place.path("all-dev.jsonl").is_file());
    fs::write(place.path("list.csv"), "a.wav,one\n").expect("written");
    let (code, error) = place.error_of(&["data", "import", "list.csv", "-o", "all.jsonl", "--split", "0.5"]);
    assert!(code == 1 && error.contains("cannot be split"), "{error}");
    let (code, _) = place.error_of(&["data", "import", "list.csv", "-o", "all.jsonl", "--split", "2"]);
    assert_eq!(code, 2);
    let (code, error) = place.error_of(&["data", "import", "list.csv", "-o", "list.csv"]);
    assert!(code == 2 && error.contains("written over a file that the command reads"), "{error}");
}
