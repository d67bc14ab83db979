//! Parser of `--raw ENCODING:RATE:CHANNELS`.

use crate::audio::{Encoding, RawFormat};

/// Parses a format such as `s16le:16000:1`; rate and channels are optional (16000 and 1).
pub(super) fn parse(text: &str) -> Result<RawFormat, String> {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or_default();
    let encoding: Encoding = name.parse().map_err(|e: crate::error::Error| e.to_string())?;
    let sample_rate = number(parts.next(), "a rate in Hz", crate::units::SAMPLE_RATE)?;
    let channels = number(parts.next(), "a number of channels", 1)?;
    match parts.next() {
        Some(rest) => Err(format!("expected ENCODING:RATE:CHANNELS, found `{rest}` after them")),
        None => Ok(RawFormat { sample_rate, channels, encoding }),
    }
}

fn number<T: std::str::FromStr + PartialEq + Default>(
    text: Option<&str>,
    what: &str,
    otherwise: T,
) -> Result<T, String> {
    let Some(text) = text else { return Ok(otherwise) };
    let wrong = || format!("expected {what}, found `{text}`");
    text.parse().ok().filter(|n| *n != T::default()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_parsed_and_errors_name_the_part() {
        let format = parse("s16le:8000:2").expect("a format");
        assert_eq!((format.sample_rate, format.channels, format.encoding.name()), (8000, 2, "s16le"));
        assert_eq!(parse("s16le").expect("a format").sample_rate, 16_000);
        for (bad, expected) in [
            ("mp3:1:1", "`mp3`"),
            ("s16le:x", "a rate"),
            ("s16le:0", "a rate"),
            ("s16le:1:70000", "channels"),
            ("s16le:1:1:1", "after"),
        ] {
            assert!(parse(bad).expect_err(bad).contains(expected), "{bad}");
        }
    }
}
