//! The library's enumerations as values of options: their names and descriptions appear in `--help`, in
//! completions and in errors.

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
        EngineKind::Native => "hearken's own engine",
        EngineKind::Tract => "Sonos' tract, part of the program",
        EngineKind::Ort => "onnxruntime; its library is searched by ORT_DYLIB_PATH, in the program's folder and in Python environments",
    };
    Precision: |precision| match precision {
        Precision::Float32 => "32-bit floats, as trained",
        Precision::Float16 => "half the size; computes in float32",
        Precision::Int8 => "a quarter of the size; computes in float32",
        Precision::Int8Dynamic => "a quarter of the size; computes linear layers in integers",
    };
    Target: |target| match target {
        Target::OnnxRuntime => "plain graph with the states as inputs and outputs",
        Target::SherpaOnnx => "streaming zipformer2-CTC model with tokens.txt",
        Target::Triton => "model repository with sequence batching and implicit states",
        Target::Whole => "graph for whole recordings, with lengths in place of states",
    };
    Numbers: |numbers| match numbers {
        Numbers::Words => "as they are said",
        Numbers::Digits => "in digits, but for single numbers below ten: two, 25, 31415",
        Numbers::All => "in digits, but for a single one: 2, 25, 31415",
    };
    Format: |format| format.description();
}
