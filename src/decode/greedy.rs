//! CTC best path: takes the likeliest token of each frame, merges repetitions and removes blanks (Graves et al. 2006,
//! section 3.2).

use super::{Decoder, DecoderOptions, TokenBias, TokenId, Unit, UnitSpan};
use crate::text::TokenTable;

/// Decoder that finds the CTC best path of one stream.
#[derive(Clone, Debug)]
pub struct Greedy {
    bias: TokenBias,
    /// The likeliest token of the previous frame.
    previous: TokenId,
    /// Whether the current repetition of `previous` began in an earlier segment, which returned it.
    run_returned: bool,
    tokens: Vec<UnitSpan>,
    frames: u64,
    revision: u64,
}

impl Greedy {
    /// Creates a decoder for one stream of a model.
    pub fn new(tokens: &TokenTable, options: &DecoderOptions) -> Self {
        let bias = TokenBias::new(tokens, options);
        Self { previous: bias.blank(), bias, run_returned: false, tokens: Vec::new(), frames: 0, revision: 0 }
    }

    /// The labels of the current segment so far.
    pub fn tokens(&self) -> &[UnitSpan] {
        &self.tokens
    }

    fn push_frame(&mut self, frame: &[f32]) {
        let (id, _) = self.bias.likeliest(frame);
        let (at, log_prob) = (self.frames, frame[id.index()]);
        let repeated = id == self.previous;
        self.frames += 1;
        self.previous = id;
        self.run_returned &= repeated;
        if id == self.bias.blank() || self.run_returned {
            return;
        }
        match self.tokens.last_mut() {
            Some(token) if repeated => {
                token.end = at + 1;
                token.log_prob = token.log_prob.max(log_prob);
            }
            _ => self.tokens.push(UnitSpan { unit: Unit::Token(id), start: at, end: at + 1, log_prob }),
        }
        self.revision += 1;
    }
}

impl Decoder for Greedy {
    fn push(&mut self, log_probs: &[f32]) {
        for frame in log_probs.chunks_exact(self.bias.values().len()) {
            self.push_frame(frame);
        }
    }

    fn best(&self) -> Vec<UnitSpan> {
        self.tokens.clone()
    }

    fn open_since(&self) -> Option<u64> {
        None
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn num_frames(&self) -> u64 {
        self.frames
    }

    fn end_segment(&mut self) -> Vec<UnitSpan> {
        self.run_returned = self.likeliest().is_some();
        self.revision += 1;
        std::mem::take(&mut self.tokens)
    }

    fn likeliest(&self) -> Option<TokenId> {
        Some(self.previous).filter(|&token| token != self.bias.blank())
    }

    fn end_segment_before(&mut self, first: u64) -> Vec<UnitSpan> {
        let at = self.tokens.partition_point(|token| token.start < first);
        if at == self.tokens.len() {
            return self.end_segment();
        }
        self.revision += 1;
        let kept = self.tokens.split_off(at);
        std::mem::replace(&mut self.tokens, kept)
    }

    fn reset(&mut self) {
        self.previous = self.bias.blank();
        self.run_returned = false;
        self.tokens.clear();
        self.frames = 0;
        self.revision += 1;
    }

    fn begin_at(&mut self, frame: u64) {
        self.frames = frame;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(v: usize) -> TokenTable {
        TokenTable::new((0..v).map(|i| format!("▁{i}")).collect(), 0).expect("a good table")
    }

    /// Log-probabilities whose best path is `path`: its tokens have probability 0.7, the others share the rest.
    fn scripted(path: &[u32], v: usize) -> Vec<f32> {
        let rest = (0.3 / (v as f32 - 1.0)).ln();
        path.iter()
            .flat_map(|&best| (0..v).map(move |i| if i == best as usize { 0.7f32.ln() } else { rest }))
            .collect()
    }

    fn id(token: &UnitSpan) -> u32 {
        match token.unit {
            Unit::Token(id) => id.0,
            Unit::Word(word) => panic!("a word: {word:?}"),
        }
    }

    fn ids(tokens: &[UnitSpan]) -> Vec<u32> {
        tokens.iter().map(id).collect()
    }

    #[test]
    fn repeats_are_merged_unless_a_blank_separates_them() {
        let mut greedy = Greedy::new(&table(3), &DecoderOptions::default());
        greedy.push(&scripted(&[0, 1, 1, 0, 1, 2, 2], 3));
        let tokens = greedy.best();
        assert_eq!(ids(&tokens), [1, 1, 2]);
        let spans: Vec<_> = tokens.iter().map(|t| (t.start, t.end)).collect();
        assert_eq!(spans, [(1, 3), (4, 5), (5, 7)]);
    }

    #[test]
    fn a_token_has_the_probability_of_its_best_frame() {
        let mut greedy = Greedy::new(&table(2), &DecoderOptions::default());
        for p in [0.6f32, 0.9, 0.8] {
            greedy.push(&[(1.0 - p).ln(), p.ln()]);
        }
        assert_eq!((greedy.tokens().len(), greedy.tokens()[0].log_prob), (1, 0.9f32.ln()));
    }

    #[test]
    fn biases_change_the_tokens_but_not_their_confidence() {
        let frame = [0.5f32.ln(), 0.4f32.ln(), 0.1f32.ln()];
        let options = DecoderOptions { blank_bias: -1.0, ..Default::default() };
        let mut greedy = Greedy::new(&table(3), &options);
        greedy.push(&frame);
        assert_eq!((id(&greedy.tokens()[0]), greedy.tokens()[0].log_prob), (1, 0.4f32.ln()));
        let options = DecoderOptions { filler: vec!["▁2".into()], filler_bias: 2.0, ..options };
        let mut greedy = Greedy::new(&table(3), &options);
        greedy.push(&frame);
        assert_eq!(ids(greedy.tokens()), [2]);
    }

    #[test]
    fn a_run_across_a_cut_is_one_token_and_a_repeat_is_two() {
        let mut greedy = Greedy::new(&table(3), &DecoderOptions::default());
        greedy.push(&scripted(&[1, 1], 3));
        assert_eq!(ids(&greedy.end_segment()), [1]);
        greedy.push(&scripted(&[1, 0, 1, 2], 3));
        let tokens = greedy.end_segment();
        assert_eq!(ids(&tokens), [1, 2]);
        assert_eq!(tokens[0].start, 4, "frames are the stream's");
    }

    #[test]
    fn a_segment_can_end_before_a_label_whose_run_continues() {
        let mut greedy = Greedy::new(&table(3), &DecoderOptions::default());
        greedy.push(&scripted(&[1, 0, 1, 2, 2], 3));
        assert!(greedy.likeliest().is_some());
        assert_eq!(ids(&greedy.end_segment_before(3)), [1, 1]);
        greedy.push(&scripted(&[2, 0, 2], 3));
        let spans: Vec<_> = greedy.end_segment_before(9).iter().map(|t| (id(t), t.start, t.end)).collect();
        assert_eq!(spans, [(2, 3, 6), (2, 7, 8)], "the run goes on, the repeat is another");
    }

    #[test]
    fn frames_of_nan_are_blanks() {
        let mut greedy = Greedy::new(&table(2), &DecoderOptions::default());
        greedy.push(&[f32::NAN; 4]);
        assert_eq!((greedy.tokens().len(), greedy.num_frames()), (0, 2));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_best_path(path in proptest::collection::vec(0u32..4, 0..40), cuts in proptest::collection::vec(1usize..7, 40)) {
            let mut expected = path.clone();
            expected.dedup();
            expected.retain(|&id| id != 0);
            let all = scripted(&path, 4);
            let mut whole = Greedy::new(&table(4), &DecoderOptions::default());
            whole.push(&all);
            prop_assert_eq!(ids(&whole.best()), expected);
            let mut pieces = Greedy::new(&table(4), &DecoderOptions::default());
            let mut rest = &all[..];
            for cut in cuts {
                let (now, later) = rest.split_at((cut * 4).min(rest.len()));
                pieces.push(now);
                rest = later;
            }
            prop_assert_eq!(pieces.best(), whole.best());
        }
    }
}
