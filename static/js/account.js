// Who asks: a labelling page tells the server whose it is, however long it has been open.
"use strict";

class Account {
  // The server takes nothing from the page for another account that has signed in since.
  static get headers() {
    return { "X-CSRFToken": csrfToken(), "X-Account": account };
  }
}
