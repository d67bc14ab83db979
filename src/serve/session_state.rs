//! The state machine of a session: maps events of the client, the recognizer and the clock to effects. It
//! uses neither sockets nor threads, and the current time is an argument, so that tests control it.

use std::time::{Duration, Instant};

use axum::body::Bytes;

use super::audio_queue::{AudioQueue, Queued};
use super::input::AudioInput;
use super::limits::Limits;
use super::protocol::choose::{First, Opening, by_first_message, by_path};
use super::protocol::sherpa::SherpaFlavor;
use super::protocol::{Action, ModelInfo, Protocol, RecognizerOutput, close};
use super::session_event::{CloseReason, Effect, SessionEvent, Unreadable};
use super::stream_queue::Item;

/// The phase of the recognizer's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unopened,
    Open,
    /// The client's audio has ended.
    Finishing,
    /// All audio was processed.
    Complete,
}

/// The state of one client's session.
pub struct SessionState {
    /// The sherpa-onnx server that is imitated if the first message decides the protocol.
    flavor: SherpaFlavor,
    model: ModelInfo,
    limits: Limits,
    /// `None` until the first message has decided it.
    protocol: Option<Box<dyn Protocol>>,
    phase: Phase,
    traced: bool,
    /// The recognizer has opened the stream.
    is_open: bool,
    queue: AudioQueue,
    /// The reason for which the connection will be closed once the last results were sent.
    leaving: Option<CloseReason>,
    /// When the session ends at the latest.
    end: Instant,
    /// When the session ends if the client sends nothing until then.
    idle_end: Instant,
}

impl SessionState {
    /// Creates the state of a session that begins at `now`.
    pub fn new(opening: Opening, model: ModelInfo, limits: Limits, now: Instant) -> Self {
        let (end, idle_end) = (later(now, limits.total), later(now, limits.idle));
        let flavor = if let Opening::Detect(flavor) = opening { flavor } else { SherpaFlavor::default() };
        Self {
            protocol: by_path(opening, &model),
            flavor,
            model,
            limits,
            phase: Phase::Unopened,
            traced: false,
            is_open: false,
            queue: AudioQueue::default(),
            leaving: None,
            end,
            idle_end,
        }
    }

    /// Whether the client's messages are to be read. They are not while its audio waits for the
    /// recognizer, so that TCP's flow control slows the client down.
    pub fn wants_messages(&self) -> bool {
        self.queue.is_empty()
    }

    /// The time at which [`SessionEvent::Time`] is due.
    pub fn deadline(&self) -> Instant {
        if self.is_busy() { self.end } else { self.end.min(self.idle_end) }
    }

    /// Removes and returns the next item for the recognizer, which must have capacity; `None` when
    /// nothing waits.
    ///
    /// # Errors
    /// A description of invalid audio.
    pub fn next_item(&mut self, now: Instant) -> Option<Result<Item, String>> {
        if self.is_busy() {
            self.idle_end = later(now, self.limits.idle);
        }
        self.queue.next_item()
    }

    /// Handles an event; returns the effects to carry out, in order.
    pub fn on(&mut self, event: SessionEvent, now: Instant) -> Vec<Effect> {
        use SessionEvent::{Alive, Binary, Text};
        if self.is_busy() || matches!(event, Text(_) | Binary(_) | Alive) {
            self.idle_end = later(now, self.limits.idle);
        }
        let mut effects = Vec::new();
        match event {
            SessionEvent::Begin => {
                let mut actions = Vec::new();
                if let Some(protocol) = &mut self.protocol {
                    protocol.begin(&mut actions);
                }
                self.act(actions, &mut effects);
            }
            Text(text) => self.message(First::Text(&text), None, &mut effects),
            Binary(bytes) => self.message(First::Binary, Some(bytes), &mut effects),
            Alive => {}
            SessionEvent::Left => effects.push(Effect::Close(None)),
            SessionEvent::Unreadable(why) => {
                let (code, text, counted) = match why {
                    Unreadable::TooLong => (close::TOO_BIG, "the message exceeds the limit", "too_big"),
                    Unreadable::NotUtf8 => (close::INVALID_DATA, "expected text in UTF-8", "invalid"),
                    Unreadable::Malformed => (close::PROTOCOL_ERROR, "the frame is malformed", "invalid"),
                };
                self.close(code, text, counted, &mut effects);
            }
            SessionEvent::Opened { traced } => {
                (self.traced, self.is_open) = (traced, true);
                if let Some(input) = self.queue.input.as_mut().filter(|_| traced) {
                    input.trace();
                }
                self.output([RecognizerOutput::Opened { traced }], &mut effects);
            }
            SessionEvent::Words(words) => {
                let outputs = RecognizerOutput::Words {
                    notes: words.iter().flat_map(|words| words.notes.to_vec()).collect(),
                    warnings: words.iter().flat_map(|words| words.warnings.to_vec()).collect(),
                };
                if self.is_open {
                    self.queue.push(Queued::Words(words));
                }
                self.output([outputs], &mut effects);
            }
            SessionEvent::WordsRefused(refused) => {
                self.output([RecognizerOutput::WordsRefused(refused)], &mut effects);
            }
            SessionEvent::Full => {
                let text = "all streams are in use: try again later";
                let message = self.error("busy", text);
                let text = text.into();
                let reason = CloseReason { code: close::TRY_AGAIN, text, counted: None, message };
                effects.push(Effect::Close(Some(reason)));
            }
            SessionEvent::Output(outputs) => self.output(outputs, &mut effects),
            SessionEvent::RecognizerGone => {
                self.close(close::INTERNAL, "the recognizer stopped", "failed", &mut effects);
            }
            SessionEvent::InvalidAudio(problem) => self.invalid("samples", &problem, &mut effects),
            SessionEvent::Draining => {
                // No error message: the client has done nothing wrong.
                let text = "the server is shutting down".into();
                let counted = Some("shutdown");
                let reason = CloseReason { code: close::GOING_AWAY, text, counted, message: None };
                self.leave(reason, now, &mut effects);
            }
            SessionEvent::Time => self.time(now, &mut effects),
        }
        if self.phase == Phase::Complete
            && let Some(reason) = self.leaving.take()
        {
            // This reason replaces the protocol's own close.
            effects.retain(|effect| !matches!(effect, Effect::Close(_)));
            effects.push(Effect::Close(Some(reason)));
        }
        effects
    }

    /// Whether the client is waiting for the recognizer; then it is not idle.
    fn is_busy(&self) -> bool {
        !self.queue.is_empty() || self.phase == Phase::Finishing
    }

    fn message(&mut self, kind: First, bytes: Option<Bytes>, effects: &mut Vec<Effect>) {
        let mut actions = Vec::new();
        if self.protocol.is_none() {
            match by_first_message(self.flavor, kind, &self.model) {
                Ok(protocol) => self.protocol = Some(protocol),
                Err(action) => actions.push(action),
            }
        }
        if let Some(protocol) = &mut self.protocol {
            match (kind, bytes) {
                (First::Text(text), _) => protocol.text(text, &mut actions),
                (First::Binary, bytes) => protocol.binary(bytes.unwrap_or_default(), &mut actions),
            }
        }
        self.act(actions, effects);
    }

    fn output(&mut self, outputs: impl IntoIterator<Item = RecognizerOutput>, effects: &mut Vec<Effect>) {
        let Some(protocol) = &mut self.protocol else { return };
        let mut actions = Vec::new();
        for output in outputs {
            if matches!(output, RecognizerOutput::Finished { .. }) {
                self.phase = Phase::Complete;
            }
            protocol.output(output, &mut actions);
        }
        self.act(actions, effects);
    }

    /// Closes the session if a deadline has passed.
    fn time(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if now >= self.end {
            let text = format!("the connection has lasted {} s", self.limits.total.as_secs_f64());
            match self.leaving.take() {
                // The last results are late: close without them.
                Some(reason) => effects.push(Effect::Close(Some(reason))),
                None => self.leave(self.reason(close::POLICY, &text, "total"), now, effects),
            }
        } else if !self.is_busy() && now >= self.idle_end && self.leaving.is_none() {
            let text = format!("nothing was received for {} s", self.limits.idle.as_secs_f64());
            if self.phase == Phase::Complete {
                let reason = CloseReason { code: close::NORMAL, text, counted: None, message: None };
                return effects.push(Effect::Close(Some(reason)));
            }
            self.leave(self.reason(close::POLICY, &text, "idle"), now, effects);
        }
    }

    /// Ends the audio, and closes for `reason` once the last results were sent; without an open stream,
    /// closes at once.
    fn leave(&mut self, reason: CloseReason, now: Instant, effects: &mut Vec<Effect>) {
        if self.leaving.is_some() {
            return;
        }
        match (&mut self.protocol, self.phase) {
            (Some(protocol), Phase::Open | Phase::Finishing) => {
                let mut actions = Vec::new();
                protocol.end(&mut actions);
                self.leaving = Some(reason);
                self.end = later(now, self.limits.drain);
                self.act(actions, effects);
            }
            _ => effects.push(Effect::Close(Some(reason))),
        }
    }

    fn act(&mut self, actions: Vec<Action>, effects: &mut Vec<Effect>) {
        for action in actions {
            match action {
                Action::Open(request) => match AudioInput::new(request.format, self.model.sample_rate) {
                    Ok(input) => {
                        self.queue.input = Some(input);
                        self.phase = Phase::Open;
                        let protocol = self.protocol.as_ref().map_or("", |protocol| protocol.name());
                        effects.push(Effect::Open { protocol, request });
                    }
                    Err(error) => return self.invalid("sample_rate", error.problem(), effects),
                },
                Action::Format(format) => match AudioInput::new(format, self.model.sample_rate) {
                    Ok(mut input) => {
                        if self.traced {
                            input.trace();
                        }
                        self.queue.push(Queued::Format(input));
                    }
                    Err(error) => return self.invalid("sample_rate", error.problem(), effects),
                },
                Action::Words(list) => effects.push(Effect::Words(list)),
                Action::Silence(seconds) => self.queue.push(Queued::Silence(seconds)),
                Action::Audio(bytes) if bytes.is_empty() => {}
                Action::Audio(bytes) => self.queue.push(Queued::Audio(bytes)),
                Action::Mark => self.queue.push(Queued::Mark),
                Action::Restart => self.queue.push(Queued::Restart),
                Action::Finish => {
                    self.phase = Phase::Finishing;
                    self.queue.push(Queued::Finish);
                }
                Action::Send(text) => effects.push(Effect::Send(text)),
                Action::Close { code, reason } => {
                    let counted = match code {
                        close::PROTOCOL_ERROR | close::UNSUPPORTED | close::INVALID_DATA => Some("invalid"),
                        close::INTERNAL => Some("failed"),
                        _ => None,
                    };
                    let reason = CloseReason { code, text: reason, counted, message: None };
                    return effects.push(Effect::Close(Some(reason)));
                }
            }
        }
    }

    fn invalid(&self, name: &'static str, problem: &str, effects: &mut Vec<Effect>) {
        let message = self.error(name, problem);
        let text = problem.into();
        let counted = Some("invalid");
        effects.push(Effect::Close(Some(CloseReason { code: close::INVALID_DATA, text, counted, message })));
    }

    fn close(&self, code: u16, text: &str, name: &'static str, effects: &mut Vec<Effect>) {
        effects.push(Effect::Close(Some(self.reason(code, text, name))));
    }

    /// Builds a reason; `name` is its name in the metrics and the code of the protocol's error message.
    fn reason(&self, code: u16, text: &str, name: &'static str) -> CloseReason {
        CloseReason { code, text: text.into(), counted: Some(name), message: self.error(name, text) }
    }

    /// The client's protocol's message for an error; `None` if it has none.
    fn error(&self, code: &str, text: &str) -> Option<String> {
        self.protocol.as_ref()?.error(code, text)
    }
}

/// `now + after`, or 34 years from now if that overflows.
fn later(now: Instant, after: Duration) -> Instant {
    now.checked_add(after).unwrap_or(now + Duration::from_secs(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognizer::{Event, Segment};

    const START: &str = r#"{"type":"start","sample_rate":16000}"#;

    struct Session {
        state: SessionState,
        begun: Instant,
        seconds: u64,
    }

    impl Session {
        fn new(opening: Opening) -> Self {
            let model = ModelInfo { sample_rate: 16_000, ..ModelInfo::default() };
            let limits = Limits {
                idle: Duration::from_secs(60),
                total: Duration::from_secs(600),
                drain: Duration::from_secs(10),
                ..Limits::default()
            };
            let begun = Instant::now();
            Self { state: SessionState::new(opening, model, limits, begun), begun, seconds: 0 }
        }

        /// A session whose stream is open.
        fn open(opening: Opening) -> Self {
            let mut session = Self::new(opening);
            let first = match opening {
                Opening::Hearken => SessionEvent::Text(START.into()),
                _ => SessionEvent::Binary(Bytes::from_static(&[0; 4])),
            };
            assert!(matches!(session.on(first)[..], [Effect::Open { .. }]));
            session.on(SessionEvent::Opened { traced: false });
            while session.item().is_some() {}
            session
        }

        fn now(&self) -> Instant {
            self.begun + Duration::from_secs(self.seconds)
        }

        fn on(&mut self, event: SessionEvent) -> Vec<Effect> {
            let now = self.now();
            self.state.on(event, now)
        }

        fn item(&mut self) -> Option<Result<Item, String>> {
            let now = self.now();
            self.state.next_item(now)
        }

        /// Lets time pass to the next deadline.
        fn wait(&mut self) -> Vec<Effect> {
            self.seconds = self.state.deadline().duration_since(self.begun).as_secs();
            self.on(SessionEvent::Time)
        }

        fn finish(&mut self) -> Vec<Effect> {
            while self.item().is_some() {}
            let nothing = Segment {
                text: "one".into(),
                start: 0.0,
                end: 1.0,
                words: Vec::new(),
                phrases: Vec::new(),
                alternatives: Vec::new(),
            };
            let last = RecognizerOutput::Event(Event::Final(nothing));
            self.on(SessionEvent::Output(vec![last, RecognizerOutput::Finished { seconds: 1.0 }]))
        }
    }

    fn code_of(effects: &[Effect]) -> Option<u16> {
        match effects.last() {
            Some(Effect::Close(Some(reason))) => Some(reason.code),
            _ => None,
        }
    }

    fn counted(effects: &[Effect]) -> Option<&'static str> {
        match effects.last() {
            Some(Effect::Close(Some(reason))) => reason.counted,
            _ => None,
        }
    }

    #[test]
    fn no_message_is_read_while_audio_waits() {
        let mut session = Session::open(Opening::Hearken);
        assert!(session.state.wants_messages());
        session.on(SessionEvent::Binary(vec![0; 20_000].into()));
        assert!(!session.state.wants_messages());
        let mut samples = 0;
        while let Some(Ok(Item::Audio(chunk))) = session.item() {
            assert!(chunk.len() <= 4_000);
            samples += chunk.len();
        }
        assert!(samples == 10_000 && session.state.wants_messages());
    }

    #[test]
    fn a_full_server_closes_with_try_again_later() {
        let mut session = Session::new(Opening::Hearken);
        session.on(SessionEvent::Text(START.into()));
        let effects = session.on(SessionEvent::Full);
        assert_eq!((code_of(&effects), counted(&effects)), (Some(close::TRY_AGAIN), None));
        assert!(
            matches!(&effects[0], Effect::Close(Some(r)) if r.message.as_ref().unwrap().contains("busy"))
        );
    }

    #[test]
    fn the_last_results_are_sent_before_each_kind_of_close() {
        for (name, code) in
            [("idle", close::POLICY), ("total", close::POLICY), ("shutdown", close::GOING_AWAY)]
        {
            for opening in [Opening::Hearken, Opening::Vosk] {
                let mut session = Session::open(opening);
                let effects = match name {
                    "idle" => session.wait(),
                    "total" => {
                        session.seconds = 599;
                        session.on(SessionEvent::Alive);
                        session.seconds = 600;
                        session.on(SessionEvent::Time)
                    }
                    _ => session.on(SessionEvent::Draining),
                };
                assert_eq!(effects, [], "the last results come first");
                let effects = session.finish();
                assert!(matches!(&effects[0], Effect::Send(text) if text.contains("one")), "{effects:?}");
                assert_eq!((code_of(&effects), counted(&effects)), (Some(code), Some(name)));
            }
        }
    }

    #[test]
    fn a_session_without_a_stream_is_closed_at_once() {
        for (event, code) in [(SessionEvent::Draining, 1001), (SessionEvent::Time, 1008)] {
            let mut session = Session::new(Opening::Hearken);
            session.seconds = 60;
            assert_eq!(code_of(&session.on(event)), Some(code));
        }
    }

    #[test]
    fn the_wait_for_the_last_results_is_limited() {
        let mut session = Session::open(Opening::Hearken);
        session.on(SessionEvent::Draining);
        assert_eq!(session.state.deadline(), session.now() + Duration::from_secs(10));
        assert_eq!(code_of(&session.wait()), Some(close::GOING_AWAY));
    }

    #[test]
    fn waiting_for_the_recognizer_is_not_idleness() {
        let mut session = Session::open(Opening::Hearken);
        session.on(SessionEvent::Binary(vec![0; 20_000].into()));
        session.seconds = 500;
        assert_eq!(session.on(SessionEvent::Time), []);
        while session.item().is_some() {}
        assert_eq!(session.state.deadline(), session.now() + Duration::from_secs(60));
        // Nor is waiting for the last results.
        session.on(SessionEvent::Text(r#"{"type":"finish"}"#.into()));
        session.seconds = 599;
        assert_eq!(session.on(SessionEvent::Time), []);
        assert_eq!(code_of(&session.finish()), Some(close::NORMAL));
    }

    #[test]
    fn a_client_that_stays_after_the_end_is_closed_normally() {
        let mut session = Session::open(Opening::Sherpa(SherpaFlavor::Cpp));
        session.on(SessionEvent::Text("Done".into()));
        assert_eq!(code_of(&session.finish()), None, "the client closes");
        let effects = session.wait();
        assert_eq!((code_of(&effects), counted(&effects)), (Some(close::NORMAL), None));
    }

    #[test]
    fn invalid_audio_closes_the_session_and_its_position_is_reported() {
        let mut session = Session::open(Opening::Sherpa(SherpaFlavor::Cpp));
        let bytes: Vec<u8> = [0.0f32, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
        session.on(SessionEvent::Binary(bytes.into()));
        let Some(Err(problem)) = session.item() else { panic!("NaN was accepted") };
        assert!(problem.contains("NaN"), "{problem}");
        let effects = session.on(SessionEvent::InvalidAudio(problem));
        assert_eq!((code_of(&effects), counted(&effects)), (Some(close::INVALID_DATA), Some("invalid")));
    }

    #[test]
    fn a_change_of_format_applies_to_the_audio_after_it() {
        let mut session = Session::new(Opening::Wyoming);
        let event = |kind: &str, rate: u32| {
            let data = serde_json::json!({"rate": rate, "width": 2, "channels": 1});
            SessionEvent::Text(serde_json::json!({"type": kind, "data": data}).to_string().into())
        };
        session.on(event("audio-chunk", 8_000));
        session.on(SessionEvent::Opened { traced: false });
        session.on(SessionEvent::Binary(vec![0; 1_600].into()));
        session.on(event("audio-chunk", 16_000));
        session.on(SessionEvent::Binary(vec![0; 3_200].into()));
        let mut samples = 0;
        while let Some(Ok(Item::Audio(chunk))) = session.item() {
            samples += chunk.len();
        }
        assert_eq!(samples, 3_200, "0.1 s of each");
    }

    #[test]
    fn the_rest_of_the_resampler_comes_before_the_end() {
        let mut session = Session::new(Opening::Hearken);
        session.on(SessionEvent::Text(r#"{"type":"start","sample_rate":48000}"#.into()));
        session.on(SessionEvent::Opened { traced: false });
        session.on(SessionEvent::Binary(vec![0; 9_600].into()));
        session.on(SessionEvent::Text(r#"{"type":"finish"}"#.into()));
        let mut samples = 0;
        loop {
            match session.item() {
                Some(Ok(Item::Audio(chunk))) => samples += chunk.len(),
                Some(Ok(Item::Finish)) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(samples, 1_600);
        assert!(session.item().is_none());
    }
}
