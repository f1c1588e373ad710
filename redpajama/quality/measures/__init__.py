"""Signals of texts: compiled kernels over whole batches, and the catalogue of what they measure."""
