"""A chip as a network: images in, logits out; and the digital corrections that it needs as it ages.

Imports the ground and every room above: `arithmetic`, `network`, `devices`, `crossbar`.
Never knows a file or a command.
"""
