"""One file a command: its options, its work, its output.

`--help` imports them all, so what is heavy is imported inside the functions that need it.
"""
