"""Every rule that decides a bit: elementary functions, draws, codes, and the kernels that multiply, twice.

Imports the ground alone (errors, arrays, profiling); `fast` may import numba.
Never knows a network, a device's physics, a file or a command.
"""
