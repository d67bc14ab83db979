//! Sizes of tags (ID3, APE, Lyrics3) before, between and after audio, so that they are skipped and not decoded.

/// Number of bytes needed to recognize a tag and its size.
#[cfg(feature = "compressed-audio")]
pub(super) const HEAD: usize = 32;
/// Size of an ID3v1 tag in bytes.
#[cfg(feature = "compressed-audio")]
const ID3V1: u64 = 128;

/// The size in bytes of the tag at the start of `bytes`; `None` if there is none.
#[cfg(feature = "compressed-audio")]
pub(super) fn size(bytes: &[u8]) -> Option<u64> {
    id3v2(bytes).or_else(|| {
        if bytes.starts_with(b"TAG+") {
            Some(227)
        } else if bytes.starts_with(b"TAG") {
            Some(ID3V1)
        } else if bytes.starts_with(b"APETAGEX") {
            let number = |i: usize| Some(u32::from_le_bytes(bytes.get(i..i + 4)?.try_into().ok()?));
            // The size counts the items and the footer, but not the header, which has a flag that marks it.
            let (size, flags) = (u64::from(number(12)?), number(20)?);
            Some(if flags >> 29 & 1 == 1 { size.saturating_add(32) } else { 32 })
        } else if bytes.starts_with(b"LYRICSBEGIN") {
            Some(11)
        } else {
            None
        }
    })
}

/// The size of an ID3v2 tag (id3.org, version 2.4, sections 3.1 and 3.4); it has 28 bits, so at most 256 MiB.
pub(super) fn id3v2(bytes: &[u8]) -> Option<u64> {
    let b: &[u8; 10] = bytes.get(..10)?.try_into().ok()?;
    let is_tag =
        b.starts_with(b"ID3") && b[3] < 0xff && b[4] < 0xff && b[6..].iter().all(|byte| *byte < 0x80);
    let size = b[6..].iter().fold(0, |size, byte| size << 7 | u64::from(*byte));
    let footer = if b[5] & 0x10 != 0 { 10 } else { 0 };
    is_tag.then_some(10 + size + footer)
}

#[cfg(all(test, feature = "compressed-audio"))]
mod tests {
    use super::*;

    #[test]
    fn tag_sizes_are_computed_by_format() {
        assert_eq!(size(b"ID3\x04\0\0\0\0\x02\x01rest"), Some(10 + 257));
        assert_eq!(size(b"ID3\x04\0\x10\0\0\0\0rest"), Some(20));
        // No tag has a size whose bytes go beyond seven bits.
        assert_eq!(size(b"ID3\x04\0\0\0\0\x80\0rest"), None);
        assert_eq!(size(b"TAGtitle"), Some(128));
        let footer = *b"APETAGEX\xd0\x07\0\0\x64\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(size(&footer), Some(32));
        let mut header = footer;
        header[23] = 0xa0;
        assert_eq!(size(&header), Some(132));
        assert_eq!(size(b"\xff\xfb\x90\x64"), None);
    }
}
