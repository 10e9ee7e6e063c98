"""Pre-labellers that need a worker: discriminative models on torch, judges over HTTP."""
