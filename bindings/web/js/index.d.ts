/** A recognized word; times in seconds from the first sample. */
export interface Word {
  word: string;
  start: number;
  end: number;
  /** 0 to 1. */
  confidence: number;
}

/** A slot of a phrase with its value. */
export interface Slot {
  name: string;
  value: string;
}

/** A recognized phrase. */
export interface Phrase {
  text: string;
  intent?: string;
  slots?: Slot[];
}

/** One of the likeliest texts of a segment. */
export interface Alternative {
  text: string;
  /** Probability among the alternatives, 0 to 1. */
  confidence: number;
  /** Score relative to the best, nats. */
  score: number;
  words: Word[];
}

/** A segment of a stream. */
export interface Segment {
  text: string;
  start: number;
  end: number;
  words: Word[];
  /** With phrases, in a final result. */
  phrases?: Phrase[];
  /** With `nbest` above 1, in a final result. */
  alternatives?: Alternative[];
}

/** `partial`: words that may still change. `final`: a complete segment. */
export type Event = { type: "partial" | "final" } & Segment;

export interface Transcript {
  text: string;
  /** Seconds of audio. */
  duration: number;
  segments: Segment[];
  /** Damage that was found in the recording. */
  warnings: string[];
}

/** A URL, or bytes. */
export type Bytes = string | URL | Blob | ArrayBuffer | ArrayBufferView;

export interface RecognizerOptions {
  /** A model file that hearken trained or imported. */
  model: Bytes;
  /** Text of a file of phrases, which replace the model's words; needs `pronunciations`. */
  phrases?: string;
  /** Name of the file of phrases, by whose extension its format is chosen: `phrases.txt` by default. */
  phrasesName?: string;
  /** A file of pronunciations (`hearken pronounce`), such as `english.pron`. */
  pronunciations?: Bytes;
  /** How numbers are written in final results: `words` by default. */
  numbers?: "words" | "digits" | "all";
  /** Called with the number of bytes loaded so far. */
  onProgress?: (bytes: number) => void;
}

export interface StreamOptions {
  /** Whether a final result is output at each pause: true by default. */
  endpoints?: boolean;
  /** Whether partial results are output: true by default. */
  partials?: boolean;
  /** Number of likeliest texts of each final result: 1 by default, without alternatives. */
  nbest?: number;
}

export interface TranscribeOptions {
  /** Name of the recording in messages: by default that of a File. */
  name?: string;
  /** Whether the recording is divided at pauses: by default if it is longer than a minute. */
  endpoints?: boolean;
  nbest?: number;
  /** Called with the seconds of audio and the number of segments recognized so far. */
  onProgress?: (progress: { seconds: number; segments: number }) => void;
}

export interface ListenOptions extends StreamOptions {
  onEvent?: (event: Event) => void;
  /** Called when listening ended by an error: the microphone was disconnected, or the recognizer failed. */
  onError?: (error: Error) => void;
  /** Called with the microphone's samples, mono, and their rate in Hz. */
  onSamples?: (samples: Float32Array, sampleRate: number) => void;
  /** The microphone, as in `MediaTrackConstraints`. */
  deviceId?: ConstrainDOMString;
}

/** A loaded model in a worker of its own. */
export class Recognizer {
  /** Loads a model. Rejects with an Error if a file cannot be loaded or is not valid. */
  static create(options: RecognizerOptions): Promise<Recognizer>;
  /** Sample rate of the model, Hz; audio of other rates is resampled. */
  readonly sampleRate: number;
  /** Words that can be recognized, if there is a list of them; else empty. */
  readonly words: string[];
  /** Notes for the user, such as words whose pronunciations are guessed. */
  readonly notes: string[];
  /** Creates a stream for live audio. */
  createStream(options?: StreamOptions): Promise<Stream>;
  /** Transcribes a recording: a file, or its URL, in any format that hearken reads. */
  transcribe(recording: Bytes, options?: TranscribeOptions): Promise<Transcript>;
  /** Recognizes the microphone. Rejects as `getUserMedia` does. */
  listen(options: ListenOptions): Promise<Listening>;
  /** Ends the worker; calls that were not answered are rejected. */
  close(): void;
}

/** One audio stream: samples in, events out. Calls are processed in their order. */
export class Stream {
  private constructor();
  /** Accepts mono samples, full scale ±1, at any rate in Hz, and returns the events that they cause. */
  acceptWaveform(samples: Float32Array, sampleRate: number): Promise<Event[]>;
  /** Ends the input and returns the last events, of which the very last is final. */
  finish(): Promise<Event[]>;
  /** Resets all state: the next sample is the first of a new stream. */
  reset(): Promise<void>;
  /** Frees the stream's memory. */
  close(): void;
}

/** A microphone that is being recognized. */
export interface Listening {
  /** Seconds of audio that the recognizer has not processed yet. */
  readonly waitingSeconds: number;
  readonly microphone: Microphone;
  /** Closes the microphone; the last events are output before the promise is fulfilled. */
  stop(): Promise<void>;
}

/** The microphone alone. */
export class Microphone {
  private constructor();
  static open(options: {
    onSamples?: (samples: Float32Array, sampleRate: number) => void;
    onEnded?: () => void;
    deviceId?: ConstrainDOMString;
  }): Promise<Microphone>;
  /** Hz. */
  readonly sampleRate: number;
  close(): void;
}
