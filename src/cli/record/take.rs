//! The detection of a phrase in the sound of a microphone, by its energy.

use crate::corpus::check::level_finding;

/// Length of a frame, ms.
const FRAME_MS: usize = 20;
/// Level above the background at which speech begins, dB.
const BEGIN_DB: f32 = 12.0;
/// Level above the background below which it ends, dB.
const END_DB: f32 = 8.0;
/// Below this distance from the loudest frame it ends too: a room's echo falls slowly.
const END_BELOW_PEAK_DB: f32 = 40.0;
/// Level below which nothing is speech, dB of full scale.
const LOWEST_DB: f32 = -70.0;
/// Loud frames, of the last `WINDOW`, with which speech begins: fewer are a click.
const BEGIN_FRAMES: u32 = 4;
const WINDOW: u32 = 8;
/// Length of the pause that ends a phrase, ms.
const PAUSE_MS: usize = 900;
/// Sound that is kept before the speech and after it, ms.
const MARGIN_MS: usize = 300;
/// Speed at which the level of the background may rise, dB a second.
const RISE_DB: f32 = 3.0;

/// The level of frames, and that of the background.
pub(super) struct Background {
    frame: usize,
    rest: Vec<f32>,
    previous: f32,
    floor_db: Option<f32>,
}

impl Background {
    pub fn new(rate: u32) -> Self {
        let frame = rate as usize * FRAME_MS / 1000;
        Self { frame, rest: Vec::new(), previous: 0.0, floor_db: None }
    }

    /// Adds samples; calls `each` with the level of every whole frame and that of the background, dB.
    pub fn add(&mut self, samples: &[f32], mut each: impl FnMut(f32, f32)) {
        self.rest.extend(samples);
        let rest = std::mem::take(&mut self.rest);
        let mut frames = rest.chunks_exact(self.frame);
        for frame in &mut frames {
            // Differences, so that hum and rumble do not count.
            let mut energy = 0.0;
            for &x in frame {
                energy += (x - self.previous).powi(2);
                self.previous = x;
            }
            let level = (10.0 * (energy / self.frame as f32).max(1e-12).log10()).max(LOWEST_DB);
            let floor = match self.floor_db {
                Some(floor) if level < floor => floor + 0.3 * (level - floor),
                Some(floor) => (floor + RISE_DB * FRAME_MS as f32 / 1000.0).min(level),
                None => level,
            };
            self.floor_db = Some(floor);
            each(level, floor);
        }
        self.rest = frames.remainder().to_vec();
    }
}

/// Where a take is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No speech yet.
    Waiting,
    /// Speech, or a short pause in it.
    Speaking,
    /// The phrase has ended.
    Ended,
    /// It was ended before any speech was found.
    ByHand,
    /// No phrase began in time.
    Nothing,
    /// The phrase did not end in time.
    TooLong,
}

/// The longest times of a take, seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the beginning of the take to that of the speech.
    pub wait: f64,
    /// Length of the speech.
    pub speech: f64,
}

/// A take of a phrase.
pub(super) struct Take {
    rate: u32,
    limits: Limits,
    samples: Vec<f32>,
    state: State,
    /// Whether each of the last frames was loud, the latest in the lowest bit.
    loud: u32,
    loudest_db: f32,
    /// Number of frames, and those at which the speech begins and ends.
    frames: usize,
    begin: usize,
    end: usize,
}

impl Take {
    pub fn new(rate: u32, limits: Limits) -> Self {
        Self {
            rate,
            limits,
            samples: Vec::new(),
            state: State::Waiting,
            loud: 0,
            loudest_db: LOWEST_DB,
            frames: 0,
            begin: 0,
            end: 0,
        }
    }

    fn in_frames(seconds: f64) -> usize {
        (seconds * 1000.0 / FRAME_MS as f64) as usize
    }

    /// Adds samples; returns where the take is after them.
    pub fn add(&mut self, samples: &[f32], background: &mut Background) -> State {
        self.samples.extend(samples);
        background.add(samples, |level, floor| self.frame(level, floor));
        self.state
    }

    fn frame(&mut self, level: f32, floor: f32) {
        self.frames += 1;
        match self.state {
            State::Waiting => {
                self.loud = (self.loud << 1) | u32::from(level > floor.max(LOWEST_DB) + BEGIN_DB);
                if (self.loud & ((1 << WINDOW) - 1)).count_ones() >= BEGIN_FRAMES {
                    self.state = State::Speaking;
                    self.begin = self.frames.saturating_sub(WINDOW as usize);
                    (self.end, self.loudest_db) = (self.frames, level);
                } else if self.frames > Self::in_frames(self.limits.wait) {
                    self.state = State::Nothing;
                }
            }
            State::Speaking => {
                self.loudest_db = self.loudest_db.max(level);
                if level > (floor + END_DB).max(self.loudest_db - END_BELOW_PEAK_DB) {
                    self.end = self.frames;
                }
                if self.frames - self.end >= PAUSE_MS / FRAME_MS {
                    self.state = State::Ended;
                } else if self.frames - self.begin > Self::in_frames(self.limits.speech) {
                    self.state = State::TooLong;
                }
            }
            State::Ended | State::ByHand | State::Nothing | State::TooLong => {}
        }
    }

    /// The recording: the speech with a margin, or everything if its end was not found.
    pub fn samples(&self) -> &[f32] {
        if self.state != State::Ended {
            return &self.samples;
        }
        let at = |frame: usize| frame * (self.rate as usize * FRAME_MS / 1000);
        let margin = self.rate as usize * MARGIN_MS / 1000;
        let end = (at(self.end) + margin).min(self.samples.len());
        &self.samples[at(self.begin).saturating_sub(margin).min(end)..end]
    }

    /// Length of the recording, seconds.
    pub fn seconds(&self) -> f64 {
        self.samples().len() as f64 / f64::from(self.rate)
    }

    /// Ends the take, and with it the phrase if one began.
    pub fn end_by_hand(&mut self) {
        if self.state == State::Speaking {
            self.state = State::Ended;
        } else {
            self.state = State::ByHand;
        }
    }

    /// Whether no speech was found.
    pub fn nothing(&self) -> bool {
        self.state == State::Nothing
    }

    /// Peak of the recording, full scale 1.
    pub fn peak(&self) -> f32 {
        self.samples().iter().fold(0.0, |peak, x| peak.max(x.abs()))
    }

    /// What is wrong with the recording and what to do about it.
    pub fn doubt(&self) -> Option<String> {
        use crate::corpus::check::FindingKind;
        match self.state {
            State::Nothing => return Some("no speech was found: speak after Enter, louder or nearer".into()),
            State::TooLong => {
                return Some("the end of the phrase was not found, because the room is too loud: press Enter when you have spoken".into());
            }
            _ => {}
        }
        let (kind, message) = level_finding(self.samples())?;
        let remedy = match kind {
            FindingKind::Clipped => "go further from the microphone, or lower its level",
            FindingKind::Quiet | FindingKind::Silent => "go nearer to the microphone, or raise its level",
            _ => "try again",
        };
        Some(format!("{}: {message}; {remedy}", kind.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 16_000;
    const LIMITS: Limits = Limits { wait: 4.0, speech: 3.0 };

    /// Noise of a level, the same each time.
    fn noise(seconds: f64, level: f32) -> Vec<f32> {
        let mut state = 1u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            level * ((state >> 8) as f32 / 8_388_608.0 - 1.0)
        };
        (0..(seconds * f64::from(RATE)) as usize).map(next).collect()
    }

    fn take(room: f32, parts: &[(f64, f32)]) -> Take {
        let mut background = Background::new(RATE);
        background.add(&noise(0.5, room), |_, _| ());
        let mut take = Take::new(RATE, LIMITS);
        let samples: Vec<f32> = parts.iter().flat_map(|&(seconds, level)| noise(seconds, level)).collect();
        for chunk in samples.chunks(317) {
            if !matches!(take.add(chunk, &mut background), State::Waiting | State::Speaking) {
                break;
            }
        }
        take
    }

    #[test]
    fn a_phrase_is_found_with_its_pauses_and_margins() {
        let found = take(0.002, &[(1.0, 0.002), (0.6, 0.2), (0.5, 0.002), (0.4, 0.1), (2.0, 0.002)]);
        assert_eq!((found.state, found.doubt()), (State::Ended, None));
        let expected = 0.6 + 0.5 + 0.4 + 0.6;
        assert!((found.seconds() - expected).abs() < 0.15, "{}", found.seconds());
        assert!((0.15..=0.2).contains(&found.peak()));
        let loud_room = take(0.02, &[(1.0, 0.02), (0.6, 0.3), (2.0, 0.02)]);
        assert_eq!(loud_room.state, State::Ended);
    }

    #[test]
    fn clicks_and_silence_are_no_phrase() {
        let click = take(0.002, &[(1.0, 0.002), (0.03, 0.5), (5.0, 0.002)]);
        assert_eq!(click.state, State::Nothing);
        assert!(click.doubt().is_some_and(|doubt| doubt.contains("no speech")));
        assert_eq!(take(0.002, &[(5.0, 0.0)]).state, State::Nothing);
    }

    #[test]
    fn takes_without_an_end_or_with_a_bad_level_are_doubtful() {
        let endless = take(0.002, &[(0.5, 0.002), (4.0, 0.2)]);
        assert_eq!(endless.state, State::TooLong);
        assert!(endless.doubt().is_some_and(|doubt| doubt.contains("Enter")));
        let quiet = take(0.0001, &[(0.5, 0.0001), (0.5, 0.005), (2.0, 0.0001)]);
        assert!(quiet.doubt().is_some_and(|doubt| doubt.starts_with("quiet:")), "{:?}", quiet.doubt());
        let mut clipped = take(0.002, &[(0.5, 0.002)]);
        let square: Vec<f32> =
            (0..RATE as usize / 2).map(|i| if i / 20 % 2 == 0 { 1.0 } else { -1.0 }).collect();
        clipped.add(&square, &mut Background::new(RATE));
        assert!(clipped.doubt().is_some_and(|doubt| doubt.starts_with("clipped:")));
    }
}
