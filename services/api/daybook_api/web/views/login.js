// @ts-check
/**
 * How to get in: a one-time link brings its code behind a `#`, where no server's log sees it. It is taken out of the
 * address before anything else is done, and exchanged for a session.
 */

import { ApiError, api } from "../api.js";
import { fill, h, problemBox } from "../dom.js";

/** @param {() => Promise<void>} begin finds out anew who is logged in, and shows the page
 * @returns {import("../router.js").View} */
export function loginView(begin) {
  const message = h("div", { "data-test": "login-message", role: "status" });
  const element = h("section", { class: "login" }, h("h1", { tabindex: -1 }, "Log in"), message);
  const code = location.pathname === "/ui/login" ? location.hash.slice(1) : "";
  if (code) {
    history.replaceState(null, "", "/ui/login");
    fill(message, h("p", null, "Logging in…"));
    void exchange(code, message, begin);
  } else {
    fill(message, howTo());
  }
  return { title: "Log in", element };
}

/** @param {string} code @param {HTMLElement} message @param {() => Promise<void>} begin */
async function exchange(code, message, begin) {
  try {
    await api.login(code);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    fill(message, problemBox(error), howTo());
    // There may be a session all the same, from the first time that this link was followed.
    if (!(await isLoggedIn())) return;
  }
  history.replaceState(null, "", "/ui");
  await begin();
}

async function isLoggedIn() {
  try {
    await api.session();
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return false;
  }
}

function howTo() {
  return h("div", null,
    h("p", null, "You are not logged in here. On the machine that Daybook runs on, ask for a link that is good once:"),
    h("pre", null, "daybook login"),
    h("p", null, "Then open the link that it prints. ", h("code", null, "make up"), " and ", h("code", null, "daybook up"), " print one too when they start."));
}
