//! `hearken --version`

use std::env::consts::{ARCH, OS};
use std::io::{self, Write};
use std::path::Path;

use super::{Outcome, Stop};
use crate::onnx;
use crate::recognizer::Embedded;

/// Cargo features, and whether this build has them.
const FEATURES: [(&str, bool); 8] = [
    ("compressed-audio", cfg!(feature = "compressed-audio")),
    ("digits", cfg!(feature = "digits")),
    ("english", cfg!(feature = "english")),
    ("microphone", cfg!(feature = "microphone")),
    ("ort", cfg!(feature = "ort")),
    ("serve", cfg!(feature = "serve")),
    ("tract", cfg!(feature = "tract")),
    ("train", cfg!(feature = "train")),
];

pub(super) fn run(verbose: bool) -> std::result::Result<Outcome, Stop> {
    let mut text = format!("hearken {}\n", env!("CARGO_PKG_VERSION"));
    if verbose {
        text += &details();
    }
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}

fn details() -> String {
    let features: Vec<&str> = FEATURES.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let mut lines = vec![
        format!("system: {ARCH}-{OS}"),
        format!("features: {}", if features.is_empty() { "none".into() } else { features.join(", ") }),
        "license of the program: MIT OR Apache-2.0".into(),
    ];
    for model in Embedded::ALL {
        let name = model.name();
        match model.model().and_then(onnx::read) {
            Ok((network, metadata)) => lines.extend([
                format!("embedded model {name}: {} parameters", network.num_parameters()),
                format!("license of the model {name}: {}", metadata.license),
                format!("the model {name} was trained on: {}", metadata.trained_on),
            ]),
            Err(_) => lines.push(format!("embedded model {name}: not in this build")),
        }
    }
    if cfg!(feature = "english") {
        lines.push("embedded dictionary: the CMU Pronouncing Dictionary 0.7a".into());
        lines.push(
            "license of the dictionary: BSD-2-Clause, Copyright (C) 1993-2008 Carnegie Mellon University"
                .into(),
        );
    }
    lines.join("\n") + "\n"
}
