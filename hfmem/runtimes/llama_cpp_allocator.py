"""The size of a ggml compute buffer: the graph's tensors, placed one after another.

llama.cpp at its start lets ggml plan one worst graph and allocates what the plan needs, so a
compute buffer's size is a property of the graph and of the planner. This is that planner
(ggml/src/ggml-alloc.c: ggml_gallocr_alloc_graph_impl, ggml_dyn_tallocr_alloc).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

ALIGNMENT = 128
"""Bytes, of a CUDA buffer (ggml-cuda.cu: ggml_backend_cuda_buffer_type_get_alignment)."""


class _Node(Struct, frozen=True):
    bytes: int
    sources: tuple[int, ...]
    in_place: bool


class Graph(Struct):
    """Tensors in the order in which they are computed. Views are their source; weights outside of
    the buffer do not appear."""

    nodes: list[_Node] = field(default_factory=list)
    inputs: set[int] = field(default_factory=set)

    def input(self, size: int) -> int:
        """A tensor that is there before the first node."""
        self.inputs.add(len(self.nodes))
        return self.node(size)

    def node(self, size: int, *sources: int, in_place: bool = False) -> int:
        """A result; in place it takes over a source of its size that nothing else reads."""
        self.nodes.append(_Node(size, sources, in_place))
        return len(self.nodes) - 1


def buffer_bytes(graph: Graph, *, alignment: int = ALIGNMENT) -> int:
    """Bytes from the buffer's start to the highest end of a tensor.

    Free blocks are taken by best fit, the open end last; a tensor is freed after its last reader.
    Three tensors of 1,024 bytes, each the only source of the next: 2,048.
    """
    readers = [0] * len(graph.nodes)
    for node in graph.nodes:
        for source in node.sources:
            readers[source] += 1
    space = _Space()
    where: dict[int, tuple[int, int]] = {}
    sizes = [-(-node.bytes // alignment) * alignment for node in graph.nodes]
    for number in sorted(graph.inputs):
        where[number] = (space.take(sizes[number]), sizes[number])
    for number, node in enumerate(graph.nodes):
        if number not in graph.inputs:
            reused = _reused(node, graph.nodes, readers, where) if node.in_place else None
            if reused is not None:
                where[number] = where.pop(reused)
            elif sizes[number]:
                where[number] = (space.take(sizes[number]), sizes[number])
        for source in node.sources:
            readers[source] -= 1
            if not readers[source] and source in where:
                space.free(*where.pop(source))
    return space.highest


def _reused(
    node: _Node,
    nodes: Sequence[_Node],
    readers: Sequence[int],
    where: dict[int, tuple[int, int]],
) -> int | None:
    for source in node.sources:
        if readers[source] == 1 and source in where and nodes[source].bytes == node.bytes:
            return source
    return None


class _Space:
    """Free blocks by offset; beyond them the buffer is open."""

    def __init__(self) -> None:
        self.highest = 0
        self._end = 0
        self._free: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        best = -1
        for index, (_, free) in enumerate(self._free):
            if free >= size and (best < 0 or free <= self._free[best][1]):
                best = index
        if best < 0:
            offset = self._end
            self._end += size
            self.highest = max(self.highest, self._end)
            return offset
        offset, free = self._free[best]
        if free == size:
            del self._free[best]
        else:
            self._free[best] = (offset + size, free - size)
        return offset

    def free(self, offset: int, size: int) -> None:
        merged = []
        for start, free in self._free:
            if start + free == offset:
                offset, size = start, free + size
            elif offset + size == start:
                size += free
            else:
                merged.append((start, free))
        if offset + size == self._end:
            self._end = offset
        else:
            merged.append((offset, size))
            merged.sort()
        self._free = merged
