//! Microphone input through cpal. The device records in its native format, which is converted on reading.
//!
//! ```text
//! device ─► callback: f32, whole frames ─[lock-free ring]─► read: mean of channels ─► Resampler
//! ```
//!
//! The callback runs on the system's audio thread. It neither blocks nor allocates: frames that do not fit into the
//! ring buffer are dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{ErrorKind, FromSample, SampleFormat, SizedSample};

use crate::error::{Error, Result, Stage};

use super::{Resampler, check_channels, check_rate, downmix};

/// Capacity of the ring buffer, seconds.
const RING_SECONDS: usize = 5;
/// Time without data after which a device is considered broken.
const DATA_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time to wait for a device to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Number of samples that the callback converts at a time, on its stack.
const BLOCK: usize = 256;

/// An audio input device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Identifier for [`Microphone::open`], stable between runs.
    pub id: String,
    /// Human-readable name.
    pub name: String,
    /// Whether this is the system's default input device.
    pub default: bool,
}

/// The audio input devices of the system.
///
/// # Errors
/// When the system's audio service cannot be reached.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    let host = cpal::default_host();
    let default = host.default_input_device().and_then(|device| device.id().ok());
    let found = host.input_devices().map_err(|e| failed("the audio devices cannot be listed", &e))?;
    let info = |device: cpal::Device| {
        let id = device.id().ok()?;
        let default = default.as_ref() == Some(&id);
        Some(DeviceInfo { id: id.id().to_string(), name: device.to_string(), default })
    };
    Ok(found.filter_map(info).collect())
}

/// State written by the audio thread.
#[derive(Default)]
struct Shared {
    /// Frames dropped because the ring buffer was full.
    lost_frames: AtomicU64,
    /// Number of overruns reported by the system.
    device_overruns: AtomicU64,
    /// Why the device stopped. Locked only by the error callback and `read`, never by the data callback.
    failure: Mutex<Option<cpal::Error>>,
}

/// An open microphone; dropping it closes the device.
pub struct Microphone {
    /// Keeps the device running; `None` while it is closed.
    stream: Option<cpal::Stream>,
    name: String,
    ring: rtrb::Consumer<f32>,
    shared: Arc<Shared>,
    channels: u16,
    device_rate: u32,
    resampler: Resampler,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
    last_data: Instant,
}

impl Microphone {
    /// Opens a device by id or name (the system's default if `None`), to be read as mono at `rate` Hz.
    ///
    /// # Errors
    /// When there is no such device, it is busy, or permission is denied.
    pub fn open(device: Option<&str>, rate: u32) -> Result<Self> {
        check_rate(rate)?;
        let device = find(device)?;
        let name = device.to_string();
        let named = |e: &cpal::Error| failed(&format!("microphone `{name}`"), e);
        let config = device.default_input_config().map_err(|e| named(&e))?;
        let (channels, device_rate) = (config.channels(), config.sample_rate());
        check_channels(channels)?;
        let resampler = Resampler::new(device_rate, rate)?;
        let capacity = RING_SECONDS * device_rate as usize * usize::from(channels);
        let (producer, ring) = rtrb::RingBuffer::new(capacity);
        let shared = Arc::new(Shared::default());
        let stream = build(&device, &config, producer, &shared).map_err(|e| named(&e))?;
        stream.play().map_err(|e| named(&e))?;
        Ok(Self {
            stream: Some(stream),
            name,
            ring,
            shared,
            channels,
            device_rate,
            resampler,
            interleaved: Vec::new(),
            mono: Vec::new(),
            last_data: Instant::now(),
        })
    }

    /// Human-readable name of the device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Native sample rate (Hz) and number of channels of the device.
    pub fn device_format(&self) -> (u32, u16) {
        (self.device_rate, self.channels)
    }

    /// Seconds of audio waiting to be read.
    pub fn waiting(&self) -> f64 {
        (self.ring.slots() / usize::from(self.channels)) as f64 / f64::from(self.device_rate)
    }

    /// Seconds of audio dropped because they were not read in time.
    pub fn lost_seconds(&self) -> f64 {
        self.shared.lost_frames.load(Ordering::Relaxed) as f64 / f64::from(self.device_rate)
    }

    /// Number of times the system lost samples before they reached this program.
    pub fn device_overruns(&self) -> u64 {
        self.shared.device_overruns.load(Ordering::Relaxed)
    }

    /// Appends the samples received since the last call without blocking; returns how many.
    ///
    /// # Errors
    /// When the device was disconnected or has sent no data for 5 seconds. Everything received before has been
    /// returned by then.
    pub fn read(&mut self, out: &mut Vec<f32>) -> Result<usize> {
        let before = out.len();
        let channels = usize::from(self.channels);
        let wanted = self.ring.slots() / channels * channels;
        if wanted > 0 {
            self.last_data = Instant::now();
            self.interleaved.resize(wanted, 0.0);
            let (read, _) = self.ring.pop_partial_slice(&mut self.interleaved);
            let read = read.len();
            self.mono.clear();
            downmix(&self.interleaved[..read], channels, &mut self.mono);
            // Some drivers produce NaN; recording continues with zeros.
            self.mono.iter_mut().filter(|x| !x.is_finite()).for_each(|x| *x = 0.0);
            self.resampler.push(&self.mono, out)?;
            return Ok(out.len() - before);
        }
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = failure {
            return Err(failed(&format!("microphone `{}`", self.name), &error));
        }
        if self.last_data.elapsed() > DATA_TIMEOUT {
            let problem = format!("microphone `{}`: no audio received for 5 seconds", self.name);
            return Err(Error::new(Stage::Audio, problem)
                .hint("is it in use elsewhere, or suspended? choose another")
                .remedy("devices"));
        }
        Ok(0)
    }

    /// Appends the remaining samples: those waiting in the ring buffer and those held back by the resampler.
    ///
    /// # Errors
    /// When the resampler fails.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<()> {
        if self.ring.slots() > 0 {
            self.read(out)?;
        }
        self.resampler.finish(out)
    }
}

impl Drop for Microphone {
    /// Closes the device on a separate thread, which is abandoned after `CLOSE_TIMEOUT`: a crashed sound server can
    /// block its client forever (seen with ALSA's PulseAudio plugin).
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let (done, closed) = std::sync::mpsc::channel();
        let close = move || {
            drop(stream);
            // The receiver may have timed out.
            let _ = done.send(());
        };
        if std::thread::Builder::new().name("hearken-close".into()).spawn(close).is_ok() {
            let _ = closed.recv_timeout(CLOSE_TIMEOUT);
        }
    }
}

/// Finds a device by id, by name, or by a part of its name that only one device has.
fn find(wanted: Option<&str>) -> Result<cpal::Device> {
    let host = cpal::default_host();
    let Some(wanted) = wanted else {
        let none = || no_device("no microphone found, or no sound server is running".into());
        return host.default_input_device().ok_or_else(none);
    };
    if let Some(device) = host.device_by_id(&cpal::DeviceId::new(host.id(), wanted)) {
        return Ok(device);
    }
    let found = host.input_devices().map_err(|e| failed("the audio devices cannot be listed", &e))?;
    let lower = wanted.to_lowercase();
    let mut similar = Vec::new();
    for device in found {
        let name = device.to_string().to_lowercase();
        if name == lower {
            return Ok(device);
        }
        if name.contains(&lower) {
            similar.push(device);
        }
    }
    if similar.len() > 1 {
        let problem = format!("`{wanted}` is part of the names of {} microphones", similar.len());
        return Err(no_device(problem));
    }
    similar.pop().ok_or_else(|| no_device(format!("there is no microphone `{wanted}`")))
}

fn no_device(problem: String) -> Error {
    Error::new(Stage::Audio, problem).hint("list the devices").remedy("devices")
}

fn build(
    device: &cpal::Device,
    config: &cpal::SupportedStreamConfig,
    ring: rtrb::Producer<f32>,
    shared: &Arc<Shared>,
) -> std::result::Result<cpal::Stream, cpal::Error> {
    match config.sample_format() {
        SampleFormat::F32 => build_as::<f32>(device, config, ring, shared),
        SampleFormat::F64 => build_as::<f64>(device, config, ring, shared),
        SampleFormat::I8 => build_as::<i8>(device, config, ring, shared),
        SampleFormat::I16 => build_as::<i16>(device, config, ring, shared),
        SampleFormat::I32 => build_as::<i32>(device, config, ring, shared),
        SampleFormat::U8 => build_as::<u8>(device, config, ring, shared),
        SampleFormat::U16 => build_as::<u16>(device, config, ring, shared),
        SampleFormat::U32 => build_as::<u32>(device, config, ring, shared),
        other => Err(cpal::Error::with_message(
            ErrorKind::UnsupportedConfig,
            format!("unsupported sample format {other}"),
        )),
    }
}

fn build_as<T: SizedSample>(
    device: &cpal::Device,
    config: &cpal::SupportedStreamConfig,
    mut ring: rtrb::Producer<f32>,
    shared: &Arc<Shared>,
) -> std::result::Result<cpal::Stream, cpal::Error>
where
    f32: FromSample<T>,
{
    let channels = usize::from(config.channels());
    let (data, errors) = (Arc::clone(shared), Arc::clone(shared));
    device.build_input_stream(
        config.config(),
        move |samples: &[T], _: &cpal::InputCallbackInfo| {
            let lost = store(samples, channels, &mut ring);
            data.lost_frames.fetch_add(lost, Ordering::Relaxed);
        },
        move |error: cpal::Error| match error.kind() {
            ErrorKind::Xrun => {
                errors.device_overruns.fetch_add(1, Ordering::Relaxed);
            }
            // The stream continues after these.
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
            _ => {
                errors.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        },
        None,
    )
}

/// Writes whole frames into the ring buffer; returns how many were dropped because it was full.
fn store<T: Copy>(samples: &[T], channels: usize, ring: &mut rtrb::Producer<f32>) -> u64
where
    f32: FromSample<T>,
{
    let space = ring.slots() / channels * channels;
    let fits = samples.len().min(space);
    let mut block = [0.0f32; BLOCK];
    for block_in in samples[..fits].chunks(BLOCK) {
        for (to, from) in block.iter_mut().zip(block_in) {
            *to = f32::from_sample_(*from);
        }
        // This cannot fail: the space was checked above, and this is the only producer.
        let _ = ring.push_partial_slice(&block[..block_in.len()]);
    }
    ((samples.len() - fits) / channels) as u64
}

/// Converts cpal's error to a problem and a hint.
fn failed(what: &str, error: &cpal::Error) -> Error {
    let (problem, hint) = match error.kind() {
        ErrorKind::DeviceBusy => ("is busy", "another program uses it: close that, or choose another device"),
        ErrorKind::DeviceNotAvailable | ErrorKind::StreamInvalidated => {
            ("is disconnected", "plug it in again")
        }
        ErrorKind::HostUnavailable => {
            ("cannot be reached: no sound server is running", "start PulseAudio or PipeWire")
        }
        ErrorKind::PermissionDenied => {
            ("cannot be used: permission denied", "allow microphone access (on Linux: the group `audio`)")
        }
        ErrorKind::UnsupportedConfig | ErrorKind::UnsupportedOperation => {
            ("cannot be recorded from", "choose another device")
        }
        _ => ("stopped", "it may have been unplugged, or the sound server stopped"),
    };
    Error::new(Stage::Audio, format!("{what} {problem}: {error}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_beyond_the_ring_buffer_are_counted_in_whole_frames() {
        let (mut producer, mut ring) = rtrb::RingBuffer::new(7);
        assert_eq!(store(&[i16::MAX, 0, i16::MIN, 0], 2, &mut producer), 0);
        assert_eq!(store(&[1i16, 2, 3, 4, 5, 6], 2, &mut producer), 2, "one more frame fits");
        let mut read = [0.0; 7];
        let (filled, _) = ring.pop_partial_slice(&mut read);
        assert_eq!(filled.len(), 6);
        assert!((filled[0] - 1.0).abs() < 1e-4 && filled[1] == 0.0 && filled[2] == -1.0);
    }

    #[test]
    fn blocks_keep_their_order() {
        let (mut producer, mut ring) = rtrb::RingBuffer::new(1000);
        let samples: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        assert_eq!(store(&samples, 1, &mut producer), 0);
        let mut read = vec![0.0; 1000];
        let _ = ring.pop_partial_slice(&mut read);
        assert_eq!(read, samples);
    }
}
