"""Stands in for pycuda where there is no GPU: the memory is the CPU's, and nothing is faster."""
