"""Labels of models that become gold under a promise."""
