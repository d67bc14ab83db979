//! The embedded models.

use std::path::Path;

use crate::error::{Error, Result, Stage};

// A static and not a constant, so that the bytes are in the program only once.
#[cfg(feature = "digits")]
static DIGITS: &[u8] = include_bytes!("../../models/digits/digits.onnx");

/// An embedded model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Embedded {
    /// Spoken English digits (feature `digits`).
    #[default]
    Digits,
    /// The phones of English (feature `english`): for phrases, and for open dictation with
    /// [`Embedded::language_model`].
    English,
}

impl Embedded {
    /// All of them.
    pub const ALL: [Embedded; 2] = [Embedded::Digits, Embedded::English];

    /// Its name on the command line, and the cargo feature that it belongs to.
    pub fn name(self) -> &'static str {
        match self {
            Embedded::Digits => "digits",
            Embedded::English => "english",
        }
    }

    /// The embedded model of this name, unless a file has the name. Folders do not count: one with recordings of English
    /// is often called `english`.
    pub(crate) fn named(name: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|model| name.as_os_str() == model.name()).filter(|_| !name.is_file())
    }

    /// The bytes of its ONNX file.
    ///
    /// # Errors
    /// When it is not in this build.
    pub fn model(self) -> Result<&'static [u8]> {
        match self {
            #[cfg(feature = "digits")]
            Embedded::Digits => Ok(DIGITS),
            #[cfg(feature = "english")]
            Embedded::English => Ok(hearken_english::NETWORK),
            #[allow(unreachable_patterns)]
            other => Err(other.missing()),
        }
    }

    /// The bytes of its n-gram language model, in the format of `hearken lm`.
    ///
    /// # Errors
    /// When it has none, or is not in this build.
    pub fn language_model(self) -> Result<&'static [u8]> {
        match self {
            #[cfg(feature = "english")]
            Embedded::English => Ok(hearken_english_lm::LANGUAGE_MODEL),
            Embedded::Digits => Err(Error::new(Stage::Usage, "the model of digits has no language model")),
            #[allow(unreachable_patterns)]
            other => Err(other.missing()),
        }
    }

    fn missing(self) -> Error {
        let name = self.name();
        let problem = format!("the model `{name}` is not in this build of hearken");
        Error::new(Stage::Usage, problem).hint(format!("name a model, or build with the feature `{name}`"))
    }
}
