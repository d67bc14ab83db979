//! The fuzz targets of `fuzz/`, on mutations of small seeds: they compile, and nothing panics.

use proptest::prelude::*;

#[path = "../fuzz/src/onnx_reader.rs"]
mod onnx_reader;
#[cfg(feature = "serve")]
#[path = "../fuzz/src/serve_protocol.rs"]
mod serve_protocol;
#[path = "../fuzz/src/text_reader.rs"]
mod text_reader;

/// A case of `text_reader` for each file format.
fn texts() -> Vec<Vec<u8>> {
    let arpa = "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-1.0\t<unk>\n-99\t<s>\t-0.3\n-0.5\t</s>\n-0.6\tone\t-0.2\n\n\
                \\2-grams:\n-0.2\t<s> one\n\n\\end\\\n";
    let model = hearken::text::ngram::read_arpa(arpa.as_bytes(), 1 << 20).expect("an ARPA file").to_bytes();
    let files: [&[u8]; 8] = [
        b"turn (on|off) [the] {room} light[s]\n{room} = kitchen | living room -> living_room\n@intent X\nset {0..100..5:level}\n",
        br#"["turn on the light", "[unk]"]"#,
        b"intents:\n  Lamp:\n    data:\n      - sentences:\n          - turn (on|off) {room}\nlists:\n  room:\n    values: [kitchen]\n",
        b"#JSGF V1.0;\ngrammar g;\npublic <order> = [please] (tea | coffee) {x} <how>*;\n<how> = black | white;\n",
        b"ONE  W AH1 N\nTWO(2)  T UW\n# a comment\n",
        arpa.as_bytes(),
        &model,
        b"# names\nKubernetes\nAnna Karenina :1.5\n/4/ AT&T # a company\n/0.5/Nuuk\n",
    ];
    (0..).zip(files).map(|(reader, file)| [&[reader], file].concat()).collect()
}

/// Messages of `serve_protocol`: kind, length, content.
#[cfg(feature = "serve")]
fn conversations() -> Vec<Vec<u8>> {
    let own =
        r#"{"type":"start","version":1,"encoding":"s16le","sample_rate":16000,"partials":true,"trace":true}"#;
    let vosk =
        r#"{"config":{"sample_rate":8000,"words":true,"max_alternatives":2,"phrase_list":["one","[unk]"]}}"#;
    let realtime = r#"{"type":"input_audio_buffer.append","audio":"AAAAAAAA"}"#;
    let wyoming = r#"{"type":"audio-start","data":{"rate":16000,"width":2,"channels":1}}"#;
    let first = [own, vosk, own, vosk, "Done", "Done", realtime, wyoming];
    let conversation = |(opening, first): (u8, &str)| {
        let rest = [(3, "1"), (1, "some samples"), (4, "one two"), (7, "trace"), (5, "one two three")];
        let last = [(0, r#"{"eof" : 1}"#), (6, " "), (2, ""), (6, "b")];
        let messages = std::iter::once((0, first)).chain(rest).chain(last);
        let bytes = messages.flat_map(|(kind, content)| {
            let [low, high] = (content.len() as u16).to_le_bytes();
            [&[kind, low, high], content.as_bytes()].concat()
        });
        std::iter::once(opening).chain(bytes).collect()
    };
    (0..).zip(first).map(conversation).collect()
}

/// A copy with bytes changed, removed and duplicated.
fn mutated(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8, usize)]) -> Vec<u8> {
    for &(at, value, length) in changes {
        if bytes.len() < 2 {
            break;
        }
        // The first byte chooses the reader.
        let at = 1 + at.index(bytes.len() - 1);
        let end = (at + length).min(bytes.len());
        match value % 4 {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let chunk = bytes[at..end].to_vec();
                bytes.splice(at..at, chunk);
            }
            _ => bytes[at] = value,
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 1usize..12), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..Default::default() })]

    #[test]
    fn texts_that_are_damaged_do_not_panic(seed in 0usize..8, changes in changes()) {
        text_reader::run(&mutated(texts().swap_remove(seed), &changes));
    }

    #[cfg(feature = "serve")]
    #[test]
    fn conversations_that_are_damaged_do_not_panic(seed in 0usize..8, changes in changes()) {
        serve_protocol::run(&mutated(conversations().swap_remove(seed), &changes));
    }
}

#[test]
fn accepted_models_can_be_written_and_read_again() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    for name in ["torch-script-lstm-1", "keras-gru"] {
        onnx_reader::run(&std::fs::read(folder.join(format!("{name}.onnx"))).expect("a golden"));
    }
}
