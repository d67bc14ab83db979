//! Decoders by codec, and the names of unsupported codecs for messages.

use std::sync::LazyLock;

use symphonia::core::codecs::audio::well_known::*;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error as SymphoniaError;

use crate::error::{Error, Result, Stage};

use super::opus::OpusDecoder;

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut registry = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut registry);
    registry.register_audio_decoder::<OpusDecoder>();
    registry
});

/// Codecs that occur in practice and are not supported.
const OTHERS: [(AudioCodecId, &str); 14] = [
    (CODEC_ID_AC3, "Dolby Digital (AC-3)"),
    (CODEC_ID_EAC3, "Dolby Digital Plus (E-AC-3)"),
    (CODEC_ID_AC4, "Dolby AC-4"),
    (CODEC_ID_TRUEHD, "Dolby TrueHD"),
    (CODEC_ID_DCA, "DTS"),
    (CODEC_ID_SPEEX, "Speex"),
    (CODEC_ID_WMA, "Windows Media Audio"),
    (CODEC_ID_WAVPACK, "WavPack"),
    (CODEC_ID_MUSEPACK, "Musepack"),
    (CODEC_ID_MONKEYS_AUDIO, "Monkey's Audio"),
    (CODEC_ID_TTA, "True Audio"),
    (CODEC_ID_ADPCM_G722, "G.722"),
    (CODEC_ID_ADPCM_G726, "G.726"),
    (CODEC_ID_COOK, "RealAudio"),
];

/// Format tags of WAV files (RFC 2361), without those that [`super::super::wav`] reads.
const WAV_TAGS: [(u16, &str); 12] = [
    (0x0002, "Microsoft ADPCM"),
    (0x0011, "IMA ADPCM"),
    (0x0031, "GSM 6.10"),
    (0x0040, "G.721"),
    (0x0045, "G.726"),
    (0x0050, "MPEG audio"),
    (0x0055, "MP3"),
    (0x0064, "G.726"),
    (0x0065, "G.722"),
    (0x00ff, "AAC"),
    (0x0161, "Windows Media Audio"),
    (0x2000, "Dolby Digital (AC-3)"),
];

/// Whether the data of a WAV file with this format tag are frames of MPEG audio.
pub(super) fn is_mpeg_in_wav(tag: u16) -> bool {
    matches!(tag, 0x0050 | 0x0055)
}

/// Name of the codec of a WAV format tag.
pub(super) fn wav_tag(tag: u16) -> String {
    match WAV_TAGS.iter().find(|(known, _)| *known == tag) {
        Some((_, name)) => (*name).to_string(),
        None => format!("format {tag:#06x}"),
    }
}

/// The error for an unsupported codec.
pub(super) fn unknown_codec(name: &str) -> Error {
    Error::new(Stage::Audio, format!("expected a supported codec, found {name}"))
        .hint("convert it first: `ffmpeg -i FILE out.wav`")
}

/// Whether the codec is supported.
pub(super) fn is_known(parameters: &AudioCodecParameters) -> bool {
    CODECS.get_audio_decoder(parameters.codec).is_some()
}

/// Creates a decoder.
///
/// # Errors
/// When the codec is not supported, or its parameters are invalid.
pub(super) fn make_decoder(parameters: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>> {
    if !is_known(parameters) {
        let name = OTHERS.iter().find(|(id, _)| *id == parameters.codec).map(|(_, name)| *name);
        return Err(unknown_codec(name.unwrap_or("an unknown one")));
    }
    let make = |p: &AudioCodecParameters| CODECS.make_audio_decoder(p, &AudioDecoderOptions::default());
    match make(parameters) {
        Ok(decoder) => Ok(decoder),
        Err(error) => match core_of_he_aac(parameters).map(|core| make(&core)) {
            Some(Ok(decoder)) => Ok(decoder),
            _ => Err(plain(&error)),
        },
    }
}

/// Parameters of the low-complexity core of HE-AAC (ISO/IEC 14496-3, 1.6.2.1). It contains the lower half of the
/// spectrum, which is enough for speech.
fn core_of_he_aac(parameters: &AudioCodecParameters) -> Option<AudioCodecParameters> {
    const SBR: u32 = 5;
    const PS: u32 = 29;
    if parameters.codec != CODEC_ID_AAC {
        return None;
    }
    let config = parameters.extra_data.as_deref()?;
    let bits = u32::from_be_bytes([*config.first()?, *config.get(1)?, *config.get(2).unwrap_or(&0), 0]);
    let (kind, rate, channels) = (bits >> 27, (bits >> 23) & 15, (bits >> 19) & 15);
    let low_complexity = [(0x10 | (rate >> 1)) as u8, ((rate & 1) << 7 | channels << 3) as u8];
    let mut core = parameters.clone();
    core.with_extra_data(Box::from(low_complexity));
    (matches!(kind, SBR | PS) && rate < 13).then_some(core)
}

/// Whether an MPEG audio packet has another number of channels than those before, which occurs in concatenated files
/// and which the decoder rejects.
pub(super) fn needs_new_decoder(parameters: &AudioCodecParameters, packet: &[u8], channels: usize) -> bool {
    let mpeg = matches!(parameters.codec, CODEC_ID_MP1 | CODEC_ID_MP2 | CODEC_ID_MP3);
    let found = packet.get(3).map(|byte| if byte >> 6 == 3 { 1 } else { 2 });
    mpeg && channels != 0 && found.is_some_and(|found| found != channels)
}

/// Converts symphonia's error.
pub(super) fn plain(error: &SymphoniaError) -> Error {
    let problem = match error {
        SymphoniaError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "expected more of the header, found the end".to_string()
        }
        SymphoniaError::IoError(e) => e.to_string(),
        SymphoniaError::Unsupported(_) => {
            return Error::new(Stage::Audio, "expected a supported kind of audio, found another")
                .hint("convert it first: `ffmpeg -i FILE out.wav`");
        }
        _ => "expected audio, found a damaged header".to_string(),
    };
    Error::new(Stage::Audio, problem)
}
