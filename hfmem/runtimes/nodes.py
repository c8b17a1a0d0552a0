"""How many GPUs usually share a model across machines."""

from __future__ import annotations

NODE = 8
"""GPUs of a machine, as of an HGX or MI300X board."""


def usual_split(count: int) -> tuple[int, int]:
    """Tensor parallel ranks in each of so many pipeline stages: GPUs of a node, and nodes.

    ``usual_split(16) == (8, 2)``, ``usual_split(12) == (6, 2)``, ``usual_split(8) == (8, 1)``.
    vLLM docs/serving/parallelism_scaling.md: the tensor parallel size is the number of GPUs in each
    node, the pipeline parallel size the number of nodes.
    """
    nodes = -(-count // NODE)
    while count % nodes:
        nodes += 1
    return count // nodes, nodes
