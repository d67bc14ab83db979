//! Loading of whatever carries a model: which kind of file or folder it is, and the engine for it.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::engine::{self, Engine, EngineKind, EngineOptions};
use crate::error::{Error, Result, Stage};
use crate::model::Network;
use crate::onnx::{self, Metadata, OnnxFile};

/// An engine that runs a model, and what the model says of itself.
pub(super) struct Loaded {
    pub engine: Box<dyn Engine>,
    pub metadata: Metadata,
    /// What the user should know of it: which engine stands in for another, what was guessed.
    pub notes: Vec<String>,
}

/// A file by what has to be done to run it.
enum ModelFile {
    /// Hearken's own.
    Own(Network<f32>, Metadata),
    /// Exported by hearken for another system.
    Exported(Metadata),
    /// Another program's, with the file of its tokens.
    Foreign(PathBuf),
}

/// A path with a model, and how it is asked to be opened.
pub(super) struct Loader<'a> {
    path: &'a Path,
    /// Without it hearken's own files run natively, all others on what this build has for them.
    kind: Option<EngineKind>,
    tokens: Option<&'a Path>,
    options: &'a EngineOptions,
    /// What runs graphs, and why it is not onnxruntime. Not before it is needed: it loads
    /// onnxruntime's library.
    chosen: OnceCell<(EngineKind, Option<Error>)>,
}

impl<'a> Loader<'a> {
    pub fn new(
        path: &'a Path,
        kind: Option<EngineKind>,
        tokens: Option<&'a Path>,
        options: &'a EngineOptions,
    ) -> Self {
        Self { path, kind, tokens, options, chosen: OnceCell::new() }
    }

    /// Opens a file of hearken's, for any system that it was exported for; a folder of sherpa-onnx; a
    /// foreign ONNX file with states and tokens.
    ///
    /// # Errors
    /// When it is none of these, or the engine cannot run it; names file and place.
    pub fn load(&self) -> Result<Loaded> {
        if self.path.is_dir() {
            return self.folder();
        }
        let file = OnnxFile::read(self.path)?;
        let graphs = || self.graphs();
        let (engine, metadata) = match self.detect(&file)? {
            ModelFile::Own(network, metadata) => {
                let kind = self.kind.unwrap_or_default();
                let engine = engine::load(kind, &file, network, self.options)?;
                return Ok(Loaded { engine, metadata, notes: Vec::new() });
            }
            ModelFile::Exported(metadata) => {
                engine::sherpa::open_exported(&file, metadata, graphs(), self.options)
            }
            ModelFile::Foreign(path) => {
                let tokens = (engine::sherpa::read_tokens(&path)?, path.as_path());
                engine::sherpa::open_file(&file, tokens, graphs(), self.options)
            }
        }
        .map_err(|e| self.named(e))?;
        let guessed = file.interface(&self.options.states)?.states_note;
        Ok(Loaded { engine, metadata, notes: self.stand_in().into_iter().chain(guessed).collect() })
    }

    /// The error of this path, with why another engine was tried than the best.
    pub fn named(&self, error: Error) -> Error {
        let error = match self.chosen.get() {
            Some((_, Some(missing))) if error.stage() == Stage::Engine => {
                error.hint(format!("tract was tried: {missing}"))
            }
            _ => error,
        };
        if error.stage() == Stage::Usage { error } else { error.in_file(self.path) }
    }

    fn folder(&self) -> Result<Loaded> {
        if self.tokens.is_some() {
            return Err(self.unused("tokens", "a folder of sherpa-onnx has its own tokens.txt"));
        }
        let opened = engine::sherpa::open(self.path, self.graphs(), self.options);
        let (engine, metadata) = opened.map_err(|e| self.named(e))?;
        Ok(Loaded { engine, metadata, notes: self.stand_in().into_iter().collect() })
    }

    /// Finds out which kind of file it is, and refuses options that have no effect on it.
    fn detect(&self, file: &OnnxFile) -> Result<ModelFile> {
        let own = onnx::load::read_model(file);
        let exported = onnx::targets::exported_metadata(file);
        if own.is_ok() || exported.is_some() {
            let what = "the file is hearken's and says its own";
            let given = [("tokens", self.tokens.is_some()), ("states", !self.options.states.is_empty())];
            if let Some((setting, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
                return Err(self.unused(setting, what));
            }
        }
        let beside = self.path.with_file_name("tokens.txt");
        let tokens = self.tokens.or_else(|| beside.is_file().then_some(beside.as_path()));
        match (own, exported, tokens) {
            (Ok((network, metadata)), ..) => Ok(ModelFile::Own(network, metadata)),
            (Err(_), Some(metadata), _) => Ok(ModelFile::Exported(metadata)),
            (Err(_), None, Some(path)) => Ok(ModelFile::Foreign(path.to_path_buf())),
            // What is wrong with a file of hearken's was found when it was read as one.
            (Err(error), None, None) if file.is_ours() => Err(self.named(error)),
            (Err(_), None, None) => {
                let problem = "the file is not hearken's, and its tokens are not known";
                let hint = "import it, or give its tokens";
                Err(self.named(Error::new(Stage::Model, problem).hint(hint).remedy("tokens")))
            }
        }
    }

    /// The engine for graphs that the native engine does not run.
    fn graphs(&self) -> EngineKind {
        let choose = || match self.kind {
            Some(kind) => (kind, None),
            None => engine::graph::default_kind(self.options),
        };
        self.chosen.get_or_init(choose).0
    }

    /// A note where tract runs what onnxruntime would.
    fn stand_in(&self) -> Option<String> {
        let (_, missing) = self.chosen.get()?;
        missing.as_ref().map(|missing| format!("tract runs the model: {missing}"))
    }

    fn unused(&self, setting: &'static str, why: &str) -> Error {
        let problem = format!("a setting has no effect: {why}");
        Error::new(Stage::Usage, problem).in_file(self.path).hint("leave it out").remedy(setting)
    }
}
