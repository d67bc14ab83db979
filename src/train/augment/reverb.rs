//! Simulated rooms: impulse responses of shoebox rooms by the image method, and convolution with them.

use std::sync::Arc;

use hearken_fft::{Complex, ComplexToReal, RealToComplex};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::filter::{Biquad, filter};
use super::level::{index, power, scale, uniform};

effect! {
    /// Reverberation of simulated rooms.
    Reverb {
        /// Time to decay by 60 dB, seconds.
        rt60_s: [f32; 2] = [0.1, 0.7],
        /// Number of different rooms simulated for a run.
        rooms: usize = 64,
    }
}

impl Effect for Reverb {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::new("rt60_s", self.rt60_s, [0.05, 1.5]),
            Range::count("rooms", "rooms", self.rooms, [1, 1000]),
        ]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let mut rng = Pcg64Mcg::seed_from_u64(materials.seed);
        let rooms = ImpulseResponses::simulate(self.rooms, self.rt60_s, materials.sample_rate, &mut rng);
        Some(Box::new(move |samples, rng| rooms.apply_random(samples, rng)))
    }
}

/// Meters per second.
const SPEED_OF_SOUND: f32 = 343.0;

/// Decay at which responses are truncated, dB (below any noise floor in use).
const DECAY_KEPT_DB: f32 = 42.0;

/// A shoebox room with a speaker and a microphone; lengths in meters, times in seconds.
#[derive(Clone, Debug, PartialEq)]
struct Room {
    /// Length, width, height.
    size: [f32; 3],
    /// Position of the speaker.
    source: [f32; 3],
    /// Position of the microphone.
    microphone: [f32; 3],
    /// Time in which the reverberation decays by 60 dB.
    rt60_s: f32,
    /// Frequency above which the walls absorb more, Hz.
    damping_hz: f32,
}

impl Room {
    /// A plausible room for an RT60: a longer RT60 means a larger room; 0.3 to 3 m between mouth and
    /// microphone, both at least 0.3 m from the walls.
    fn random(rt60_s: f32, rng: &mut Pcg64Mcg) -> Self {
        let size = [
            uniform(rng, [2.4, 4.0 + 8.0 * rt60_s]),
            uniform(rng, [2.2, 3.0 + 6.0 * rt60_s]),
            uniform(rng, [2.2, 2.6 + 1.5 * rt60_s]),
        ];
        let inside = |rng: &mut Pcg64Mcg| size.map(|s| uniform(rng, [0.3, s - 0.3]));
        let microphone = inside(rng);
        let wanted = uniform(rng, [0.3, 3.0]);
        let towards = inside(rng);
        let apart = distance(microphone, towards).max(1e-3);
        let share = (wanted / apart).min(1.0);
        let mut source: [f32; 3] =
            std::array::from_fn(|k| microphone[k] + share * (towards[k] - microphone[k]));
        if distance(microphone, source) < 0.2 {
            source[0] += if source[0] > size[0] / 2.0 { -0.25 } else { 0.25 };
        }
        Self { size, source, microphone, rt60_s, damping_hz: uniform(rng, [2500.0, 7000.0]) }
    }

    /// The impulse response by the image method (Allen and Berkley, 1979; wall absorption after Eyring).
    /// Sample 0 is the direct sound with amplitude 1, so speech keeps its position in time. The reflections
    /// are damped at high frequencies, high-pass filtered to remove the method's artificial low
    /// frequencies, and scaled so that their decay (-5 to -25 dB) matches the room's RT60.
    fn impulse_response(&self, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
        let rate = sample_rate as f32;
        let seconds = self.rt60_s * DECAY_KEPT_DB / 60.0;
        let mut response = vec![0f32; (seconds * rate) as usize + 2];
        self.add_images(&mut response, rate, rng);
        // The filters and the correction of the decay apply only to the reflections.
        response[0] = 0.0;
        let sections = [
            Biquad::high_pass(60.0, std::f32::consts::FRAC_1_SQRT_2, sample_rate),
            Biquad::high_shelf(self.damping_hz, -6.0, sample_rate),
        ];
        filter(&mut response, &sections);
        if let Some(measured) = decay_time(&response, sample_rate) {
            // The product of two exponential decays has the sum of their rates.
            let rate_change = 3.0 * std::f32::consts::LN_10 * (self.rt60_s.recip() - measured.recip());
            let per_sample = (-rate_change / rate).exp();
            let mut gain = 1f32;
            for x in &mut response {
                *x *= gain;
                gain = (gain * per_sample).min(1e3);
            }
        }
        let fade = response.len() / 10;
        response.iter_mut().rev().take(fade).enumerate().for_each(|(k, x)| *x *= k as f32 / fade as f32);
        response[0] = 1.0;
        response
    }

    /// Adds every mirror image of the source, with delays and amplitudes relative to the direct sound.
    fn add_images(&self, response: &mut [f32], rate: f32, rng: &mut Pcg64Mcg) {
        let direct = distance(self.source, self.microphone).max(0.05);
        let farthest = direct + response.len() as f32 / rate * SPEED_OF_SOUND;
        let [x, y, z] = std::array::from_fn(|k| self.axis_images(k, farthest));
        let reflection = self.wall_reflection();
        let most = x.len() + y.len() + z.len();
        let strengths: Vec<f32> = (0..=most as i32).map(|k| direct * reflection.powi(k)).collect();
        // A jitter of up to 4 cm avoids the sweeping echoes of a perfect shoebox; a short table suffices
        // and saves a random draw for each image.
        let jitter: [f32; 61] = std::array::from_fn(|_| uniform(rng, [-0.04, 0.04]));
        let mut turn = 0;
        for &(dx, kx) in &x {
            for &(dy, ky) in &y {
                let flat = dx * dx + dy * dy;
                if flat > farthest * farthest {
                    continue;
                }
                for &(dz, kz) in &z {
                    turn = if turn == 60 { 0 } else { turn + 1 };
                    let path = (flat + dz * dz).sqrt() + jitter[turn];
                    let delay = (path - direct) / SPEED_OF_SOUND * rate;
                    let order = kx + ky + kz;
                    let (at, part) = (delay as usize, delay.fract());
                    if order == 0 || delay < 1.0 || at + 1 >= response.len() {
                        continue;
                    }
                    let strength = strengths[order.min(most)] / path;
                    response[at] += strength * (1.0 - part);
                    response[at + 1] += strength * part;
                }
            }
        }
    }

    /// The images along one axis: distance from the microphone, and number of reflections.
    fn axis_images(&self, axis: usize, farthest: f32) -> Vec<(f32, usize)> {
        let (size, source, microphone) = (self.size[axis], self.source[axis], self.microphone[axis]);
        let most = (farthest / (2.0 * size)).ceil() as i32;
        let mut images = Vec::with_capacity(4 * most as usize + 2);
        for n in -most..=most {
            for mirrored in [0, 1] {
                let place = if mirrored == 1 { -source } else { source } + 2.0 * n as f32 * size;
                let order = (n - mirrored).unsigned_abs() + n.unsigned_abs();
                if (place - microphone).abs() <= farthest {
                    images.push((place - microphone, order as usize));
                }
            }
        }
        images
    }

    /// The fraction of the sound pressure that a wall reflects, from Eyring's formula `RT60 = 0.161 V / (-S
    /// ln(1 - absorption))`.
    fn wall_reflection(&self) -> f32 {
        let [l, w, h] = self.size;
        let surface = 2.0 * (l * w + l * h + w * h);
        (-0.5 * 0.161 * l * w * h / (surface * self.rt60_s)).exp()
    }
}

fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    a.iter().zip(&b).map(|(p, q)| (p - q) * (p - q)).sum::<f32>().sqrt()
}

/// RT60 in seconds from the slope of Schroeder's backward integral between -5 and -25 dB; `None` if it does
/// not decay that far.
fn decay_time(response: &[f32], sample_rate: u32) -> Option<f32> {
    let mut left = 0f64;
    let mut energy: Vec<f64> = response
        .iter()
        .rev()
        .map(|&x| {
            left += f64::from(x) * f64::from(x);
            left
        })
        .collect();
    energy.reverse();
    let total = *energy.first().filter(|e| **e > 0.0)?;
    let falls_to = |db: f64| energy.iter().position(|e| *e <= total * 10f64.powf(db / 10.0));
    let (from, to) = (falls_to(-5.0)?, falls_to(-25.0)?);
    if to <= from + 8 {
        return None;
    }
    Some(3.0 * (to - from) as f32 / sample_rate as f32)
}

/// One response prepared for overlap-add: its spectrum, divided by the length of the transform.
struct Response {
    spectrum: Vec<Complex<f32>>,
    length: usize,
    plan: usize,
}

/// The FFTs of one length.
struct Plan {
    size: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

/// Impulse responses that are computed once and shared by all threads.
struct ImpulseResponses {
    responses: Vec<Response>,
    plans: Vec<Plan>,
}

impl ImpulseResponses {
    /// Simulates `count` random rooms with an RT60 drawn from the range, in seconds.
    fn simulate(count: usize, rt60_s: [f32; 2], sample_rate: u32, rng: &mut Pcg64Mcg) -> Self {
        let mut bank = Self { responses: Vec::with_capacity(count), plans: Vec::new() };
        for _ in 0..count {
            let room = Room::random(uniform(rng, rt60_s), rng);
            let response = room.impulse_response(sample_rate, rng);
            bank.push(&response);
        }
        bank
    }

    fn push(&mut self, response: &[f32]) {
        let size = (2 * response.len()).next_power_of_two();
        let plan = self.plans.iter().position(|p| p.size == size).unwrap_or_else(|| {
            self.plans.push(Plan {
                size,
                forward: hearken_fft::forward(size),
                inverse: hearken_fft::inverse(size),
            });
            self.plans.len() - 1
        });
        let mut input = vec![0f32; size];
        for (x, r) in input.iter_mut().zip(response) {
            *x = r / size as f32;
        }
        let mut spectrum = self.plans[plan].forward.make_output_vec();
        let ok = self.plans[plan].forward.process(&mut input, &mut spectrum).is_ok();
        debug_assert!(ok, "lengths come from the plan");
        self.responses.push(Response { spectrum, length: response.len(), plan });
    }

    /// Convolves `samples` with a random response. Length, alignment and mean power are kept; the tail
    /// after the last sample is cut.
    fn apply_random(&self, samples: &mut [f32], rng: &mut Pcg64Mcg) {
        if !self.responses.is_empty() {
            let room = index(rng, self.responses.len());
            let before = power(samples);
            self.convolve(room, samples);
            let after = power(samples);
            if after > 1e-14 {
                scale(samples, (before / after).sqrt());
            }
        }
    }

    /// Overlap-add convolution with one response, in place.
    fn convolve(&self, room: usize, samples: &mut [f32]) {
        let response = &self.responses[room];
        let plan = &self.plans[response.plan];
        let block = plan.size - response.length + 1;
        let mut buffer = vec![0f32; plan.size];
        let mut spectrum = plan.forward.make_output_vec();
        let scratch = plan.forward.get_scratch_len().max(plan.inverse.get_scratch_len());
        let mut scratch = vec![Complex::new(0f32, 0.0); scratch];
        // The tails of earlier blocks, to be added to later samples.
        let mut tail = vec![0f32; response.length - 1];
        for chunk in samples.chunks_mut(block) {
            buffer[..chunk.len()].copy_from_slice(chunk);
            buffer[chunk.len()..].fill(0.0);
            let forward = plan.forward.process_with_scratch(&mut buffer, &mut spectrum, &mut scratch);
            spectrum.iter_mut().zip(&response.spectrum).for_each(|(s, r)| *s *= r);
            if let Some(last) = spectrum.last_mut() {
                last.im = 0.0;
            }
            spectrum[0].im = 0.0;
            let inverse = plan.inverse.process_with_scratch(&mut spectrum, &mut buffer, &mut scratch);
            debug_assert!(forward.is_ok() && inverse.is_ok(), "lengths come from the plan");
            buffer.iter_mut().zip(&tail).for_each(|(b, t)| *b += t);
            chunk.copy_from_slice(&buffer[..chunk.len()]);
            // Only the last chunk can be short, and its tail is not needed.
            tail.copy_from_slice(&buffer[block..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::color::{NoiseColor, colored_noise};
    use super::super::testing::{RATE, rng};
    use super::*;

    #[test]
    fn rooms_decay_as_asked() {
        let mut rng = rng(8);
        for rt60_s in [0.15, 0.3, 0.5, 0.7] {
            for _ in 0..3 {
                let response = Room::random(rt60_s, &mut rng).impulse_response(RATE, &mut rng);
                let measured = decay_time(&response[1..], RATE).unwrap();
                assert!((measured / rt60_s - 1.0).abs() < 0.2, "{measured} for {rt60_s}");
                assert_eq!(response[0], 1.0, "the direct sound leads");
                assert!(response[1..].iter().all(|x| x.is_finite() && x.abs() < 1.5));
                assert!(power(&response[1..]) > 0.0);
            }
        }
    }

    #[test]
    fn fft_convolution_equals_the_sum() {
        let mut rng = rng(9);
        let bank = {
            let mut bank = ImpulseResponses { responses: Vec::new(), plans: Vec::new() };
            let response: Vec<f32> = (0..90).map(|i| 0.95f32.powi(i)).collect();
            bank.push(&response);
            bank
        };
        for length in [1, 89, 500, 1000] {
            let samples = colored_noise(NoiseColor::White, length, RATE, &mut rng);
            let mut fast = samples.clone();
            bank.convolve(0, &mut fast);
            for n in 0..length {
                let slow: f32 = (0..=n.min(89)).map(|k| 0.95f32.powi(k as i32) * samples[n - k]).sum();
                assert!((fast[n] - slow).abs() < 1e-4, "{n} of {length}");
            }
        }
    }

    #[test]
    fn the_onset_stays_in_place() {
        let bank = ImpulseResponses::simulate(4, [0.1, 0.7], RATE, &mut rng(10));
        let mut samples = vec![0f32; 16_000];
        samples[4000] = 0.5;
        bank.apply_random(&mut samples, &mut rng(11));
        let first = samples.iter().position(|x| x.abs() > 1e-4).unwrap();
        assert_eq!(first, 4000);
        assert!(power(&samples[6000..]) >= 0.0 && samples.len() == 16_000);
        bank.apply_random(&mut [], &mut rng(11));
    }
}
