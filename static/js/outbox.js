// The outbox of the labelling page: it keeps every label until the server has stored it.
//
// A change goes into localStorage first, so that it survives a closed tab or a crash, and from there to the server, one
// request at a time and the newest state last. It leaves the outbox when the server has acknowledged exactly that state.
"use strict";

class Outbox {
  static PREFIX = "stepmark:outbox:";

  // who: "<user>:<assignment>"; show(n, why): called when the number of unsaved labels may have changed;
  // refuse(message): the server will not take them; evidence(target): what was noticed of the reading of a step;
  // lose(url, targets, message): the same of labels of another trajectory, which are then given up;
  // signal: aborted when the page goes on to another trajectory.
  constructor({ url, who, show, refuse, lose, evidence, signal }) {
    Object.assign(this, { url, show, refuse, lose, evidence });
    this.mine = `${Outbox.PREFIX}${who.split(":")[0]}:`;
    this.key = Outbox.PREFIX + who;
    this.retryAfter = 500;
    this.sending = null;
    this.problem = ""; // why the last attempt to store failed, in a sentence
    this.unstored = new Map(); // what did not fit into localStorage
    window.addEventListener("online", () => this.flush(), { signal });
  }

  pending(key = this.key) {
    return this.#load(key).pending;
  }

  // state: what the label is now (null: none), for a step index or "outcome".
  put(target, state) {
    const outbox = this.#load(this.key);
    outbox.url = this.url;
    outbox.pending[target] = state;
    // With the label: whoever sends it later, from the page of another trajectory, knows nothing of this reading.
    outbox.evidence = { ...outbox.evidence, [target]: this.evidence(target) };
    this.#store(this.key, outbox);
    this.#changed();
    this.flush();
  }

  // Resolves when everything is stored, or when it is clear that it cannot be at the moment.
  flush() {
    return (this.sending ??= this.#empty().finally(() => (this.sending = null)));
  }

  // The same, and whether everything is stored now.
  async isStored() {
    await this.flush();
    return !Object.keys(this.pending()).length;
  }

  // Labels of other trajectories that a closed tab left behind go out too. What the server refuses cannot be stored any
  // more: it is said once, and given up.
  async flushOthers() {
    const others = Object.keys(localStorage).filter((key) => key.startsWith(this.mine) && key !== this.key);
    for (const key of others) {
      const sent = this.#load(key);
      if (!sent.url) continue;
      const answer = await this.#send(sent);
      if (answer.state === "later") continue;
      this.#drop(key, sent);
      if (answer.state === "refused") this.lose(sent.url, Object.keys(sent.pending), answer.message);
    }
  }

  #load(key) {
    return this.unstored.get(key) || JSON.parse(localStorage.getItem(key) || "null") || { pending: {} };
  }

  #store(key, outbox) {
    this.unstored.delete(key);
    if (!Object.keys(outbox.pending).length) return localStorage.removeItem(key);
    try {
      localStorage.setItem(key, JSON.stringify(outbox));
    } catch {
      this.unstored.set(key, outbox); // full: this page alone keeps it, and says so
    }
  }

  #changed(why) {
    const full = this.unstored.size ? "the browser's storage is full: stay on this page" : "";
    this.show(Object.keys(this.pending()).length, [why, full].filter(Boolean).join("; "));
  }

  async #empty() {
    clearTimeout(this.timer);
    for (;;) {
      const sent = this.#load(this.key);
      if (!Object.keys(sent.pending).length) return this.#changed();
      const answer = await this.#send(sent);
      if (answer.state === "later") {
        this.timer = setTimeout(() => this.flush(), this.retryAfter);
        this.retryAfter = Math.min(this.retryAfter * 2, 10000);
        this.problem = `${answer.why}. They are kept in this browser; submit again when they are stored.`;
        return this.#changed(answer.why);
      }
      if (answer.state === "refused") {
        this.#changed("not saved");
        this.problem = answer.message;
        return this.refuse(answer.message);
      }
      this.retryAfter = 500;
      this.#drop(this.key, sent);
      this.#changed();
    }
  }

  // Takes out what was sent; labels given meanwhile stay.
  #drop(key, sent) {
    const outbox = this.#load(key);
    for (const [target, state] of Object.entries(sent.pending))
      if (JSON.stringify(outbox.pending[target]) === JSON.stringify(state)) delete outbox.pending[target];
    this.#store(key, outbox);
  }

  #body({ pending, evidence = {} }) {
    const body = { labels: [], cleared: [] };
    for (const [target, state] of Object.entries(pending)) {
      if (target === "outcome") body.outcome = state?.value ?? null;
      else if (state === null) body.cleared.push(Number(target));
      else body.labels.push({ step: Number(target), ...state, ...evidence[target] });
    }
    return JSON.stringify(body);
  }

  // Answers {state: "stored"}, {state: "later", why} (no connection, server down, signed out) or {state: "refused", message}.
  async #send(outbox) {
    let response;
    try {
      response = await fetch(outbox.url, {
        method: "PUT",
        body: this.#body(outbox),
        headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrfToken() },
        redirect: "manual",
        signal: AbortSignal.timeout(15000),
      });
    } catch {
      return { state: "later", why: "no connection" };
    }
    if (response.ok) return { state: "stored" };
    if (response.type === "opaqueredirect" || response.status === 403)
      return { state: "later", why: "you are signed out: sign in again in another tab" };
    if (response.status >= 500 || response.status === 429) return { state: "later", why: "the server does not answer" };
    const answer = await response.json().catch(() => null);
    return { state: "refused", message: answer?.error?.message || `The server refused the labels (${response.status}).` };
  }
}
