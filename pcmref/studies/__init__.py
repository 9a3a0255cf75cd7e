"""Questions over times, chips and settings: asked as one value, answered in rows, told as tables and plots.

Imports the ground and every room above.
Never knows the command line.
"""
