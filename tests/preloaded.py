"""What a build loads: the process that tests are copied from has it already (`corpora.start_server`)."""

import os
from importlib import import_module

import numpy as np
import pyarrow as pa

from redpajama.arrow import Scattered

LOADED = [
    "apache_beam.runners.portability.fn_api_runner.fn_runner",
    "redpajama.commands.build",
    "redpajama.engine.beam",
    "redpajama.flow",
    "redpajama.preflight",
]

stderr = os.dup(2)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Beam says what it does not find
for name in LOADED:
    import_module(name)
os.dup2(stderr, 2)
Scattered([pa.array(["a"], pa.large_string())]).take(np.zeros(1, np.int64))  # the first kernel loads what all need
