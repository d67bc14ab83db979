//! Model files packed for carrying inside the program: runs of 32-bit floats that are halves too take
//! half the room. Nothing is lost; other bytes are kept as they are. The build script packs, the
//! program unpacks.
//!
//! Packed bytes are records: the number of plain bytes (u32, little-endian), these, the number of
//! floats (u32), and these as halves (u16 each).

use half::f16;

/// Shorter runs are not worth a record.
#[allow(dead_code, reason = "the build script packs")]
const SHORTEST: usize = 16;

/// The half that a float equals to the last bit, if there is one.
#[allow(dead_code, reason = "the build script packs")]
fn half(float: [u8; 4]) -> Option<u16> {
    let half = f16::from_f32(f32::from_le_bytes(float));
    (half.to_f32().to_le_bytes() == float).then(|| half.to_bits())
}

/// Packs a file of less than 4 GiB.
#[allow(dead_code, reason = "the build script packs")]
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while at < bytes.len() {
        let run: Vec<u16> = bytes[at..].as_chunks().0.iter().map_while(|&word| half(word)).collect();
        if run.len() < SHORTEST {
            at += 1;
            continue;
        }
        record(&bytes[plain..at], &run, &mut packed);
        at += 4 * run.len();
        plain = at;
    }
    record(&bytes[plain..], &[], &mut packed);
    packed
}

fn record(plain: &[u8], halves: &[u16], packed: &mut Vec<u8>) {
    packed.extend((plain.len() as u32).to_le_bytes());
    packed.extend(plain);
    packed.extend((halves.len() as u32).to_le_bytes());
    packed.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
}

/// The file that was packed; of bytes that are cut short, as much as there is.
#[allow(dead_code, reason = "the program unpacks")]
pub fn unpack(mut packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * packed.len());
    while !packed.is_empty() {
        bytes.extend(take(&mut packed, 1));
        bytes.extend(
            take(&mut packed, 2)
                .as_chunks()
                .0
                .iter()
                .flat_map(|&half| f16::from_le_bytes(half).to_f32().to_le_bytes()),
        );
    }
    bytes
}

/// A number, and so many items of `size` bytes, from the front.
fn take<'a>(packed: &mut &'a [u8], size: usize) -> &'a [u8] {
    let Some((&count, rest)) = packed.split_first_chunk() else {
        *packed = &[];
        return &[];
    };
    let length = (u32::from_le_bytes(count) as usize).saturating_mul(size).min(rest.len());
    let (items, rest) = rest.split_at(length);
    *packed = rest;
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_comes_back_and_no_other_float_is_one() {
        for code in (0..=u16::MAX).filter(|&code| !f16::from_bits(code).is_nan()) {
            assert_eq!(half(f16::from_bits(code).to_f32().to_le_bytes()), Some(code));
        }
        let others = [0.1, 65536.0, 65519.0, 2f32.powi(-25)];
        assert!(others.iter().all(|x| half(x.to_le_bytes()).is_none()));
    }

    #[test]
    fn whatever_is_packed_comes_back() {
        let halves: Vec<u8> = (0..1000).flat_map(|i| (i as f32 * 0.25 - 99.0).to_le_bytes()).collect();
        let others: Vec<u8> = (0..1000).flat_map(|i| (i as f32 * 0.1).to_le_bytes()).collect();
        for bytes in [
            vec![],
            vec![7],
            vec![0; 999],
            halves.clone(),
            others.clone(),
            [b"abc".as_slice(), &halves, b"de", &others, &halves, b"f"].concat(),
        ] {
            let packed = pack(&bytes);
            assert_eq!(unpack(&packed), bytes);
            for cut in 0..packed.len().min(50) {
                assert!(unpack(&packed[..cut]).len() <= bytes.len());
            }
        }
        assert!(pack(&halves).len() < halves.len() / 2 + 20);
    }
}
