"""Labels of models that become gold without a person, under a promise that is tested before and audited after."""
