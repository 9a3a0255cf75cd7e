"""A trained network: layers, the graph that they make, its geometry, and the images that it takes.

Imports the ground and `arithmetic`.
Never knows a device, a crossbar, a file or a command.
"""
