//! Features as a picture: a bitmap of 16 levels in the address of an image.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Number of levels: each takes half a byte.
const LEVELS: usize = 16;
/// Colors of the lowest and the highest level, as in the pictures of `hearken unfold`.
const COLORS: [[f32; 3]; 2] = [[255.0; 3], [8.0, 69.0, 148.0]];
/// Maximum number of columns; longer recordings have several frames in each.
const MAX_COLUMNS: usize = 1200;

/// The address of a picture of `features [T, bins]`, low frequencies at the bottom; `None` without features.
pub(super) fn address(features: &[f32], bins: usize) -> Option<String> {
    let frames: Vec<&[f32]> = features.chunks_exact(bins.max(1)).collect();
    if frames.is_empty() || bins == 0 {
        return None;
    }
    let size = frames.len().div_ceil(MAX_COLUMNS);
    let columns: Vec<&[&[f32]]> = frames.chunks(size).collect();
    let (low, high) = range(features);
    let level = |column: usize, bin: usize| {
        let column = columns[column];
        let mean = column.iter().map(|frame| frame[bin]).sum::<f32>() / column.len() as f32;
        let share = (mean - low) / (high - low).max(1e-6);
        (share.clamp(0.0, 1.0) * (LEVELS - 1) as f32).round() as u8
    };
    Some(format!("data:image/bmp;base64,{}", STANDARD.encode(bitmap(columns.len(), bins, level))))
}

/// The range of the values without a fiftieth at each end.
fn range(features: &[f32]) -> (f32, f32) {
    let mut sorted: Vec<f32> = features.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let at = |share: usize| sorted.get(sorted.len().saturating_sub(1) * share / 50).copied().unwrap_or(0.0);
    (at(1), at(49))
}

/// A file in the format of Windows bitmaps with 4 bits per pixel; row 0 is at the bottom.
fn bitmap(width: usize, height: usize, level: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let stride = width.div_ceil(8) * 4;
    let offset = 14 + 40 + 4 * LEVELS;
    let mut file = b"BM".to_vec();
    let mut put = |value: usize| file.extend_from_slice(&(value as u32).to_le_bytes());
    put(offset + stride * height);
    put(0);
    put(offset);
    put(40);
    put(width);
    put(height);
    put(1 | 4 << 16);
    // No compression; the default size and resolution.
    [0, stride * height, 0, 0, LEVELS, 0].into_iter().for_each(&mut put);
    for i in 0..LEVELS {
        let share = i as f32 / (LEVELS - 1) as f32;
        let mix = |c: usize| (COLORS[0][c] + (COLORS[1][c] - COLORS[0][c]) * share).round() as u8;
        file.extend([mix(2), mix(1), mix(0), 0]);
    }
    for row in 0..height {
        let start = file.len();
        for x in (0..width).step_by(2) {
            let right = if x + 1 < width { level(x + 1, row) } else { 0 };
            file.push(level(x, row) << 4 | right);
        }
        file.resize(start + stride, 0);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_has_its_header_and_padded_rows() {
        let file = bitmap(3, 2, |x, y| (x + 4 * y) as u8);
        assert_eq!(file.len(), 118 + 2 * 4);
        assert_eq!((&file[..2], u32::from_le_bytes([file[2], file[3], file[4], file[5]])), (&b"BM"[..], 126));
        assert_eq!(file[118..], [0x01, 0x20, 0, 0, 0x45, 0x60, 0, 0]);
        assert!(address(&[], 80).is_none() && address(&[1.0], 80).is_none());
        assert!(address(&[f32::NAN; 80], 80).is_some());
    }
}
