"""Device technologies: weights become pairs of devices, which are programmed once and read at any time.

Imports the ground, `arithmetic` and `network`.
Never knows a converter, an image, a file or a command.
"""
