//! Words that clients bring: phrases, hotwords, alternatives, in every protocol. The model is that of digits, whose
//! tokens are the phones of English.
#![cfg(all(feature = "digits", feature = "english"))]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearken::recognizer::StreamOptions;
use hearken::serve::{Limits, Options};
use serde_json::{Value, json};

use crate::common::place::Place;
use crate::common::server::{Client, Program, Server, clip, expected, s16_bytes, upload};

/// A homophone of `one`.
const HOMOPHONE: &str = "wun";
/// What a clip sounds like with it.
const WITH_HOMOPHONE: &str = "three wun four wun five";

fn server() -> Server {
    Server::start(Options::default())
}

/// Sends pi.wav and two seconds of silence.
fn say_pi(client: &mut Client) {
    let samples = [clip("pi.wav").0, vec![0.0; 32_000]].concat();
    s16_bytes(&samples).chunks(9_600).for_each(|chunk| client.send(chunk));
}

/// The next event of this type; others, but for errors, are skipped.
fn next(client: &mut Client, kind: &str) -> Value {
    loop {
        let event = client.json();
        if event["type"] == kind {
            return event;
        }
        assert_ne!(event["type"], "error", "{event}");
    }
}

/// The next final with words.
fn next_text(client: &mut Client) -> Value {
    loop {
        let event = next(client, "final");
        if event["text"] != "" {
            return event;
        }
    }
}

#[test]
fn phrases_have_intents_and_slots() {
    let server = server();
    let phrases = ["@intent code", "three one four {last}", "{last} = one five -> 15 | two"];
    let (mut client, ready) =
        server.start_with(json!({"sample_rate": 16_000, "phrases": phrases, "nbest": 2}));
    assert!(ready.get("warnings").is_none(), "{ready}");
    say_pi(&mut client);
    let event = next_text(&mut client);
    let phrase = &event["phrases"][0];
    assert_eq!((&event["text"], &phrase["intent"]), (&json!("three one four 15"), &json!("code")));
    assert_eq!(phrase["slots"][0], json!({"name": "last", "value": "15"}));
    assert_eq!(event["alternatives"][0]["text"], event["text"]);
    client.say(r#"{"type":"finish"}"#);
    next(&mut client, "end");
    assert_eq!(client.closed(), 1000);
}

#[test]
fn words_change_with_the_next_utterance() {
    let server = server();
    let (mut client, _) = server.start_with(json!({"sample_rate": 16_000, "phrases": ["nine nine nine"]}));
    // An utterance that is no phrase, and other words before it ends.
    s16_bytes(&clip("pi.wav").0).chunks(9_600).for_each(|chunk| client.send(chunk));
    client.say(r#"{"type":"configure"}"#);
    assert_eq!(next(&mut client, "configured"), json!({"type": "configured"}));
    client.say(r#"{"type":"flush"}"#);
    assert_eq!(next(&mut client, "final")["text"], "", "it was said before the change");
    next(&mut client, "flushed");
    say_pi(&mut client);
    let first = next_text(&mut client);
    assert_eq!(first["text"], expected("pi.wav"));
    // Between utterances.
    client.say(&json!({"type": "configure", "hotwords": [format!("{HOMOPHONE} :4")]}).to_string());
    let configured = next(&mut client, "configured");
    assert!(configured["notes"][0].as_str().is_some_and(|note| note.contains("`wun` as ")), "{configured}");
    say_pi(&mut client);
    let second = next_text(&mut client);
    assert_eq!(second["text"], WITH_HOMOPHONE);
    let start = |event: &Value| event["words"][0]["start"].as_f64().expect("a number");
    let between = start(&second) - start(&first);
    assert!((between - 4.87).abs() < 0.2, "times continue: {between}");
    client.say(r#"{"type":"configure","phrases":["three one four one five"]}"#);
    next(&mut client, "configured");
    say_pi(&mut client);
    assert_eq!(next_text(&mut client)["phrases"][0]["text"], "three one four one five");
    client.say(r#"{"type":"configure","phrases":["three (one"]}"#);
    let error = loop {
        let event = client.json();
        if event["type"] == "error" {
            break event;
        }
    };
    assert_eq!(error["code"], "words");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("line 1, column ")), "{error}");
    assert_eq!(client.closed(), 1007);
    server.wait_for("hearken_streams", 0.0);
}

#[test]
fn the_words_of_one_client_are_not_those_of_others() {
    let server = server();
    let (mut bound, _) = server.start_with(json!({"sample_rate": 16_000, "hotwords": ["wun :4"]}));
    let (mut free, _) = server.start_with(json!({"sample_rate": 16_000}));
    for client in [&mut bound, &mut free] {
        say_pi(client);
    }
    assert_eq!(next_text(&mut bound)["text"], WITH_HOMOPHONE);
    assert_eq!(next_text(&mut free)["text"], expected("pi.wav"));
}

#[test]
fn lists_beyond_the_limit_are_refused() {
    let server = Server::start(Options {
        limits: Limits { word_lists: 1, ..Limits::default() },
        stream: StreamOptions { nbest: 3, ..Options::default().stream },
        ..Options::default()
    });
    let (mut client, _) = server.start_with(json!({"sample_rate": 16_000, "hotwords": ["one"]}));
    let mut other = server.open("/v1/stream");
    other.say(r#"{"type":"start","sample_rate":16000,"hotwords":["two"]}"#);
    assert_eq!(next(&mut other, "ready")["type"], "ready");
    assert_eq!(other.json()["code"], "busy");
    assert_eq!(other.closed(), 1013);
    assert_eq!(server.metric("hearken_refused_total{reason=\"word_lists\"}"), 1.0);
    // The same list is shared; the number of alternatives is the server's.
    let (mut same, _) = server.start_with(json!({"sample_rate": 16_000, "hotwords": ["one"], "nbest": 1}));
    for client in [&mut client, &mut same] {
        say_pi(client);
    }
    assert!(next_text(&mut client)["alternatives"].as_array().is_some_and(|list| list.len() > 1));
    assert!(next_text(&mut same).get("alternatives").is_none());
}

// ---------------------------------------------------------------- vosk-server

/// The replies of vosk to pi.wav, until the last.
fn vosk(server: &Server, config: &Value) -> Vec<Value> {
    let mut client = server.open("/vosk");
    client.say(&json!({ "config": config }).to_string());
    let mut replies = Vec::new();
    for chunk in s16_bytes(&clip("pi.wav").0).chunks(16_000) {
        client.send(chunk);
        replies.push(client.json());
    }
    client.say(r#"{"eof" : 1}"#);
    replies.push(client.json());
    assert_eq!(client.closed(), 1000);
    replies
}

#[test]
fn vosk_clients_bring_a_grammar() {
    let server = server();
    let last = |config: Value| vosk(&server, &config).pop().expect("a reply");
    let phrases = ["three one four one five", "[unk]"];
    assert_eq!(last(json!({"sample_rate": 16_000, "phrase_list": phrases}))["text"], phrases[0]);
    let grammar = json!(phrases).to_string();
    assert_eq!(last(json!({"sample_rate": 16_000, "grammar": grammar}))["text"], phrases[0]);
    assert_eq!(last(json!({"sample_rate": 16_000, "phrase_list": ["two two", "[unk]"]}))["text"], "");
    assert_eq!(last(json!({"sample_rate": 16_000, "phrase_list": []}))["text"], expected("pi.wav"));
    for (config, reason) in [
        (json!({"phrase_list": "one"}), "phrase_list: expected a list of strings"),
        (json!({"phrase_list": [1, 2]}), "phrase_list: expected a string as entry 1"),
        (json!({"grammar": "one two"}), "grammar: expected a list as JSON"),
        (json!({"phrase_list": ["[unk]"]}), "phrase_list: "),
        (json!({"phrase_list": ["один"]}), "phrase_list: no pronunciation"),
        (json!({"max_alternatives": 1000}), "expected max_alternatives from 0 to 100"),
    ] {
        let mut client = server.open("/vosk");
        client.say(&json!({ "config": config }).to_string());
        // It may be closed already.
        let _ = client.try_send(&[0; 3200]);
        let close = loop {
            match client.message() {
                tokio_tungstenite::tungstenite::Message::Close(frame) => break frame.expect("a reason"),
                _ => continue,
            }
        };
        assert_eq!(u16::from(close.code), 1007, "{config}");
        assert!(close.reason.starts_with(reason), "{config}: {}", close.reason);
    }
    // The grammar of the next utterance.
    let mut client = server.open("/vosk");
    client.say(&json!({"config": {"sample_rate": 16_000, "phrase_list": ["two two"]}}).to_string());
    let bytes = s16_bytes(&clip("pi.wav").0);
    client.send(&bytes);
    client.json();
    client.say(&json!({"config": {"phrase_list": phrases}}).to_string());
    client.say(r#"{"reset" : 1}"#);
    assert_eq!(client.json()["text"], "");
    client.send(&bytes);
    client.json();
    client.say(r#"{"eof" : 1}"#);
    assert_eq!(client.json()["text"], phrases[0]);
}

#[test]
fn vosk_clients_get_alternatives() {
    let server = server();
    let config = json!({"sample_rate": 16_000, "max_alternatives": 3, "words": true});
    let reply = vosk(&server, &config).pop().expect("a reply");
    let alternatives = reply["alternatives"].as_array().expect("a list");
    assert_eq!((alternatives.len(), &alternatives[0]["text"]), (3, &json!(expected("pi.wav"))));
    let scores: Vec<f64> = alternatives.iter().map(|a| a["confidence"].as_f64().expect("a number")).collect();
    assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]), "{scores:?}");
    for alternative in alternatives {
        let words = alternative["result"].as_array().expect("words");
        let text: Vec<&str> = words.iter().map(|word| word["word"].as_str().expect("a word")).collect();
        assert_eq!(alternative["text"], text.join(" "));
        assert!(words.iter().all(|word| word.get("conf").is_none() && word["start"].is_number()));
    }
}

// ---------------------------------------------------------------- OpenAI's API, Wyoming

#[test]
fn prompt_and_keywords_of_uploads_are_hotwords() {
    let server = server();
    let answer = |fields: &[(&str, &str)]| -> Value {
        let (status, text) = upload(&server, "pi.wav", fields);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    };
    assert_eq!(answer(&[("prompt", "wun")]), json!({"text": WITH_HOMOPHONE}));
    assert_eq!(answer(&[("keywords[]", "wun"), ("keywords[]", "Nuuk")]), json!({"text": WITH_HOMOPHONE}));
    let some = answer(&[("keywords", "wun, один")]);
    assert_eq!(some["text"], WITH_HOMOPHONE);
    assert!(
        some["warnings"][0].as_str().is_some_and(|text| text.contains("1 hotword was left out")),
        "{some}"
    );
    let (_, text) = upload(&server, "pi.wav", &[("prompt", "wun"), ("response_format", "text")]);
    assert_eq!(text.trim(), WITH_HOMOPHONE);
    assert_eq!(answer(&[]), json!({"text": expected("pi.wav")}));
}

#[test]
fn a_server_of_phrases_says_that_hotwords_have_no_effect() {
    let place = Place::new();
    let file = place.path("phrases.txt");
    std::fs::write(&file, "three one four one five\n").expect("written");
    let file = file.to_string_lossy().into_owned();
    let program = Program::start(&["--model", "digits", "--phrases", &file, "--nbest", "2"]);
    let fields = [("prompt", "wun")];
    let bytes = std::fs::read(crate::common::server::path("pi.wav")).expect("a clip");
    let (status, _, text) = crate::common::server::upload_bytes(program.address, "pi.wav", &bytes, &fields);
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &answer["text"]), (200, &json!("three one four one five")));
    assert!(answer["warnings"][0].as_str().is_some_and(|text| text.contains("no effect")), "{answer}");
    let card = model_card(&program);
    assert_eq!((&card["words"], &card["tokens"]), (&json!(["five", "four", "one", "three"]), &Value::Null));
    let mut client = program.open("/v1/stream");
    client.say(r#"{"type":"start","sample_rate":16000}"#);
    say_pi(&mut client);
    let event = next_text(&mut client);
    assert!(event["alternatives"].is_array() && event["phrases"].is_array(), "{event}");
}

/// The model in the server's list of models.
fn model_card(program: &Program) -> Value {
    let models: Value = serde_json::from_str(&program.request("GET", "/v1/models").1).expect("JSON");
    models["data"][0].clone()
}

#[test]
fn a_server_of_a_language_model_lists_neither_words_nor_tokens() {
    let card = model_card(&Program::start(&["--model", "english"]));
    assert_eq!(
        (&card["object"], &card["words"], &card["tokens"]),
        (&json!("model"), &Value::Null, &Value::Null)
    );
}

#[test]
fn realtime_clients_bring_keywords() {
    let server = server();
    let mut client = server.open("/v1/realtime?intent=transcription");
    client.json();
    let input = json!({"format": {"type": "audio/pcm", "rate": 16_000}, "turn_detection": null,
                       "transcription": {"model": "hearken", "keywords": [HOMOPHONE, "один"]}});
    client.say(&json!({"type": "session.update", "session": {"audio": {"input": input}}}).to_string());
    assert_eq!(client.json()["session"]["audio"]["input"]["transcription"]["keywords"][0], HOMOPHONE);
    let transcript = |client: &mut Client| {
        for chunk in s16_bytes(&clip("pi.wav").0).chunks(9_600) {
            let message = json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(chunk)});
            client.say(&message.to_string());
        }
        client.say(r#"{"type":"input_audio_buffer.commit"}"#);
        let mut warnings = Value::Null;
        loop {
            let event = client.json();
            if event["type"] == "session.updated" {
                warnings = event["warnings"].clone();
            }
            if event["transcript"].is_string() {
                return (event["transcript"].clone(), warnings);
            }
        }
    };
    let (text, warnings) = transcript(&mut client);
    assert_eq!(text, WITH_HOMOPHONE);
    assert!(warnings[0].as_str().is_some_and(|text| text.contains("left out")), "{warnings}");
    let input = json!({"transcription": {"keywords": []}});
    client.say(&json!({"type": "session.update", "session": {"audio": {"input": input}}}).to_string());
    assert_eq!(transcript(&mut client).0, expected("pi.wav"));
}
