//! The settings of a transcription session, in the fields of both versions of OpenAI's API: the generally
//! available one and the earlier beta.

use serde_json::{Value, json};

use crate::audio::{Encoding, RawFormat};
use crate::serve::protocol::word_list::{WordList, keywords_of, strings};
use crate::serve::protocol::{SAMPLE_RATES, shortened};

/// Audio before the first word that counts as part of an utterance, milliseconds.
pub(super) const PREFIX_PADDING_MS: f64 = 300.0;
/// Allowed values of the silence that ends an utterance, milliseconds.
const SILENCE_MS: std::ops::RangeInclusive<u64> = 50..=60_000;

/// The settings of a session; an update changes all of them or none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub format: RawFormat,
    pub model: String,
    pub language: Option<String>,
    /// Silence that ends an utterance, milliseconds; `None` if only the client ends utterances.
    pub silence_ms: Option<u64>,
    /// Text whose words and phrases are hotwords; `None` if there is none.
    pub prompt: Option<String>,
    /// Hotwords.
    pub keywords: Vec<String>,
}

/// An error in a message, and the field that caused it.
pub(super) struct Invalid {
    pub message: String,
    pub field: String,
}

impl Settings {
    /// The default settings; `silence_ms` is the silence that ends an utterance.
    pub fn new(silence_ms: u64) -> Self {
        Self {
            format: RawFormat { sample_rate: 24_000, channels: 1, encoding: Encoding::S16Le },
            model: "hearken".into(),
            language: None,
            silence_ms: Some(silence_ms),
            prompt: None,
            keywords: Vec::new(),
        }
    }

    /// The hotwords of prompt and keywords; `None` if there are none.
    pub fn hotwords(&self) -> Option<WordList> {
        let mut hotwords = self.keywords.clone();
        hotwords.extend(self.prompt.as_deref().map(keywords_of).unwrap_or_default());
        (!hotwords.is_empty()).then_some(WordList::Keywords(hotwords))
    }

    /// The `transcription` object of a session.
    fn transcription(&self) -> Value {
        let mut fields = json!({"model": self.model, "language": self.language});
        if let Some(prompt) = &self.prompt {
            fields["prompt"] = json!(prompt);
        }
        if !self.keywords.is_empty() {
            fields["keywords"] = json!(self.keywords);
        }
        fields
    }

    /// The `session` object that is sent to the client.
    pub fn session(&self, id: &str) -> Value {
        let format = &self.format;
        let format = match format.encoding {
            Encoding::MuLaw => json!({"type": "audio/pcmu"}),
            Encoding::ALaw => json!({"type": "audio/pcma"}),
            _ => json!({"type": "audio/pcm", "rate": format.sample_rate}),
        };
        json!({
            "type": "transcription",
            "id": id,
            "object": "realtime.transcription_session",
            "audio": {"input": {
                "format": format,
                "transcription": self.transcription(),
                "noise_reduction": null,
                "turn_detection": self.turn_detection(),
            }},
            "include": null,
        })
    }

    /// The `session` object in the form of the beta API.
    pub fn beta_session(&self, id: &str) -> Value {
        json!({
            "id": id,
            "object": "realtime.transcription_session",
            "input_audio_format": match self.format.encoding {
                Encoding::MuLaw => "g711_ulaw",
                Encoding::ALaw => "g711_alaw",
                _ => "pcm16",
            },
            "input_audio_transcription": self.transcription(),
            "turn_detection": self.turn_detection(),
        })
    }

    fn turn_detection(&self) -> Value {
        match self.silence_ms {
            Some(silence) => json!({
                "type": "server_vad",
                "prefix_padding_ms": PREFIX_PADDING_MS as u64,
                "silence_duration_ms": silence,
            }),
            None => Value::Null,
        }
    }

    /// Returns the settings with the changes of `session.update`, or of the older
    /// `transcription_session.update`. `default_silence_ms` is used for turn detection without a silence.
    ///
    /// # Errors
    /// An error that names the first invalid field.
    pub fn updated(&self, session: &Value, default_silence_ms: u64) -> Result<Self, Invalid> {
        let mut settings = self.clone();
        match &session["type"] {
            Value::Null => {}
            kind if kind == "transcription" => {}
            kind => return Err(invalid("session.type", "transcription", kind)),
        }
        let input = &session["audio"]["input"];
        for (format, field) in [
            (&input["format"], "session.audio.input.format"),
            (&session["input_audio_format"], "session.input_audio_format"),
        ] {
            if !format.is_null() {
                settings.format = parse_format(format, field)?;
            }
        }
        for (transcription, field) in [
            (&input["transcription"], "session.audio.input.transcription"),
            (&session["input_audio_transcription"], "session.input_audio_transcription"),
        ] {
            settings.update_hotwords(transcription, field)?;
            if let Some(model) = transcription["model"].as_str() {
                settings.model = shortened(model);
            }
            if let Some(language) = transcription["language"].as_str() {
                settings.language = Some(shortened(language));
            }
        }
        for (detection, field) in [
            (input.get("turn_detection"), "session.audio.input.turn_detection"),
            (session.get("turn_detection"), "session.turn_detection"),
        ] {
            if let Some(detection) = detection {
                settings.silence_ms = parse_turn_detection(detection, field, default_silence_ms)?;
            }
        }
        Ok(settings)
    }

    /// Applies the fields of `transcription` that become hotwords; null removes them.
    fn update_hotwords(&mut self, transcription: &Value, field: &str) -> Result<(), Invalid> {
        if let Some(prompt) = transcription.get("prompt") {
            self.prompt = match prompt {
                Value::Null => None,
                Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
                other => return Err(invalid(&format!("{field}.prompt"), "a text", other)),
            };
        }
        if let Some(keywords) = transcription.get("keywords") {
            let field = format!("{field}.keywords");
            let problem = |problem| Invalid { message: format!("{field}: {problem}"), field: field.clone() };
            self.keywords =
                if keywords.is_null() { Vec::new() } else { strings(keywords).map_err(problem)? };
        }
        match self.hotwords().map(|list| list.check()) {
            Some(Err(problem)) => {
                let message = format!("{field}: prompt and keywords: {problem}");
                Err(Invalid { message, field: field.into() })
            }
            _ => Ok(()),
        }
    }
}

/// Builds the error for a field with an unexpected value.
pub(super) fn invalid(field: &str, expected: &str, found: &Value) -> Invalid {
    Invalid { message: format!("{field}: expected {expected}, found {found}"), field: field.into() }
}

/// Parses a format: an object, or a name in the beta API.
fn parse_format(format: &Value, field: &str) -> Result<RawFormat, Invalid> {
    let name = format.as_str().or_else(|| format["type"].as_str()).unwrap_or_default();
    let (encoding, default_rate) = match name {
        "audio/pcm" | "pcm16" => (Encoding::S16Le, 24_000),
        "audio/pcmu" | "g711_ulaw" => (Encoding::MuLaw, 8_000),
        "audio/pcma" | "g711_alaw" => (Encoding::ALaw, 8_000),
        _ => return Err(invalid(field, "audio/pcm, audio/pcmu or audio/pcma", format)),
    };
    let sample_rate = match format.get("rate") {
        None | Some(Value::Null) => default_rate,
        Some(rate) => {
            let in_range = |rate: &u32| SAMPLE_RATES.contains(rate);
            let number = rate.as_u64().and_then(|rate| u32::try_from(rate).ok()).filter(in_range);
            let expected = format!("a rate from {} to {}", SAMPLE_RATES.start(), SAMPLE_RATES.end());
            number.ok_or_else(|| invalid(&format!("{field}.rate"), &expected, rate))?
        }
    };
    Ok(RawFormat { sample_rate, channels: 1, encoding })
}

/// Parses `turn_detection`: the silence that ends an utterance, milliseconds, or `None` for null.
fn parse_turn_detection(settings: &Value, field: &str, default: u64) -> Result<Option<u64>, Invalid> {
    if settings.is_null() {
        return Ok(None);
    }
    if settings["type"] != "server_vad" {
        return Err(invalid(&format!("{field}.type"), "server_vad, or null for none", &settings["type"]));
    }
    match settings.get("silence_duration_ms") {
        None | Some(Value::Null) => Ok(Some(default)),
        Some(silence) => {
            let expected = format!("milliseconds from {} to {}", SILENCE_MS.start(), SILENCE_MS.end());
            let number = silence.as_u64().filter(|silence| SILENCE_MS.contains(silence));
            let field = format!("{field}.silence_duration_ms");
            number.map(Some).ok_or_else(|| invalid(&field, &expected, silence))
        }
    }
}
