//! Models with their words.

use std::ffi::c_char;
use std::path::{Path, PathBuf};
use std::ptr;

use hearken::recognizer::{Embedded, PhraseOptions};
use hearken::text::hotwords::Hotwords;
use hearken::text::phrases::Phrases;
use hearken::{Error, HotwordOptions, LanguageOptions, Recognizer};

use crate::arguments::{path, shared};
use crate::error::{guard, usage};

/// A model with its words. Any number of threads may use it at once.
pub struct HearkenModel(pub(crate) Recognizer);

/// What to open. Set everything to zero, then `size` to the size of the struct, then what is needed; NULL and 0 stand
/// for the defaults.
#[repr(C)]
pub struct HearkenModelOptions {
    /// `sizeof(HearkenModelOptions)`, so that later versions can add members.
    pub size: usize,
    /// A file of hearken, a foreign ONNX file with states, a folder of sherpa-onnx, or the embedded model `digits` or
    /// `english`. Default: english with `phrases` or `lm`, else digits.
    pub model: *const c_char,
    /// File of phrases, which alone are recognized or, with `lm`, in dictation.
    pub phrases: *const c_char,
    /// File of an n-gram language model, whose words are recognized.
    pub lm: *const c_char,
    /// File of words and phrases that are boosted.
    pub hotwords: *const c_char,
    /// Boost of the hotwords that have none of their own, nats for each word. Default: 2.
    pub hotwords_score: f32,
    /// File of pronunciations that take precedence over the English ones.
    pub lexicon: *const c_char,
}

impl HearkenModelOptions {
    fn new() -> Self {
        let none = ptr::null();
        Self {
            size: size_of::<Self>(),
            model: none,
            phrases: none,
            lm: none,
            hotwords: none,
            hotwords_score: 0.0,
            lexicon: none,
        }
    }
}

/// Opens a model as vosk_model_new does: a file or folder, the embedded model `digits` or `english`, or NULL for
/// `digits`. Returns NULL at an error. Free it with hearken_model_free.
///
/// # Safety
/// `path` is NULL or a text that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_model_new(path: *const c_char) -> *mut HearkenModel {
    let options = HearkenModelOptions { model: path, ..HearkenModelOptions::new() };
    // SAFETY: the text is as promised by the caller; the others are NULL.
    guard(ptr::null_mut(), || unsafe { open(&options) })
}

/// Opens a model with the given words. Returns NULL at an error. Free it with hearken_model_free.
///
/// # Safety
/// `options` is NULL or valid for `options->size` bytes, and every text in it is NULL or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_model_new_with(options: *const HearkenModelOptions) -> *mut HearkenModel {
    guard(ptr::null_mut(), || {
        // SAFETY: NULL, or valid for the first member at least, as promised by the caller.
        let size = *unsafe { shared("options", options.cast::<usize>()) }?;
        let full = size_of::<HearkenModelOptions>();
        if !(size_of::<usize>()..=full).contains(&size) {
            let problem = format!("options->size: expected at most {full} bytes, found {size}");
            return Err(usage(problem).hint("set it to sizeof(HearkenModelOptions)"));
        }
        let mut copy = HearkenModelOptions::new();
        // SAFETY: valid for `size` bytes as promised by the caller, which is no more than the copy has; any bytes are
        // valid pointers and numbers.
        unsafe { ptr::copy_nonoverlapping(options.cast::<u8>(), (&raw mut copy).cast::<u8>(), size) };
        // SAFETY: the texts are as promised by the caller.
        unsafe { open(&copy) }
    })
}

/// # Safety
/// Every text is NULL or ends with a zero byte.
unsafe fn open(options: &HearkenModelOptions) -> Result<*mut HearkenModel, Error> {
    // SAFETY: as promised by the caller.
    let file = |name, text| unsafe { path(name, text) };
    let model = file("model", options.model)?;
    let lm = file("lm", options.lm)?;
    let phrases = file("phrases", options.phrases)?;
    let mut builder = Recognizer::builder();
    let inside = model.as_deref().and_then(embedded);
    // As the program: the embedded model of English has a language model too.
    if lm.is_some() || inside == Some(Embedded::English) && phrases.is_none() {
        builder = builder.language(lm.map_or_else(LanguageOptions::english, LanguageOptions::new));
    }
    builder = match (inside, model) {
        (Some(inside), _) => builder.embedded(inside),
        (None, Some(model)) => builder.model(model),
        (None, None) => builder,
    };
    if let Some(phrases) = phrases {
        builder = builder.phrases(Phrases::read(&phrases)?, PhraseOptions::default());
    }
    if let Some(hotwords) = file("hotwords", options.hotwords)? {
        let score = options.hotwords_score;
        let score = if score == 0.0 { HotwordOptions::SCORE } else { score };
        builder = builder.hotwords(Hotwords::read(&hotwords)?, score);
    }
    if let Some(lexicon) = file("lexicon", options.lexicon)? {
        builder = builder.lexicon(lexicon);
    }
    Ok(Box::into_raw(Box::new(HearkenModel(builder.open()?))))
}

/// The embedded model of a name, unless a file has the name.
fn embedded(model: &Path) -> Option<Embedded> {
    let inside = Embedded::ALL.into_iter().find(|inside| model.as_os_str() == inside.name());
    inside.filter(|_| !PathBuf::from(model).is_file())
}

/// The sample rate of a model, Hz; 0 at an error.
///
/// # Safety
/// `model` is NULL or a model that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_model_sample_rate(model: *const HearkenModel) -> u32 {
    // SAFETY: as promised by the caller.
    guard(0, || Ok(unsafe { shared("model", model) }?.0.sample_rate()))
}

/// Frees a model; NULL is ignored. Recognizers of the model remain valid.
///
/// # Safety
/// `model` is NULL or a model that was not freed; it is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hearken_model_free(model: *mut HearkenModel) {
    if !model.is_null() {
        // SAFETY: from `Box::into_raw`, and not freed before, as promised by the caller.
        let model = unsafe { Box::from_raw(model) };
        guard((), || {
            drop(model);
            Ok(())
        });
    }
}
