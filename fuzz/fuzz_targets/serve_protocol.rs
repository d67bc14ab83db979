//! A client's messages and a recognizer's answers, in any order, before the server's state machines.
//!
//! A case is messages: a byte that says of what kind, two for the length (little endian), the content.
#![no_main]

use hearken::recognizer::{Event, Segment, Word};
use hearken::serve::Ending;
use hearken::serve::machine::{Action, First, Glimpse, Heard, ModelInfo, Opening, Protocol, choose};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&opening, mut rest)) = bytes.split_first() else { return };
    let opening = match opening % 6 {
        0 => Opening::Detect(Ending::Cpp),
        1 => Opening::Detect(Ending::Python),
        2 => Opening::Own,
        3 => Opening::Vosk,
        4 => Opening::Sherpa(Ending::Cpp),
        _ => Opening::Sherpa(Ending::Python),
    };
    let mut conversation: Option<Conversation> = None;
    while let Some((kind, content)) = message(&mut rest) {
        let text = std::str::from_utf8(content).ok();
        let conversation = match &mut conversation {
            Some(conversation) => conversation,
            none => {
                let first = text.filter(|_| kind % 8 == 0).map_or(First::Binary, First::Text);
                match choose(opening, first, &model()) {
                    Ok(protocol) => none.insert(Conversation { protocol, listens: false, closed: false }),
                    Err(action) => return assert!(matches!(action, Action::Close { .. })),
                }
            }
        };
        let mut actions = Vec::new();
        let protocol = &mut conversation.protocol;
        match (kind % 8, text) {
            (0, Some(text)) => protocol.text(text, &mut actions),
            (0 | 1, _) => protocol.binary(content, &mut actions),
            (2, _) => protocol.end(&mut actions),
            (kind, text) => protocol.heard(heard(kind, content, text.unwrap_or("")), &mut actions),
        }
        conversation.check(&actions, content.len());
        if conversation.closed {
            return;
        }
    }
});

struct Conversation {
    protocol: Box<dyn Protocol>,
    listens: bool,
    closed: bool,
}

impl Conversation {
    /// What a session relies on.
    fn check(&mut self, actions: &[Action], bytes: usize) {
        for action in actions {
            assert!(!self.closed, "{action:?} behind a close");
            match action {
                Action::Listen { sample_rate, .. } => {
                    assert!(!self.listens, "a second stream");
                    assert!((4_000..=192_000).contains(sample_rate));
                    self.listens = true;
                }
                Action::Audio(samples) => {
                    assert!(self.listens, "audio before a stream");
                    assert!(samples.iter().all(|s| s.is_finite()));
                    assert!(samples.len() <= bytes / 2 + 2);
                }
                Action::Mark | Action::Restart | Action::Finish => {
                    assert!(self.listens, "{action:?} of no stream")
                }
                Action::Send(_) => {}
                // A close frame holds 125 bytes; what sends it cuts the reason.
                Action::Close { code, .. } => {
                    assert!((1000..=1015).contains(code));
                    self.closed = true;
                }
            }
        }
    }
}

fn message<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let &[kind, low, high, ref content @ ..] = *rest else { return None };
    let length = usize::from(u16::from_le_bytes([low, high])).min(content.len());
    let (content, behind) = content.split_at(length);
    *rest = behind;
    Some((kind, content))
}

fn heard(kind: u8, content: &[u8], text: &str) -> Heard {
    let number = |at: usize| f64::from(content.get(at).copied().unwrap_or(0)) / 7.0;
    let words = text.split_whitespace().enumerate().map(|(i, word)| Word {
        word: word.into(),
        start: number(i),
        end: number(i + 1),
        confidence: number(i + 2) as f32,
    });
    let segment = Segment { text: text.into(), start: number(0), end: number(1), words: words.collect(), phrases: Vec::new() };
    match (kind, content.first().copied().unwrap_or(0) % 4) {
        (3, flag) => Heard::Listening { watched: flag % 2 == 1 },
        (4, _) => Heard::Event(Event::Partial(segment)),
        (5, _) => Heard::Event(Event::Final(segment)),
        (6, 0) => Heard::Mark,
        (6, 1) => Heard::Restarted,
        (6, _) => Heard::Finished { seconds: number(0) },
        (_, 0) => Heard::Failed(text.into()),
        _ => Heard::Glimpse(Glimpse {
            time: number(0),
            log_probs: content.iter().take(2).map(|&b| -f32::from(b)).collect(),
            state: content.iter().take(3).map(|&b| f32::from(b)).collect(),
        }),
    }
}

fn model() -> ModelInfo {
    let tokens = vec!["<blk>".into(), "▁one".into()];
    ModelInfo { sample_rate: 16_000, tokens, blank: 0, states: vec![vec![1, 1, 3]] }
}
