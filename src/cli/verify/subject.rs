//! The file or folder that `hearken verify` runs, and its properties.

use std::path::Path;

use crate::cli::model::print_note;
use crate::engine::sherpa::Examined;
use crate::engine::verify::Runners;
use crate::engine::{EngineOptions, sherpa};
use crate::error::{Error, Result, Stage};
use crate::features::Fbank;
use crate::fs::quoted;
use crate::onnx::targets::{DELAY_KEY, PRECISION_KEY};
use crate::onnx::{self, Metadata, OnnxFile};

/// The file or folder that is verified.
pub(super) struct Subject {
    pub name: String,
    pub runners: Runners,
    pub metadata: Option<Metadata>,
    /// Whether the file's metadata describe its features.
    pub has_features: bool,
    /// The file, or the files of a folder; the first one receives the features.
    pub files: Vec<Examined>,
}

impl Subject {
    /// The file that receives the features or samples.
    pub fn first(&self) -> Option<&Examined> {
        self.files.first()
    }

    /// Opens a file or folder on every engine that can run it. `file` is the ONNX file that was read already,
    /// `None` for a folder of sherpa-onnx; `path` is its name.
    ///
    /// # Errors
    /// When an option has no effect, or the tokens cannot be read.
    pub fn open(
        path: &Path,
        file: Option<OnnxFile>,
        tokens: Option<&Path>,
        options: &EngineOptions,
    ) -> Result<Self> {
        let (name, path) = (quoted(path).into_owned(), path.to_path_buf());
        let Some(file) = file else {
            check_used("--tokens", tokens.is_some(), "a folder of sherpa-onnx has its own tokens.txt")?;
            let (runners, metadata) = Runners::for_folder(&path, options);
            // The errors of the engines say why a folder cannot be read.
            let files = sherpa::examine_folder(&path, &options.states).unwrap_or_default();
            return Ok(Self { name, runners, metadata, has_features: true, files });
        };
        let own = onnx::load::read_model(&file);
        if own.is_ok() || onnx::targets::target_of(&file).is_some() {
            let what = "the file was written by hearken and has its own";
            check_used("--tokens", tokens.is_some(), what)?;
            check_used("--state", !options.states.is_empty(), what)?;
        }
        let in_file = |e: Error| if e.stage() == Stage::Usage { e } else { e.in_file(&path) };
        let interface = file.interface(&options.states).map_err(in_file)?;
        let (runners, metadata, has_features) = match own {
            Ok((network, metadata)) => (Runners::for_model(&file, &network, options), Some(metadata), true),
            Err(_) => {
                let metadata = Metadata::from_entries(file.entries()).ok();
                let features = metadata.as_ref().map_or(80, |m| m.features.num_mel_bins);
                let runners = Runners::for_graph(&file, &interface, features, options);
                match metadata {
                    Some(metadata) => (runners, Some(metadata), true),
                    None => {
                        let metadata = foreign_metadata(tokens, &path, &runners)?;
                        (runners, metadata, false)
                    }
                }
            }
        };
        let files = vec![Examined { path, file, interface }];
        Ok(Self { name, runners, metadata, has_features, files })
    }

    /// The precision of the weights; `None` if the file was not exported by hearken.
    pub fn precision(&self) -> Option<&str> {
        self.first()?.file.value(PRECISION_KEY)
    }

    /// The delay of the output of a graph of samples, steps.
    pub fn delay_steps(&self) -> usize {
        let delay = self.first().and_then(|f| f.file.value(DELAY_KEY)?.parse::<usize>().ok());
        delay.unwrap_or(0).min(100)
    }

    /// Number of samples from one output frame to the next.
    pub fn step_samples(&self) -> Option<u64> {
        let spec = self.runners.runners.first()?.engine().spec();
        let features = &self.metadata.as_ref()?.features;
        let shift = match self.runners.takes_samples {
            true => 1,
            false => Fbank::new(features).ok()?.frame_shift_samples(),
        };
        Some((spec.subsampling * shift) as u64)
    }
}

/// Refuses an option that is given but has no effect, for the reason `why`.
fn check_used(option: &str, is_given: bool, why: &str) -> Result<()> {
    match is_given {
        true => Err(Error::new(Stage::Usage, format!("`{option}` has no effect: {why}"))),
        false => Ok(()),
    }
}

/// The metadata of a foreign file from its tokens, if they are given or in its folder.
fn foreign_metadata(tokens: Option<&Path>, file: &Path, runners: &Runners) -> Result<Option<Metadata>> {
    let beside = file.with_file_name("tokens.txt");
    let path = tokens.or_else(|| beside.is_file().then_some(beside.as_path()));
    let (Some(path), Some(runner)) = (path, runners.runners.first()) else { return Ok(None) };
    let (names, spec) = (sherpa::read_tokens(path)?, runner.engine().spec());
    // The features of a graph that takes samples are unknown.
    let features = if runners.takes_samples { 80 } else { spec.num_features };
    match sherpa::foreign_metadata(names, path, features, spec.num_tokens) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if tokens.is_some() => Err(error),
        // A tokens.txt in the folder may belong to another file.
        Err(error) => {
            print_note(&error.to_string());
            Ok(None)
        }
    }
}
