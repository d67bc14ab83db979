//! Messages of a client and outputs of a recognizer, in any order, in the server's protocols.
//!
//! An input is a byte that selects the protocol, and then messages: a byte for the kind, two for the length
//! (little-endian), the content.

use hearken::recognizer::{Alternative, Event, Segment, Word};
use hearken::serve::SherpaFlavor;
use hearken::serve::protocol::choose::{First, Opening, by_first_message, by_path};
use hearken::serve::protocol::word_list::Refused;
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
    let model = model();
    let mut connection = by_path(opening, &model).map(Connection::new);
    if let Some(connection) = &mut connection {
        let mut actions = Vec::new();
        connection.protocol.begin(&mut actions);
        connection.check(&actions);
    }
    while let Some((kind, content)) = message(&mut rest) {
        let text = std::str::from_utf8(content).ok();
        let connection = match &mut connection {
            Some(connection) => connection,
            none => {
                let first = text.filter(|_| kind % 8 == 0).map_or(First::Binary, First::Text);
                match by_first_message(flavor, first, &model) {
                    Ok(protocol) => none.insert(Connection::new(protocol)),
                    Err(action) => return assert!(matches!(action, Action::Close { .. })),
                }
            }
        };
        let mut actions = Vec::new();
        let protocol = &mut connection.protocol;
        match (kind % 8, text) {
            (0, Some(text)) => protocol.text(text, &mut actions),
            (0 | 1, _) => protocol.binary(content.to_vec().into(), &mut actions),
            (2, _) => protocol.end(&mut actions),
            (kind, text) => protocol.output(output(kind, content, text.unwrap_or("")), &mut actions),
        }
        connection.check(&actions);
        if connection.closed {
            return;
        }
    }
}

struct Connection {
    protocol: Box<dyn Protocol>,
    opened: bool,
    closed: bool,
}

impl Connection {
    fn new(protocol: Box<dyn Protocol>) -> Self {
        Self { protocol, opened: false, closed: false }
    }

    /// Checks the properties that a session relies on.
    fn check(&mut self, actions: &[Action]) {
        for action in actions {
            assert!(!self.closed, "{action:?} after a close");
            match action {
                Action::Open(request) => {
                    assert!(!self.opened, "a second stream");
                    assert!(SAMPLE_RATES.contains(&request.format.sample_rate));
                    assert!(request.words.as_ref().is_none_or(|words| words.check().is_ok()));
                    self.opened = true;
                }
                Action::Format(format) => {
                    assert!(self.opened, "a format without a stream");
                    assert!(SAMPLE_RATES.contains(&format.sample_rate));
                }
                Action::Words(words) => {
                    assert!(self.opened, "{action:?} without a stream");
                    assert!(words.as_ref().is_none_or(|words| words.check().is_ok()));
                }
                Action::Audio(_) | Action::Mark | Action::Restart | Action::Silence(_) | Action::Finish => {
                    assert!(self.opened, "{action:?} without a stream");
                }
                Action::Send(_) => {}
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
    let words = words.collect();
    let alternative = |text: &str| Alternative {
        text: text.into(),
        confidence: number(3) as f32,
        score: -number(4) as f32,
        words: Vec::new(),
    };
    let segment = Segment {
        text: text.into(),
        start: number(0),
        end: number(1),
        words,
        phrases: Vec::new(),
        alternatives: text.split('|').map(alternative).collect(),
    };
    match (kind, content.first().copied().unwrap_or(0) % 4) {
        (3, flag) if content.len() > 4 => match flag {
            0 => RecognizerOutput::WordsRefused(Refused::Busy),
            1 => RecognizerOutput::WordsRefused(Refused::Invalid(text.into())),
            _ => RecognizerOutput::Words { notes: vec![text.into()], warnings: vec![text.into()] },
        },
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
    let tokens = vec!["<blk>".into(), "▁one".into()];
    ModelInfo {
        sample_rate: 16_000,
        tokens,
        states: vec![vec![1, 1, 3]],
        silence: 1.2,
        hotwords: true,
        alternatives: true,
        ..ModelInfo::default()
    }
}
