"""Error categories ready to choose: key → what annotators read. The keys are stored; the words may be mended."""

# The nine classes of PRMBench (Song et al., arXiv 2501.03124) under its three headings. The keys are the values of
# `classification` in its data files, spelling included, so that labels can be compared with it row by row.
_PRMBENCH = {
    "redundency": "Simplicity: a redundant step",
    "circular": "Simplicity: circular reasoning",
    "counterfactual": "Soundness: contradicts facts or evidence",
    "step_contradiction": "Soundness: contradicts another step",
    "domain_inconsistency": "Soundness: uses a rule outside its domain",
    "confidence": "Soundness: states something wrong with confidence",
    "missing_condition": "Sensitivity: misses a needed condition",
    "deception": "Sensitivity: falls for a trap in the question",
    "multi_solutions": "Sensitivity: does not hold over several solutions",
}

TAXONOMIES: dict[str, dict[str, str]] = {
    # What AgentProcessBench's annotation guide v1.1 (github.com/RUCBM/AgentProcessBench, sections 2.2, 4 and 5) gives
    # as reasons for a -1. The guide has no codes: the keys are ours.
    "agentprocessbench": {
        "wrong_tool": "Wrong tool for the purpose",
        "wrong_arguments": "Wrong or invalid arguments",
        "misread_observation": "Misreads what came back",
        "unsupported_claim": "Makes something up, or claims it without evidence",
        "redundant": "Repeats without bringing anything new",
        "carried_on": "Builds on an earlier error without checking it",
        "policy": "Breaks a rule: policy, format or order of actions",
        "off_topic": "Drifts away from the instruction",
        "failed_correction": "Corrects an error only in appearance",
        "wrong_answer": "Final answer is wrong or goes against the evidence",
        "incomplete": "Stops, hands over or answers before the work is done",
    },
    "prmbench": _PRMBENCH,
    # MedPRMBench (Wu et al., arXiv 2604.17282) adds medical types to PRMBench's nine, fourteen in all. Its abstract and
    # summaries name what they are about (evidence, context, prerequisites, safety); the five keys and words are ours.
    "medprmbench": {
        **_PRMBENCH,
        "evidence": "Medicine: cites evidence wrongly, or evidence that does not exist",
        "misapplied_context": "Medicine: right knowledge, wrong patient or situation",
        "omitted_finding": "Medicine: leaves out a finding or check that it needs",
        "dosage": "Medicine: wrong dose, unit or calculation",
        "unsafe": "Medicine: could harm the patient",
    },
}
