"""Error categories ready to choose: key → what annotators read. The keys are stored; the words may be mended."""

TAXONOMIES: dict[str, dict[str, str]] = {
    # What AgentProcessBench's annotation guide tells apart for tool-using agents.
    "agentprocessbench": {
        "wrong_tool": "Wrong tool for the purpose",
        "wrong_arguments": "Wrong or invalid arguments",
        "misread_observation": "Misreads what came back",
        "unsupported_claim": "States something that nothing supports",
        "reasoning": "Faulty reasoning or calculation",
        "policy": "Breaks a rule of the instructions or policy",
        "ignored_error": "Passes over an error message",
        "incomplete": "Stops or answers before the work is done",
        "carried_on": "Builds on an earlier error",
    },
    # PRMBench's three dimensions with their nine classes.
    "prmbench": {
        "non_redundancy": "Simplicity: a redundant step",
        "non_circular_logic": "Simplicity: circular reasoning",
        "empirical_soundness": "Soundness: contradicts facts or evidence",
        "step_consistency": "Soundness: contradicts another step",
        "domain_consistency": "Soundness: uses a rule outside its domain",
        "confidence_invariance": "Soundness: wrongly confident",
        "prerequisite_sensitivity": "Sensitivity: misses a needed condition",
        "deception_resistance": "Sensitivity: falls for a trap in the question",
        "multi_solution_consistency": "Sensitivity: inconsistent over several solutions",
    },
    # Error types of clinical reasoning, after MedPRMBench.
    "medprmbench": {
        "fact": "Wrong medical fact",
        "misread_case": "Misreads the case",
        "reasoning": "Conclusion does not follow",
        "omission": "Leaves out something essential",
        "guideline": "Against clinical guidelines",
        "calculation": "Wrong dose or calculation",
        "unsafe": "Could harm the patient",
        "redundant": "Redundant step",
    },
}
