//! Imports of foreign graphs (tests/data/import, written by tools/goldens/import_graphs.py): the native engine
//! agrees with PyTorch, or with the tests of the `onnx` package; unsupported graphs are refused with the node.

use std::path::PathBuf;

use crate::common::networks::{config, metadata, random};
use hearken::engine::{Engine, NativeEngine, State, TensorData};
use hearken::model::CellKind;
use hearken::onnx::import::{ImportOptions, Imported, import};
use hearken::onnx::{proto, read, write};
use proptest::prelude::*;
use prost::Message;
use serde::Deserialize;

const TOLERANCE: f32 = 1e-5;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/import").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(data(&format!("{name}.onnx"))).expect("a golden file")
}

#[derive(Deserialize)]
struct Numbers {
    shape: Vec<usize>,
    data: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// `[N, T, F]`
    x: Numbers,
    log_probs: Numbers,
    /// By layer, h before c: `[N, H]`; empty where the graph does not give them.
    states: Vec<Vec<Numbers>>,
}

#[derive(Deserialize)]
struct NodeCase {
    name: String,
    /// `[T, N, F]`
    x: Numbers,
    outputs: std::collections::HashMap<String, Numbers>,
}

#[derive(Deserialize)]
struct File<C> {
    cases: Vec<C>,
}

fn cases<C: serde::de::DeserializeOwned>(file: &str) -> Vec<C> {
    let text = std::fs::read_to_string(data(file)).expect("the goldens");
    serde_json::from_str::<File<C>>(&text).expect("JSON").cases
}

fn take(bytes: &[u8]) -> Imported {
    import(bytes, &ImportOptions::default()).expect("it can be imported")
}

fn refusal(bytes: &[u8]) -> String {
    import(bytes, &ImportOptions::default()).map(|_| ()).expect_err("it cannot be taken").to_string()
}

/// Runs streams one after the other, in chunks of `chunk` steps.
fn run(engine: &dyn Engine, streams: &[Vec<f32>], chunk: usize) -> (Vec<Vec<f32>>, Vec<State>) {
    let features = engine.spec().num_features * engine.spec().subsampling;
    let mut outputs = Vec::new();
    let mut states = Vec::new();
    for stream in streams {
        let (mut state, mut log_probs) = (engine.zero_state(), Vec::new());
        for part in stream.chunks(chunk * features) {
            engine.run(&[part], &mut [&mut state], &mut [&mut log_probs]).expect("runs");
        }
        outputs.push(log_probs);
        states.push(state);
    }
    (outputs, states)
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// State tensor `tensor` of a stream, row `row` of axis 0.
fn state(state: &State, tensor: usize, row: usize) -> &[f32] {
    let tensor = &state.tensors[tensor];
    let TensorData::F32(values) = &tensor.data else { panic!("states are floats") };
    let hidden = tensor.shape[2];
    &values[row * hidden..(row + 1) * hidden]
}

#[test]
fn models_of_pytorch_and_in_keras_form_agree() {
    let cases: Vec<Case> = cases("cases.json");
    assert!(cases.len() >= 27, "two exporters, four cells, one to three layers, and Keras' shape");
    agree(cases, bytes);
}

/// Models that Keras built and tf2onnx wrote (tools/check/keras_imports.py): LSTM as a node, all else as a
/// loop.
#[test]
fn models_of_keras_agree() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/keras");
    let text = std::fs::read_to_string(folder.join("cases.json")).expect("the goldens");
    let cases = serde_json::from_str::<File<Case>>(&text).expect("JSON").cases;
    assert!(cases.len() >= 6, "four cells, both kinds of GRU, and a stack");
    let file = |name: &str| std::fs::read(folder.join(format!("{name}.onnx"))).expect("a golden file");
    agree(cases, file);
    let error = refusal(&file("refused"));
    assert!(error.contains("Relu"), "a GRU whose candidate is a ReLU: {error}");
}

fn agree(cases: Vec<Case>, file: impl Fn(&str) -> Vec<u8>) {
    let mut all = 0.0f32;
    for case in cases {
        let imported = take(&file(&case.name));
        let (n, values) = (case.x.shape[0], case.x.shape[1] * case.x.shape[2]);
        let streams: Vec<Vec<f32>> = case.x.data.chunks(values).map(<[f32]>::to_vec).collect();
        let engine = NativeEngine::new(imported.network.clone()).expect("whole");
        for chunk in [1, 3, 100] {
            let (outputs, states) = run(&engine, &streams, chunk);
            for (i, expected) in case.log_probs.data.chunks(case.log_probs.data.len() / n).enumerate() {
                let difference = worst(&outputs[i], expected);
                assert!(difference <= TOLERANCE, "{} in chunks of {chunk}: {difference}", case.name);
                all = all.max(difference);
                for (layer, kinds) in case.states.iter().enumerate() {
                    for (kind, expected) in kinds.iter().enumerate() {
                        let h = expected.shape[1];
                        let difference =
                            worst(state(&states[i], kind, layer), &expected.data[i * h..(i + 1) * h]);
                        assert!(
                            difference <= TOLERANCE,
                            "{} state {kind} of layer {layer}: {difference}",
                            case.name
                        );
                        all = all.max(difference);
                    }
                }
            }
        }
        round_trip(&case.name, &imported);
    }
    eprintln!("largest difference {all:.1e}");
}

/// Checks that a network that is written, read, imported and written again has the same bytes.
fn round_trip(name: &str, imported: &Imported) {
    let bytes = write(&imported.network, &imported.metadata).expect("a good model");
    let (network, metadata) = read(&bytes).expect("our own file");
    assert_eq!((&network, &metadata), (&imported.network, &imported.metadata), "{name}");
    let again = take(&bytes);
    assert_eq!(write(&again.network, &again.metadata).expect("a good model"), bytes, "{name}");
}

/// Node tests that are refused, with a part of the reason. The table in docs/exchange.md must agree.
const REFUSED: [(&str, &str); 8] = [
    ("test_gru_batchwise", "layout 1"),
    ("test_gru_bidirectional", "bidirectional"),
    ("test_gru_reverse", "reverse"),
    ("test_lstm_batchwise", "layout 1"),
    ("test_lstm_bidirectional", "bidirectional"),
    ("test_lstm_reverse", "reverse"),
    ("test_lstm_with_peepholes", "peepholes"),
    ("test_simple_rnn_batchwise", "layout 1"),
];

#[test]
fn node_tests_of_the_onnx_package_pass_or_are_refused_by_name() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exchange.md"))
        .expect("docs/exchange.md");
    let cases: Vec<NodeCase> = cases("nodes.json");
    assert!(cases.len() >= 10);
    for case in cases {
        let file = bytes(&case.name);
        let row = docs.lines().find(|l| l.contains(&format!("`{}`", case.name)));
        let row = row.unwrap_or_else(|| panic!("{} is not in the table of docs/exchange.md", case.name));
        let expected =
            REFUSED.iter().find(|(name, _)| *name == case.name).map(|(_, why)| *why).or_else(|| {
                // Like all other backward layers.
                ["reverse", "bidirectional"].into_iter().find(|word| case.name.ends_with(word))
            });
        if let Some(why) = expected {
            let error = refusal(&file);
            assert!(error.contains(why), "{}: {error}", case.name);
            assert!(row.contains("refused"), "{row}");
            continue;
        }
        assert!(row.contains("passes"), "{row}");
        check_node(&case, &file);
    }
}

/// Runs a single recurrent node: X is `[T, N, F]`; Y_h (and Y, after a log-softmax) are compared.
fn check_node(case: &NodeCase, file: &[u8]) {
    let imported = take(file);
    let [t, n, f] = case.x.shape[..] else { panic!("X has three axes") };
    let stream = |i: usize| -> Vec<f32> {
        (0..t).flat_map(|s| case.x.data[(s * n + i) * f..(s * n + i + 1) * f].to_vec()).collect()
    };
    let streams: Vec<Vec<f32>> = (0..n).map(stream).collect();
    let engine = NativeEngine::new(imported.network).expect("whole");
    let (outputs, states) = run(&engine, &streams, 2);
    let mut compared = 0;
    for (name, expected) in &case.outputs {
        let h = *expected.shape.last().expect("axes");
        for i in 0..n {
            match (name.as_str(), expected.shape.len()) {
                ("Y_h", 3) => {
                    let difference = worst(state(&states[i], 0, 0), &expected.data[i * h..(i + 1) * h]);
                    assert!(difference <= TOLERANCE, "{} {name}: {difference}", case.name);
                }
                ("Y", 4) => {
                    for s in 0..t {
                        let y = &expected.data[(s * n + i) * h..(s * n + i + 1) * h];
                        let log = y.iter().map(|v| v.exp()).sum::<f32>().ln();
                        let y: Vec<f32> = y.iter().map(|v| v - log).collect();
                        let difference = worst(&outputs[i][s * h..(s + 1) * h], &y);
                        assert!(difference <= TOLERANCE, "{} {name}: {difference}", case.name);
                    }
                }
                other => panic!("{}: {other:?}", case.name),
            }
            compared += 1;
        }
    }
    assert!(compared > 0, "{}", case.name);
}

/// A golden file with a change.
fn changed(name: &str, change: impl FnOnce(&mut proto::GraphProto)) -> Vec<u8> {
    let mut model = proto::decode(&bytes(name)).expect("a model");
    change(model.graph.as_mut().expect("a graph"));
    model.encode_to_vec()
}

fn recurrent(graph: &mut proto::GraphProto) -> &mut proto::NodeProto {
    let is = |n: &&mut proto::NodeProto| matches!(n.op_type.as_str(), "RNN" | "GRU" | "LSTM");
    graph.node.iter_mut().find(is).expect("a recurrent node")
}

fn string(name: &str, value: &'static str) -> proto::AttributeProto {
    proto::AttributeProto {
        name: name.into(),
        s: Some(value.as_bytes().into()),
        r#type: 3,
        ..Default::default()
    }
}

#[test]
fn unsupported_graphs_are_refused_with_the_node() {
    use hearken::onnx::build::graph::{float, int, strings};
    type Change = fn(&mut proto::GraphProto);
    let lstm = "torch-script-lstm-1";
    let cases: [(&str, Change); 12] = [
        ("reverse", |g| recurrent(g).attribute.push(string("direction", "reverse"))),
        ("layout 1", |g| recurrent(g).attribute.push(int("layout", 1))),
        ("clip", |g| recurrent(g).attribute.push(float("clip", 3.0))),
        ("input_forget", |g| recurrent(g).attribute.push(int("input_forget", 1))),
        ("the activations HardSigmoid, Tanh, Tanh are", |g| {
            recurrent(g).attribute.push(strings("activations", &["HardSigmoid", "Tanh", "Tanh"]));
        }),
        ("expected R to be constant", |g| recurrent(g).input[2] = "x".into()),
        ("cycle", |g| {
            let out = g.node.last().expect("a node").output[0].clone();
            g.node[0].input[0] = out;
        }),
        ("computed twice", |g| {
            let node = g.node[0].clone();
            g.node.push(node);
        }),
        ("in another file", |g| {
            let entry = |key: &str, value: &str| proto::StringStringEntryProto {
                key: key.into(),
                value: value.into(),
            };
            for tensor in &mut g.initializer {
                tensor.data_location = 1;
                tensor.external_data = vec![entry("location", "../../etc/passwd"), entry("length", "4")];
            }
        }),
        ("W of the shape", |g| {
            let w = recurrent(g).input[1].clone();
            let tensor = g.initializer.iter_mut().find(|t| t.name == w).expect("W");
            tensor.dims.swap(1, 2);
        }),
        ("lengths of at least 0", |g| g.initializer.iter_mut().for_each(|t| t.dims[0] = -3)),
        ("lengths of at least 0", |g| g.initializer.iter_mut().for_each(|t| t.dims = vec![i64::MAX, 3])),
    ];
    for (word, change) in cases {
        let error = refusal(&changed(lstm, change));
        assert!(error.contains(word), "{word}: {error}");
        assert!(["node ", "tensor ", "value "].iter().any(|p| error.contains(p)), "names no place: {error}");
    }
}

#[test]
fn a_model_of_hearken_without_metadata_is_imported_unchanged() {
    for (cell, layer_norm, residual, subsampling) in [
        (CellKind::Gru, true, true, 4),
        (CellKind::Lstm, true, false, 3),
        (CellKind::RnnRelu, false, true, 1),
        (CellKind::GruResetBefore, false, false, 2),
        (CellKind::MinGru, true, true, 4),
        (CellKind::MinGru, false, false, 2),
        (CellKind::RgLru, true, true, 4),
        (CellKind::Conv, true, true, 3),
        (CellKind::Attention, false, true, 1),
        (CellKind::Tdnnf, true, true, 4),
        (CellKind::Lstmp, true, true, 4),
    ] {
        let mut config = config(&[(cell, 8), (cell, 8)], layer_norm, residual);
        config.subsampling = subsampling;
        let network = random(&config, 5);
        let mut model = proto::decode(&write(&network, &metadata(&config)).expect("good")).expect("a model");
        model.metadata_props.clear();
        let imported = take(&model.encode_to_vec());
        assert_eq!(imported.network, network, "{cell:?}");
        assert_eq!(imported.notes.len(), 2, "{:?}", imported.notes);
    }
}

#[test]
fn a_damaged_model_of_hearken_is_not_imported() {
    let config = config(&[(CellKind::Gru, 8)], true, false);
    let whole = write(&random(&config, 5), &metadata(&config)).expect("good");
    let with = |key: &str, value: Option<&str>| {
        let mut model = proto::decode(&whole).expect("a model");
        match value {
            Some(value) => {
                let entry = model.metadata_props.iter_mut().find(|e| e.key == key).expect("an entry");
                entry.value = value.into();
            }
            None => model.metadata_props.retain(|e| e.key != key),
        }
        model.encode_to_vec()
    };
    for (key, value) in [
        ("hearken.format", Some("99")),
        ("features", Some("{}")),
        ("blank", Some("77")),
        ("tokens", None),
        ("hearken.decoder", Some("[")),
        ("states", Some("[]")),
        ("subsampling", Some("3")),
    ] {
        let error = refusal(&with(key, value));
        assert!(error.contains(key) || error.contains("blank"), "{key}: {error}");
    }
    assert!(!refusal(&with("hearken.format", Some("99"))).contains("Some("));
}

/// The matrices of a file as bytes with a scale for each row or column, and `DequantizeLinear`.
#[test]
fn weights_behind_dequantizelinear_are_read() {
    use hearken::onnx::build::graph::int;
    let plain = take(&bytes("torch-script-lstm-1"));
    let tensor = |name: String, dims: Vec<i64>, data_type: i32| proto::TensorProto {
        name,
        dims,
        data_type,
        ..Default::default()
    };
    let file = changed("torch-script-lstm-1", |g| {
        let w = recurrent(g).input[1].clone();
        let at = g.initializer.iter().position(|t| t.name == w).expect("W");
        let (shape, values) = g.initializer.remove(at).to_f32().expect("floats");
        let columns = shape[2];
        let scales: Vec<f32> = values
            .chunks(columns)
            .map(|row| row.iter().fold(1e-9f32, |peak, v| peak.max(v.abs())) / 100.0)
            .collect();
        let bytes = values.iter().enumerate().map(|(i, v)| (v / scales[i / columns]).round() as i32 + 3);
        let (rows, dims) = (shape[1] as i64, shape.iter().map(|&d| d as i64).collect());
        let int8 =
            proto::TensorProto { int32_data: bytes.collect(), ..tensor("w8".into(), dims, proto::INT8) };
        let scale =
            proto::TensorProto { float_data: scales, ..tensor("ws".into(), vec![rows], proto::FLOAT) };
        let zeros = vec![3; shape[1]];
        let zero = proto::TensorProto { int32_data: zeros, ..tensor("wz".into(), vec![rows], proto::INT8) };
        g.initializer.extend([int8, scale, zero]);
        let node = proto::NodeProto {
            op_type: "DequantizeLinear".into(),
            input: ["w8", "ws", "wz"].map(String::from).to_vec(),
            output: vec![w],
            attribute: vec![int("axis", 1)],
            ..Default::default()
        };
        g.node.insert(0, node);
    });
    let found = take(&file).network;
    for (a, b) in found.parameters.iter().zip(&plain.network.parameters) {
        assert!(worst(&a.data, &b.data) < 5e-3, "{}", a.name);
    }
    assert_ne!(found, plain.network);
}

const FUZZED: [&str; 4] =
    ["torch-script-lstm-1", "torch-dynamo-gru-2", "torch-dynamo-tanhrnn-1", "keras-lstm"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..Default::default() })]

    /// Foreign files with changed bytes are an error or a model, never a panic.
    #[test]
    fn mutated_files_do_not_panic(
        file in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = bytes(FUZZED[file]);
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let _ = import(&bytes, &ImportOptions::default());
    }

    /// Nodes are connected to other values; attributes and dimensions are changed.
    #[test]
    fn mutated_graphs_do_not_panic(
        file in 0usize..4,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        number in prop::sample::select(vec![-1i64, 0, 1, 2, 3, 7, 1 << 20, i64::MAX, i64::MIN]),
        kind in 0u8..6,
    ) {
        let bytes = changed(FUZZED[file], |graph| {
            let nodes = graph.node.len();
            let source = graph.node[from.index(nodes)].clone();
            let target = &mut graph.node[to.index(nodes)];
            match kind {
                0 => target.op_type = source.op_type,
                1 => target.input = source.input,
                2 => target.attribute = source.attribute,
                3 => target.attribute.iter_mut().for_each(|a| {
                    a.i = a.i.map(|_| number);
                    a.ints.iter_mut().for_each(|i| *i = number);
                }),
                4 => {
                    let tensors = graph.initializer.len();
                    let tensor = &mut graph.initializer[to.index(tensors)];
                    match tensor.dims.first_mut() {
                        Some(dim) => *dim = number,
                        None => tensor.dims.push(number),
                    }
                }
                _ => {
                    // Parameters of slices, reshapes and concatenations.
                    let small = graph.initializer.iter_mut().filter(|t| t.data_type == proto::INT64);
                    for tensor in small {
                        let n = tensor.to_i64().map_or(0, |t| t.1.len());
                        tensor.raw_data = None;
                        tensor.int64_data = vec![number; n];
                    }
                }
            }
        });
        let _ = import(&bytes, &ImportOptions::default());
    }
}

/// The features are found by the first cell, whatever the order of the inputs; where a recurrence is
/// written out step by step, by trying.
#[test]
fn the_order_of_the_inputs_does_not_matter() {
    let mut rotated = 0;
    for case in cases::<Case>("cases.json") {
        let file = bytes(&case.name);
        let mut model = proto::decode(&file).expect("a model");
        let graph = model.graph.as_mut().expect("a graph");
        let is_constant = |name: &str| graph.initializer.iter().any(|t| t.name == name);
        if graph.input.iter().filter(|i| !is_constant(&i.name)).count() < 2 {
            continue;
        }
        graph.input.rotate_left(1);
        let (found, expected) = (take(&model.encode_to_vec()), take(&file));
        assert_eq!(found.network, expected.network, "{}", case.name);
        rotated += 1;
    }
    assert!(rotated >= 8, "every cell, by both exporters: {rotated}");
}
