"""What others are checked with: directed stimuli, golden cases, faulty tiles, and the check that finds the fault.

Imports the ground and every room above but `studies`.
Never knows the command line.
"""
