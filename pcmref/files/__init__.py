"""All that is read from or written to disk or fetched, each format behind the one gate that checks it.

Imports the ground and every room above, for the values that it reads and writes.
Never knows a study or a command.
"""
