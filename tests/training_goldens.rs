//! Forward pass, CTC, gradients and ten updates compared with PyTorch, for every cell with and without
//! layer normalization and residuals, over ragged batches. The expected values are made by
//! tools/goldens/training.py in float64.
//!
//! Tolerances, in f32 and in f64: logits 1e-5 (absolute, plus 1e-5 of the value); gradients 1e-5 of
//! the largest of their tensor; losses of updates 1e-4 of the loss.

use std::fs;
use std::path::PathBuf;

use hearken::model::network::parameter_shapes;
use hearken::model::{
    Kernels, Network, NetworkConfig, PackedSequence, PackedWeights, Parameter, Precision, Purpose, Real,
    Workspace, gradient_flow, jacobian_values,
};
use hearken::train::example::Example;
use hearken::train::loss::ctc::{CtcWorkspace, loss_and_gradient};
use hearken::train::loss::mmi::{Mmi, MmiWorkspace, Stream, Transcript};
use hearken::train::loss::phone_ngram::{Acceptor, AcceptorState};
use hearken::train::optimizer::{AdamStep, AdamW, constrain};
use hearken::train::recipe::Optimizer;
use hearken::train::worker::{Update, Worker};
use serde_json::Value;

const STEP: usize = 10; // S * F: two frames of five features

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/training")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(name)).expect("the goldens are there")).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// A batch: lengths, packed rows, and labels.
struct Batch {
    lengths: Vec<usize>,
    rows: Vec<f32>,
    labels: Vec<Vec<u32>>,
}

impl Batch {
    fn examples(&self) -> Vec<Example> {
        let steps = PackedSequence::new(&self.lengths);
        let example = |(b, labels): (usize, &Vec<u32>)| Example {
            features: (0..self.lengths[b])
                .flat_map(|t| self.rows[steps.row(t, b) * STEP..(steps.row(t, b) + 1) * STEP].to_vec())
                .collect(),
            labels: Some(labels.clone()),
            auxiliary: None,
            transcript: None,
        };
        self.labels.iter().enumerate().map(example).collect()
    }

    fn num_labels(&self) -> usize {
        self.labels.iter().map(Vec::len).sum()
    }
}

/// A network and the results of PyTorch for it.
struct Case {
    name: String,
    network: Network<f32>,
    batches: Vec<Batch>,
    logits: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    after: Vec<Vec<f32>>,
    loss: f64,
    losses: Vec<f64>,
    norms: Vec<f64>,
}

fn cases() -> (Vec<Case>, Optimizer) {
    let all = json("cases.json");
    let optimizer: Optimizer = serde_json::from_value(all["optimizer"].clone()).expect("options of AdamW");
    let list = all["cases"].as_array().expect("a list");
    (list.iter().map(|about| case(about, &all)).collect(), optimizer)
}

fn case(about: &Value, all: &Value) -> Case {
    let name = about["name"].as_str().expect("a name").to_string();
    let config: NetworkConfig = serde_json::from_value(about["config"].clone()).expect("a configuration");
    let bytes = fs::read(folder().join(format!("{name}.f32"))).expect("the goldens are there");
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(values.len() as u64, about["values"].as_u64().expect("a count"));
    let mut at = 0;
    let mut take = |n: usize| {
        at += n;
        values[at - n..at].to_vec()
    };
    let (mean, scale) = (take(config.num_features), take(config.num_features));
    let lists: Vec<(Vec<usize>, Vec<Vec<u32>>)> = [0, 1]
        .map(|i| {
            let read = |v: &Value| v.clone();
            (
                serde_json::from_value(read(&all["lengths"][i])).expect("lengths"),
                serde_json::from_value(read(&all["labels"][i])).expect("labels"),
            )
        })
        .into();
    let batches: Vec<Batch> = lists
        .into_iter()
        .map(|(lengths, labels)| Batch { rows: take(lengths.iter().sum::<usize>() * STEP), lengths, labels })
        .collect();
    let shapes = parameter_shapes(&config);
    let mut every = || shapes.iter().map(|(_, shape)| take(shape.iter().product())).collect::<Vec<_>>();
    let parameters = every();
    let first = &batches[0];
    let logits = take(first.lengths.iter().sum::<usize>() * config.num_tokens);
    let mut every = || shapes.iter().map(|(_, shape)| take(shape.iter().product())).collect::<Vec<_>>();
    let (gradients, after) = (every(), every());
    let named = |((name, shape), data): ((String, Vec<usize>), Vec<f32>)| Parameter { name, shape, data };
    let parameters = shapes.clone().into_iter().zip(parameters).map(named).collect();
    Case {
        name,
        network: Network { config, mean, scale, parameters },
        batches,
        logits,
        gradients,
        after,
        loss: about["loss"].as_f64().expect("a loss"),
        losses: numbers(&about["losses"]),
        norms: numbers(&about["norms"]),
    }
}

fn cast<T: Real>(values: &[f32]) -> Vec<T> {
    values.iter().map(|&v| T::from_f64(f64::from(v))).collect()
}

fn cast_network<T: Real>(network: &Network<f32>) -> Network<T> {
    let parameters = network.parameters.iter().map(|p| Parameter {
        name: p.name.clone(),
        shape: p.shape.clone(),
        data: cast(&p.data),
    });
    Network {
        config: network.config.clone(),
        mean: cast(&network.mean),
        scale: cast(&network.scale),
        parameters: parameters.collect(),
    }
}

/// Runs one worker over a batch and returns the loss per label; the gradients stay in the worker.
fn pass<T: Kernels>(network: &Network<T>, batch: &Batch, worker: &mut Worker<T>) -> f64 {
    let weights =
        PackedWeights::new(network, Purpose::Training(Precision::Fp32)).expect("all parameters are there");
    let scale = 1.0 / batch.num_labels() as f64;
    let update = Update {
        weights: &weights,
        num_tokens: network.config.num_tokens,
        blank: 0,
        auxiliary_tokens: 0,
        scale,
        auxiliary_scale: 0.0,
        mmi: None,
        mmi_scale: 0.0,
        mmi_other_scale: 0.0,
        consistency_scale: 0.0,
        dropout: 0.0,
        variational_dropout: false,
        seed: 0,
    };
    let sums = worker.run(&update, batch.examples(), STEP);
    assert_eq!((sums.labels, sums.impossible), (batch.num_labels(), 0));
    sums.loss * scale
}

/// `hearken probe` measures the gradient through time by this function; the expected norms are those of
/// tools/goldens/gradient_flow.py. In f32 too, which the command uses.
#[test]
fn gradients_through_time_are_those_of_autograd() {
    let goldens = json("gradient_flow.json");
    let steps = goldens["steps"].as_u64().expect("a number") as usize;
    let (cases, _) = cases();
    let of = |about: &Value| {
        let name = about["name"].as_str().expect("a name");
        let case = cases.iter().find(|case| case.name == name).expect("a case of that name");
        let rows = &case.batches[0].rows[..steps * STEP];
        let double = gradient_flow(&cast_network::<f64>(&case.network), &cast(rows), steps - 1);
        let single = gradient_flow(&case.network, rows, steps - 1);
        for (flow, tolerance) in [(double, 1e-6), (single, 1e-3)] {
            let layers = flow.expect("enough steps").layers;
            let expected: Vec<Vec<f64>> =
                about["norms"].as_array().expect("layers").iter().map(numbers).collect();
            assert_eq!(layers.len(), expected.len());
            for (k, (found, expected)) in layers.iter().flatten().zip(expected.iter().flatten()).enumerate() {
                let error = (found - expected).abs() / expected;
                assert!(error < tolerance, "{name}, norm {k}: {found}, not {expected}");
            }
        }
    };
    let list = goldens["cases"].as_array().expect("a list");
    assert!(list.len() >= 5);
    list.iter().for_each(of);
    // The singular values of the products of Jacobians.
    for about in list {
        let name = about["name"].as_str().expect("a name");
        let case = cases.iter().find(|case| case.name == name).expect("a case of that name");
        let rows = &case.batches[0].rows[..steps * STEP];
        let found = jacobian_values(&cast_network::<f64>(&case.network), &cast(rows), steps - 1);
        let expected = about["singular_values"].as_array().expect("layers");
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let found = found.as_ref().expect("a recurrent layer");
            let expected = expected.as_array().expect("a list").iter().map(numbers);
            for ((largest, mean), expected) in found.largest.iter().zip(&found.mean).zip(expected) {
                for (found, expected) in [(largest, expected[0]), (mean, expected[1])] {
                    assert!((found - expected).abs() / expected < 1e-6, "{name}: {found}, not {expected}");
                }
            }
        }
    }
}

fn worker<T: Kernels>(network: &Network<f32>) -> Worker<T> {
    Worker::new(&network.parameters.iter().map(|p| p.data.len()).collect::<Vec<_>>())
}

fn check_case<T: Kernels>(case: &Case) {
    let network = cast_network::<T>(&case.network);
    let weights = PackedWeights::new(&network, Purpose::Inference).expect("all parameters are there");
    let steps = PackedSequence::new(&case.batches[0].lengths);
    let (mut workspace, mut states) = (Workspace::default(), weights.zero_states(steps.streams()));
    weights.forward(&cast::<T>(&case.batches[0].rows), &steps, &mut states, &mut workspace, None);
    let mut logits = Vec::new();
    weights.logits(&workspace, 0, &mut logits);
    assert_eq!(logits.len(), case.logits.len());
    for (i, (&found, &expected)) in logits.iter().zip(&case.logits).enumerate() {
        let (found, expected) = (found.to_f64(), f64::from(expected));
        let gap = (found - expected).abs();
        assert!(gap <= 1e-5 * (1.0 + expected.abs()), "{}: logit {i}: {found}, not {expected}", case.name);
    }

    let mut worker = worker::<T>(&case.network);
    let loss = pass(&network, &case.batches[0], &mut worker);
    assert!((loss - case.loss).abs() <= 1e-5 * case.loss, "{}: loss {loss}, not {}", case.name, case.loss);
    for ((parameter, found), expected) in
        network.parameters.iter().zip(&worker.gradients).zip(&case.gradients)
    {
        let top = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
        for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let gap = (found.to_f64() - f64::from(expected)).abs();
            let what = format!("{}: gradient of {}[{i}]", case.name, parameter.name);
            assert!(gap <= 1e-5 * f64::from(top), "{what}: {found:?}, not {expected} (largest {top})");
        }
    }
}

#[test]
fn forward_loss_and_gradients_in_f32() {
    let (cases, _) = cases();
    assert_eq!(cases.len(), 44);
    cases.iter().for_each(check_case::<f32>);
}

#[test]
fn forward_loss_and_gradients_in_f64() {
    cases().0.iter().for_each(check_case::<f64>);
}

#[test]
fn ten_updates_of_adamw() {
    let (cases, optimizer) = cases();
    let (mut clipped, mut free) = (0, 0);
    for case in &cases {
        let mut network = case.network.clone();
        let mut parameters: Vec<Vec<f32>> = network.parameters.iter().map(|p| p.data.clone()).collect();
        let decays: Vec<bool> = network.parameters.iter().map(|p| p.shape.len() >= 2).collect();
        let mut adam = AdamW::new(&parameters);
        let mut worker = worker::<f32>(&network);
        for (step, (&expected, &norm)) in case.losses.iter().zip(&case.norms).enumerate() {
            let loss = pass(&network, &case.batches[step % 2], &mut worker);
            let name = &case.name;
            assert!(
                (loss - expected).abs() <= 1e-4 * expected,
                "{name}: update {step}: {loss}, not {expected}"
            );
            let gradients = &worker.gradients;
            let rate = optimizer.learning_rate;
            let options =
                AdamStep { number: step as u64, rate, options: &optimizer, decays: &decays, threads: 1 };
            let found = adam.update(&options, &mut parameters, gradients);
            assert!((found - norm).abs() <= 1e-3 * norm, "{name}: update {step}: norm {found}, not {norm}");
            constrain(&network.parameters, &mut parameters, step as u64);
            *if norm > optimizer.clip_norm { &mut clipped } else { &mut free } += 1;
            for (parameter, data) in network.parameters.iter_mut().zip(&parameters) {
                parameter.data.clone_from(data);
            }
        }
        for (parameter, after) in network.parameters.iter().zip(&case.after) {
            for (&found, &expected) in parameter.data.iter().zip(after) {
                let gap = (found - expected).abs();
                assert!(gap < 1e-3, "{}: {} after: {found}, not {expected}", case.name, parameter.name);
            }
        }
    }
    assert!(clipped > 20 && free > 20, "both kinds of updates are seen: {clipped} and {free}");
}

#[test]
fn ctc_alone() {
    for (i, case) in json("ctc.json").as_array().expect("a list").iter().enumerate() {
        let tokens = case["tokens"].as_u64().expect("a count") as usize;
        let labels: Vec<u32> = serde_json::from_value(case["labels"].clone()).expect("labels");
        let (expected, slope) = (case["loss"].as_f64().expect("a loss"), numbers(&case["gradient"]));
        let mut log_probs = numbers(&case["logits"]);
        hearken::model::forward::log_softmax(&mut log_probs, tokens);
        let single: Vec<f32> = log_probs.iter().map(|&v| v as f32).collect();
        let mut gradient = vec![0.0; log_probs.len()];
        let mut gradient32 = vec![0.0f32; log_probs.len()];
        let mut room = CtcWorkspace::default();
        let loss = loss_and_gradient(&log_probs, tokens, &labels, 0, &mut gradient, &mut room);
        let loss32 = loss_and_gradient(&single, tokens, &labels, 0, &mut gradient32, &mut room);
        for loss in [loss, loss32] {
            let loss = loss.expect("the labels fit");
            assert!((loss - expected).abs() <= 1e-5 * (1.0 + expected), "case {i}: {loss}, not {expected}");
        }
        for ((&found, &found32), &expected) in gradient.iter().zip(&gradient32).zip(&slope) {
            assert!((found - expected).abs() < 1e-5, "case {i}: {found}, not {expected}");
            assert!((f64::from(found32) - expected).abs() < 1e-5, "case {i}: {found32}, not {expected}");
        }
    }
}

/// An n-gram of the goldens: `{last, next: [[label, to, probability]], end, share}` by state.
fn acceptor(states: &Value) -> Acceptor {
    let number = |value: &Value| value.as_f64().expect("a number");
    let state = |state: &Value| AcceptorState {
        last: state["last"].as_u64().map(|label| label as u32),
        next: serde_json::from_value(state["next"].clone()).expect("label, state, probability"),
        end: number(&state["end"]),
        share: number(&state["share"]),
    };
    Acceptor { states: states.as_array().expect("a list").iter().map(state).collect() }
}

#[test]
fn lattice_free_mmi_alone() {
    let all = json("mmi.json");
    let tokens = all["tokens"].as_u64().expect("a count") as usize;
    for (i, case) in all["cases"].as_array().expect("a list").iter().enumerate() {
        let leak = case["leak"].as_f64().expect("a share");
        let pronunciations: Vec<Vec<Vec<u32>>> = serde_json::from_value(case["said"].clone()).expect("words");
        let transcript: Transcript = pronunciations.into_iter().map(Some).collect();
        let (expected, slope) = (case["loss"].as_f64().expect("a loss"), numbers(&case["gradient"]));
        let mut log_probs = numbers(&case["logits"]);
        hearken::model::forward::log_softmax(&mut log_probs, tokens);
        let single: Vec<f32> = log_probs.iter().map(|&v| v as f32).collect();
        let (loss, gradient) =
            lattice_free(&acceptor(&case["states"]), leak, tokens, &log_probs, &transcript);
        let (loss32, gradient32) =
            lattice_free(&acceptor(&case["states"]), leak, tokens, &single, &transcript);
        assert!((loss - expected).abs() < 1e-9, "case {i}: {loss}, not {expected}");
        assert!((loss32 - expected).abs() < 1e-4, "case {i}: {loss32}, not {expected}");
        for ((&found, &found32), &expected) in gradient.iter().zip(&gradient32).zip(&slope) {
            assert!((found - expected).abs() < 1e-9, "case {i}: {found}, not {expected}");
            assert!((f64::from(found32) - expected).abs() < 1e-5, "case {i}: {found32}, not {expected}");
        }
    }
}

fn lattice_free<T: Real>(
    acceptor: &Acceptor,
    leak: f64,
    tokens: usize,
    log_probs: &[T],
    transcript: &Transcript,
) -> (f64, Vec<T>) {
    let mmi = Mmi::<T>::from_phones(acceptor.clone(), tokens, 0, leak);
    let mut gradient = vec![T::ZERO; log_probs.len()];
    let mut streams = [Stream { log_probs, transcript, scale: 1.0, gradient: &mut gradient, loss: None }];
    mmi.run(&mut streams, &mut MmiWorkspace::default());
    let loss = streams[0].loss.expect("it fits");
    (loss, gradient)
}
