"""Checks of deploy/k8s without a cluster: render, schema, our own rules, and the manifests against the code."""
