"""Generative judges: any chat model behind an OpenAI-compatible endpoint rates the steps of a trajectory."""
