"""kaldi-native-fbank with hearken's options; a helper of the other fbank scripts."""
import kaldi_native_fbank as knf
import numpy as np

DEFAULTS = dict(sample_rate=16000, frame_length_ms=25.0, frame_shift_ms=10.0, preemphasis=0.97,
                remove_dc_offset=True, window="povey", snip_edges=False, num_mel_bins=80,
                low_freq=20.0, high_freq=-400.0, sample_scale=1.0)


def peer_options(options):
    """`knf.FbankOptions` for options in hearken's names (missing ones are hearken's defaults)."""
    given = {**DEFAULTS, **options}
    o = knf.FbankOptions()
    f = o.frame_opts
    f.dither = 0
    f.samp_freq = given["sample_rate"]
    f.frame_length_ms, f.frame_shift_ms = given["frame_length_ms"], given["frame_shift_ms"]
    f.preemph_coeff, f.remove_dc_offset = given["preemphasis"], given["remove_dc_offset"]
    f.window_type, f.snip_edges = given["window"], given["snip_edges"]
    f.round_to_power_of_two = True
    m = o.mel_opts
    m.num_bins, m.low_freq, m.high_freq = given["num_mel_bins"], given["low_freq"], given["high_freq"]
    o.use_energy = False
    return o


def features(x, options=None):
    """Frames ready before the end of the signal, and all frames [T, F] after it."""
    given = {**DEFAULTS, **(options or {})}
    fbank = knf.OnlineFbank(peer_options(given))
    scaled = np.asarray(x, np.float32) * np.float32(given["sample_scale"])
    fbank.accept_waveform(given["sample_rate"], scaled.tolist())
    before = fbank.num_frames_ready
    fbank.input_finished()
    rows = [fbank.get_frame(k) for k in range(fbank.num_frames_ready)]
    return before, np.array(rows, np.float32).reshape(-1, given["num_mel_bins"])
