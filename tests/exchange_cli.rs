//! The commands for exchange with other systems: export, import, verify, inspect.
//!
//! Needs onnxruntime where graphs are run: `ORT_DYLIB_PATH` or the Python environment of
//! `VIRTUAL_ENV`; without it these tests are skipped with a message.

use std::fs;
use std::path::Path;

use crate::common::place::{Place, half_precision, half_precision_inside, misleading, options, prost_bytes};
use hearken::onnx::{Precision, read};
use hearken::recognizer::Recognizer;
use serde_json::Value;

#[test]
fn an_export_never_overwrites_its_model() {
    let place = Place::new();
    let before = fs::read(place.path("model.onnx")).expect("read");
    fs::create_dir_all(place.path("triton/m/1")).expect("made");
    fs::copy(place.path("model.onnx"), place.path("triton/m/1/model.onnx")).expect("copied");
    for precision in Precision::ALL.map(Precision::name) {
        for target in ["onnxruntime", "sherpa-onnx", "whole"] {
            for out in ["model.onnx", ".", "triton/../model.onnx"] {
                let (code, error) = place.error_of(&[
                    "export",
                    "model.onnx",
                    "--for",
                    target,
                    "--precision",
                    precision,
                    "-o",
                    out,
                ]);
                assert!(code == 2 && error.contains("written over the model"), "{target} {out}: {error}");
            }
        }
        let model = "triton/m/1/model.onnx";
        let (code, error) = place.error_of(&[
            "export",
            model,
            "--for",
            "triton",
            "--name",
            "m",
            "--precision",
            precision,
            "-o",
            "triton",
        ]);
        assert!(code == 2 && error.contains("written over the model"), "{error}");
        assert_eq!(fs::read(place.path(model)).expect("read"), before);
    }
    assert_eq!(fs::read(place.path("model.onnx")).expect("read"), before);
    fs::write(place.path("file"), "x").expect("written");
    let (code, error) = place.error_of(&["export", "model.onnx", "--for", "whole", "-o", "file"]);
    assert!(code == 2 && error.contains("file: expected a folder"), "{error}");
    let (code, error) = place.error_of(&["export", "model.onnx", "--for", "whole", "-o", "-"]);
    assert!(code == 2 && error.contains("standard output"), "{error}");
    for (target, option, value) in [
        ("onnxruntime", "--name", "n"),
        ("sherpa-onnx", "--name", "n"),
        ("whole", "--chunk-frames", "32"),
        ("onnxruntime", "--chunk-frames", "32"),
    ] {
        let (code, error) =
            place.error_of(&["export", "model.onnx", "--for", target, "-o", "out", option, value]);
        assert!(code == 2 && error.contains(option) && error.contains(target), "{error}");
    }
    place.stdout_of(&["export", "model.onnx", "--for", "triton", "--name", "m", "-o", "out"]);
    let (_, error) = place.error_of(&["export", "out/m/1/model.onnx", "--for", "whole", "-o", "again"]);
    assert!(error.contains("export of hearken's for triton") && error.contains("import it first"), "{error}");
}

#[test]
fn exported_files_give_the_same_text_from_the_command_line() {
    if options().is_none() {
        return;
    }
    let place = Place::new();
    let text = place.stdout_of(&["transcribe", "--model", "model.onnx", "a.wav"]);
    assert!(text.split(' ').count() > 3, "the model speaks: {text:?}");
    place.stdout_of(&["export", "model.onnx", "--for", "sherpa-onnx", "-o", "sherpa"]);
    place.stdout_of(&["export", "model.onnx", "--for", "triton", "--name", "m", "-o", "triton"]);
    place.stdout_of(&[
        "export",
        "model.onnx",
        "--for",
        "onnxruntime",
        "--precision",
        "fp16",
        "-o",
        "half.onnx",
    ]);
    place.stdout_of(&[
        "export",
        "model.onnx",
        "--for",
        "onnxruntime",
        "--precision",
        "int8",
        "-o",
        "bytes.onnx",
    ]);
    // A file with 16-bit matrices is also a model of hearken.
    place.stdout_of(&["transcribe", "--model", "half.onnx", "--engine", "native", "a.wav"]);
    for model in ["sherpa", "sherpa/model.onnx", "triton/m/1/model.onnx"] {
        assert_eq!(place.stdout_of(&["transcribe", "--model", model, "a.wav"]), text, "{model}");
    }
    let config = fs::read_to_string(place.path("triton/m/config.pbtxt")).expect("written");
    assert!(config.contains("name: \"m\"") && config.contains("zero_data: true"), "{config}");
    let (code, error) =
        place.error_of(&["transcribe", "--model", "bytes.onnx", "--engine", "native", "a.wav"]);
    assert!(code == 2 && error.contains("native engine can run only models of hearken"), "{error}");
    place.stdout_of(&["export", "model.onnx", "--for", "whole", "-o", "whole.onnx"]);
    let (_, error) = place.error_of(&["transcribe", "--model", "whole.onnx", "a.wav"]);
    assert!(error.contains("no states"), "{error}");
    fs::remove_file(place.path("sherpa/tokens.txt")).expect("removed");
    let (_, error) = place.error_of(&["transcribe", "--model", "sherpa", "a.wav"]);
    assert!(error.contains("tokens.txt"), "{error}");
}

#[test]
fn verify_prints_differences_and_exits_with_1_if_they_are_too_large() {
    let place = Place::new();
    let table = place.stdout_of(&["verify", "model.onnx", "--audio", "a.wav"]);
    assert!(table.contains("native") && table.contains("chunks") && table.contains("allowed"), "{table}");
    let (code, error) = place.error_of(&["verify", "a.wav"]);
    assert!(code == 1 && error.contains("a.wav"), "{error}");
    if options().is_none() {
        return;
    }
    let line = place.stdout_of(&["verify", "model.onnx", "--json"]);
    let report: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(report["passed"], true);
    let rows = report["rows"].as_array().expect("rows");
    assert!(
        rows.iter().any(|r| r["engine"] == "ort" && r["calls"] == "chunks" && r["streams"] == 4),
        "{line}"
    );
    // The results of two engines are never bit-identical.
    assert_eq!(place.run(&["verify", "model.onnx", "--tolerance", "0"]).status.code(), Some(1));
    // Time first, or streams first; complete outputs without states.
    for (name, found) in [
        ("torch-dynamo-gru-2", "by their names"),
        ("torch-script-lstm-2", "by their names"),
        ("keras-gru", "none"),
    ] {
        let foreign = format!("{}/tests/data/import/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let table = place.stdout_of(&["verify", &foreign]);
        assert!(table.contains(found) && table.contains("tokens unknown"), "{table}");
        // One stream and four streams, in onnxruntime and, if the build contains it, in tract.
        let in_chunks = if found == "none" { 0 } else { 2 + 2 * usize::from(cfg!(feature = "tract")) };
        assert_eq!(table.matches("chunks").count(), in_chunks, "{table}");
    }
}

#[test]
fn verify_compares_a_file_with_the_model_it_was_made_of() {
    if options().is_none() {
        return;
    }
    let place = Place::new();
    let export = |out: &str, more: &[&str]| {
        place.stdout_of(&[&["export", "model.onnx", "--for"], more, &["-o", out]].concat());
    };
    export("half.onnx", &["onnxruntime", "--precision", "fp16"]);
    export("bytes.onnx", &["onnxruntime", "--precision", "int8"]);
    export("dynamic.onnx", &["onnxruntime", "--precision", "int8-dynamic"]);
    export("pcm.onnx", &["onnxruntime", "--with-frontend"]);
    export("whole.onnx", &["whole"]);
    export("sherpa", &["sherpa-onnx"]);
    for (file, allowed) in [
        ("model.onnx", 1e-3),
        ("half.onnx", 5e-2),
        ("bytes.onnx", 3.0),
        ("dynamic.onnx", 6.0),
        ("pcm.onnx", 5e-3),
        ("whole.onnx", 1e-3),
        ("sherpa", 1e-3),
        ("sherpa/model.onnx", 1e-3),
    ] {
        let verify = ["verify", file, "--audio", "a.wav", "--against", "model.onnx", "--json"];
        let report: Value = serde_json::from_str(&place.stdout_of(&verify)).expect("JSON");
        let against = &report["against"];
        assert!((against["tolerance"].as_f64().expect("a number") - allowed).abs() < 1e-6, "{file}");
        assert!(against["engines"].as_array().is_some_and(|all| !all.is_empty()), "{file}");
        assert!(report["opsets"][0][1].as_i64() == Some(17), "{file}: {report}");
        assert!(report["inputs"][0]["shape"][0] == "N" && report["outputs"].is_array(), "{file}");
        let strict = [&verify[..], &["--tolerance", "1e-9"]].concat();
        assert_eq!(place.run(&strict).status.code(), Some(1), "{file}");
    }
    let table = place.stdout_of(&["verify", "half.onnx", "--audio", "a.wav", "--against", "model.onnx"]);
    assert!(table.contains("against") && table.contains("on the native engine"), "{table}");
    // Compared with another model, and with a file that is not a model.
    let (mut network, metadata) = hearken::onnx::read_file(&place.path("model.onnx")).expect("ours");
    network.parameters[0].data[0] += 0.5;
    hearken::onnx::write_file(&place.path("other.onnx"), &network, &metadata).expect("written");
    let other = place.run(&["verify", "model.onnx", "--against", "other.onnx"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stdout).contains("exceeded"));
    let (_, error) = place.error_of(&["verify", "model.onnx", "--against", "bytes.onnx"]);
    assert!(error.contains("import it first"), "{error}");
    // A foreign file and the model imported from it, with features of that model.
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import/torch-script-gru-2.onnx");
    let foreign = foreign.to_str().expect("UTF-8");
    place.stdout_of(&[
        "import",
        foreign,
        "--features",
        "{\"num_mel_bins\": 6, \"low_freq\": 300}",
        "-o",
        "six.onnx",
    ]);
    let table = place.stdout_of(&["verify", foreign, "--against", "six.onnx", "--audio", "a.wav"]);
    assert!(table.contains("six.onnx on the native engine"), "{table}");
    let (_, error) = place.error_of(&["verify", foreign, "--against", "model.onnx"]);
    assert!(error.contains("takes 6 features a frame, the model 80"), "{error}");
    for tolerance in ["-1", "nan", "inf", "x"] {
        let (code, error) = place.error_of(&["verify", "model.onnx", &format!("--tolerance={tolerance}")]);
        assert!(code == 2 && error.contains("tolerance"), "{error}");
    }
}

#[test]
fn states_are_paired_by_the_cells_and_not_by_their_order() {
    let place = Place::new();
    fs::write(place.path("foreign.onnx"), misleading()).expect("written");
    let text = place.stdout_of(&["inspect", "foreign.onnx", "--json"]);
    let described: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(described["states_found"], "by the cells that read and write them");
    let pair = |i: usize| (described["states"][i]["input"].clone(), described["states"][i]["output"].clone());
    assert_eq!((pair(0), pair(1)), (("a".into(), "p".into()), ("b".into(), "q".into())));
    // States that are not named are found; naming one twice is an error.
    let named = place.stdout_of(&["inspect", "foreign.onnx", "--state", "b=q"]);
    assert!(named.contains("as they were named, the rest by the cells"), "{named}");
    for states in [["a=p", "a=q"], ["a=p", "b=p"]] {
        let (code, error) =
            place.error_of(&["inspect", "foreign.onnx", "--state", states[0], "--state", states[1]]);
        assert!(code == 2 && error.contains("named for two states"), "{error}");
    }
    if options().is_none() {
        return;
    }
    let verified = place.run(&["verify", "foreign.onnx"]);
    assert!(verified.status.success() && !String::from_utf8_lossy(&verified.stderr).contains("note:"));
    // Tokens from a file next to the model, or from --tokens.
    let tokens = |n: usize| (0..n).map(|i| format!("t{i} {i}\n")).collect::<String>();
    fs::write(place.path("tokens.txt"), tokens(5)).expect("written");
    let table = place.stdout_of(&["verify", "foreign.onnx"]);
    assert!(!table.contains("tokens unknown"), "{table}");
    fs::write(place.path("few.txt"), tokens(4)).expect("written");
    for command in [
        ["verify", "foreign.onnx", "--tokens", "few.txt"].as_slice(),
        &["transcribe", "--model", "foreign.onnx", "--tokens", "few.txt", "a.wav"],
        &["import", "foreign.onnx", "--tokens", "few.txt", "-o", "x.onnx"],
    ] {
        let (_, error) = place.error_of(command);
        assert!(error.contains("few.txt: expected 5 tokens") && error.contains("found 4"), "{error}");
    }
    fs::remove_file(place.path("tokens.txt")).expect("removed");
    let (_, error) = place.error_of(&["transcribe", "--model", "foreign.onnx", "a.wav"]);
    assert!(error.contains("--tokens FILE") && error.contains("import it"), "{error}");
}

#[test]
fn files_that_an_engine_cannot_run_correctly_are_refused_by_name() {
    use hearken::onnx::build::graph::float;
    use hearken::onnx::proto::AttributeProto;
    if options().is_none() {
        return;
    }
    let place = Place::new();
    let with = |name: &str, attribute: AttributeProto| {
        let mut model = hearken::onnx::proto::decode(&misleading()).expect("a model");
        let nodes = &mut model.graph.as_mut().expect("a graph").node;
        let node = nodes.iter_mut().find(|n| n.op_type == "LSTM").expect("a cell");
        node.attribute.retain(|a| a.name != attribute.name);
        node.attribute.push(attribute);
        fs::write(place.path(name), prost_bytes(&model)).expect("written");
    };
    let backwards = Some("reverse".as_bytes().into());
    with(
        "reverse.onnx",
        AttributeProto { name: "direction".into(), s: backwards, r#type: 3, ..Default::default() },
    );
    let (_, error) = place.error_of(&["verify", "reverse.onnx"]);
    assert!(error.contains("(LSTM): its direction is reverse"), "{error}");
    with("clip.onnx", float("clip", 0.5));
    let verified = place.run(&["verify", "clip.onnx"]);
    let (out, err) = (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
    assert!(verified.status.success(), "{err}");
    if cfg!(feature = "tract") {
        assert!(err.contains("(LSTM): tract does not compute clip 0.5"), "{err}");
        assert!(out.contains("ort alone ran the file"), "{out}");
    }
    assert!(!err.contains("the native engine runs without"), "{err}");
}

#[test]
fn inspect_describes_foreign_files() {
    let place = Place::new();
    let own = place.stdout_of(&["inspect", "model.onnx"]);
    for part in ["multiply-adds a second", "layers.1.gru", "sherpa-onnx", "state.0 → next_state.0", "GRU"] {
        assert!(own.contains(part), "{part}: {own}");
    }
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import/torch-script-lstm-2.onnx");
    let foreign = foreign.to_str().expect("UTF-8");
    let text = place.stdout_of(&["inspect", foreign]);
    assert!(text.contains("LSTM") && text.contains("hearken (imported)"), "{text}");
    let json: Value = serde_json::from_str(&place.stdout_of(&["inspect", foreign, "--json"])).expect("JSON");
    assert!(json["targets"].as_array().is_some_and(|t| t.len() >= 5), "{json}");
    let (code, error) = place.error_of(&["inspect", foreign, "--state", "nothing=nowhere"]);
    assert!(code == 2 && error.contains("`nothing`"), "{error}");
    place.stdout_of(&["export", "model.onnx", "--for", "sherpa-onnx", "-o", "sherpa"]);
    let layers = json["layers"].as_array().expect("layers");
    assert!(layers.iter().any(|l| l["name"] == "/cells/LSTM_1" && l["multiply_adds"] == 512), "{json}");
    let sums: [u64; 3] = ["parameters", "bytes", "multiply_adds"]
        .map(|key| layers.iter().filter_map(|l| l[key].as_u64()).sum());
    let all = text.lines().find(|l| l.starts_with("all ")).expect("a row of sums");
    let row: Vec<u64> = all.split_whitespace().skip(1).map(|n| n.parse().expect("a number")).collect();
    assert_eq!(row, sums);
    let looped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/keras/gru-after.onnx");
    let looped = place.stdout_of(&["inspect", looped.to_str().expect("UTF-8")]);
    assert!(looped.lines().any(|l| l.starts_with("all ") && l.ends_with("unknown")), "{looped}");
    fs::create_dir(place.path("two")).expect("made");
    for name in ["two/a.onnx", "two/b.onnx"] {
        fs::copy(place.path("model.onnx"), place.path(name)).expect("copied");
    }
    let two: Value =
        serde_json::from_str(&place.stdout_of(&["inspect", "two", "--json"])).expect("one object");
    assert!(two["files"].as_array().is_some_and(|f| f.len() == 2 && f[1]["file"] == "two/b.onnx"), "{two}");
    let folder = place.stdout_of(&["inspect", "sherpa"]);
    assert!(folder.starts_with("sherpa/model.onnx") && folder.contains("zipformer2-CTC"), "{folder}");
    let (code, error) = place.error_of(&["inspect", "a.wav"]);
    assert!(code == 1 && error.contains("a.wav"), "{error}");
}

#[test]
fn an_imported_model_transcribes_trains_and_exports() {
    let place = Place::new();
    // A graph of hearken without its metadata is a foreign file.
    let (network, _) = read(&fs::read(place.path("model.onnx")).expect("read")).expect("ours");
    let bytes = fs::read(place.path("model.onnx")).expect("read");
    let mut model = hearken::onnx::proto::decode(&bytes).expect("a model");
    model.metadata_props.clear();
    fs::write(place.path("foreign.onnx"), prost_bytes(&model)).expect("written");
    let tokens: String = ["<blk>", "▁a", "▁b", "▁c", "▁d", "▁e", "▁f"]
        .iter()
        .enumerate()
        .map(|(i, t)| format!("{t} {i}\n"))
        .collect();
    fs::write(place.path("letters.txt"), tokens).expect("written");
    let printed =
        place.stdout_of(&["import", "foreign.onnx", "--tokens", "letters.txt", "-o", "new/mine.onnx"]);
    fs::rename(place.path("new/mine.onnx"), place.path("mine.onnx")).expect("a folder was made");
    assert!(printed.contains("gru 12 + gru 12"), "{printed}");
    // The printed table can be used in a recipe for further training.
    let table = &printed[printed.find("[network]").expect("a table")..];
    let (before, after) = RECIPE.split_once("[network]").expect("a table");
    let after = &after[after.find("[optimizer]").expect("a table")..];
    let recipe = format!("{before}{table}{after}");
    let text = place.stdout_of(&["transcribe", "--model", "mine.onnx", "a.wav"]);
    assert!(text.split_whitespace().all(|word| "abcdef".contains(word)), "{text}");
    fs::write(place.path("train.jsonl"), "{\"audio_filepath\": \"a.wav\", \"text\": \"a b\"}\n")
        .expect("written");
    fs::write(place.path("recipe.toml"), recipe).expect("written");
    place.stdout_of(&["train", "recipe.toml", "--from", "mine.onnx", "--out", "run", "--threads", "1"]);
    let learnt = Recognizer::open(place.path("run/last.onnx")).expect("trained on");
    assert_eq!(learnt.metadata().tokens.len(), 7);
    let (after, _) = hearken::onnx::read_file(&place.path("run/last.onnx")).expect("ours");
    assert_eq!(after.config, network.config);
    let moved = after.parameters.iter().zip(&network.parameters).any(|(a, b)| a.data != b.data);
    assert!(moved, "it has learnt");
    let near = after
        .parameters
        .iter()
        .zip(&network.parameters)
        .all(|(a, b)| a.data.iter().zip(&b.data).all(|(a, b)| (a - b).abs() < 0.1));
    assert!(near, "and has begun from the imported weights");
    place.stdout_of(&["export", "run/last.onnx", "--for", "sherpa-onnx", "-o", "again"]);
    assert!(place.path("again/tokens.txt").is_file());
}

#[test]
fn half_precision_is_refused_before_a_runtime_gets_it() {
    let place = Place::new();
    // onnxruntime ends the process with a segmentation fault on this one.
    fs::write(place.path("half.onnx"), prost_bytes(&half_precision("torch-script-lstm-2"))).expect("written");
    let tokens: String = (0..5).map(|i| format!("t{i} {i}\n")).collect();
    fs::write(place.path("tokens.txt"), tokens).expect("written");
    for command in [
        ["verify", "half.onnx"].as_slice(),
        &["transcribe", "--model", "half.onnx", "a.wav"],
        &["transcribe", "--model", "half.onnx", "--engine", "ort", "a.wav"],
        &["transcribe", "--model", "half.onnx", "--engine", "tract", "a.wav"],
    ] {
        let (code, error) = place.error_of(command);
        assert!(code == 1, "{command:?}: {error}");
        assert!(error.contains("input x: expected float32 or int64, found float16"), "{command:?}: {error}");
    }
    let text = place.stdout_of(&["inspect", "half.onnx"]);
    let verdict = |system: &str| {
        let line = text.lines().find(|line| line.starts_with(system)).expect("a verdict");
        line[system.len()..].trim().to_string()
    };
    assert!(
        verdict("hearken (graph)").starts_with("no") && verdict("hearken (graph)").contains("float16"),
        "{text}"
    );
    assert!(verdict("onnxruntime").starts_with("no") && verdict("onnxruntime").contains("crashes"), "{text}");
    assert!(verdict("hearken (imported)").starts_with("yes"), "{text}");
    place.stdout_of(&["import", "half.onnx", "--tokens", "tokens.txt", "-o", "mine.onnx"]);
    // With inputs and outputs of float32, the engines that can compute in half precision.
    fs::write(place.path("inside.onnx"), prost_bytes(&half_precision_inside("torch-script-lstm-2")))
        .expect("written");
    let verified = place.run(&["verify", "inside.onnx", "--tolerance", "0.1"]);
    if options().is_some() {
        let (out, err) =
            (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
        assert!(verified.status.success() && out.contains("ort     chunks"), "{out}{err}");
    }
}

#[test]
fn the_order_of_the_inputs_of_a_graph_does_not_matter() {
    let place = Place::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import/torch-script-lstm-2.onnx");
    let mut model = hearken::onnx::proto::decode(&fs::read(file).expect("a golden")).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    graph.input.rotate_left(1);
    // Inputs with names that have no meaning.
    for (from, to) in [("h", "a"), ("c", "b"), ("hn", "p"), ("cn", "q")] {
        for name in graph.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
            *name = if name == from { to.into() } else { name.clone() };
        }
        let ports = graph.input.iter_mut().chain(&mut graph.output);
        ports.filter(|p| p.name == from).for_each(|p| p.name = to.into());
    }
    fs::write(place.path("rotated.onnx"), prost_bytes(&model)).expect("written");
    fs::write(place.path("tokens.txt"), "<blk> 0\nzero 1\none 2\ntwo 3\nthree 4\n").expect("written");
    place.stdout_of(&["import", "rotated.onnx", "--tokens", "tokens.txt", "-o", "mine.onnx"]);
    let text = place.stdout_of(&["transcribe", "--model", "mine.onnx", "a.wav"]);
    let table = place.stdout_of(&["verify", "rotated.onnx", "--against", "mine.onnx", "--audio", "a.wav"]);
    assert!(table.contains("mine.onnx on the native engine") && table.contains("allowed"), "{table}");
    assert_eq!(place.stdout_of(&["transcribe", "--model", "rotated.onnx", "a.wav"]), text);
}

#[test]
fn tract_runs_foreign_files_where_onnxruntime_is_missing() {
    if !cfg!(all(feature = "tract", feature = "ort")) {
        return;
    }
    let place = Place::new();
    place.stdout_of(&["export", "model.onnx", "--for", "triton", "--name", "m", "-o", "triton"]);
    let model = "triton/m/1/model.onnx";
    let expected = place.stdout_of(&["transcribe", "--model", "model.onnx", "a.wav"]);
    let missing = [("ORT_DYLIB_PATH", "/no/such/libonnxruntime.so")];
    let output = place.run_with(&missing, &["transcribe", "--model", model, "a.wav"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout) == expected, "{err}");
    let printed = |err: &str| {
        assert_eq!(err.matches("onnxruntime 1.17 or newer is needed").count(), 1, "{err}");
        assert_eq!(err.matches("ORT_DYLIB_PATH").count(), 1, "{err}");
    };
    printed(&err);
    assert!(err.contains("tract runs the model"), "{err}");
    let output = place.run_with(&missing, &["verify", model]);
    printed(&String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    let asked = place.run_with(&missing, &["transcribe", "--model", model, "--engine", "ort", "a.wav"]);
    printed(&String::from_utf8_lossy(&asked.stderr));
    assert!(!asked.status.success(), "an engine that is asked for is not another one");
}

#[test]
fn tokens_and_states_without_effect_are_wrong_usage() {
    let place = Place::new();
    fs::write(place.path("tokens.txt"), "<blk> 0\n").expect("written");
    place.stdout_of(&["export", "model.onnx", "--for", "sherpa-onnx", "-o", "sherpa"]);
    let given: [(&str, &[&str]); 2] =
        [("--tokens", &["--tokens", "tokens.txt"]), ("--state", &["--state", "state.0=next_state.0"])];
    for (option, given) in given {
        for command in [
            ["transcribe", "a.wav"].as_slice(),
            &["transcribe", "--model", "model.onnx", "a.wav"],
            &["transcribe", "--model", "sherpa/model.onnx", "a.wav"],
            &["verify", "model.onnx"],
            &["verify", "sherpa/model.onnx"],
            &["verify"],
        ] {
            let (code, error) = place.error_of(&[command, given].concat());
            assert!(
                code == 2 && error.contains(option) && error.contains("no effect"),
                "{command:?}: {error}"
            );
        }
    }
    for command in [["transcribe", "--model", "sherpa", "a.wav"].as_slice(), &["verify", "sherpa"]] {
        let (code, error) = place.error_of(&[command, &["--tokens", "tokens.txt"]].concat());
        assert!(code == 2 && error.contains("--tokens"), "{command:?}: {error}");
    }
}

#[test]
fn imported_words_are_separated_by_spaces() {
    let place = Place::new();
    let mut model =
        hearken::onnx::proto::decode(&fs::read(place.path("model.onnx")).expect("read")).expect("a model");
    model.metadata_props.clear();
    fs::write(place.path("foreign.onnx"), prost_bytes(&model)).expect("written");
    // Tokens without a mark at the beginning of words.
    let words = ["zero", "one", "two", "three", "four", "five"];
    let lines: String = words.iter().zip(1..).map(|(word, id)| format!("{word} {id}\n")).collect();
    fs::write(place.path("words.txt"), format!("<blk> 0\n{lines}")).expect("written");
    place.stdout_of(&["import", "foreign.onnx", "--tokens", "words.txt", "-o", "mine.onnx"]);
    let imported = place.stdout_of(&["transcribe", "--model", "mine.onnx", "a.wav"]);
    let as_it_is =
        place.stdout_of(&["transcribe", "--model", "foreign.onnx", "--tokens", "words.txt", "a.wav"]);
    for text in [imported, as_it_is] {
        assert!(text.split_whitespace().count() > 3, "{text}");
        assert!(text.split_whitespace().all(|word| words.contains(&word)), "{text}");
    }
}

#[test]
fn words_of_a_lexicon_are_exported_to_sherpa_onnx_with_the_search() {
    let place = Place::new();
    place.stdout_of(&["export", "--for", "sherpa-onnx", "-o", "digits"]);
    let words = fs::read_to_string(place.path("digits/words.txt")).expect("written");
    assert!(words.starts_with("<eps> 0\nzero 1\none 2\n"), "{words}");
    for name in ["HL.fst", "words-text.fst"] {
        let bytes = fs::read(place.path(&format!("digits/{name}"))).expect("written");
        assert_eq!(bytes[..4], 2_125_659_606i32.to_le_bytes(), "{name} is of OpenFst's format");
    }
    // With the decoding graph, the folder outputs words of its lexicon, as the model does.
    if options().is_some() || cfg!(feature = "tract") {
        let audio = Path::new(env!("CARGO_MANIFEST_DIR")).join("audio/pi.wav");
        let audio = audio.to_str().expect("UTF-8");
        let expected = place.stdout_of(&["transcribe", audio]);
        assert_eq!(place.stdout_of(&["transcribe", "--model", "digits", audio]), expected);
    }
    place.stdout_of(&["export", "model.onnx", "--for", "sherpa-onnx", "-o", "labels"]);
    assert!(!place.path("labels/HL.fst").exists(), "a model without a lexicon has no words");
}

const RECIPE: &str = r#"
[data]
words = ["a", "b", "c", "d", "e", "f"]
[[data.recordings]]
manifest = "train.jsonl"
weight = 1.0
[[data.dev]]
manifest = "train.jsonl"
weight = 1.0
[network]
cells = ["gru"]
hidden = [12, 12]
input_size = 8
residual = false
[optimizer]
learning_rate = 1e-3
[schedule]
steps = 4
warmup_steps = 1
[run]
seed = 1
batch_size = 1
eval_interval = 4
checkpoint_interval = 4
log_interval = 1
"#;
