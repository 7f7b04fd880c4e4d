"""Quantize one layer with auto-gptq 0.7.1, the engine of the paper, and keep its codes as golden numbers.

auto-gptq is archived and cannot be imported beside transformers 5, so this runs once in an environment of its own
(5.5 GB, never part of the project's):

    python3.11 -m venv /tmp/autogptq && /tmp/autogptq/bin/pip install -r benchmarks/autogptq/requirements.txt
    /tmp/autogptq/bin/python benchmarks/autogptq/make_golden.py

It writes golden.json beside itself; tests/test_quantization.py compares the project's engine with it.
"""

import json
from pathlib import Path

import auto_gptq
import numpy as np
import torch
import transformers
from auto_gptq.quantization import GPTQ

ROWS, COLS, INPUTS, DECIMALS = 24, 32, 96, 4

torch.cuda.synchronize = lambda: None  # auto-gptq calls it even on a machine without a GPU


def layer_and_inputs():
    """A random layer and strongly correlated inputs, rounded so that JSON holds them exactly enough."""
    rng = np.random.default_rng(7)
    mixing = rng.normal(size=(COLS, COLS)) * np.linspace(0.1, 1.5, COLS)
    inputs = np.round(rng.normal(size=(INPUTS, COLS)) @ mixing / 4, DECIMALS)
    return np.round(rng.normal(size=(ROWS, COLS)) / 5, DECIMALS), inputs


def golden_case(weight, inputs, bits, symmetric):
    layer = torch.nn.Linear(COLS, ROWS, bias=False)
    layer.weight.data = torch.tensor(weight, dtype=torch.float32)
    solver = GPTQ(layer)
    solver.quantizer.configure(bits, perchannel=True, sym=symmetric, mse=False)
    solver.add_batch(torch.tensor(inputs, dtype=torch.float32), None)
    with torch.no_grad():
        scales, zero_points, _ = solver.fasterquant(percdamp=0.01, group_size=-1, actorder=True)
    codes = torch.round(layer.weight.data / scales + zero_points).int()
    return {
        "bits": bits,
        "scales": scales.flatten().tolist(),
        "zero_points": zero_points.flatten().int().tolist(),
        "codes": codes.tolist(),
    }


weight, inputs = layer_and_inputs()
golden = {
    "made_by": {
        "auto-gptq": auto_gptq.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    },
    "settings": "one layer, percdamp 0.01, actorder, one scale per row, no mse search",
    "weight": weight.tolist(),
    "inputs": inputs.tolist(),
    "cases": {
        "symmetric": golden_case(weight, inputs, bits=4, symmetric=True),
        "asymmetric": golden_case(weight, inputs, bits=3, symmetric=False),
    },
}
Path(__file__).with_name("golden.json").write_text(json.dumps(golden) + "\n")
