"""What stops training or scoring; each is a sentence for the person who started it."""


class ScorerError(Exception):
    """The scorer cannot be trained or used as asked; the text says why and what to do."""
