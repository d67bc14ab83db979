//! Detection of truncated Matroska files (RFC 8794, RFC 9559). Browsers and programs that write to a pipe do not know
//! the sizes of a segment and its clusters, so a truncated file can be recognized only by its last element being
//! incomplete. The bytes are watched on their way to the demultiplexer.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

use symphonia::core::io::MediaSource;

use super::super::input::Input;

const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
/// Maximum size of an element's head: four bytes of name, eight of size.
const MAX_HEAD: usize = 12;

/// Tracks the elements of a file while its bytes are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Elements {
    /// The bytes of the current element's head received so far.
    head: Vec<u8>,
    /// Remaining bytes of the current element.
    left: u64,
    /// Remaining bytes of the segment, if its size is known.
    segment: Option<u64>,
    /// The bytes are not valid Matroska, so truncation cannot be detected.
    lost: bool,
}

impl Elements {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.left > 0 {
                let n = self.left.min(bytes.len() as u64);
                self.left -= n;
                bytes = &bytes[n as usize..];
                self.pass(n);
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some((name, size)) = parse_head(&self.head) {
                self.pass(self.head.len() as u64);
                self.head.clear();
                match (name, size) {
                    (SEGMENT, size) => self.segment = size,
                    (CLUSTER, _) => {}
                    (_, Some(size)) => self.left = size,
                    // Only segments and clusters may have an unknown size.
                    (_, None) => self.lost = true,
                }
            } else if self.head.len() >= MAX_HEAD {
                self.lost = true;
            }
        }
    }

    fn pass(&mut self, count: u64) {
        if let Some(left) = &mut self.segment {
            *left = left.saturating_sub(count);
        }
    }

    /// Whether the file may end here.
    pub(super) fn are_complete(&self) -> bool {
        self.lost || (self.left == 0 && self.head.is_empty() && self.segment.unwrap_or(0) == 0)
    }
}

/// Name and size of an element, once all bytes of both are present; the size is `None` if it is unknown.
fn parse_head(bytes: &[u8]) -> Option<(u32, Option<u64>)> {
    let name_bytes = bytes.first()?.leading_zeros() as usize + 1;
    if name_bytes > 4 {
        return None;
    }
    let name = bytes.get(..name_bytes)?.iter().fold(0, |name, byte| name << 8 | u32::from(*byte));
    let size = &bytes[name_bytes..];
    let size_bytes = size.first()?.leading_zeros() as usize + 1;
    if size_bytes > 8 {
        return None;
    }
    let mask = u64::MAX >> (64 - 7 * size_bytes);
    let value = size.get(..size_bytes)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)) & mask;
    Some((name, (value != mask).then_some(value)))
}

/// An input without seeking whose elements are tracked.
pub(super) struct ObservedInput {
    input: Input,
    elements: Arc<Mutex<Elements>>,
}

impl ObservedInput {
    pub(super) fn new(input: Input) -> (Self, Arc<Mutex<Elements>>) {
        let elements = Arc::<Mutex<Elements>>::default();
        (Self { input, elements: Arc::clone(&elements) }, elements)
    }
}

impl Read for ObservedInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        if let Ok(mut elements) = self.elements.lock() {
            elements.take(&buffer[..n]);
        }
        Ok(n)
    }
}

impl Seek for ObservedInput {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this input cannot seek"))
    }
}

impl MediaSource for ObservedInput {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> bool {
        let mut elements = Elements::default();
        for byte in bytes {
            elements.take(&[*byte]);
        }
        let mut at_once = Elements::default();
        at_once.take(bytes);
        assert_eq!(at_once.are_complete(), elements.are_complete());
        elements.are_complete()
    }

    #[test]
    fn files_end_between_elements() {
        let open = [
            b"\x1a\x45\xdf\xa3\x82ab".as_slice(),
            b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff",
            b"\x1f\x43\xb6\x75\xff",
            b"\xa3\x84block"[..6].as_ref(),
        ]
        .concat();
        assert!(whole(&open));
        assert!(!whole(&open[..open.len() - 1]));
        assert!(!whole(&[&open[..], b"\xa3"].concat()));
        let sized = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x86\x1f\x43\xb6\x75\x81\xa3";
        assert!(!whole(&sized[..10]));
        // The size of the last block is missing.
        assert!(!whole(sized));
        assert!(whole(b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x87\x1f\x43\xb6\x75\x82\xa3\x80"));
    }
}
