"""Headrace's server side: the pure core, the store, the HTTP API and the command line."""
