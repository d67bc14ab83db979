//! Conversion of sample formats to and from `f32` in -1..1, and of several channels to one.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, Stage};

/// Encoding of one sample of uncompressed audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Unsigned 8 bit, silence at 128 (WAV's 8-bit format).
    U8,
    /// Signed 8 bit.
    S8,
    /// Signed 16 bit, little-endian.
    S16Le,
    /// Signed 16 bit, big-endian.
    S16Be,
    /// Signed 24 bit in three bytes, little-endian.
    S24Le,
    /// Signed 32 bit, little-endian.
    S32Le,
    /// IEEE 754 single, little-endian, full scale at 1.
    F32Le,
    /// IEEE 754 double, little-endian, full scale at 1.
    F64Le,
    /// ITU-T G.711 A-law, 8 bit.
    ALaw,
    /// ITU-T G.711 mu-law, 8 bit.
    MuLaw,
}

impl Encoding {
    /// Every encoding, in the order in which messages list them.
    pub const ALL: [Encoding; 10] = [
        Encoding::U8,
        Encoding::S8,
        Encoding::S16Le,
        Encoding::S16Be,
        Encoding::S24Le,
        Encoding::S32Le,
        Encoding::F32Le,
        Encoding::F64Le,
        Encoding::ALaw,
        Encoding::MuLaw,
    ];

    /// Bytes per sample.
    pub fn bytes(self) -> usize {
        match self {
            Encoding::U8 | Encoding::S8 | Encoding::ALaw | Encoding::MuLaw => 1,
            Encoding::S16Le | Encoding::S16Be => 2,
            Encoding::S24Le => 3,
            Encoding::S32Le | Encoding::F32Le => 4,
            Encoding::F64Le => 8,
        }
    }

    /// The name on the command line, as ffmpeg spells it.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::U8 => "u8",
            Encoding::S8 => "s8",
            Encoding::S16Le => "s16le",
            Encoding::S16Be => "s16be",
            Encoding::S24Le => "s24le",
            Encoding::S32Le => "s32le",
            Encoding::F32Le => "f32le",
            Encoding::F64Le => "f64le",
            Encoding::ALaw => "alaw",
            Encoding::MuLaw => "mulaw",
        }
    }

    /// Decodes whole frames of `channels` interleaved samples and appends the mean over the channels, one value per
    /// frame. An incomplete frame at the end is ignored.
    pub fn decode_mono(self, bytes: &[u8], channels: usize, out: &mut Vec<f32>) {
        match self {
            Encoding::U8 => mono(bytes, channels, out, |[b]: [u8; 1]| (f32::from(b) - 128.0) / 128.0),
            Encoding::S8 => mono(bytes, channels, out, |b: [u8; 1]| f32::from(i8::from_le_bytes(b)) / 128.0),
            Encoding::S16Le => mono(bytes, channels, out, |b: [u8; 2]| s16_to_f32(i16::from_le_bytes(b))),
            Encoding::S16Be => mono(bytes, channels, out, |b: [u8; 2]| s16_to_f32(i16::from_be_bytes(b))),
            Encoding::S24Le => mono(bytes, channels, out, |[a, b, c]: [u8; 3]| {
                (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0
            }),
            Encoding::S32Le => {
                mono(bytes, channels, out, |b: [u8; 4]| i32::from_le_bytes(b) as f32 / 2_147_483_648.0)
            }
            Encoding::F32Le => mono(bytes, channels, out, f32::from_le_bytes),
            Encoding::F64Le => mono(bytes, channels, out, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
            Encoding::ALaw => mono(bytes, channels, out, |[b]: [u8; 1]| s16_to_f32(alaw_to_s16(b))),
            Encoding::MuLaw => mono(bytes, channels, out, |[b]: [u8; 1]| s16_to_f32(mulaw_to_s16(b))),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Encoding {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Encoding::ALL.into_iter().find(|e| e.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names: Vec<_> = Encoding::ALL.iter().map(|e| e.name()).collect();
            Error::new(Stage::Usage, format!("expected a sample format, found `{name}`"))
                .hint(format!("one of {}", names.join(", ")))
        })
    }
}

fn mono<const N: usize>(bytes: &[u8], channels: usize, out: &mut Vec<f32>, decode: impl Fn([u8; N]) -> f32) {
    let (samples, _) = bytes.as_chunks::<N>();
    if channels <= 1 {
        out.extend(samples.iter().map(|&s| decode(s)));
    } else {
        let scale = 1.0 / channels as f32;
        out.extend(samples.chunks_exact(channels).map(|f| f.iter().map(|&s| decode(s)).sum::<f32>() * scale));
    }
}

/// Appends the mean over the channels of each interleaved frame to `out`.
pub fn downmix(interleaved: &[f32], channels: usize, out: &mut Vec<f32>) {
    if channels <= 1 {
        out.extend_from_slice(interleaved);
    } else {
        let scale = 1.0 / channels as f32;
        out.extend(interleaved.chunks_exact(channels).map(|f| f.iter().sum::<f32>() * scale));
    }
}

/// Converts a 16-bit sample to `f32` in -1..1.
pub fn s16_to_f32(sample: i16) -> f32 {
    f32::from(sample) / 32768.0
}

/// Converts an `f32` to a 16-bit sample, rounded to the nearest and clipped at full scale; NaN becomes 0.
pub fn f32_to_s16(sample: f32) -> i16 {
    // `as` saturates, and converts NaN to 0.
    (sample * 32768.0).round() as i16
}

/// Decodes G.711 A-law to linear, 16-bit scale (ITU-T G.711, table 1a).
pub fn alaw_to_s16(byte: u8) -> i16 {
    let code = byte ^ 0x55;
    let exponent = (code >> 4) & 7;
    let mantissa = i16::from(code & 0x0f) << 4;
    let magnitude = if exponent == 0 { mantissa + 8 } else { (mantissa + 0x108) << (exponent - 1) };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// Decodes G.711 mu-law to linear, 16-bit scale (ITU-T G.711, table 2a).
pub fn mulaw_to_s16(byte: u8) -> i16 {
    let code = !byte;
    let exponent = (code >> 4) & 7;
    let magnitude = (((i16::from(code & 0x0f) << 3) + 0x84) << exponent) - 0x84;
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_reach_full_scale_and_silence_is_zero() {
        let decode = |e: Encoding, bytes: &[u8]| {
            let mut out = Vec::new();
            e.decode_mono(bytes, 1, &mut out);
            out
        };
        assert_eq!(decode(Encoding::U8, &[0, 128, 255]), [-1.0, 0.0, 127.0 / 128.0]);
        assert_eq!(decode(Encoding::S8, &[0x80, 0, 0x7f]), [-1.0, 0.0, 127.0 / 128.0]);
        assert_eq!(decode(Encoding::S16Le, &[0, 0x80, 0, 0x40]), [-1.0, 0.5]);
        assert_eq!(decode(Encoding::S16Be, &[0x80, 0, 0x40, 0]), [-1.0, 0.5]);
        assert_eq!(decode(Encoding::S24Le, &[0, 0, 0x80, 0, 0, 0x40]), [-1.0, 0.5]);
        assert_eq!(decode(Encoding::S32Le, &[0, 0, 0, 0x80, 0, 0, 0, 0x40]), [-1.0, 0.5]);
        assert_eq!(decode(Encoding::F64Le, &0.25f64.to_le_bytes()), [0.25]);
    }

    #[test]
    fn channels_are_averaged_and_a_partial_frame_left() {
        let mut out = Vec::new();
        Encoding::S8.decode_mono(&[64, 0, 32, 32, 9], 2, &mut out);
        assert_eq!(out, [0.25, 0.25]);
        out.clear();
        downmix(&[0.5, 0.25, 0.0, 1.0, 1.0, 1.0], 3, &mut out);
        assert_eq!(out, [0.25, 1.0]);
    }

    #[test]
    fn companding_follows_g711() {
        // Values of ITU-T G.711's decoder outputs, scaled to 16 bits.
        assert_eq!([0xff, 0x7f, 0x80, 0x00, 0xfe].map(mulaw_to_s16), [0, 0, 32124, -32124, 8]);
        assert_eq!([0xd5, 0x55, 0xaa, 0x2a, 0xd4].map(alaw_to_s16), [8, -8, 32256, -32256, 24]);
    }

    #[test]
    fn names_are_read_back() {
        for e in Encoding::ALL {
            assert_eq!(e.name().parse::<Encoding>().unwrap(), e);
        }
        assert_eq!("mp3".parse::<Encoding>().unwrap_err().exit_code(), 2);
    }

    #[test]
    fn f32_to_s16_clips_and_inverts() {
        assert_eq!([2.0, -2.0, f32::NAN].map(f32_to_s16), [32767, -32768, 0]);
        for s in [-32768, -1, 0, 1, 12345, 32767] {
            assert_eq!(f32_to_s16(s16_to_f32(s)), s);
        }
    }
}
