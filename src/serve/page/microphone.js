// The microphone: chunks of float samples at the rate of the audio context.

export async function openMicrophone() {
  if (!navigator.mediaDevices || !window.AudioWorkletNode) {
    throw new Error("browsers allow it only for pages loaded by https or from this computer");
  }
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true },
  });
  const context = new AudioContext();
  await context.audioWorklet.addModule("worklet.js");
  await context.resume();
  const node = new AudioWorkletNode(context, "gather", { numberOfOutputs: 0 });
  new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(node);
  return { stream, context, node };
}

export function release({ stream, context }) {
  for (const track of stream.getTracks()) track.stop();
  if (context.state !== "closed") context.close();
}

export function toInt16(samples) {
  return Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
}
