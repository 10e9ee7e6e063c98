// Shows the characters that a reader cannot see, or that turn the direction of writing, by their code. The pages mark the
// texts they hold on the server (templatetags/stepmark.py: marked, with the same list); this marks those fetched later.
"use strict";

const INVISIBLE =
  /[\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B\u200E\u200F\u202A-\u202E\u2060-\u2069\uFEFF\uFFF9-\uFFFB]|[\u{E0000}-\u{E007F}]/gu;

const markOf = (character) => {
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.textContent = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return mark;
};

// The text as nodes to put into an element.
const markedNodes = (text) => {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(INVISIBLE)) {
    if (match.index > from) nodes.push(text.slice(from, match.index));
    nodes.push(markOf(match[0]));
    from = match.index + match[0].length;
  }
  if (from < text.length) nodes.push(text.slice(from));
  return nodes;
};
