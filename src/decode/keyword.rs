//! Keyword spotting: finds words or phrases in an endless stream by their phones.
//!
//! The score of a keyword at a frame is a log-likelihood ratio: the log-probability of the best CTC path through its
//! phones that ends with this frame, relative to the best path through any labels over the same frames. It is at most
//! 0, and is divided by the number of phones. Speech usually pauses before a wake word, and other speech seldom does,
//! so a path that begins without a pause has a cost. Time and memory for a frame are proportional to the number of
//! phones in all pronunciations.

use std::sync::Arc;

use super::TokenId;

/// A pronunciation of a keyword.
#[derive(Clone, Debug, PartialEq)]
pub struct KeywordPronunciation {
    /// The labels of its phones, at least one.
    pub labels: Vec<TokenId>,
    /// Index of the keyword.
    pub keyword: u32,
    /// Minimum score for a detection, nats per phone.
    pub threshold: f32,
    /// Maximum length, frames.
    pub max_frames: u64,
}

/// Keywords with their pronunciations and the rule of their beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Keywords {
    /// The pronunciations of all keywords.
    pub pronunciations: Vec<KeywordPronunciation>,
    /// The blank of the network.
    pub blank: TokenId,
    /// Number of successive frames whose likeliest token is the blank that are a pause.
    pub pause_frames: u32,
    /// Cost of a beginning without a pause before it, nats.
    pub no_pause_cost: f32,
}

/// A detected keyword.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeywordMatch {
    /// Index of the keyword.
    pub keyword: u32,
    /// Frame in which its first label begins.
    pub start: u64,
    /// One past the frame in which its last label begins.
    pub end: u64,
    /// Score, nats per phone.
    pub score: f32,
    /// Its last label.
    pub last: TokenId,
}

/// The best path at a label, or at the blank after it.
#[derive(Clone, Copy, Debug)]
struct Place {
    score: f32,
    /// Frame in which the path begins.
    start: u64,
}

impl Place {
    const NONE: Self = Self { score: f32::NEG_INFINITY, start: 0 };

    fn or(self, other: Self) -> Self {
        if other.score > self.score { other } else { self }
    }

    /// The place after a frame, in which its token is `behind` nats less likely than the likeliest.
    fn after(self, behind: f32, earliest: u64) -> Self {
        if self.start < earliest { Self::NONE } else { Self { score: self.score + behind, ..self } }
    }
}

/// Spotter of keywords in one stream.
#[derive(Clone, Debug)]
pub struct KeywordSpotter {
    keywords: Arc<Keywords>,
    /// For each pronunciation, two places for each phone: its label, and the blank after it.
    places: Vec<Vec<Place>>,
    /// Number of blank frames up to now, up to that of a pause.
    blanks: u32,
    frames: u64,
}

impl KeywordSpotter {
    /// Creates a spotter at the beginning of a stream, which counts as a pause.
    pub fn new(keywords: Arc<Keywords>) -> Self {
        let none = |way: &KeywordPronunciation| vec![Place::NONE; 2 * way.labels.len()];
        let places = keywords.pronunciations.iter().map(none).collect();
        Self { places, blanks: keywords.pause_frames, frames: 0, keywords }
    }

    /// Processes the log-probabilities `[V]` of a frame; returns the best keyword that ends here. A detection removes all
    /// paths, so that the next keyword begins after it. A frame with NaN or positive infinity removes them too.
    pub fn push(&mut self, log_probs: &[f32]) -> Option<KeywordMatch> {
        let at = self.frames;
        self.frames += 1;
        let best = log_probs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !best.is_finite() || log_probs.iter().any(|p| p.is_nan()) {
            self.forget();
            return None;
        }
        let keywords = Arc::clone(&self.keywords);
        let cost = if self.blanks < keywords.pause_frames { keywords.no_pause_cost } else { 0.0 };
        let begin = Place { score: -cost, start: at };
        let behind = |token: TokenId| log_probs[token.index()] - best;
        let blank = behind(keywords.blank);
        let mut found: Option<KeywordMatch> = None;
        for (way, places) in keywords.pronunciations.iter().zip(&mut self.places) {
            let earliest = at.saturating_sub(way.max_frames);
            // Backwards, since every path comes from an earlier place in the previous frame.
            for (phone, &label) in way.labels.iter().enumerate().rev() {
                let from = match phone {
                    0 => begin,
                    _ if way.labels[phone - 1] == label => places[2 * phone - 1],
                    _ => places[2 * phone - 1].or(places[2 * phone - 2]),
                };
                let here = 2 * phone;
                places[here + 1] = places[here + 1].or(places[here]).after(blank, earliest);
                places[here] = places[here].or(from).after(behind(label), earliest);
            }
            let Some(last) = way.labels.last() else { continue };
            let Place { score, start } = places[2 * way.labels.len() - 2];
            let score = score / way.labels.len() as f32;
            if score >= way.threshold && found.is_none_or(|found| found.score < score) {
                let keyword = way.keyword;
                found = Some(KeywordMatch { keyword, start, end: at + 1, score, last: *last });
            }
        }
        self.blanks = if blank == 0.0 { self.blanks.saturating_add(1) } else { 0 };
        if found.is_some() {
            self.forget();
        }
        found
    }

    /// Resets the spotter to the beginning of a stream.
    pub fn reset(&mut self) {
        self.forget();
        self.blanks = self.keywords.pause_frames;
        self.frames = 0;
    }

    /// Sets the index of the next frame; before the first frame only.
    pub fn begin_at(&mut self, frame: u64) {
        self.frames = frame;
    }

    /// Removes all paths.
    fn forget(&mut self) {
        self.places.iter_mut().for_each(|places| places.fill(Place::NONE));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLANK: TokenId = TokenId(0);

    /// Keywords with a pronunciation each.
    fn keywords(ways: &[&[u32]], threshold: f32) -> Arc<Keywords> {
        let way = |(keyword, labels): (u32, &&[u32])| KeywordPronunciation {
            labels: labels.iter().map(|&label| TokenId(label)).collect(),
            keyword,
            threshold,
            max_frames: 50,
        };
        let pronunciations = (0..).zip(ways).map(way).collect();
        Arc::new(Keywords { pronunciations, blank: BLANK, pause_frames: 2, no_pause_cost: 3.0 })
    }

    /// Frames of 4 tokens in which the token of `path` has probability 0.7 and the others 0.1.
    fn frames(path: &[u32]) -> Vec<[f32; 4]> {
        path.iter()
            .map(|&best| std::array::from_fn(|token| if token == best as usize { 0.7f32 } else { 0.1 }.ln()))
            .collect()
    }

    fn spot(keywords: &Arc<Keywords>, frames: &[[f32; 4]]) -> Vec<KeywordMatch> {
        let mut spotter = KeywordSpotter::new(Arc::clone(keywords));
        frames.iter().filter_map(|frame| spotter.push(frame)).collect()
    }

    #[test]
    fn the_likeliest_labels_have_score_0() {
        let word = keywords(&[&[1, 2, 2, 3]], -0.01);
        let found = spot(&word, &frames(&[0, 0, 1, 1, 2, 0, 2, 0, 3, 3, 0]));
        assert_eq!(found, [KeywordMatch { keyword: 0, start: 2, end: 9, score: 0.0, last: TokenId(3) }]);
        assert_eq!(spot(&word, &frames(&[0, 0, 1, 2, 2, 3])), [], "without a blank, two labels are one");
        assert_eq!(spot(&word, &frames(&[0, 0, 1, 2, 0, 2])), [], "it has not ended");
    }

    #[test]
    fn a_wrong_label_and_a_missing_pause_cost() {
        let wrong = -(7f32.ln()) / 3.0;
        let found = spot(&keywords(&[&[1, 2, 3]], -1.0), &frames(&[0, 0, 1, 1, 3, 0]));
        assert!(found.len() == 1 && (found[0].score - wrong).abs() < 1e-5, "{found:?}");
        // The stream begins with a pause; the second word has none before it.
        let twice = frames(&[1, 2, 3, 1, 2, 3]);
        assert_eq!(spot(&keywords(&[&[1, 2, 3]], -0.9), &twice).len(), 1);
        let found = spot(&keywords(&[&[1, 2, 3]], -1.1), &twice);
        assert!(found.len() == 2 && (found[1].score + 1.0).abs() < 1e-5, "{found:?}");
    }

    #[test]
    fn the_best_of_several_keywords_is_detected() {
        let words = keywords(&[&[1, 2, 1], &[1, 2, 3], &[3]], -1.0);
        let found = spot(&words, &frames(&[0, 0, 1, 2, 3]));
        assert_eq!(found.iter().map(|found| found.keyword).collect::<Vec<_>>(), [1], "{found:?}");
    }

    #[test]
    fn silence_long_words_and_invalid_frames_are_no_keyword() {
        let word = keywords(&[&[1, 2], &[3]], -0.5);
        assert_eq!(spot(&word, &frames(&[0; 200])), []);
        assert_eq!(spot(&word, &[[f32::NAN; 4], [f32::NEG_INFINITY; 4], [f32::INFINITY; 4]]), []);
        let slow = |blanks: usize| frames(&[&[1][..], &vec![0; blanks], &[2]].concat());
        assert_eq!((spot(&word, &slow(40)).len(), spot(&word, &slow(60)).len()), (1, 0));
    }

    /// The best score of all label sequences for each frame, by enumeration; no pause is required.
    fn exhaustive(labels: &[u32], frames: &[[f32; 4]], end: usize) -> f32 {
        let behind = |at: usize, token: u32| {
            frames[at][token as usize] - frames[at].iter().copied().fold(f32::NEG_INFINITY, f32::max)
        };
        let mut best = f32::NEG_INFINITY;
        for start in 0..=end {
            let length = end + 1 - start;
            for code in 0..4usize.pow(length as u32) {
                let path: Vec<u32> = (0..length).map(|i| (code / 4usize.pow(i as u32) % 4) as u32).collect();
                let mut merged = path.clone();
                merged.dedup();
                merged.retain(|&token| token != 0);
                if merged == labels && path[0] != 0 && path[length - 1] != 0 {
                    best = best.max((0..length).map(|i| behind(start + i, path[i])).sum());
                }
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn scores_are_those_of_the_best_path(
            labels in prop::collection::vec(1u32..4, 1..4),
            frames in prop::collection::vec(prop::array::uniform4(-5.0f32..0.0), 1..6),
        ) {
            let mut keywords = Arc::unwrap_or_clone(keywords(&[&labels], 1.0));
            keywords.no_pause_cost = 0.0;
            let mut spotter = KeywordSpotter::new(Arc::new(keywords));
            for (at, frame) in frames.iter().enumerate() {
                prop_assert!(spotter.push(frame).is_none());
                let (found, best) = (spotter.places[0][2 * labels.len() - 2].score, exhaustive(&labels, &frames, at));
                prop_assert!(found == best || (found - best).abs() < 1e-4, "frame {at}: {found}, expected {best}");
            }
        }
    }
}
