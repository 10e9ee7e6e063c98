"""Measurements of Stepmark on one machine; docs/performance.md says how to run them and what came out."""
