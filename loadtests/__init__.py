"""Load tests and the benchmark harness: every performance claim of Headrace is a command here."""
