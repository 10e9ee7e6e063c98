// What a model says of the steps, where the project shows it: beside each step from the start, or after one's own labels.
"use strict";

class Hints {
  // valueOf(card): one's own value, or null; railOf: target -> link; refuse(message): why they cannot be shown;
  // goTo(index): shows a card; model: what it says of each step, where labels change what is suggested, else null.
  constructor({ cards, valueOf, railOf, outbox, refuse, goTo, model }) {
    Object.assign(this, { cards, valueOf, railOf, outbox, refuse, goTo, model, asking: null });
    this.panel = document.getElementById("hints"); // there is none where nothing is to be shown
    this.status = document.getElementById("hints-status");
    this.#find();
  }

  // Whether they are still to come.
  get isWaiting() {
    return this.panel !== null && !("shown" in this.panel.dataset);
  }

  // Asks for them; the server gives them only to whoever has stored labels of their own.
  reveal() {
    return (this.asking ??= this.#reveal().finally(() => (this.asking = null)));
  }

  // What is suggested for a card, where that changes with each label; else undefined.
  suggested(card) {
    const hint = this.model && this.of.get(card);
    return hint ? Number(hint.dataset.value) : undefined;
  }

  // Marks the steps on which the model differs from what is labelled now.
  paint() {
    if (!this.of?.size) return;
    if (this.model) this.#follow();
    let n = 0;
    for (const [card, hint] of this.of) {
      const differs = this.#differs(card, hint);
      hint.querySelector(".differs").hidden = !differs;
      this.railOf.get(card.dataset.target).classList.toggle("hint-differs", differs);
      n += differs;
    }
    this.#say(`${n} of ${this.of.size} suggestions differ from yours${n ? " (d shows the next one)" : ""}.`);
  }

  // The index of the next card on which they differ.
  next(current) {
    const n = this.cards.length;
    const order = this.cards.map((_, i) => (current + 1 + i) % n);
    return order.find((index) => this.of.has(this.cards[index]) && this.#differs(this.cards[index], this.of.get(this.cards[index])));
  }

  // What the model says of each step, knowing the labels of the steps before it: annotator/fusion/suggest.py explains it
  // and computes the same. Here it is done at once, so that nobody confirms what they have not seen.
  #follow() {
    const { expected, pull, memory, beginsTurn, turn } = this.model;
    const given = new Map(this.cards.map((card) => [card.dataset.target, this.valueOf(card)]));
    const suggestions = new Map();
    let surprise = [0, 0, 0];
    for (const [step, said] of expected.entries()) {
      if (beginsTurn[step]) surprise = surprise.map((x) => turn * x);
      const pulled = said.map((p, to) => Math.max(p, 1e-9) * Math.exp(surprise.reduce((sum, x, k) => sum + x * pull[k][to], 0)));
      const all = pulled.reduce((a, b) => a + b);
      const probs = pulled.map((x) => x / all);
      suggestions.set(String(step), probs);
      const label = given.get(String(step)) ?? null;
      const known = label === null ? probs : [-1, 0, 1].map((value) => Number(value === label));
      surprise = known.map((x, i) => x - said[i] + memory * surprise[i]);
    }
    for (const [card, hint] of this.of) {
      const probs = suggestions.get(card.dataset.target);
      if (probs) this.#show(hint, probs);
    }
  }

  #show(hint, probs) {
    const best = probs.indexOf(Math.max(...probs)); // the first of equals, as numpy's argmax
    const value = best - 1;
    const sure = `${Math.round(100 * probs[best])} % sure`;
    if (Number(hint.dataset.value) !== value) {
      hint.dataset.value = value;
      const shown = hint.querySelector(".value");
      shown.textContent = ["−1", "0", "+1"][best];
      shown.className = `value ${["incorrect", "neutral", "correct"][best]}`;
      hint.querySelector(".alone").hidden = value === Number(hint.dataset.own);
    }
    const certainty = hint.querySelector(".certainty");
    if (certainty.textContent !== sure) certainty.textContent = sure;
  }

  #differs(card, hint) {
    const own = this.valueOf(card);
    return own !== null && own !== Number(hint.dataset.value);
  }

  #say(text) {
    this.status.hidden = false;
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  #find() {
    const found = this.cards.map((card) => [card, card.querySelector(".hint")]);
    this.of = new Map(found.filter(([, hint]) => hint));
  }

  async #reveal() {
    const before = nPresses;
    const later = "What the model says is shown when your labels are stored; press Enter when they are.";
    if (!(await this.outbox.isStored())) return this.#say(later);
    let response;
    try {
      response = await fetch(this.panel.dataset.url, {
        method: "POST",
        headers: { Accept: "application/json", ...Account.headers },
        redirect: "manual",
        signal: AbortSignal.timeout(15000),
      });
    } catch {
      return this.#say(later);
    }
    if (!response.ok) {
      const answer = await response.json().catch(() => null);
      return this.refuse(answer?.error?.message || "The server does not answer, or you are signed out. Your labels are kept.");
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const card of this.cards) {
      const hint = page.querySelector(`.hint[data-for="${card.dataset.target}"]`);
      if (hint) card.querySelector("header").after(document.adoptNode(hint));
    }
    this.panel.dataset.shown = "";
    this.panel.querySelector("form").remove();
    document.getElementById("hints-about").hidden = false;
    this.#find();
    this.paint();
    if (nPresses === before) this.goTo(this.next(-1));
  }
}
