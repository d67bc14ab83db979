//! Notes as sound and as MIDI. A note is a pitch in MIDI's numbers and a duration in eighths.

/// Samples a second.
pub const RATE: u32 = 16_000;

/// Plucked tones: decaying harmonics, an eighth in a quarter of a second.
pub fn samples(tune: &[(u32, u32)]) -> Vec<f32> {
    let tone = |&(pitch, duration): &(u32, u32)| {
        let hertz = 440.0 * 2f32.powf((pitch as f32 - 69.0) / 12.0);
        (0..duration * RATE / 4).map(move |t| {
            let time = t as f32 / RATE as f32;
            let wave =
                |k: f32| (std::f32::consts::TAU * hertz * k * time).sin() * (-3.0 * k * time).exp() / k;
            0.3 * (wave(1.0) + wave(2.0) + wave(3.0)) * (time * 200.0).min(1.0)
        })
    };
    tune.iter().flat_map(tone).collect()
}

/// A MIDI file of one track with 2 ticks a quarter, at 120 quarters a minute.
pub fn midi(tune: &[(u32, u32)]) -> Vec<u8> {
    let mut track = Vec::new();
    for &(pitch, duration) in tune {
        track.extend([0, 0x90, pitch as u8, 80, duration as u8, 0x80, pitch as u8, 0]);
    }
    track.extend([0, 0xff, 0x2f, 0]);
    let head = [0, 0, 0, 6, 0, 0, 0, 1, 0, 2];
    [b"MThd", &head[..], b"MTrk", &(track.len() as u32).to_be_bytes(), &track].concat()
}
