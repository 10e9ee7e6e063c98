"""The project's own step scorer: a small ternary model over the steps of a trajectory. No Django in here."""
