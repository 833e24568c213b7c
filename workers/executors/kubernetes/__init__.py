"""The Kubernetes executor: a launch of a node run is a Job, and outlives its worker.

manifest and reasons are pure; client is the only module that talks to the API server; executor creates Jobs, in every worker;
watch and reconcile tell what becomes of them, in the one worker that holds the Lease.
"""
