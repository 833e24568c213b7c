"""Graphs of real scientific workflows, run by the engine and compared with a greedy list scheduler."""
