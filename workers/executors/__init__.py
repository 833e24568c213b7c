"""Where node runs are executed. The engine knows executors, not Kubernetes (M16)."""
