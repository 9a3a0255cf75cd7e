"""One analog matrix-vector product: converters, tiles, and layers that are cut into tiles.

Imports the ground, `arithmetic`, `network` (the geometry of a layer) and `devices` (its codes).
Never knows the graph of a network, an image set, a file or a command.
"""
