// What follows from the labels of a trajectory: which steps are asked for, and how an error carries on.
"use strict";

// state: target -> label, independent: targets that stand on their own; both as the page has them at the moment.
const rulesOf = ({ cards, state, independent, mode }) => {
  const carries = mode === "carry_errors";
  const stops = mode === "stop_at_first_error";

  const valueOf = (card) => state.get(card.dataset.target)?.value ?? null;
  const isOutcome = (card) => card.dataset.target === "outcome";
  const firstError = () => cards.findIndex((card) => !isOutcome(card) && valueOf(card) === -1);
  // Beyond the first error nothing is asked for in that mode.
  const isWanted = (index) => !stops || isOutcome(cards[index]) || firstError() < 0 || index <= firstError();

  const isIndependent = (target) =>
    state.has(target) ? state.get(target).exit_reason === "independent" : independent.has(target);

  // The error that is carried on after a step, given the one before it: what the nearest labelled step says.
  const rootAfter = (index, root) => {
    const label = state.get(cards[index].dataset.target);
    if (!label) return root;
    return label.value === -1 ? (label.root ?? Number(cards[index].dataset.target)) : null;
  };

  // The error that a step would carry on.
  const activeRoot = (index) => {
    let root = null;
    if (carries && !isOutcome(cards[index])) for (let i = 0; i < index; i++) root = rootAfter(i, root);
    return root;
  };

  const chip = (card, root) => {
    const label = state.get(card.dataset.target);
    const step = (index) => `step ${index + 1}`;
    if (label?.root != null) return `follows from ${step(label.root)}`;
    if (label?.exit_reason === "corrected") return "fixed here";
    if (label?.exit_reason === "independent") return "independent";
    if (label || root === null) return "";
    if (isIndependent(card.dataset.target)) return "independent: judge it by itself";
    return `−1, follows from ${step(root)}? Confirm with -, or f fixed here, i independent, _ a new error`;
  };

  return { valueOf, isOutcome, firstError, isWanted, isIndependent, rootAfter, activeRoot, chip };
};
