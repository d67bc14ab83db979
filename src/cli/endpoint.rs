//! The options for endpoints (the ends of utterances), shared by all commands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::model::{engine_options, print_note};
use crate::decode::EndpointOptions;
use crate::engine::graph;
use crate::error::{Error, Result, Stage};
use crate::fs::quoted;
use crate::recognizer::{DetectorFactory, StreamOptions, silero};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Endpoints")]
pub(super) struct EndpointArgs {
    /// Whether the rules below end utterances; giving another of these options switches them on.
    #[arg(long, value_name = "WHEN")]
    endpoint: Option<Switch>,

    /// Rule 1: silence that ends an utterance without words, seconds; 0 switches the rule off [default: 2.4].
    #[arg(long, value_name = "SECONDS")]
    rule1_min_trailing_silence: Option<f64>,

    /// Rule 2: silence that ends an utterance with words, seconds; 0 switches the rule off [default: 1.2].
    #[arg(long, value_name = "SECONDS")]
    rule2_min_trailing_silence: Option<f64>,

    /// Rule 3: length at which an utterance ends, seconds; 0 switches the rule off [default: 20].
    #[arg(long, value_name = "SECONDS")]
    rule3_min_utterance_length: Option<f64>,

    /// The network's state at an endpoint in silence [default: model].
    #[arg(long, value_name = "WHAT")]
    endpoint_state: Option<StateAtEndpoint>,

    /// Voice activity detector of Silero: silence does not end an utterance while it detects speech.
    #[arg(long, value_name = "FILE.onnx")]
    vad: Option<PathBuf>,

    /// Minimum probability at which the detector's output counts as speech.
    #[arg(long, value_name = "P", default_value_t = DetectorFactory::THRESHOLD, requires = "vad")]
    vad_threshold: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StateAtEndpoint {
    /// As the model's decoder options say.
    Model,
    /// The state is carried across endpoints.
    Carry,
    /// The state is reset.
    Reset,
}

impl EndpointArgs {
    /// The settings that transcripts depend on, by option.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let Self {
            endpoint,
            rule1_min_trailing_silence,
            rule2_min_trailing_silence,
            rule3_min_utterance_length,
            endpoint_state,
            vad,
            vad_threshold,
        } = self;
        let seconds = |option: &Option<f64>| option.map_or("not given".into(), |seconds| seconds.to_string());
        let switch = |switch: &Option<Switch>| switch.map_or("not given".into(), |on| format!("{on:?}"));
        BTreeMap::from([
            ("--endpoint".into(), switch(endpoint)),
            ("--rule1-min-trailing-silence".into(), seconds(rule1_min_trailing_silence)),
            ("--rule2-min-trailing-silence".into(), seconds(rule2_min_trailing_silence)),
            ("--rule3-min-utterance-length".into(), seconds(rule3_min_utterance_length)),
            (
                "--endpoint-state".into(),
                endpoint_state.map_or("not given".into(), |state| format!("{state:?}")),
            ),
            ("--vad".into(), vad.as_deref().map_or("not given".into(), |path| quoted(path).into_owned())),
            ("--vad-threshold".into(), vad_threshold.to_string()),
        ])
    }

    /// Builds the options of a stream; `by_default` is whether endpoints are on if none of the options is
    /// given.
    ///
    /// # Errors
    /// Wrong usage, or a detector that cannot be opened.
    pub fn stream_options(&self, by_default: bool) -> Result<StreamOptions> {
        let rules = [
            self.rule1_min_trailing_silence,
            self.rule2_min_trailing_silence,
            self.rule3_min_utterance_length,
        ];
        let has_rule = rules.iter().any(Option::is_some);
        let given = [
            ("--vad", self.vad.is_some()),
            ("an endpoint rule", has_rule),
            ("--endpoint-state", self.endpoint_state.is_some()),
        ];
        let given = given.into_iter().find_map(|(option, is_given)| is_given.then_some(option));
        let on = self.endpoint.map_or(by_default || given.is_some(), |switch| switch == Switch::On);
        match given {
            Some(option) if !on => {
                let problem = format!("{option} has no effect with `--endpoint off`: leave one of them out");
                return Err(Error::new(Stage::Usage, problem));
            }
            None if !on => return Ok(StreamOptions::default()),
            _ => {}
        }
        let usual = EndpointOptions::default();
        let seconds = |given: Option<f64>, usual: f64| match given {
            Some(0.0) => f64::INFINITY,
            Some(seconds) => seconds,
            None => usual,
        };
        let endpoint = EndpointOptions {
            rule1_min_trailing_silence: seconds(rules[0], usual.rule1_min_trailing_silence),
            rule2_min_trailing_silence: seconds(rules[1], usual.rule2_min_trailing_silence),
            rule3_min_utterance_length: seconds(rules[2], usual.rule3_min_utterance_length),
            reset_state: match self.endpoint_state {
                None | Some(StateAtEndpoint::Model) => None,
                Some(StateAtEndpoint::Carry) => Some(false),
                Some(StateAtEndpoint::Reset) => Some(true),
            },
        };
        endpoint.validate()?;
        let all = [
            endpoint.rule1_min_trailing_silence,
            endpoint.rule2_min_trailing_silence,
            endpoint.rule3_min_utterance_length,
        ];
        if self.endpoint_state.is_some() && all.iter().all(|seconds| seconds.is_infinite()) {
            let problem = "--endpoint-state has no effect: all endpoint rules are switched off";
            return Err(Error::new(Stage::Usage, problem));
        }
        let by_silence = [endpoint.rule1_min_trailing_silence, endpoint.rule2_min_trailing_silence];
        if self.vad.is_some() && by_silence.iter().all(|seconds| seconds.is_infinite()) {
            let problem =
                "--vad has no effect: it delays the endpoint rules 1 and 2, which are both switched off";
            return Err(Error::new(Stage::Usage, problem));
        }
        if !(0.0..=1.0).contains(&self.vad_threshold) {
            let problem = format!("--vad-threshold: expected 0 to 1, found {}", self.vad_threshold);
            return Err(Error::new(Stage::Usage, problem));
        }
        let detector = self.vad.as_deref().map(open_detector).transpose()?;
        let detector = detector.map(|d| d.with_threshold(self.vad_threshold));
        Ok(StreamOptions { endpoint: Some(endpoint), detector, ..Default::default() })
    }
}

/// Opens the model of a voice activity detector.
fn open_detector(path: &Path) -> Result<DetectorFactory> {
    if graph::kinds().next().is_none() {
        let problem = "voice activity detectors need the engine ort or tract, and this build has neither";
        return Err(Error::new(Stage::Usage, problem));
    }
    let options = engine_options();
    let (kind, missing) = graph::default_kind(&options);
    if let Some(missing) = missing {
        print_note(&format!("tract runs the voice activity detector: {missing}"));
    }
    silero::open(path, kind, &options)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        endpoint: EndpointArgs,
    }

    fn options(line: &str, by_default: bool) -> Result<StreamOptions> {
        let line = Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace()));
        line.expect("parsed").endpoint.stream_options(by_default)
    }

    #[test]
    fn a_rule_switches_endpoints_on_and_zero_switches_a_rule_off() {
        assert!(options("", false).expect("options").endpoint.is_none());
        assert_eq!(options("", true).expect("options").endpoint, Some(EndpointOptions::default()));
        assert!(options("--endpoint off", true).expect("options").endpoint.is_none());
        let given = options("--rule2-min-trailing-silence 0.6 --rule3-min-utterance-length 0", false);
        let endpoint = given.expect("options").endpoint.expect("endpoints");
        assert_eq!((endpoint.rule1_min_trailing_silence, endpoint.rule2_min_trailing_silence), (2.4, 0.6));
        assert_eq!(endpoint.rule3_min_utterance_length, f64::INFINITY);
        let reset = options("--endpoint-state reset", false).expect("options").endpoint.expect("endpoints");
        assert_eq!(reset, EndpointOptions { reset_state: Some(true), ..EndpointOptions::default() });
    }

    #[test]
    fn invalid_values_are_named() {
        for (line, expected) in [
            ("--rule1-min-trailing-silence=-1", "rule 1"),
            ("--rule2-min-trailing-silence=nan", "rule 2"),
            ("--endpoint off --rule3-min-utterance-length 5", "rule has no effect"),
            ("--endpoint off --endpoint-state reset", "--endpoint-state has no effect"),
            (
                "--endpoint-state reset --rule1-min-trailing-silence 0 --rule2-min-trailing-silence 0 \
                 --rule3-min-utterance-length 0",
                "--endpoint-state has no effect",
            ),
            ("--vad absent.onnx --vad-threshold 2", "--vad-threshold"),
            ("--endpoint off --vad absent.onnx", "--vad"),
            ("--vad absent.onnx --rule1-min-trailing-silence 0 --rule2-min-trailing-silence 0", "1 and 2"),
        ] {
            let error = options(line, false).expect_err(line);
            assert!(error.to_string().contains(expected), "{line}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
