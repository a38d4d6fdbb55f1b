"""Measure cloud_tasks against similar packages; ``python -m benchmarks --help`` lists them."""
