"""What goes wrong before anything is scored."""


class ModelError(Exception):
    """The model cannot be used as described; the text says why and what to do."""
