"""Node runs as containers of a local engine, Docker or Podman, by the HTTP API that both have."""
