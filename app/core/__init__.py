"""The pure core: what a workflow means and what follows from what happened.

Purely computational. Nothing here awaits, does I/O, reads a clock or draws random numbers: time, jitter and everything
that was read come in as arguments, and what must be written goes out as values.
"""
