//! The library's enumerations as values of options: their names are those of the library, and stand in
//! `--help`, in completions and in errors.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::engine::EngineKind;
use crate::onnx::{Precision, Target};
use crate::output::Format;
use crate::text::numbers::Numbers;

macro_rules! value_enum {
    ($($kind:ty: $help:expr;)*) => {$(
        impl ValueEnum for $kind {
            fn value_variants<'a>() -> &'a [Self] {
                &<$kind>::ALL
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                let help: fn(&$kind) -> &'static str = $help;
                Some(PossibleValue::new(self.name()).help(help(self)))
            }
        }
    )*};
}

value_enum! {
    EngineKind: |engine| match engine {
        EngineKind::Native => "hearken's own",
        EngineKind::Tract => "Sonos' tract, inside the program",
        EngineKind::Ort => "onnxruntime, found by ORT_DYLIB_PATH, beside the program, or in a Python environment",
    };
    Precision: |precision| match precision {
        Precision::Float32 => "as trained",
        Precision::Float16 => "half the size, computed in float32",
        Precision::Int8 => "a quarter of the size, computed in float32",
        Precision::Int8Dynamic => "a quarter of the size, linear layers computed in integers",
    };
    Target: |target| match target {
        Target::OnnxRuntime => "the plain graph, states in and out",
        Target::SherpaOnnx => "a streaming zipformer2-CTC model and its tokens.txt",
        Target::Triton => "a model repository, sequence batching with implicit state",
        Target::Whole => "no states, lengths instead, for whole recordings",
    };
    Numbers: |numbers| match numbers {
        Numbers::Words => "as they are said",
        Numbers::Digits => "in digits, but for single numbers below ten: two, 25, 31415",
        Numbers::All => "in digits, but for a single one: 2, 25, 31415",
    };
    Format: |format| format.description();
}
