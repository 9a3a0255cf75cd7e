"""Other people's networks: PyTorch checkpoints, whose structure follows from their tensors, and ONNX models.

Imports the ground and every room above, for the networks that it makes and the files that it reads.
Never knows a study or a command.
"""
