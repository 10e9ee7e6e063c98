// The outbox of the labelling page: it keeps every label until the server has stored it.
//
// A change goes into localStorage first, so that it survives a closed tab or a crash, and from there to the server, one
// request at a time and the newest state last. Each says how many saves of the assignment this page knows of, so that the
// server refuses one that another has overtaken on the way. A change leaves the outbox when the server has acknowledged
// exactly that state. What the server refuses stays, and holds nothing else back.
"use strict";

const capitalised = (text) => text[0].toUpperCase() + text.slice(1);

class Outbox {
  static PREFIX = "stepmark:outbox:";
  static GONE =
    "you are no member of this project any more, or the trajectory is no longer there: ask an admin of the project";

  // who: "<user>:<assignment>"; show(n, why): called when the number of unsaved labels may have changed;
  // refuse(message): the server will not take them; evidence(target): what was noticed of the reading of a step;
  // lose(url, message, targets): the same of labels of another trajectory; with targets they are given up;
  // guideline: the version that the page shows; nSaves: how many saves the assignment had had when it was rendered;
  // heard(answer): what the server says of this page's labels, stored or not; signal: aborted when the page goes on to
  // another trajectory.
  constructor({ url, who, guideline, nSaves, show, refuse, lose, heard, evidence, signal }) {
    Object.assign(this, { url, guideline, show, refuse, lose, heard, evidence });
    this.mine = `${Outbox.PREFIX}${who.split(":")[0]}:`;
    this.key = Outbox.PREFIX + who;
    this.nSaves = new Map([[this.key, nSaves]]); // key -> how many saves the server has told of
    this.retryAfter = 500;
    this.sending = null;
    this.problem = ""; // why the last attempt to store failed, in a sentence
    this.unstored = new Map(); // what did not fit into localStorage
    this.isOver = false; // the assignment is no longer this person's: what waits lives as long as this page
    this.refused = new Map(); // key and target -> {state, message}: what is not sent again as it is
    window.addEventListener("online", () => this.flush(), { signal });
  }

  // "step 3" or "outcome"
  static place(target) {
    return target === "outcome" ? target : `step ${Number(target) + 1}`;
  }

  pending(key = this.key) {
    return this.#load(key).pending;
  }

  // state: what the label is now (null: none), for a step index or "outcome"; sends: or only keep it, a text is being typed.
  put(target, state, { sends = true } = {}) {
    const outbox = this.#load(this.key);
    outbox.url = this.url;
    outbox.pending[target] = state;
    // With the label: whoever sends it later, from the page of another trajectory or after a reload, knows nothing of this
    // reading, nor of what was read.
    outbox.guidelines = { ...outbox.guidelines, [target]: this.guideline };
    outbox.evidence = { ...outbox.evidence, [target]: this.evidence(target) };
    this.#store(this.key, outbox);
    this.#changed();
    if (sends) return this.flush();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), 10000);
  }

  // Resolves when everything is stored, or when it is clear that it cannot be at the moment.
  flush() {
    return (this.sending ??= this.#empty().finally(() => (this.sending = null)));
  }

  // The same, and whether everything is stored now. What was refused is tried once more.
  async isStored() {
    await this.sending;
    this.refused.clear();
    await this.flush();
    return !Object.keys(this.pending()).length;
  }

  // Labels of other trajectories that a closed tab left behind go out too. What can be put right there is kept and said;
  // what cannot be stored any more is said once, and given up.
  async flushOthers() {
    const others = Object.keys(localStorage).filter((key) => key.startsWith(this.mine) && key !== this.key);
    for (const key of others) {
      const left = this.#load(key);
      if (!left.url) continue;
      const answer = await this.#deliver(key);
      if (answer.state === "refused") {
        this.#drop(key, left);
        this.lose(left.url, answer.message, Object.keys(left.pending));
      } else if (this.#refusals(key).length) this.lose(left.url, this.#said(key));
    }
  }

  #load(key) {
    return JSON.parse(this.unstored.get(key) ?? localStorage.getItem(key) ?? '{"pending": {}}');
  }

  #store(key, outbox) {
    this.unstored.delete(key);
    if (!Object.keys(outbox.pending).length) return localStorage.removeItem(key);
    outbox.nSaves = this.nSaves.get(key) ?? outbox.nSaves;
    const text = JSON.stringify(outbox);
    if (key === this.key && this.isOver) {
      this.unstored.set(key, text);
      return localStorage.removeItem(key);
    }
    try {
      localStorage.setItem(key, text);
    } catch {
      this.unstored.set(key, text); // full: this page alone keeps it, and says so
    }
  }

  #changed(why) {
    const refused = this.#refusals(this.key).map(([target]) => Outbox.place(target));
    const named = refused.length ? `refused: ${refused.join(", ")}` : "";
    const full = this.unstored.size && !this.isOver ? "the browser's storage is full: stay on this page" : "";
    this.show(Object.keys(this.pending()).length, [why, named, full].filter(Boolean).join("; "));
  }

  async #empty() {
    clearTimeout(this.timer);
    const answer = await this.#deliver(this.key, (said) => {
      this.retryAfter = 500;
      this.heard(said);
      this.#changed();
    });
    if (answer.state === "later") {
      this.timer = setTimeout(() => this.flush(), this.retryAfter);
      this.retryAfter = Math.min(this.retryAfter * 2, 10000);
      this.problem = `${answer.why}. They are kept in this browser; submit again when they are stored.`;
      return this.#changed(answer.why);
    }
    const isOver = answer.code === "assignment.not_yours";
    if (isOver !== this.isOver) {
      this.isOver = isOver;
      this.#store(this.key, this.#load(this.key)); // nothing stores it some day when nobody sees it
    }
    if (answer.state === "refused") this.#changed("not saved");
    else this.#changed();
    this.problem = [answer.message, this.#said(this.key)].filter(Boolean).join(" ");
    if (answer.isNew) this.refuse(this.problem);
  }

  // Sends what an outbox holds, and again without what is refused. Answers as #send does: "refused" only if nothing of it
  // can be stored; isNew: something was refused just now.
  async #deliver(key, heard = () => {}) {
    let isNew = false;
    for (;;) {
      const sent = this.#next(key);
      if (!Object.keys(sent.pending).length) return { state: "stored", isNew };
      const answer = await this.#send(key, sent);
      if (answer.state === "overtaken") continue;
      if (answer.state === "stored") this.#drop(key, sent);
      if (answer.said) heard(answer.said);
      if (answer.state === "stored") continue;
      const named = Object.entries(answer.places ?? {}).filter(([target]) => target in sent.pending);
      if (!named.length) return { ...answer, isNew: answer.state === "refused" };
      isNew = true;
      for (const [target, message] of named)
        this.refused.set(`${key} ${target}`, { state: JSON.stringify(sent.pending[target]), message });
    }
  }

  // What of an outbox goes out next: nothing that is refused, and only labels given under one version of the guideline.
  #next(key) {
    const outbox = this.#load(key);
    const { pending, guidelines = {} } = outbox;
    for (const [target] of this.#refusals(key)) delete pending[target];
    outbox.guideline = guidelines[Object.keys(pending)[0]];
    for (const target of Object.keys(pending)) if (guidelines[target] !== outbox.guideline) delete pending[target];
    return outbox;
  }

  // [target, message] of what was refused and has not been changed since.
  #refusals(key) {
    return Object.entries(this.#load(key).pending)
      .map(([target, state]) => [target, JSON.stringify(state), this.refused.get(`${key} ${target}`)])
      .filter(([, state, refusal]) => refusal?.state === state)
      .map(([target, , refusal]) => [target, refusal.message]);
  }

  #said(key) {
    return this.#refusals(key)
      .map(([target, message]) => `${capitalised(Outbox.place(target))} is not stored: ${message}`)
      .join(" ");
  }

  // Takes out what was sent; labels given meanwhile stay.
  #drop(key, sent) {
    const outbox = this.#load(key);
    for (const [target, state] of Object.entries(sent.pending))
      if (JSON.stringify(outbox.pending[target]) === JSON.stringify(state)) delete outbox.pending[target];
    this.#store(key, outbox);
  }

  // Target -> why, as far as a refusal names labels: "step 2", "outcome", or a place in the body such as "labels[0].extras".
  #places(fields, body) {
    const places = {};
    for (const [place, message] of Object.entries(fields)) {
      const [, list, position] = /^(labels|cleared)\[(\d+)\]/.exec(place) ?? [];
      const step = list === "labels" ? body.labels[position]?.step : body.cleared[position];
      const target = list ? step : /^(?:step )?(\d+|outcome)$/.exec(place)?.[1];
      if (target !== undefined) places[target] = message;
    }
    return places;
  }

  #body({ pending, guideline, evidence = {} }) {
    const body = { labels: [], cleared: [], guideline };
    for (const [target, state] of Object.entries(pending)) {
      if (target === "outcome") body.outcome = state?.value ?? null;
      else if (state === null) body.cleared.push(Number(target));
      else body.labels.push({ step: Number(target), ...state, ...evidence[target] });
    }
    return body;
  }

  // Answers {state: "stored", said}, {state: "later", why} (no connection, server down, signed out, no member), {state: "overtaken"}
  // or {state: "refused", code, message, places, said}, where places says it of single labels.
  async #send(key, outbox) {
    const body = this.#body(outbox);
    const nSaves = this.nSaves.get(key) ?? outbox.nSaves ?? "";
    let response;
    try {
      response = await fetch(outbox.url, {
        method: "PUT",
        body: JSON.stringify(body),
        headers: { "Content-Type": "application/json", Accept: "application/json", "X-Saves": nSaves, ...Account.headers },
        redirect: "manual",
        signal: AbortSignal.timeout(15000),
      });
    } catch {
      return { state: "later", why: "no connection" };
    }
    if (response.ok) {
      const said = await response.json().catch(() => ({ n_saves: nSaves }));
      this.nSaves.set(key, said.n_saves);
      return { state: "stored", said };
    }
    if (response.type === "opaqueredirect") return { state: "later", why: "you are signed out: sign in again in another tab" };
    if (response.status === 404) return { state: "later", why: Outbox.GONE }; // whoever is a member again goes on
    if (response.status >= 500 || response.status === 429) return { state: "later", why: "the server does not answer" };
    const answer = await response.json().catch(() => null);
    if (answer?.error?.code === "account.other")
      return { state: "later", why: "another account is signed in in this browser: sign in again with yours" };
    if (answer?.error?.code === "labels.outdated") {
      this.nSaves.set(key, answer.n_saves);
      return { state: "overtaken" };
    }
    if (response.status === 403) return { state: "later", why: "the server does not know this page any more: reload it" };
    const { code, message, fields = {} } = answer?.error ?? { message: `The server refused the labels (${response.status}).` };
    return { state: "refused", code, message, places: this.#places(fields, body), said: answer };
  }
}
