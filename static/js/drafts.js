// What was written about steps that have no label yet: it stays in this browser, and goes with the label when there is one.
"use strict";

class Drafts {
  // who: "<user>:<assignment>"
  constructor(who) {
    this.key = `stepmark:drafts:${who}`;
    this.known = this.all(); // what this page has read or written
  }

  // target -> extras
  all() {
    return JSON.parse(localStorage.getItem(this.key) || "{}");
  }

  put(target, extras) {
    const all = this.all();
    if (About.isSame(all[target] ?? {}, extras)) return;
    // What another tab has written since is no part of the label that ends the draft here.
    if (!Object.keys(extras).length && !About.isSame(all[target], this.known[target])) return;
    this.known[target] = extras;
    if (Object.keys(extras).length) all[target] = extras;
    else delete all[target];
    try {
      if (Object.keys(all).length) localStorage.setItem(this.key, JSON.stringify(all));
      else localStorage.removeItem(this.key);
    } catch {
      // The storage is full: this page alone keeps it.
    }
  }
}
