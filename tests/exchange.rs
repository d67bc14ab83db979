//! Exports and imports: exports to every target run and agree with the model, are imported as the same model,
//! and are described correctly.
//!
//! Needs onnxruntime where graphs are run: `ORT_DYLIB_PATH` or the Python environment of
//! `VIRTUAL_ENV`; without it these tests are skipped with a message.

use crate::common::networks::{CELLS, Numbers, config, metadata, random};
use crate::common::place::{Place, exported, misleading, options, prost_bytes, signal};
use hearken::engine::verify::{Runners, compare};
use hearken::engine::{Engine, NativeEngine};
use hearken::features::FbankOptions;
use hearken::model::{CellKind, Network, NetworkConfig};
use hearken::onnx::import::{ImportOptions, import};
use hearken::onnx::inspect::describe;
use hearken::onnx::{ExportOptions, Metadata, OnnxFile, Precision, Target, targets, write};
use hearken::recognizer::Recognizer;

/// Networks of each kind of cell with different numbers of layers, and mixed ones.
fn stacks() -> Vec<NetworkConfig> {
    let mut stacks: Vec<NetworkConfig> = CELLS
        .iter()
        .zip([1, 2, 3, 2, 1, 2, 2, 1, 2, 2])
        .map(|(&cell, n)| config(&vec![(cell, 8); n], n != 2, true))
        .collect();
    stacks.push(config(&[(CellKind::Lstm, 8); 3], true, true));
    let mixed = [(CellKind::Gru, 8), (CellKind::Lstm, 5), (CellKind::RnnRelu, 5)];
    stacks.push(config(&mixed, true, false));
    // One layer, a wide one that follows another cell, and layers without normalization.
    stacks.push(config(&[(CellKind::MinGru, 8)], true, true));
    stacks.push(config(&[(CellKind::Gru, 8), (CellKind::MinGru, 9), (CellKind::RgLru, 9)], true, true));
    stacks.push(config(&[(CellKind::MinGru, 8), (CellKind::RnnTanh, 8)], false, false));
    let blocks = [
        (CellKind::Conv, 8),
        (CellKind::Attention, 8),
        (CellKind::MinGru, 8),
        (CellKind::Conv, 6),
        (CellKind::Attention, 4),
        (CellKind::Lstm, 6),
    ];
    stacks.push(config(&[(CellKind::Attention, 8)], true, true));
    stacks.push(config(&[(CellKind::Attention, 8); 2], false, true));
    stacks.push(config(&[(CellKind::Conv, 8)], true, true));
    stacks.push(config(&[(CellKind::Conv, 8); 2], false, false));
    stacks.push(config(&blocks, true, true));
    let factorized = [(CellKind::Tdnnf, 8), (CellKind::RgLru, 8), (CellKind::Tdnnf, 8), (CellKind::RgLru, 6)];
    stacks.push(config(&factorized, true, true));
    stacks.push(config(&[(CellKind::Lstmp, 8)], true, true));
    stacks.push(config(&[(CellKind::Lstmp, 8), (CellKind::Gru, 8), (CellKind::Lstmp, 6)], false, true));
    // States of equal sizes of an LSTM and of other cells.
    let equal = [(CellKind::Lstm, 8), (CellKind::MinGru, 8), (CellKind::Tdnnf, 8), (CellKind::Lstm, 8)];
    stacks.push(config(&equal, true, true));
    // sherpa-onnx's features, which have 80 bins.
    stacks.iter_mut().for_each(|s| s.num_features = 80);
    stacks
}

fn own_file(network: &Network<f32>, metadata: &Metadata) -> OnnxFile {
    OnnxFile::from_bytes(write(network, metadata).expect("written")).expect("an ONNX file")
}

fn frames(config: &NetworkConfig, steps: usize, seed: u64) -> Vec<f32> {
    let numbers = Numbers(seed).vec(steps * config.subsampling * config.num_features, 3.0);
    numbers.into_iter().map(|v| v - 6.0).collect()
}

#[test]
fn every_target_and_precision_agrees_with_the_model() {
    let Some(engines) = options() else { return };
    for (seed, config) in stacks().iter().enumerate() {
        let (network, metadata) = (random(config, seed as u64), metadata(config));
        let streams: Vec<Vec<f32>> =
            [13, 9, 4, 7].iter().enumerate().map(|(i, &n)| frames(config, n, 50 + i as u64)).collect();
        let own = Runners::for_model(&own_file(&network, &metadata), &network, &engines);
        let expected = compare(&own.runners[..1], &streams, -15.9).expect("runs").remove(0).log_probs;
        let targets = [Target::OnnxRuntime, Target::SherpaOnnx, Target::Triton, Target::Whole];
        // The engines compute the sigmoid to 1e-7 near 0, and the root in the RG-LRU makes 3e-4 of that.
        let limit = if config.layers.iter().any(|layer| layer.cell == CellKind::RgLru) { 1e-3 } else { 1e-4 };
        let exact = targets.map(|t| (t, Precision::Float32, limit, limit));
        let rounded = [(Precision::Float16, 0.05), (Precision::Int8, 0.6)];
        let rounded = rounded.map(|(p, most)| (Target::OnnxRuntime, p, most, limit));
        let dynamic = (Target::OnnxRuntime, Precision::Int8Dynamic, 3.0, 3.0);
        for (target, precision, most, among) in exact.into_iter().chain(rounded).chain([dynamic]) {
            let name = format!("{:?} for {target}, {precision}", config.layers);
            let bytes =
                exported(&network, &metadata, &ExportOptions { precision, ..ExportOptions::new(target) });
            let file = OnnxFile::from_bytes(bytes).expect("an ONNX file");
            let interface = file.interface(&[]).expect("its own");
            let runners = Runners::for_graph(&file, &interface, config.num_features, &engines);
            let refused: Vec<String> = runners.refused.iter().map(|r| r.1.to_string()).collect();
            assert!(!runners.runners.is_empty(), "{name}: {refused:?}");
            let rows = compare(&runners.runners, &streams, -15.9).expect("runs");
            assert_eq!(
                rows.len(),
                runners.runners.len() * if target == Target::Whole { 2 } else { 4 },
                "{name}"
            );
            for row in &rows {
                assert!(row.difference <= among, "{name}: {} {}: {}", row.calls, row.streams, row.difference);
            }
            let pairs = rows[0].log_probs.iter().zip(&expected);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // The last window of sherpa-onnx's graph is filled with silence.
            let longer = rows[0].log_probs.len().checked_sub(expected.len());
            assert!(longer == Some(0) || target == Target::SherpaOnnx, "{name}: {longer:?}");
            assert!(worst <= most, "{name}: {worst} from the model");
        }
    }
}

#[test]
fn samples_in_give_what_features_give_one_delay_later() {
    let mixed = [(CellKind::RnnTanh, 8), (CellKind::MinGru, 8), (CellKind::Lstm, 8)];
    let blocks = [(CellKind::Conv, 8), (CellKind::Attention, 8), (CellKind::MinGru, 8)];
    let factorized = [(CellKind::Tdnnf, 8), (CellKind::RgLru, 8), (CellKind::Lstmp, 8)];
    for layers in [&[(CellKind::Gru, 8); 2][..], &[(CellKind::MinGru, 8); 2], &mixed, &blocks, &factorized] {
        samples_in(&NetworkConfig { num_features: 80, ..config(layers, true, true) });
    }
}

fn samples_in(config: &NetworkConfig) {
    let Some(engines) = options() else { return };
    let (network, metadata) = (random(config, 3), metadata(config));
    let samples: Vec<f32> = (0..640 * 12)
        .zip(Numbers(4).vec(640 * 12, 0.02))
        .map(|(i, noise)| 0.2 * (i as f32 * 0.05).sin() * (i as f32 * 0.0007).sin() + noise)
        .collect();
    let mut features = Vec::new();
    let mut fbank = hearken::features::Fbank::new(&metadata.features).expect("good settings");
    fbank.push(&samples, &mut features);
    fbank.finish(&mut features);
    let own = Runners::for_model(&own_file(&network, &metadata), &network, &engines);
    let expected = compare(&own.runners[..1], &[features], -15.9).expect("runs").remove(0).log_probs;
    let with_frontend = |target| ExportOptions { with_frontend: true, ..ExportOptions::new(target) };
    for (target, file) in [(Target::OnnxRuntime, 0), (Target::Triton, 0)] {
        let export = targets::export(&network, &metadata, &with_frontend(target)).expect("exported");
        let file = OnnxFile::from_bytes(export.files[file].bytes.clone()).expect("an ONNX file");
        let runners = Runners::for_graph(&file, &file.interface(&[]).expect("its own"), 80, &engines);
        assert!(runners.takes_samples);
        let longer = [samples.clone(), vec![0.0; 640]].concat();
        let rows = compare(&runners.runners, &[longer, samples[..640 * 5].to_vec()], 0.0).expect("runs");
        assert!(rows.iter().all(|row| row.difference < 1e-3), "{target}");
        let (v, found) = (config.num_tokens, &rows[0].log_probs);
        // The first step is before the beginning. The end of the last frame is mirrored in only one of the two.
        let pairs = found[v..].iter().zip(&expected[..expected.len() - v]);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-3, "{target}: {worst}");
    }
    for target in [Target::SherpaOnnx, Target::Whole] {
        let error =
            targets::export(&network, &metadata, &with_frontend(target)).expect_err("no samples there");
        assert!(error.to_string().contains("`with_frontend`"), "{error}");
    }
}

#[test]
fn exports_are_read_as_the_model_and_written_as_the_same_bytes() {
    for (seed, config) in stacks().iter().enumerate() {
        let (network, mut metadata) = (random(config, seed as u64), metadata(config));
        // In the graph for sherpa-onnx.
        metadata.decoder.blank_bias = 0.25;
        let own = write(&network, &metadata).expect("written");
        let features = Target::ALL.map(|target| (target, false));
        let samples = [Target::OnnxRuntime, Target::Triton].map(|target| (target, true));
        for (target, with_frontend) in features.into_iter().chain(samples) {
            let name = format!("{:?} for {target}, samples: {with_frontend}", config.layers);
            let options = ExportOptions { with_frontend, ..ExportOptions::new(target) };
            let bytes = exported(&network, &metadata, &options);
            let back = import(&bytes, &ImportOptions::default()).expect(&name);
            assert_eq!(back.network, network, "{name}");
            assert_eq!(back.metadata, metadata, "{name}");
            assert_eq!(write(&back.network, &back.metadata).expect("written"), own, "{name}");
            assert_eq!(exported(&back.network, &back.metadata, &options), bytes, "{name}");
        }
        for (precision, most) in [(Precision::Float16, 1e-3), (Precision::Int8, 1e-2)] {
            let options = ExportOptions { precision, ..ExportOptions::new(Target::OnnxRuntime) };
            let bytes = exported(&network, &metadata, &options);
            let back = import(&bytes, &ImportOptions::default()).expect("imported");
            assert_eq!(back.metadata, metadata);
            for (a, b) in back.network.parameters.iter().zip(&network.parameters) {
                let worst = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= most, "{precision}: {} by {worst}", a.name);
            }
        }
    }
}

/// Layers that only hearken writes are read where the whole graph is the one that it would write.
#[test]
fn changed_exports_with_such_layers_are_refused_with_the_place() {
    use hearken::onnx::proto::{GraphProto, decode};
    let layers = [(CellKind::Gru, 8), (CellKind::Conv, 8), (CellKind::Attention, 8), (CellKind::RgLru, 8)];
    let config = NetworkConfig { num_features: 80, ..config(&layers, true, true) };
    let bytes = exported(&random(&config, 1), &metadata(&config), &ExportOptions::new(Target::SherpaOnnx));
    type Change = dyn Fn(&mut GraphProto);
    fn floats(graph: &mut GraphProto, name: &str, add: f32) {
        let tensor = graph.initializer.iter_mut().find(|t| t.name == name).expect(name);
        let values: Vec<f32> = tensor.to_f32().expect("floats").1.iter().map(|v| v + add).collect();
        tensor.raw_data = Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into());
    }
    let cases: [(&str, &Change); 6] = [
        ("attention.50.4.slopes", &|g| floats(g, "attention.50.4.slopes", 0.01)),
        ("layers.3.rglru.sharpness", &|g| floats(g, "layers.3.rglru.sharpness", 0.5)),
        ("layers.1.conv.sigmoid", &|g| {
            g.node.iter_mut().find(|n| n.name == "layers.1.conv.sigmoid").expect("there").op_type =
                "Tanh".into();
        }),
        ("layers.2.attention.out_proj.weight", &|g| {
            g.initializer.retain(|t| t.name != "layers.2.attention.out_proj.weight");
        }),
        ("layers.1.conv.pointwise2.bias", &|g| floats(g, "layers.1.conv.pointwise2.bias", f32::NAN)),
        ("left_context", &|g| {
            let state = g.input.iter_mut().find(|i| i.name == "cached_key_2").expect("a state");
            let shape = state.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()?.shape.as_mut());
            shape.expect("a shape").dim[0].dim_value = Some(1 << 40);
        }),
    ];
    for (place, change) in cases {
        let mut model = decode(&bytes).expect("a model");
        change(model.graph.as_mut().expect("a graph"));
        let error = import(&prost_bytes(&model), &ImportOptions::default()).expect_err(place).to_string();
        assert!(error.contains(place) && error.contains("unchanged exports"), "{error}");
    }
}

/// With larger networks, so that limits on decoded sizes are tested.
#[test]
fn every_target_and_precision_is_imported_again() {
    let cells = [
        CellKind::Gru,
        CellKind::Lstm,
        CellKind::RnnTanh,
        CellKind::MinGru,
        CellKind::RgLru,
        CellKind::Conv,
        CellKind::Attention,
        CellKind::Tdnnf,
        CellKind::Lstmp,
    ];
    for (seed, cell) in cells.into_iter().enumerate() {
        let config =
            NetworkConfig { num_features: 80, input_size: 96, ..config(&[(cell, 96); 2], true, true) };
        let (network, metadata) = (random(&config, seed as u64), metadata(&config));
        let speech = frames(&config, 40, 7);
        let log_probs = |network: &Network<f32>| {
            let engine = NativeEngine::new(network.clone()).expect("whole");
            let (mut state, mut log_probs) = (engine.zero_state(), Vec::new());
            engine.run(&[&speech], &mut [&mut state], &mut [&mut log_probs]).expect("runs");
            log_probs
        };
        let expected = log_probs(&network);
        for target in Target::ALL {
            for (precision, most) in [
                (Precision::Float32, 0.0),
                (Precision::Float16, 0.02),
                (Precision::Int8, 0.2),
                (Precision::Int8Dynamic, 0.3),
            ] {
                let name = format!("{cell:?} for {target}, {precision}");
                let bytes =
                    exported(&network, &metadata, &ExportOptions { precision, ..ExportOptions::new(target) });
                let back =
                    import(&bytes, &ImportOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(back.metadata, metadata, "{name}");
                assert_eq!(back.network.config, config, "{name}");
                let found = log_probs(&back.network);
                let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= most, "{name}: {worst}");
                let dynamic = precision == Precision::Int8Dynamic;
                assert_eq!(back.notes.iter().any(|n| n.contains("in integers")), dynamic, "{name}");
            }
        }
    }
}

#[test]
fn a_description_says_which_systems_can_load_a_file() {
    let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 8); 2], true, true) };
    let (network, metadata) = (random(&config, 1), metadata(&config));
    for (target, loads) in [
        (
            Target::OnnxRuntime,
            ["hearken (native)", "hearken (graph)", "hearken (imported)", "onnxruntime"].as_slice(),
        ),
        (Target::SherpaOnnx, &["hearken (graph)", "hearken (imported)", "onnxruntime", "sherpa-onnx"]),
        (Target::Triton, &["hearken (graph)", "hearken (imported)", "onnxruntime", "triton"]),
        (Target::Whole, &["hearken (imported)", "onnxruntime", "triton"]),
    ] {
        let description =
            describe(&exported(&network, &metadata, &ExportOptions::new(target))).expect("good");
        let found: Vec<&str> = description.targets.iter().filter(|t| t.loads).map(|t| t.system).collect();
        assert_eq!(found, loads, "{target}");
        assert!(description.targets.iter().all(|t| !t.reason.is_empty()));
        assert_eq!(description.interface.states.len(), [1, 8, 1, 0][target as usize], "{target}");
        assert!(description.drawing.iter().any(|line| line.contains("GRU")), "{target}");
        // Two layers of GRU: 3 gates of 8 rows of 8 inputs and 8 recurrent values.
        let gru = description.layers.iter().find(|l| l.name == "layers.1.gru").expect("by name");
        assert_eq!((gru.parameters, gru.multiply_adds), (3 * 8 * 16 + 48, Some(3 * 8 * 16)), "{target}");
    }
}

#[test]
fn whole_recordings_are_never_longer_than_their_frames() {
    use hearken::engine::{EngineKind, StateTensor, TensorData, graph};
    let Some(engines) = options() else { return };
    let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 8)], true, true) };
    let bytes = exported(&random(&config, 1), &metadata(&config), &ExportOptions::new(Target::Whole));
    let file = OnnxFile::from_bytes(bytes).expect("an ONNX file");
    for kind in [EngineKind::Ort, EngineKind::Tract].into_iter().filter(|k| k.is_compiled_in()) {
        let graph = graph::open(kind, &file, &engines).expect("opened");
        let x = StateTensor { shape: vec![4, 40, 80], data: TensorData::F32(vec![0.0; 4 * 40 * 80]) };
        let lengths = StateTensor { shape: vec![4], data: TensorData::I64(vec![0, 5, 40, 1000]) };
        let outputs = graph.run(&[("x", &x), ("lengths", &lengths)]).expect("runs");
        assert_eq!(outputs[1].data, TensorData::I64(vec![0, 2, 10, 10]), "{kind}");
    }
}

#[test]
fn compatibility_with_onnxruntime_and_triton_is_reported() {
    use hearken::onnx::proto::{ModelProto, decode};
    let verdict = |system: &str, change: &dyn Fn(&mut ModelProto)| {
        let mut model = decode(&misleading()).expect("a model");
        change(&mut model);
        let described = describe(&prost_bytes(&model)).expect("described");
        let verdict = described.targets.into_iter().find(|t| t.system == system).expect("known");
        (verdict.loads, verdict.reason)
    };
    assert!(verdict("onnxruntime", &|_| {}).0);
    type Change = dyn Fn(&mut ModelProto);
    let cases: [(&str, &Change); 6] = [
        ("does not declare its opset", &|m| m.opset_import.clear()),
        ("opset 99", &|m| m.opset_import[0].version = Some(99)),
        ("IR 99", &|m| m.ir_version = Some(99)),
        ("no operator Frobnicate", &|m| {
            m.graph.as_mut().expect("a graph").node[0].op_type = "Frobnicate".into()
        }),
        ("type 77", &|m| {
            m.graph.as_mut().expect("a graph").initializer[0].data_type = 77;
        }),
        ("an additional library", &|m| m.opset_import[0].domain = "com.foo".into()),
    ];
    for (word, change) in cases {
        let (loads, reason) = verdict("onnxruntime", change);
        assert!(!loads && reason.contains(word), "{word}: {reason}");
    }
    let (loads, reason) = verdict("triton", &|_| {});
    assert!(!loads && reason.contains("a, b have the batch"), "{reason}");
    let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 8)], true, true) };
    let bytes = exported(&random(&config, 1), &metadata(&config), &ExportOptions::new(Target::Triton));
    let mut model = decode(&bytes).expect("a model");
    let x =
        model.graph.as_mut().and_then(|g| g.input[0].r#type.as_mut()?.tensor_type.as_mut()?.shape.as_mut());
    x.expect("a shape").dim[0] = hearken::onnx::proto::DimensionProto { dim_value: Some(1), dim_param: None };
    let described = describe(&prost_bytes(&model)).expect("described");
    let triton = described.targets.iter().find(|t| t.system == "triton").expect("known");
    assert!(!triton.loads && triton.reason.contains("fixed first axis"), "{}", triton.reason);
}

#[test]
fn decoder_options_inside_the_graph_are_not_applied_twice() {
    let Some(engines) = options() else { return };
    let place = Place::new();
    let (network, mut metadata) = hearken::onnx::read_file(&place.path("model.onnx")).expect("ours");
    metadata.decoder.filler = vec!["▁4".into()];
    let text_with = |bias: f32| {
        let mut metadata = metadata.clone();
        metadata.decoder.blank_bias = bias;
        metadata.decoder.filler_bias = bias / 4.0;
        hearken::onnx::write_file(&place.path("biased.onnx"), &network, &metadata).expect("written");
        let recognizer = Recognizer::open(place.path("biased.onnx")).expect("ours");
        recognizer.transcribe(&signal()).expect("recognized")
    };
    // An option that would change the text if it were applied twice, or not at all.
    let plain = text_with(0.0);
    let telling = |bias: &f32| text_with(*bias) != plain && text_with(2.0 * bias) != text_with(*bias);
    let bias =
        (1..40).map(|i| i as f32 * 0.5).flat_map(|b| [b, -b]).find(telling).expect("one of the biases");
    let text = text_with(bias);
    place.stdout_of(&["export", "biased.onnx", "--for", "sherpa-onnx", "-o", "sherpa"]);
    let open = |path: &str| Recognizer::open_any(place.path(path), None, None, &engines).expect("opened");
    for path in ["sherpa", "sherpa/model.onnx"] {
        assert_eq!(open(path).transcribe(&signal()).expect("recognized"), text, "{path}");
    }
}

#[test]
fn features_that_sherpa_onnx_does_not_compute_are_refused() {
    let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 8)], true, true) };
    let mut metadata = metadata(&config);
    metadata.features = FbankOptions { low_freq: 0.0, ..metadata.features };
    let refused = targets::export(&random(&config, 1), &metadata, &ExportOptions::new(Target::SherpaOnnx));
    let error = refused.expect_err("other features").to_string();
    assert!(error.contains("low_freq"), "{error}");
}
