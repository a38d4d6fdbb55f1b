"""Measurements of cloud_tasks beside its peers; ``python -m benchmarks --help`` lists them."""
