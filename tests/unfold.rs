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
fn a_page_has_every_step_and_the_gates() {
    let place = Place::new();
    place.stdout_of(&["unfold", "model.onnx", "a.wav", "--gates", "-o", "a.html"]);
    let page = std::fs::read_to_string(place.path("a.html")).expect("written");
    for text in
        ["id=\"step-2\"", "id=\"window\"", "update gate z_t", "reset gate r_t", "data:audio/wav;base64,UklGR"]
    {
        assert!(page.contains(text), "{text}");
    }
    let data = page.split("id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next());
    let data: serde_json::Value = serde_json::from_str(data.expect("data")).expect("JSON");
    let count = |key: &str| data[key].as_array().map_or(0, Vec::len);
    assert!(count("steps") > 3 && count("steps") == count("titles"), "{}", count("steps"));
    assert!(data["steps"][0].as_str().is_some_and(|svg| svg.contains("<path")));
    let (code, error) = place.error_of(&["unfold", "model.onnx", "a.wav", "-o", "a.gif"]);
    assert!(code == 2 && error.contains(".svg, .png or .html"), "{error}");
    if !cfg!(feature = "png") {
        let (code, error) = place.error_of(&["unfold", "model.onnx", "a.wav", "-o", "a.png"]);
        assert!(code == 2 && error.contains("--features png") && error.contains("rsvg-convert"), "{error}");
        assert!(!place.path("a.png").exists());
    }
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
        "rglru, untrained",
        "tdnnf, untrained",
        "lstmp, untrained",
        "conv, untrained",
        "attention, untrained",
        "W_z",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    let svg = std::fs::read_to_string(place.path("p.svg")).expect("written");
    for text in ["layer 2", "lstm, untrained", "Product of Jacobians", "layer 1, W_r"] {
        assert!(svg.contains(text), "{text}");
    }
    let json = place.stdout_of(&["probe", "model.onnx", "a.wav", "--reach", "10", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let layer = &json["networks"][0]["layers"][1];
    assert_eq!(layer["norms"].as_array().map(Vec::len), Some(10));
    assert_eq!(layer["singular_values"]["W_z"].as_array().map(Vec::len), Some(12));
    let largest = layer["jacobian"]["largest"].as_array().expect("a list");
    assert!(
        largest.len() == 10 && largest.iter().all(|value| value.as_f64().is_some_and(|value| value > 0.0))
    );
    assert!(text.contains("ds_t/ds_(t-k), the largest (and root mean square) by k: 1: "), "{text}");
    let (code, error) = place.error_of(&["probe", "model.onnx", "a.wav", "--reach", "2000"]);
    assert!(code == 2 && error.contains("--reach"), "{error}");
}

#[test]
fn a_recipe_is_probed_on_its_recordings_and_compared_with_a_model() {
    let place = Place::new();
    let recipe = r#"
        [data]
        words = ["low", "high"]
        [[data.recordings]]
        manifest = "train.jsonl"
        weight = 1.0
        [network]
        cells = ["rnn-tanh"]
        hidden = [8]
        input_size = 8
        [schedule]
        steps = 1
        [run]
        batch_size = 1
        eval_interval = 1
        checkpoint_interval = 1
    "#;
    std::fs::write(place.path("recipe.toml"), recipe).expect("written");
    let line = "{\"audio_filepath\": \"a.wav\", \"text\": \"low\"}\n";
    std::fs::write(place.path("train.jsonl"), line).expect("written");
    let arguments = ["probe", "recipe.toml", "--compare", "model.onnx", "--reach", "10"];
    let text = place.stdout_of(&[&arguments[..], &["--svg", "p.svg"]].concat());
    for part in ["recipe.toml, untrained: ", "layer 1 (rnn-tanh, 8)", "model.onnx: ", "layer 2 (gru, 12)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let svg = std::fs::read_to_string(place.path("p.svg")).expect("written");
    assert!(svg.contains("layer 1") && svg.contains("model.onnx"));
    let json = place.stdout_of(&[&arguments[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["networks"].as_array().map(Vec::len), Some(2));
    assert!(json["networks"][0]["step_ms"].as_f64().is_some_and(|ms| ms == 40.0));
    let (code, error) = place.error_of(&["probe", "model.onnx"]);
    assert!(code == 2 && error.contains("expected recordings"), "{error}");
}
