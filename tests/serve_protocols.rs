//! The protocols' state machines with arbitrary clients: for any messages in any order they do not panic,
//! cause only valid actions, and respond according to their protocol.

use axum::body::Bytes;
use hearken::audio::{Encoding, RawFormat};
use hearken::recognizer::{Event, Segment, Word};
use hearken::serve::SherpaFlavor;
use hearken::serve::input::AudioInput;
use hearken::serve::protocol::choose::{First, Opening, by_first_message, by_path};
use hearken::serve::protocol::{
    Action, ModelInfo, Protocol, RecognizerOutput, SAMPLE_RATES, StreamRequest, TraceSnapshot,
};
use proptest::prelude::*;
use serde_json::Value;

/// What a client or the recognizer does next.
#[derive(Clone, Debug)]
enum Step {
    Text(String),
    Binary(Vec<u8>),
    /// The recognizer processes this number of waiting items at most.
    Answer(usize),
    /// The recognizer has an output that was not requested.
    Say(Event),
    Trace(TraceSnapshot),
    Fail,
    /// The server is shutting down.
    End,
}

fn text() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        r#"{"type":"start","sample_rate":16000}"#,
        r#"{"type":"start","sample_rate":8000,"encoding":"f32le","trace":true,"partials":false}"#,
        r#"{"type":"start","sample_rate":3}"#,
        r#"{"type":"flush"}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"finish"}"#,
        r#"{"config":{"sample_rate":16000,"words":true}}"#,
        r#"{"config":{"sample_rate":"48000","max_alternatives":2}}"#,
        r#"{"config":{"sample_rate":-1e300}}"#,
        r#"{"config":{"phrase_list":["one two","[unk]"]}}"#,
        r#"{"config":{"grammar":"[\"one\"]","words":0}}"#,
        r#"{"type":"start","sample_rate":16000,"phrases":["one"],"nbest":3}"#,
        r#"{"type":"configure","hotwords":["one"]}"#,
        r#"{"type":"configure"}"#,
        r#"{"type":"session.update","session":{"audio":{"input":{"transcription":{"prompt":"one, two"}}}}}"#,
        r#"{"type":"session.update","session":{"input_audio_transcription":{"keywords":["one"]}}}"#,
        r#"{"type":"transcribe","data":{"transcript_terms":["one"]}}"#,
        r#"{"type":"transcribe","data":{}}"#,
        r#"{"config":[]}"#,
        r#"{"eof" : 1}"#,
        r#"{"eof":1}"#,
        r#"{"reset" : 1}"#,
        r#"{"type":"session.update","session":{"audio":{"input":{"turn_detection":null}}}}"#,
        r#"{"type":"session.update","session":{"turn_detection":{"type":"server_vad","silence_duration_ms":500}}}"#,
        r#"{"type":"session.update","session":{"input_audio_format":"g711_ulaw"}}"#,
        r#"{"type":"input_audio_buffer.append","audio":"AAAA"}"#,
        r#"{"type":"input_audio_buffer.commit"}"#,
        r#"{"type":"input_audio_buffer.clear"}"#,
        r#"{"type":"describe"}"#,
        r#"{"type":"audio-start","data":{"rate":16000,"width":2,"channels":1}}"#,
        r#"{"type":"audio-chunk","data":{"rate":8000,"width":2,"channels":2}}"#,
        r#"{"type":"audio-stop","data":{}}"#,
        r#"{"type":"detect"}"#,
        "Done",
        " Done\n",
        "null",
    ])
    .prop_map(String::from);
    // Valid messages with a part removed, and arbitrary text.
    let torn =
        (known.clone(), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(t, a, b)| {
            let (a, b) = (a.index(t.len()), b.index(t.len()));
            t.chars().enumerate().filter(|(i, _)| !(a.min(b)..a.max(b)).contains(i)).map(|(_, c)| c).collect()
        });
    prop_oneof![6 => known, 1 => torn, 1 => ".{0,40}"]
}

fn segment() -> impl Strategy<Value = Segment> {
    (prop::collection::vec("[a-z\"\\\\\u{1}é]{1,6}", 0..4), 0.0..1e5, 0.0..30.0).prop_map(
        |(words, start, length)| {
            let step = length / (words.len() + 1) as f64;
            let word = |(i, word): (usize, &String)| Word {
                word: word.clone(),
                start: start + step * i as f64,
                end: start + step * (i + 1) as f64,
                confidence: 0.5,
            };
            let words_of: Vec<Word> = words.iter().enumerate().map(word).collect();
            Segment {
                text: words.join(" "),
                start,
                end: start + length,
                words: words_of,
                phrases: Vec::new(),
                alternatives: Vec::new(),
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let trace = (0.0..1e4, prop::collection::vec(-200.0f32..0.0, 2), prop::collection::vec(-3.0f32..3.0, 3))
        .prop_map(|(time, log_probs, state)| Step::Trace(TraceSnapshot { time, log_probs, state }));
    prop_oneof![
        6 => text().prop_map(Step::Text),
        6 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Binary),
        3 => prop::collection::vec(-1.0f32..1.0, 0..9)
            .prop_map(|x| Step::Binary(x.iter().flat_map(|x| x.to_le_bytes()).collect())),
        6 => (1..5usize).prop_map(Step::Answer),
        2 => segment().prop_map(|s| Step::Say(Event::Partial(s))),
        2 => segment().prop_map(|s| Step::Say(Event::Final(s))),
        1 => trace,
        1 => Just(Step::Fail),
        1 => Just(Step::End),
    ]
}

fn opening() -> impl Strategy<Value = Opening> {
    prop::sample::select(vec![
        Opening::Detect(SherpaFlavor::Cpp),
        Opening::Detect(SherpaFlavor::Python),
        Opening::Hearken,
        Opening::Vosk,
        Opening::Sherpa(SherpaFlavor::Cpp),
        Opening::Sherpa(SherpaFlavor::Python),
        Opening::Realtime,
        Opening::Wyoming,
    ])
}

fn model() -> ModelInfo {
    let tokens = vec!["<blk>".into(), "▁one".into()];
    ModelInfo { sample_rate: 16_000, tokens, silence: 1.2, hotwords: true, ..ModelInfo::default() }
}

/// A session without socket and recognizer that checks the actions.
#[derive(Default)]
struct Checked {
    protocol: Option<Box<dyn Protocol>>,
    /// The outputs that the recognizer owes, in order.
    due: Vec<RecognizerOutput>,
    opened: bool,
    finishing: bool,
    closed: Option<u16>,
    sent: Vec<String>,
    marks: usize,
    restarts: usize,
    blocks: usize,
    bytes: usize,
    audio: usize,
}

impl Checked {
    fn step(&mut self, opening: Opening, step: &Step) {
        let mut actions = Vec::new();
        match step {
            Step::Text(text) => {
                if self.begin(opening, First::Text(text), &mut actions) {
                    self.protocol.as_mut().expect("chosen").text(text, &mut actions);
                }
            }
            Step::Binary(bytes) => {
                if self.begin(opening, First::Binary, &mut actions) {
                    self.blocks += usize::from(!self.finishing);
                    self.bytes += if self.finishing { 0 } else { bytes.len() };
                    self.protocol.as_mut().expect("chosen").binary(bytes.clone().into(), &mut actions);
                }
            }
            Step::End => {
                if let Some(protocol) = &mut self.protocol {
                    protocol.end(&mut actions);
                }
            }
            Step::Answer(n) => {
                for output in self.due.drain(..self.due.len().min(*n)) {
                    self.protocol.as_mut().expect("it asked").output(output, &mut actions);
                }
            }
            Step::Say(event) => self.say(RecognizerOutput::Event(event.clone()), &mut actions),
            Step::Trace(trace) => self.say(RecognizerOutput::Trace(trace.clone()), &mut actions),
            Step::Fail => self.say(RecognizerOutput::Failed("it burns".into()), &mut actions),
        }
        for action in actions {
            self.act(action);
        }
    }

    fn begin(&mut self, opening: Opening, first: First, actions: &mut Vec<Action>) -> bool {
        if self.protocol.is_none() {
            self.protocol = by_path(opening, &model());
            if let Some(protocol) = &mut self.protocol {
                protocol.begin(actions);
            }
        }
        if let (None, Opening::Detect(flavor)) = (&self.protocol, opening) {
            match by_first_message(flavor, first, &model()) {
                Ok(protocol) => self.protocol = Some(protocol),
                Err(close) => actions.push(close),
            }
        }
        self.protocol.is_some()
    }

    /// The recognizer has no output before the stream is open, nor after its last.
    fn say(&mut self, output: RecognizerOutput, actions: &mut Vec<Action>) {
        let over = self.finishing && self.due.is_empty();
        if let (Some(protocol), true, false) = (&mut self.protocol, self.opened, over) {
            protocol.output(output, actions);
        }
    }

    fn act(&mut self, action: Action) {
        // Actions after a close are not carried out.
        if self.closed.is_some() {
            return;
        }
        let busy = self.opened && !self.finishing;
        match action {
            Action::Open(StreamRequest { format, trace, words, .. }) => {
                assert!(!self.opened, "a stream is opened once");
                assert!(words.is_none_or(|words| words.check().is_ok()));
                assert!(SAMPLE_RATES.contains(&format.sample_rate));
                self.opened = true;
                let mut said = Vec::new();
                let protocol = self.protocol.as_mut().expect("it asked");
                protocol.output(RecognizerOutput::Opened { traced: trace }, &mut said);
                for action in said {
                    assert!(matches!(action, Action::Send(_)), "{action:?}");
                    self.act(action);
                }
            }
            Action::Audio(bytes) => {
                assert!(busy, "audio goes to a stream that is open");
                self.audio += bytes.len();
            }
            Action::Format(format) => {
                assert!(busy);
                assert!(SAMPLE_RATES.contains(&format.sample_rate) && format.channels > 0);
            }
            Action::Silence(seconds) => {
                assert!(busy && seconds > 0.0);
                self.due.push(RecognizerOutput::Restarted);
            }
            Action::Words(words) => {
                assert!(busy && words.is_none_or(|words| words.check().is_ok()));
                self.due.push(RecognizerOutput::Words { notes: vec![], warnings: vec!["left out".into()] });
            }
            Action::Mark => {
                assert!(busy);
                self.marks += 1;
                self.due.push(RecognizerOutput::Mark);
            }
            Action::Restart => {
                assert!(busy);
                self.restarts += 1;
                self.due.push(RecognizerOutput::Restarted);
            }
            Action::Finish => {
                assert!(busy, "a stream ends once");
                self.finishing = true;
                self.due.push(RecognizerOutput::Finished { seconds: 1.0 });
            }
            Action::Send(text) => {
                let json = || serde_json::from_str::<Value>(&text);
                assert!(text == "Done!" || json().is_ok_and(|j| j.is_object()), "{text}");
                self.sent.push(text);
            }
            Action::Close { code, reason } => {
                assert!((1000..=1013).contains(&code) && code != 1005 && code != 1006, "{code}");
                assert!(code == 1000 || !reason.is_empty(), "a problem is named");
                self.closed = Some(code);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_order_of_messages_is_handled(opening in opening(), steps in prop::collection::vec(step(), 0..40)) {
        let mut session = Checked::default();
        for step in &steps {
            if session.closed.is_some() {
                break;
            }
            session.step(opening, step);
        }
    }

    #[test]
    fn vosk_gets_a_reply_for_each_block_and_each_order(steps in prop::collection::vec(step(), 0..40)) {
        let mut session = Checked::default();
        for step in &steps {
            session.step(Opening::Vosk, step);
            session.step(Opening::Vosk, &Step::Answer(usize::MAX));
            if session.closed.is_some() {
                return Ok(());
            }
            // In lockstep: the client waits for the reply to each message.
            prop_assert_eq!(session.sent.len(), session.blocks + session.restarts);
            prop_assert_eq!(session.marks, session.blocks);
        }
        session.step(Opening::Vosk, &Step::Text(r#"{"eof" : 1}"#.into()));
        session.step(Opening::Vosk, &Step::Answer(usize::MAX));
        prop_assert_eq!(session.closed, Some(1000));
        prop_assert_eq!(session.sent.len(), session.blocks + session.restarts + 1);
        prop_assert_eq!(session.audio, session.bytes, "all of the audio");
        let last: Value = serde_json::from_str(session.sent.last().expect("a result")).expect("JSON");
        prop_assert!(last.get("text").is_some() || last.get("alternatives").is_some());
    }

    #[test]
    fn every_final_text_is_sent_once(
        opening in opening(),
        segments in prop::collection::vec((segment(), any::<bool>()), 0..12),
    ) {
        let mut session = Checked::default();
        let begin = match opening {
            Opening::Hearken => Step::Text(r#"{"type":"start","sample_rate":16000}"#.into()),
            Opening::Realtime => Step::Text(r#"{"type":"input_audio_buffer.append","audio":"AAAA"}"#.into()),
            Opening::Wyoming => {
                Step::Text(r#"{"type":"audio-start","data":{"rate":16000,"width":2,"channels":1}}"#.into())
            }
            _ => Step::Binary(vec![0; 4]),
        };
        session.step(opening, &begin);
        let mut expected = Vec::new();
        for (segment, is_final) in &segments {
            let event = if *is_final { Event::Final(segment.clone()) } else { Event::Partial(segment.clone()) };
            session.step(opening, &Step::Say(event));
            expected.extend((*is_final && !segment.text.is_empty()).then(|| segment.text.clone()));
        }
        session.step(opening, &Step::End);
        session.step(opening, &Step::Answer(usize::MAX));
        let texts: Vec<String> = session.sent.iter().filter_map(|text| {
            let json: Value = serde_json::from_str(text).ok()?;
            let is_final = match opening {
                Opening::Hearken => json["type"] == "final",
                Opening::Vosk => json.get("text").is_some(),
                Opening::Realtime => {
                    let text = json["transcript"].as_str().filter(|text| !text.is_empty());
                    return text.map(String::from);
                }
                Opening::Wyoming => {
                    let is_transcript = json["type"] == "transcript";
                    return is_transcript.then(|| json["data"]["text"].as_str().expect("a text").into());
                }
                Opening::Sherpa(SherpaFlavor::Cpp) | Opening::Detect(SherpaFlavor::Cpp) => json["is_final"] == true,
                // Results of the Python server have no mark for finals; the last one of a segment is final.
                _ => return None,
            };
            is_final.then(|| json["text"].as_str().expect("a text").to_string())
        }).filter(|t| !t.is_empty()).collect();
        match opening {
            Opening::Sherpa(SherpaFlavor::Python) | Opening::Detect(SherpaFlavor::Python) => {
                let mut last = Vec::<String>::new();
                for text in &session.sent {
                    let json: Value = serde_json::from_str(text).expect("JSON");
                    let segment = json["segment"].as_u64().expect("a number") as usize;
                    last.resize(last.len().max(segment + 1), String::new());
                    if json["text"] != "" {
                        last[segment] = json["text"].as_str().expect("a text").into();
                    }
                }
                for text in &expected {
                    prop_assert!(last.contains(text), "{text:?} is not in {last:?}");
                }
            }
            _ => prop_assert_eq!(texts.join(" "), expected.join(" ")),
        }
    }

    #[test]
    fn results_do_not_depend_on_chunks_of_audio(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let decode = |encoding, messages: &[&[u8]]| -> Result<Vec<f32>, String> {
            let format = RawFormat { sample_rate: 8_000, channels: 1, encoding };
            let mut input = AudioInput::new(format, 16_000).expect("possible rates");
            let mut samples = Vec::new();
            for message in messages {
                let mut bytes = Bytes::copy_from_slice(message);
                while !bytes.is_empty() {
                    samples.extend(input.take(&mut bytes)?);
                }
            }
            samples.extend(input.finish());
            Ok(samples)
        };
        for encoding in [Encoding::S16Le, Encoding::F32Le] {
            let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let messages: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(decode(encoding, &[&bytes]), decode(encoding, &messages));
        }
    }
}
