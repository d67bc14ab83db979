// The last minutes of the microphone.

const MOST_KEPT = 180; // seconds of the microphone that are kept for playing

// The last minutes of the microphone, for playing; the oldest chunks are dropped.
export class Kept {
  constructor(rate) {
    this.rate = rate;
    this.pieces = [];
    this.dropped = 0;
    this.length = 0;
  }

  push(piece) {
    this.pieces.push(piece);
    this.length += piece.length;
    while (this.length > MOST_KEPT * this.rate) {
      const oldest = this.pieces.shift();
      this.length -= oldest.length;
      this.dropped += oldest.length;
    }
  }

  slice(context, start, end) {
    const from = Math.floor(start * this.rate) - this.dropped;
    const count = Math.min(Math.floor((end - start) * this.rate), this.length - from);
    if (from < 0 || count < 1) return null;
    const buffer = context.createBuffer(1, count, this.rate);
    const out = buffer.getChannelData(0);
    let at = 0;
    for (const piece of this.pieces) {
      if (at + piece.length > from && at < from + count) {
        const low = Math.max(0, from - at), high = Math.min(piece.length, from + count - at);
        out.set(piece.subarray(low, high), at + low - from);
      }
      at += piece.length;
    }
    return buffer;
  }
}
