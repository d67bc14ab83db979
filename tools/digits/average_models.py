#!/usr/bin/env python3
"""The mean of models' weights, which often hears strangers better than any of them.

    tools/digits/average_models.py OUT.onnx MODEL.onnx MODEL.onnx... [--halves]

The models must be of one shape and one training (Izmailov et al. 2018, arXiv:1803.05407: averaging
weights leads to wider optima). Everything but the weights is the first model's. With --halves the means
are rounded to 16-bit floats (11 bits of significand; below 2^-14 to zero), still stored as 32-bit ones:
the program then carries the digits model in half the room. Needs onnx and numpy.
"""

import argparse
import sys

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--halves", action="store_true")
    options = parser.parse_args()
    first, *others = [onnx.load(path) for path in options.models]
    tables = [{t.name: t for t in model.graph.initializer} for model in others]
    for tensor in first.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        same = [table.get(tensor.name) for table in tables]
        if any(t is None or t.dims != tensor.dims for t in same):
            sys.exit(f"average_models: the models are not of one shape: {tensor.name} differs")
        mean = np.mean([numpy_helper.to_array(t).astype(np.float64) for t in (tensor, *same)], axis=0)
        if options.halves:
            mean = np.where(np.abs(mean) < 2.0**-14, 0.0, mean).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(mean.astype(np.float32), tensor.name))
    onnx.save(first, options.out)


if __name__ == "__main__":
    main()
