//! `hearken unfold` and `hearken probe`.

use crate::common::place::Place;

#[test]
fn a_network_is_drawn_with_all_its_parts() {
    let place = Place::new();
    place.stdout_of(&["unfold", "model.onnx", "a.wav", "-o", "a.svg"]);
    let svg = std::fs::read_to_string(place.path("a.svg")).expect("written");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in
        ["input x_t", "state s_t, layer 1", "state s_t, layer 2", "output o_t", "t+1", "waveform", "time, s"]
    {
        assert!(svg.contains(text), "{text}");
    }
    let pi = concat!(env!("CARGO_MANIFEST_DIR"), "/audio/pi.wav");
    place.stdout_of(&["unfold", "digits", pi, "--from", "0.2", "--to", "1.6", "--at", "0.4", "-o", "b.svg"]);
    let svg = std::fs::read_to_string(place.path("b.svg")).expect("written");
    assert!(svg.contains(">t: 0.40 s<"), "the step at 0.4 s");
}

#[test]
fn parts_that_do_not_exist_are_refused() {
    let place = Place::new();
    for (options, expected) in [
        (["--from", "-1"], "--from"),
        (["--from", "1e9"], "--from"),
        (["--from", "nan"], "--from"),
        (["--to", "0.01"], "expected a part"),
        (["--at", "1e9"], "--at"),
    ] {
        let (option, value) = (format!("{}={}", options[0], options[1]), "a.svg");
        let (code, error) = place.error_of(&["unfold", "model.onnx", "a.wav", &option, "-o", value]);
        assert!(code == 2 && error.contains(expected), "{options:?}: {error}");
        assert!(!place.path("a.svg").exists());
    }
}

#[test]
fn the_reach_of_gradients_is_measured_for_every_cell() {
    let place = Place::new();
    let text =
        place.stdout_of(&["probe", "model.onnx", "a.wav", "--reach", "10", "--untrained", "--svg", "p.svg"]);
    for name in [
        "layer 2 (gru, 12)",
        "rnn-tanh, untrained",
        "lstm, untrained",
        "mingru, untrained",
        "conv, untrained",
        "attention, untrained",
        "W_z",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    let svg = std::fs::read_to_string(place.path("p.svg")).expect("written");
    assert!(svg.contains("layer 2") && svg.contains("lstm, untrained"));
    let json = place.stdout_of(&["probe", "model.onnx", "a.wav", "--reach", "10", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let layer = &json["networks"][0]["layers"][1];
    assert_eq!(layer["norms"].as_array().map(Vec::len), Some(10));
    assert_eq!(layer["singular_values"]["W_z"].as_array().map(Vec::len), Some(12));
    let (code, error) = place.error_of(&["probe", "model.onnx", "a.wav", "--reach", "2000"]);
    assert!(code == 2 && error.contains("--reach"), "{error}");
}
