"""How mlx-lm is run for a workload."""

from __future__ import annotations

import shlex

from hfmem.gpu import GpuGroup
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes.mlx import BITS_BY_NAME


def generate(model: Model, workload: Workload, _group: GpuGroup, _estimate: MemoryEstimate) -> str:
    """``mlx_lm.generate --model org/name``, after a conversion where one was asked for; the server
    for several sequences at once."""
    name, lines = model.name, []
    quantized = workload.quantize
    if quantized is not None and quantized.startswith("mlx-"):
        name = f"{model.name.split('/')[-1]}-{quantized}"
        bits, _, rest = quantized.removeprefix("mlx-").partition("bit")
        words = ["mlx_lm.convert", "--hf-path", model.name, "--mlx-path", name, "-q"]
        words += ["--q-bits", bits]
        if rest.startswith("-g"):
            words += ["--q-group-size", rest.removeprefix("-g")]
        lines.append(shlex.join(words))
    words = ["mlx_lm.generate", "--model", name, "--prompt", "-", "--max-tokens", "512"]
    if workload.batch > 1:
        batch = str(workload.batch)
        words = ["mlx_lm.server", "--model", name, "--decode-concurrency", batch]
        words += ["--prompt-concurrency", batch]
    bits_asked = BITS_BY_NAME.get(workload.kv_dtype) or workload.flags.whole("kv_bits")
    if bits_asked is not None:
        words += ["--kv-bits", str(bits_asked)]
        start = workload.flags.whole("quantized_kv_start")
        if start is not None:
            words += ["--quantized-kv-start", str(start)]
    lines.append(shlex.join(words))
    return "\n".join(lines)
