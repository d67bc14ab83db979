//! A client's messages and the recognizer's output, in any order, for the server's protocols.
//!
//! The first byte of a case chooses the protocol; then come messages: a byte for the kind, two for the length
//! (little endian), the content.

use bytes::Bytes;
use hearken::recognizer::{Event, Segment, Word};
use hearken::serve::SherpaFlavor;
use hearken::serve::protocol::choose::{First, Opening, by_first_message, by_path};
use hearken::serve::protocol::{Action, ModelInfo, Protocol, RecognizerOutput, SAMPLE_RATES, TraceSnapshot};

/// One case.
pub fn run(bytes: &[u8]) {
    let Some((&opening, mut rest)) = bytes.split_first() else { return };
    let (opening, flavor) = match opening % 8 {
        0 => (Opening::Detect(SherpaFlavor::Cpp), SherpaFlavor::Cpp),
        1 => (Opening::Detect(SherpaFlavor::Python), SherpaFlavor::Python),
        2 => (Opening::Hearken, SherpaFlavor::Cpp),
        3 => (Opening::Vosk, SherpaFlavor::Cpp),
        4 => (Opening::Sherpa(SherpaFlavor::Cpp), SherpaFlavor::Cpp),
        5 => (Opening::Sherpa(SherpaFlavor::Python), SherpaFlavor::Python),
        6 => (Opening::Realtime, SherpaFlavor::Cpp),
        _ => (Opening::Wyoming, SherpaFlavor::Cpp),
    };
    let mut conversation = by_path(opening, &model()).map(Conversation::new);
    while let Some((kind, content)) = message(&mut rest) {
        let text = std::str::from_utf8(content).ok();
        let conversation = match &mut conversation {
            Some(conversation) => conversation,
            none => {
                let first = text.filter(|_| kind % 8 == 0).map_or(First::Binary, First::Text);
                match by_first_message(flavor, first, &model()) {
                    Ok(protocol) => none.insert(Conversation::new(protocol)),
                    Err(action) => return assert!(matches!(action, Action::Close { .. })),
                }
            }
        };
        let mut actions = Vec::new();
        let protocol = &mut conversation.protocol;
        match (kind % 8, text) {
            (0, Some(text)) => protocol.text(text, &mut actions),
            (0 | 1, _) => protocol.binary(Bytes::copy_from_slice(content), &mut actions),
            (2, _) => protocol.end(&mut actions),
            (kind, text) => protocol.output(output(kind, content, text.unwrap_or("")), &mut actions),
        }
        conversation.check(&actions, content.len());
        if conversation.is_closed {
            return;
        }
    }
}

struct Conversation {
    protocol: Box<dyn Protocol>,
    is_open: bool,
    is_closed: bool,
}

impl Conversation {
    fn new(protocol: Box<dyn Protocol>) -> Self {
        Self { protocol, is_open: false, is_closed: false }
    }

    /// What a session relies on.
    fn check(&mut self, actions: &[Action], bytes: usize) {
        for action in actions {
            assert!(!self.is_closed, "{action:?} after a close");
            match action {
                Action::Open(request) => {
                    assert!(!self.is_open, "a second stream");
                    assert!(SAMPLE_RATES.contains(&request.format.sample_rate));
                    self.is_open = true;
                }
                Action::Format(format) => assert!(SAMPLE_RATES.contains(&format.sample_rate)),
                Action::Silence(seconds) => assert!(self.is_open && seconds.is_finite() && *seconds >= 0.0),
                Action::Audio(audio) => {
                    assert!(self.is_open, "audio before a stream");
                    assert!(audio.len() <= bytes, "more audio than the message holds");
                }
                Action::Mark | Action::Restart | Action::Finish => {
                    assert!(self.is_open, "{action:?} without a stream");
                }
                Action::Send(_) => {}
                // A close frame holds 125 bytes; the session cuts the reason.
                Action::Close { code, .. } => {
                    assert!((1000..=1015).contains(code));
                    self.is_closed = true;
                }
            }
        }
    }
}

fn message<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let &[kind, low, high, ref content @ ..] = *rest else { return None };
    let length = usize::from(u16::from_le_bytes([low, high])).min(content.len());
    let (content, after) = content.split_at(length);
    *rest = after;
    Some((kind, content))
}

fn output(kind: u8, content: &[u8], text: &str) -> RecognizerOutput {
    let number = |at: usize| f64::from(content.get(at).copied().unwrap_or(0)) / 7.0;
    let words = text.split_whitespace().enumerate().map(|(i, word)| Word {
        word: word.into(),
        start: number(i),
        end: number(i + 1),
        confidence: number(i + 2) as f32,
    });
    let segment = Segment {
        text: text.into(),
        start: number(0),
        end: number(1),
        words: words.collect(),
        phrases: Vec::new(),
    };
    match (kind, content.first().copied().unwrap_or(0) % 4) {
        (3, flag) => RecognizerOutput::Opened { traced: flag % 2 == 1 },
        (4, _) => RecognizerOutput::Event(Event::Partial(segment)),
        (5, _) => RecognizerOutput::Event(Event::Final(segment)),
        (6, 0) => RecognizerOutput::Mark,
        (6, 1) => RecognizerOutput::Restarted,
        (6, _) => RecognizerOutput::Finished { seconds: number(0) },
        (_, 0) => RecognizerOutput::Failed(text.into()),
        _ => RecognizerOutput::Trace(TraceSnapshot {
            time: number(0),
            log_probs: content.iter().take(2).map(|&b| -f32::from(b)).collect(),
            state: content.iter().take(3).map(|&b| f32::from(b)).collect(),
        }),
    }
}

fn model() -> ModelInfo {
    ModelInfo {
        sample_rate: 16_000,
        tokens: vec!["<blk>".into(), "▁one".into()],
        states: vec![vec![1, 1, 3]],
        ..ModelInfo::default()
    }
}
