"""Candidates -> clusters: union-find over compact ids. What happens inside a cluster is `walk`'s."""

import numpy as np

from redpajama.kernels import compiled


def singletons(count: int) -> np.ndarray:
    """Every node its own parent: 4 bytes a node, 8 beyond 2**32 nodes."""
    return np.arange(count, dtype=np.uint32 if count < 1 << 32 else np.uint64)


@compiled
def _root(parents, node):
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@compiled
def unite(parents, ones, others):
    """Join the clusters of each pair. A cluster's root is its smallest node, whatever the order of the pairs."""
    for pair in range(len(ones)):
        one, other = _root(parents, ones[pair]), _root(parents, others[pair])
        if one < other:
            parents[other] = one
        elif other < one:
            parents[one] = other


def measure(parents: np.ndarray) -> np.ndarray:
    """Point every node at its root; returns how many nodes each root has, 0 for the others."""
    sizes = np.zeros_like(parents)
    _measure_roots(parents, sizes)
    return sizes


@compiled
def _measure_roots(parents, sizes):
    for node in range(len(parents)):
        root = _root(parents, node)
        parents[node] = root
        sizes[root] += 1
