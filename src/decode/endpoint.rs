//! Endpoint detection by the rules of Kaldi's online decoders (`online2/online-endpoint.h`), which sherpa-onnx and
//! Vosk also use. Silence is determined from the network's blanks and, if there is one, a voice activity detector.
//!
//! - Rule 1: trailing silence in a segment without speech.
//! - Rule 2: trailing silence after speech.
//! - Rule 3: maximum length of a segment.
//!
//! A frame is silent if its likeliest token is the blank and the voice activity detector, if there is one, finds no
//! speech in it. Decisions are made frame by frame, and times are counted in frames, so that the results depend
//! neither on the sizes of the chunks nor on the length of the stream.

use crate::error::{Error, Result, Stage};

/// Endpoint rules. Times are in seconds; infinity disables a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndpointOptions {
    /// Rule 1: trailing silence that ends a segment without speech.
    pub rule1_min_trailing_silence: f64,
    /// Rule 2: trailing silence that ends a segment with speech.
    pub rule2_min_trailing_silence: f64,
    /// Rule 3: length at which a segment ends, even without silence.
    pub rule3_min_utterance_length: f64,
    /// Whether the network's state is reset at an endpoint in silence (rules 1 and 2); `None` for the model's own
    /// setting. The state is never reset at an endpoint of rule 3, which may be inside a word.
    pub reset_state: Option<bool>,
}

impl Default for EndpointOptions {
    /// The defaults of Kaldi and sherpa-onnx: 2.4 s, 1.2 s and 20 s.
    fn default() -> Self {
        Self {
            rule1_min_trailing_silence: 2.4,
            rule2_min_trailing_silence: 1.2,
            rule3_min_utterance_length: 20.0,
            reset_state: None,
        }
    }
}

impl EndpointOptions {
    /// Checks that the time of every rule is positive.
    ///
    /// # Errors
    /// When one is not; names the rule.
    pub fn validate(&self) -> Result<()> {
        for (rule, seconds) in [
            ("rule 1 (silence with nothing said)", self.rule1_min_trailing_silence),
            ("rule 2 (silence after speech)", self.rule2_min_trailing_silence),
            ("rule 3 (longest segment)", self.rule3_min_utterance_length),
        ] {
            if seconds.is_nan() || seconds <= 0.0 {
                let problem = format!("endpoint {rule}: expected seconds above 0, found {seconds}");
                return Err(Error::new(Stage::Usage, problem));
            }
        }
        Ok(())
    }
}

/// The rule by which a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Rule 1: trailing silence in a segment without speech.
    NoSpeech,
    /// Rule 2: trailing silence after speech.
    TrailingSilence,
    /// Rule 3: maximum length of a segment.
    MaxLength,
}

/// Endpoint detector of one stream.
#[derive(Clone, Debug)]
pub struct Endpointer {
    /// Time of rule 1, frames.
    rule1_frames: u64,
    /// Time of rule 2, frames.
    rule2_frames: u64,
    /// Time of rule 3, frames.
    rule3_frames: u64,
    /// Number of frames since the stream began.
    frames: u64,
    /// First frame of the segment.
    segment: u64,
    /// First frame of the trailing silence; equal to `frames` if there is no silence.
    silence: u64,
    /// Whether the segment contains a label.
    has_label: bool,
}

impl Endpointer {
    /// Creates a detector for a stream whose frames are `frame_seconds` apart.
    pub fn new(options: &EndpointOptions, frame_seconds: f64) -> Self {
        // The cast saturates, so that infinity becomes a number of frames that is never reached. A small number is
        // subtracted because of rounding errors: 1.2 s must be exactly 30 frames of 40 ms.
        let frames = |seconds: f64| ((seconds / frame_seconds - 1e-6).ceil() as u64).max(1);
        Self {
            rule1_frames: frames(options.rule1_min_trailing_silence),
            rule2_frames: frames(options.rule2_min_trailing_silence),
            rule3_frames: frames(options.rule3_min_utterance_length),
            frames: 0,
            segment: 0,
            silence: 0,
            has_label: false,
        }
    }

    /// Processes the next frame: whether its likeliest token is the blank, and whether the voice activity detector
    /// finds speech in it. Returns a rule if the segment ends after this frame; the caller must then call
    /// [`begin_segment`](Self::begin_segment) or [`begin_segment_with_label`](Self::begin_segment_with_label).
    pub fn push(&mut self, blank: bool, speech: bool) -> Option<Endpoint> {
        self.frames += 1;
        self.has_label |= !blank;
        if !blank || speech {
            self.silence = self.frames;
        }
        let silence = self.trailing_silence();
        if self.has_label && silence >= self.rule2_frames {
            Some(Endpoint::TrailingSilence)
        } else if !self.has_label && silence >= self.rule1_frames {
            Some(Endpoint::NoSpeech)
        } else if self.frames - self.segment >= self.rule3_frames {
            Some(Endpoint::MaxLength)
        } else {
            None
        }
    }

    /// Number of silent frames at the end of the segment so far.
    pub fn trailing_silence(&self) -> u64 {
        self.frames - self.silence
    }

    /// The first frame of the segment.
    pub fn first_frame(&self) -> u64 {
        self.segment
    }

    /// Begins a new segment with the next frame.
    pub fn begin_segment(&mut self) {
        self.segment = self.frames;
        self.silence = self.frames;
        self.has_label = false;
    }

    /// Begins a new segment with a label that was already found at frame `first`.
    pub fn begin_segment_with_label(&mut self, first: u64) {
        self.segment = first.min(self.frames);
        self.has_label = true;
    }

    /// Begins a new stream.
    pub fn reset(&mut self) {
        self.frames = 0;
        self.begin_segment();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames (counted from 1) after which a segment ended, with the rule. The script has a character for each frame of
    /// 40 ms: `#` is a label, `s` a blank in speech, `.` silence.
    fn endpoints(options: &EndpointOptions, script: &str) -> Vec<(u64, Endpoint)> {
        let mut endpointer = Endpointer::new(options, 0.04);
        let mut found = Vec::new();
        for (at, c) in script.chars().enumerate() {
            if let Some(why) = endpointer.push(c != '#', c == 's') {
                found.push((at as u64 + 1, why));
                endpointer.begin_segment();
            }
        }
        found
    }

    #[test]
    fn the_rules_fire_at_their_frame() {
        let script = format!("{}#{}#{}", ".".repeat(60 + 10), ".".repeat(29), ".".repeat(30 + 59));
        assert_eq!(
            endpoints(&EndpointOptions::default(), &script),
            [(60, Endpoint::NoSpeech), (131, Endpoint::TrailingSilence)],
            "2.4 s are 60 frames, 1.2 s are 30; 29 and 59 are too few"
        );
    }

    #[test]
    fn rule_3_ends_a_segment_during_speech() {
        let script = "#.".repeat(600);
        let found = endpoints(&EndpointOptions::default(), &script);
        assert_eq!(found, [(500, Endpoint::MaxLength), (1000, Endpoint::MaxLength)]);
    }

    #[test]
    fn detected_speech_keeps_a_segment_open() {
        let script = format!("#{}{}", "s".repeat(100), ".".repeat(30));
        assert_eq!(endpoints(&EndpointOptions::default(), &script), [(131, Endpoint::TrailingSilence)]);
    }

    #[test]
    fn infinity_disables_a_rule_and_invalid_times_are_refused() {
        let off = EndpointOptions {
            rule1_min_trailing_silence: f64::INFINITY,
            rule2_min_trailing_silence: f64::INFINITY,
            rule3_min_utterance_length: f64::INFINITY,
            reset_state: None,
        };
        assert!(off.validate().is_ok());
        assert_eq!(endpoints(&off, &".#..".repeat(1000)), []);
        for bad in [0.0, -1.0, f64::NAN] {
            let options = EndpointOptions { rule2_min_trailing_silence: bad, ..Default::default() };
            assert!(options.validate().expect_err("refused").to_string().contains("rule 2"), "{bad}");
        }
    }

    #[test]
    fn a_label_moved_to_a_new_segment_counts_as_speech_and_for_its_length() {
        let mut endpointer = Endpointer::new(&EndpointOptions::default(), 0.04);
        for _ in 0..499 {
            assert_eq!(endpointer.push(false, false), None);
        }
        assert_eq!(endpointer.push(true, false), Some(Endpoint::MaxLength));
        endpointer.begin_segment_with_label(490);
        for _ in 0..28 {
            assert_eq!(endpointer.push(true, false), None);
        }
        assert_eq!(
            endpointer.push(true, false),
            Some(Endpoint::TrailingSilence),
            "one silent frame was before"
        );
    }

    proptest! {
        /// For any input, no segment is longer than rule 3 allows, and each ends at exactly the time of its rule.
        #[test]
        fn random_segments_end_by_the_rules(runs in prop::collection::vec((any::<bool>(), 1usize..90), 1..40)) {
            let script: String =
                runs.iter().map(|&(has_label, n)| if has_label { "#" } else { "." }.repeat(n)).collect();
            let options = EndpointOptions { rule3_min_utterance_length: 4.0, ..Default::default() };
            let mut begin = 0;
            for (end, why) in endpoints(&options, &script) {
                let segment = &script[begin..end as usize];
                let silence = segment.len() - segment.trim_end_matches('.').len();
                let has_label = segment.contains('#');
                let expected = match why {
                    Endpoint::NoSpeech => !has_label && silence == 60,
                    Endpoint::TrailingSilence => has_label && silence == 30,
                    Endpoint::MaxLength => segment.len() == 100,
                };
                prop_assert!(expected && segment.len() <= 100, "{segment} {why:?}");
                begin = end as usize;
            }
            prop_assert!(script.len() - begin < 100);
        }
    }
}
