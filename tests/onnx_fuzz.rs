//! Damaged and hostile ONNX files in everything that reads them: no panic, and no more memory than a small
//! multiple of the size of the file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use crate::common::networks::{config, metadata, random};
use hearken::model::CellKind;
use hearken::onnx::import::{ImportOptions, import};
use hearken::onnx::{ExportOptions, Precision, Target, check, inspect, proto, read, targets, write};
use proptest::prelude::*;
use prost::Message;

/// Counts the bytes allocated by each thread, so that parallel tests do not affect each other.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // The counters of a thread that ends may already be destroyed.
    let _ = ALLOCATED.try_with(|allocated| {
        allocated.set(allocated.get() + bytes);
        let _ = PEAK.try_with(|most| most.set(most.get().max(allocated.get())));
    });
}

// SAFETY: everything is passed on to the system's allocator unchanged; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Peak of the bytes allocated while `work` runs, in addition to those allocated before.
fn peak_allocated(work: impl FnOnce()) -> usize {
    let before = ALLOCATED.with(Cell::get);
    PEAK.with(|most| most.set(before));
    work();
    usize::try_from(PEAK.with(Cell::get) - before).unwrap_or(0)
}

/// Maximum allocation: bytes per byte of the file, and a fixed number of bytes.
const BYTES_PER_BYTE: usize = 100;
const FIXED_BYTES: usize = 2 << 20;

fn files() -> Vec<Vec<u8>> {
    let config = config(&[(CellKind::Gru, 8), (CellKind::Gru, 8)], true, true);
    let metadata = metadata(&config);
    let network = random(&config, 1);
    let mut files = vec![write(&network, &metadata).expect("written")];
    let export = targets::export(&network, &metadata, &ExportOptions::new(Target::Triton)).expect("exported");
    files.push(export.files[0].bytes.clone());
    for precision in [Precision::Int8, Precision::Int8Dynamic] {
        let options = ExportOptions { precision, ..ExportOptions::new(Target::OnnxRuntime) };
        let export = targets::export(&network, &metadata, &options).expect("exported");
        files.push(export.files[0].bytes.clone());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    for name in ["torch-script-lstm-1", "torch-dynamo-gru-1", "keras-gru", "test_lstm_with_peepholes"] {
        files.push(std::fs::read(folder.join(format!("{name}.onnx"))).expect("a golden"));
    }
    files
}

/// Calls every function that reads a file.
fn read_all(bytes: &[u8]) {
    let _ = read(bytes);
    let _ = check::check_bytes(bytes);
    let _ = import(bytes, &ImportOptions::default());
    if let Ok(description) = inspect::describe(bytes) {
        assert!(description.drawing.len() <= 203);
    }
}

fn assert_bounded(bytes: &[u8]) {
    let most = peak_allocated(|| read_all(bytes));
    assert!(most <= BYTES_PER_BYTE * bytes.len() + FIXED_BYTES, "{most} bytes for a file of {}", bytes.len());
}

#[test]
fn valid_files_are_within_bounds() {
    for bytes in files() {
        assert_bounded(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..Default::default() })]

    /// Random bytes are changed.
    #[test]
    fn changed_bytes(
        file in 0usize..8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
    ) {
        let mut bytes = files().swap_remove(file);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        assert_bounded(&bytes);
    }

    /// Chunks are removed, duplicated, or moved.
    #[test]
    fn moved_chunks(
        file in 0usize..8,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        length in 1usize..400,
        cut in any::<bool>(),
    ) {
        let mut bytes = files().swap_remove(file);
        let from = from.index(bytes.len());
        let end = (from + length).min(bytes.len());
        let chunk = bytes[from..end].to_vec();
        if cut {
            bytes.drain(from..end);
        }
        let to = to.index(bytes.len() + 1);
        bytes.splice(to..to, chunk);
        assert_bounded(&bytes);
    }

    /// Well-formed files with impossible numbers.
    #[test]
    fn impossible_numbers(
        file in 0usize..8,
        number in prop::sample::select(vec![-2i64, -1, 0, 1, 7, 1 << 20, 1 << 40, i64::MAX, i64::MIN]),
        at in any::<prop::sample::Index>(),
        kind in 0u8..5,
    ) {
        let bytes = files().swap_remove(file);
        let mut model = proto::decode(&bytes).expect("a good file");
        let graph = model.graph.as_mut().expect("a graph");
        match kind {
            0 if !graph.initializer.is_empty() => {
                let n = graph.initializer.len();
                let tensor = &mut graph.initializer[at.index(n)];
                tensor.dims.iter_mut().for_each(|d| *d = number);
            }
            1 if !graph.initializer.is_empty() => {
                let n = graph.initializer.len();
                graph.initializer[at.index(n)].data_type = number as i32;
            }
            2 => {
                let n = graph.input.len();
                let dims = graph.input[at.index(n)].r#type.as_mut()
                    .and_then(|t| t.tensor_type.as_mut()).and_then(|t| t.shape.as_mut());
                dims.expect("a tensor").dim.iter_mut().for_each(|d| d.dim_value = Some(number));
            }
            3 => {
                let n = graph.node.len();
                graph.node[at.index(n)].attribute.iter_mut().for_each(|a| {
                    a.i = a.i.map(|_| number);
                    a.ints.iter_mut().for_each(|i| *i = number);
                });
            }
            _ => model.metadata_props.iter_mut().for_each(|e| {
                if e.value.len() < 5 {
                    e.value = number.to_string();
                }
            }),
        }
        assert_bounded(&model.encode_to_vec());
    }

    /// Random bytes.
    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        assert_bounded(&bytes);
    }
}
