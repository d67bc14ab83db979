//! Everything that is done with an ONNX file before a foreign engine reads it: the strict
//! reader, the check, `inspect`'s description, `import`. What they accept
//! is run by the native engine, written, and read again.

use hearken::engine::{Engine, NativeEngine, State};
use hearken::model::Network;
use hearken::onnx::import::{ImportOptions, import};
use hearken::onnx::{Metadata, check, inspect, read, write};

/// One case.
pub fn run(bytes: &[u8]) {
    let _ = check::check_bytes(bytes);
    if let Ok(description) = inspect::describe(bytes) {
        assert!(description.drawing.len() <= 203);
        let _ = Metadata::from_entries(&description.metadata);
    }
    if let Ok((network, metadata)) = read(bytes) {
        runs(&network);
        // A file that the strict reader accepts is one that hearken writes.
        comes_back(&network, &metadata);
    }
    for subsampling in [1, 3] {
        let options = ImportOptions { subsampling, ..ImportOptions::default() };
        if let Ok(imported) = import(bytes, &options) {
            comes_back(&imported.network, &imported.metadata);
        }
    }
}

/// Runs two streams in the native engine. Weights may be NaN, so that results may be NaN too.
fn runs(network: &Network<f32>) {
    let Ok(engine) = NativeEngine::new(network.clone()) else {
        return;
    };
    let spec = engine.spec();
    let one = vec![0.5; spec.subsampling * spec.num_features];
    let two = vec![-0.5; 2 * spec.subsampling * spec.num_features];
    let mut states: Vec<State> = vec![engine.zero_state(), engine.zero_state()];
    let mut outputs = vec![Vec::new(); 2];
    let mut states: Vec<&mut State> = states.iter_mut().collect();
    let mut log_probs: Vec<&mut Vec<f32>> = outputs.iter_mut().collect();
    if engine.run(&[&one, &two], &mut states, &mut log_probs).is_ok() {
        assert_eq!(outputs[0].len(), spec.num_tokens);
        assert_eq!(outputs[1].len(), 2 * spec.num_tokens);
    }
}

/// Checks that the written network is read as the same network.
fn comes_back(network: &Network<f32>, metadata: &Metadata) {
    let Ok(written) = write(network, metadata) else { return };
    let (again, _) = read(&written).expect("what hearken writes, it reads");
    assert_eq!(again.config, network.config);
}
