// The microphone, as chunks of samples. The package for browsers (bindings/web) has this file too.

export async function openMicrophone({ deviceId } = {}) {
  if (!navigator.mediaDevices || !globalThis.AudioWorkletNode) {
    throw new Error("browsers allow it only for pages loaded by https or from this computer");
  }
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true, deviceId },
  });
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url));
    await context.resume();
    const node = new AudioWorkletNode(context, "gather", { numberOfOutputs: 0 });
    new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(node);
    return { stream, context, node };
  } catch (error) {
    release({ stream, context });
    throw error;
  }
}

export function release({ stream, context }) {
  for (const track of stream.getTracks()) track.stop();
  if (context.state !== "closed") context.close();
}
