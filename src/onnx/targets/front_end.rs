//! Export of a graph that takes samples: the feature extraction followed by the plain graph.
//!
//! ```text
//! pcm [N, S*H*U], states, past [N, P], heard [N, D] ─► log_probs [N, U, V], next_…
//!
//! past, pcm ─► Concat ─► Conv (frames, window and DFT as one matrix) ─► squared ─► MatMul mel
//!   ─► Max floor ─► Log ─► the plain graph
//! ```
//!
//! A step of S frames can be computed when the last sample of its last frame has arrived, which is later
//! than the step's own S*H samples (H is the frame shift). A call takes a whole number of steps of samples
//! and returns as many steps of output, so the output is delayed by D steps: one with usual settings.
//! `past` holds the samples that the next frames still need; `heard` is 1 for those of the coming D steps
//! that begin at or after the stream's first sample. The steps before leave the states unchanged, and their
//! output is a blank of probability 1. All states begin as zeros; the graph inserts the samples mirrored
//! before the first one, from the first call's own samples. At the end of a stream the caller feeds D steps
//! of zeros in addition to the closing silence that the model needs.

use super::batch_first::{batch_first_layers, batch_first_states};
use super::fbank_matrices::FbankMatrices;
use super::{DELAY_KEY, dims};
use crate::error::{Error, Result, Stage};
use crate::model::Network;
use crate::onnx::build::graph::{Dim, GraphBuilder, int, ints};
use crate::onnx::build::layers::Body;
use crate::onnx::interface::StatePort;
use crate::onnx::metadata::Metadata;
use crate::onnx::precision::Precision;
use crate::onnx::proto::GraphProto;
use crate::onnx::states::state_specs;
use crate::units::counted;

/// The logit of the blank before the stream's first sample; the others are 0. Its exponential must be
/// finite in float32, because tract's softmax does not subtract the maximum.
const BLANK_LOGIT: f32 = 50.0;

/// Builder of the graph of a network that takes samples.
pub(super) struct PcmGraph<'a> {
    network: &'a Network<f32>,
    matrices: FbankMatrices,
    energy_floor: f32,
    sample_rate: u32,
    blank: usize,
    precision: Precision,
    /// D, the delay of the output in steps.
    delay: usize,
}

impl<'a> PcmGraph<'a> {
    /// Prepares the graph.
    ///
    /// # Errors
    /// When the frames of the feature settings begin more than a step before their position.
    pub fn new(network: &'a Network<f32>, metadata: &Metadata, precision: Precision) -> Result<Self> {
        let matrices = FbankMatrices::new(&metadata.features)?;
        let step = network.config.subsampling * matrices.frame_shift;
        if matrices.lead > step {
            let problem = format!(
                "expected frames that begin at most a step ({step} samples) early, found {}",
                matrices.lead
            );
            return Err(Error::new(Stage::Features, problem).hint("leave it out").remedy("with_frontend"));
        }
        let ahead = matrices.frame_length - matrices.frame_shift;
        let delay = ahead.saturating_sub(matrices.lead).div_ceil(step).max(1);
        Ok(Self {
            network,
            energy_floor: metadata.features.energy_floor,
            sample_rate: metadata.features.sample_rate,
            blank: metadata.tokens.blank() as usize,
            matrices,
            precision,
            delay,
        })
    }

    /// S*H, the number of samples in a step.
    pub fn step_samples(&self) -> usize {
        self.network.config.subsampling * self.matrices.frame_shift
    }

    /// P, the number of samples carried from call to call.
    fn past_samples(&self) -> usize {
        self.delay * self.step_samples() + self.matrices.lead
    }

    /// The note for the user on chunk sizes and delay.
    pub fn note(&self) -> String {
        let (step, delay) = (self.step_samples(), self.delay);
        let ms = 1000.0 * (delay * step) as f64 / f64::from(self.sample_rate);
        let steps = counted(delay, "step");
        format!(
            "the graph takes samples, a multiple of {step} in each call; its output is delayed by {steps} \
             ({ms:.0} ms), so feed that much more silence at the end of a stream"
        )
    }

    pub fn metadata(&self) -> Vec<(String, String)> {
        vec![(DELAY_KEY.into(), self.delay.to_string())]
    }

    /// The network's states, then `past` and `heard`.
    pub fn states(&self, batch_first: bool) -> Vec<StatePort> {
        let config = &self.network.config;
        let mut states = if batch_first { batch_first_states(config) } else { state_specs(config) };
        for (name, width) in [("past", self.past_samples()), ("heard", self.delay)] {
            states.push(StatePort {
                input: name.into(),
                output: format!("next_{name}"),
                shape: vec![1, width],
                batch_axis: 0,
                is_i64: false,
            });
        }
        states
    }

    /// Builds the graph; with `batch_first` the states have the batch axis first.
    pub fn build(&self, batch_first: bool) -> GraphProto {
        let config = &self.network.config;
        let mut body = Body::new(config, Some(self.network));
        body.precision = self.precision;
        let n = || Dim::symbol("N");
        body.graph.input("pcm", &[n(), Dim::Symbol(format!("{}*U", self.step_samples()))]);
        body.graph.output("log_probs", &[n(), Dim::symbol("U"), config.num_tokens.into()]);
        let features = self.features(&mut body.graph);
        let hold = self.hold(&mut body.graph);
        body.hold = Some(hold.clone());
        let x = body.normalize(&features);
        let x = body.stack(&x);
        let x = body.input_layer(&x);
        let states = self.states(batch_first);
        let (cells, framing) = states.split_at(states.len() - 2);
        let x = if batch_first {
            batch_first_layers(&mut body, x, cells)
        } else {
            declare(&mut body.graph, cells);
            let names = |name: fn(&StatePort) -> &String| -> Vec<String> {
                cells.iter().map(|s| name(s).clone()).collect()
            };
            let initial = body.split_states(&names(|s| &s.input));
            body.recurrent_layers(x, &initial, &names(|s| &s.output))
        };
        declare(&mut body.graph, framing);
        let logits = body.linear("output", &x);
        let logits = self.blank_before_start(&mut body.graph, &logits, &hold);
        body.log_probs(&logits);
        body.graph.finish()
    }

    /// Adds the log-mel features of the delayed stream, `[N, S*U, F]`.
    fn features(&self, graph: &mut GraphBuilder) -> String {
        let m = &self.matrices;
        let (past, rows) = (self.past_samples(), 2 * m.num_bins);
        let past_and_pcm = self.with_mirrored_start(graph);
        // Drop the samples that only later frames need, so that the frames are exactly those of this call.
        let unused = past - (m.frame_length - m.frame_shift);
        let samples = if unused > 0 {
            slice(graph, "frame_samples", &past_and_pcm, 0, -(unused as i64))
        } else {
            past_and_pcm
        };
        // The rows of the spectrum remove the mean of each frame. Removing that of all samples first does
        // not change the result, but avoids rounding errors when there is an offset.
        let samples = if self.removes_offset() {
            let mean = vec![ints("axes", &[1]), int("keepdims", 1)];
            graph.chain("ReduceMean", "offset", &[&samples], mean);
            graph.chain("Sub", "frame_samples_centred", &[&samples, "offset"], vec![])
        } else {
            samples
        };
        graph.i64s("channel_axis", &[1], &[1]);
        graph.chain("Unsqueeze", "frame_samples_channel", &[&samples, "channel_axis"], vec![]);
        graph.f32s("fbank.spectrum", &[rows, 1, m.frame_length], &m.spectrum);
        let conv =
            vec![ints("kernel_shape", &[m.frame_length as i64]), ints("strides", &[m.frame_shift as i64])];
        graph.chain("Conv", "spectrum", &["frame_samples_channel", "fbank.spectrum"], conv);
        graph.chain("Transpose", "spectrum_of_frames", &["spectrum"], vec![ints("perm", &[0, 2, 1])]);
        graph.chain("Mul", "power", &["spectrum_of_frames", "spectrum_of_frames"], vec![]);
        let (f, mel) = (m.num_mel_bins, &m.mel);
        let transposed: Vec<f32> = (0..mel.len()).map(|i| mel[i % f * rows + i / f]).collect();
        graph.f32s("fbank.mel", &[rows, f], &transposed);
        graph.chain("MatMul", "mel_energies", &["power", "fbank.mel"], vec![]);
        graph.scalar("fbank.energy_floor", self.energy_floor);
        graph.chain("Max", "floored", &["mel_energies", "fbank.energy_floor"], vec![]);
        graph.chain("Log", "x", &["floored"], vec![])
    }

    /// Whether every row of the spectrum sums to zero, so that it ignores a constant offset.
    fn removes_offset(&self) -> bool {
        let length = self.matrices.frame_length;
        self.matrices.spectrum.chunks_exact(length).all(|row| {
            let (sum, all) =
                row.iter().fold((0f64, 0f64), |s, v| (s.0 + f64::from(*v), s.1 + f64::from(v.abs())));
            sum.abs() <= 1e-5 * all
        })
    }

    /// Concatenates `past` and `pcm`; at the start of a stream the mirrored samples come before the first
    /// one.
    fn with_mirrored_start(&self, graph: &mut GraphBuilder) -> String {
        let (past, lead) = (self.past_samples() as i64, self.matrices.lead as i64);
        let joined = if self.matrices.mirrored && lead > 0 {
            slice(graph, "past_head", "past", 0, past - lead);
            slice(graph, "past_tail", "past", past - lead, i64::MAX);
            let mirrored: Vec<i64> = (0..lead).rev().collect();
            graph.i64s("mirrored_numbers", &[mirrored.len()], &mirrored);
            graph.chain("Gather", "mirrored", &["pcm", "mirrored_numbers"], vec![int("axis", 1)]);
            slice(graph, "is_going_on", "heard", self.delay as i64 - 1, i64::MAX);
            graph.scalar("unit", 1.0);
            graph.chain("Sub", "is_beginning", &["unit", "is_going_on"], vec![]);
            graph.chain("Mul", "mirrored_if_beginning", &["mirrored", "is_beginning"], vec![]);
            graph.chain("Add", "past_tail_mirrored", &["past_tail", "mirrored_if_beginning"], vec![]);
            let parts = ["past_head", "past_tail_mirrored", "pcm"];
            graph.chain("Concat", "past_and_pcm", &parts, vec![int("axis", 1)])
        } else {
            graph.scalar("unit", 1.0);
            graph.chain("Concat", "past_and_pcm", &["past", "pcm"], vec![int("axis", 1)])
        };
        slice(graph, "next_past", &joined, -past, i64::MAX);
        joined
    }

    /// Adds the tensor `[U, N, 1]` that is 1 at steps before the stream's first sample.
    fn hold(&self, graph: &mut GraphBuilder) -> String {
        let (step, delay) = (self.step_samples() as i64, self.delay as i64);
        graph.i64s("steps_shape", &[3], &[0, -1, step]);
        graph.chain("Reshape", "steps", &["pcm", "steps_shape"], vec![]);
        graph.i64s("first_of_step", &[], &[0]);
        graph.chain("Gather", "step_samples", &["steps", "first_of_step"], vec![int("axis", 2)]);
        graph.scalar("nothing", 0.0);
        graph.chain("Mul", "step_zeros", &["step_samples", "nothing"], vec![]);
        graph.chain("Add", "step_ones", &["step_zeros", "unit"], vec![]);
        graph.chain("Concat", "heard_and_new", &["heard", "step_ones"], vec![int("axis", 1)]);
        slice(graph, "heard_now", "heard_and_new", 0, -delay);
        slice(graph, "next_heard", "heard_and_new", -delay, i64::MAX);
        graph.chain("Sub", "hold_now", &["unit", "heard_now"], vec![]);
        graph.chain("Transpose", "hold_time_first", &["hold_now"], vec![ints("perm", &[1, 0])]);
        graph.i64s("hold_axis", &[1], &[2]);
        graph.chain("Unsqueeze", "hold", &["hold_time_first", "hold_axis"], vec![])
    }

    /// Replaces the logits of steps before the stream's first sample with those of a blank.
    fn blank_before_start(&self, graph: &mut GraphBuilder, logits: &str, hold: &str) -> String {
        let v = self.network.config.num_tokens;
        let blank: Vec<f32> = (0..v).map(|i| if i == self.blank { BLANK_LOGIT } else { 0.0 }).collect();
        graph.f32s("sure_blank", &[v], &blank);
        graph.chain("Sub", "is_heard", &["unit", hold], vec![]);
        graph.chain("Mul", "heard_logits", &[logits, "is_heard"], vec![]);
        graph.chain("Mul", "blank_logits", &[hold, "sure_blank"], vec![]);
        graph.chain("Add", "logits_or_blank", &["heard_logits", "blank_logits"], vec![])
    }
}

fn declare(graph: &mut GraphBuilder, states: &[StatePort]) {
    for state in states {
        graph.input(&state.input, &dims(state));
        graph.output(&state.output, &dims(state));
    }
}

/// Adds the slice `x[:, start..end]`.
fn slice(graph: &mut GraphBuilder, name: &str, x: &str, start: i64, end: i64) -> String {
    let [starts, ends, axes] = ["starts", "ends", "axes"].map(|part| format!("{name}.{part}"));
    graph.i64s(&starts, &[1], &[start]);
    graph.i64s(&ends, &[1], &[end]);
    graph.i64s(&axes, &[1], &[1]);
    graph.chain("Slice", name, &[x, &starts, &ends, &axes], vec![])
}
