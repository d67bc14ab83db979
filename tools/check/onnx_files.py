"""Checks model files with ONNX's own checker and onnxruntime: full checks with strict shape
inference, symbolic batch and time, and that a whole pass equals chunks with the state carried,
alone and in a batch.

    hearken export ... ; python tools/check/onnx_files.py model.onnx [more.onnx ...]

Needs numpy, onnx, onnxruntime. Ends with 1 when a file fails.
"""

import sys

import numpy
import onnx
import onnxruntime


def zero_states(session, batch):
    shape = lambda i: [d if isinstance(d, int) else batch for d in i.shape]
    return {i.name: numpy.zeros(shape(i), numpy.float32) for i in session.get_inputs()[1:]}


def run(session, x, states):
    names = [o.name for o in session.get_outputs()]
    out = dict(zip(names, session.run(names, {"x": x, **states})))
    return out["log_probs"], {k: out["next_" + k] for k in states}


def check(path):
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = session.get_inputs()[0]
    assert x.name == "x" and isinstance(x.shape[0], str) and isinstance(x.shape[1], str), x.shape
    subsampling = int(session.get_modelmeta().custom_metadata_map["subsampling"])

    frames = numpy.random.default_rng(1).normal(size=(3, 12 * subsampling, x.shape[2])).astype(numpy.float32)
    whole, whole_states = run(session, frames, zero_states(session, 3))
    assert whole.shape[:2] == (3, 12), whole.shape
    assert numpy.allclose(numpy.exp(whole).sum(-1), 1, atol=1e-5)
    states, pieces, at = zero_states(session, 3), [], 0
    for steps in (1, 3, 2, 6):
        piece, states = run(session, frames[:, at * subsampling : (at + steps) * subsampling], states)
        pieces.append(piece)
        at += steps
    worst = abs(numpy.concatenate(pieces, 1) - whole).max()
    worst = max([worst] + [abs(states[k] - whole_states[k]).max() for k in states])
    alone = numpy.concatenate([run(session, f[None], zero_states(session, 1))[0] for f in frames])
    worst_alone = abs(alone - whole).max()
    assert worst < 1e-4 and worst_alone < 1e-4, (worst, worst_alone)
    return f"opset {model.opset_import[0].version}, IR {model.ir_version}, log_probs {session.get_outputs()[0].shape}, " \
           f"chunks {worst:.1e}, batch {worst_alone:.1e}"


failed = False
for path in sys.argv[1:]:
    try:
        print(f"{path}: {check(path)}")
    except Exception as error:
        failed = True
        print(f"{path}: {type(error).__name__}: {error}")
sys.exit(failed)
