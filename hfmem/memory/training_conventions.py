"""Other estimators' arithmetic, under their own names, for those who arrive with their figures."""

from __future__ import annotations

from msgspec import Struct

from hfmem.memory.training_run import Offload

_BUFFER_NUMERATOR, _BUFFER_DENOMINATOR = 3, 2
"""DeepSpeed's additional_buffer_factor of 1.5, for the host."""


class ZeroNeeds(Struct, frozen=True, kw_only=True):
    """What DeepSpeed's estimators print: bytes of states, without activations and buffers."""

    gpu_bytes: int
    """Of each GPU."""
    host_bytes: int
    """Of each node."""


def deepspeed_zero2(
    *, parameters: int, gpus_per_node: int, nodes: int = 1, offload: bool
) -> ZeroNeeds:
    """ZeRO-2 by DeepSpeed's ``estimate_zero2_model_states_mem_needs`` as its manual prints it.

    4 P + 16 P / N on a GPU: 16-bit weights and gradients whole, the fp32 gradients, weights and
    moments sharded. 2,851 M parameters on 8 GPUs: 15.93 GiB, with the optimizer offloaded 5.31
    (DeepSpeed docs/code-docs/source/memory.rst).
    """
    ranks = gpus_per_node * nodes
    if offload:
        return ZeroNeeds(
            gpu_bytes=2 * parameters, host_bytes=_buffered(parameters * max(4 * ranks, 16))
        )
    return ZeroNeeds(
        gpu_bytes=4 * parameters + 16 * parameters // ranks,
        host_bytes=_buffered(parameters * 4 * gpus_per_node),
    )


def deepspeed_zero3(
    *,
    parameters: int,
    largest_layer: int,
    gpus_per_node: int,
    nodes: int = 1,
    offload: Offload,
    zero_init: bool = True,
) -> ZeroNeeds:
    """ZeRO-3 by DeepSpeed's ``estimate_zero3_model_states_mem_needs``.

    18 P / N on a GPU and the largest layer gathered with its gradients, 4 bytes each. 2,851 M
    parameters, 32 M in the largest layer, 8 GPUs: 6.09 GiB (docs/code-docs/source/memory.rst).
    """
    ranks = gpus_per_node * nodes
    gathered = 4 * largest_layer
    at_start = parameters * 4 * gpus_per_node
    match offload:
        case "params":
            gpu, host = gathered, 18 * parameters // nodes
        case "optimizer":
            gpu, host = gathered + 2 * parameters // ranks, 16 * parameters // nodes
        case "none":
            gpu = gathered + 18 * parameters // ranks
            host = largest_layer * 4 * gpus_per_node
    if not zero_init:
        host = max(at_start, host)
    return ZeroNeeds(gpu_bytes=gpu, host_bytes=_buffered(host))


def _buffered(size: int) -> int:
    return size * _BUFFER_NUMERATOR // _BUFFER_DENOMINATOR


def megatron_states(*, parameters: int, data_parallel: int = 1, distributed: bool = False) -> int:
    """Weights, fp32 gradients, master weights and moments of a rank by Megatron-LM's estimator.

    18 bytes a parameter, or 6 and 12 over the data-parallel ranks (training/
    theoretical_memory_usage.py: num_bytes_per_parameter). Llama-3.1-8B: 144,544,702,464 bytes.
    """
    return 6 * parameters + 12 * parameters // data_parallel if distributed else 18 * parameters


def megatron_activations(
    *,
    tokens: int,
    micro_batch: int,
    hidden: int,
    ffn: int,
    layers: int,
    vocab: int,
    tp: int = 1,
    pp: int = 1,
    micro_batches: int = 1,
) -> int:
    """Activations of the first pipeline stage by Megatron-LM's estimator, with sequence parallelism
    and selective recomputation.

    s b h (18 + 4 ffn / h) a layer, the embedding's input and dropout for every stage in flight, and
    the head's on a single stage; all over tp (training/theoretical_memory_usage.py:
    compute_activation_memory, after table 2 of arXiv:2205.05198). A layer with ffn = 4 h is
    34 s b h.
    """
    rows = tokens * micro_batch
    held = rows * (18 * hidden + 4 * ffn) * layers
    held += (8 + hidden) * rows * pp
    if pp > 1:
        held = held * min(pp, micro_batches) // pp
    else:
        held += rows * 4 * (hidden + vocab)
    return held // tp
