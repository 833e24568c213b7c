"""The worker: pulls triggers and runs from the streams, decides, commits, admits, submits. Any number side by side."""
