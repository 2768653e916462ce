// @ts-check
/**
 * Where the page begins: who is logged in, which address leads to which view.
 */

import { ApiError, api } from "./api.js";
import { button, fill, h, problemBox } from "./dom.js";
import { startClock } from "./format.js";
import { Router } from "./router.js";
import { loginView } from "./views/login.js";
import { newView } from "./views/new.js";
import { taskView } from "./views/task.js";
import { tasksView } from "./views/tasks.js";

/** @import {Session} from "./shapes.js" */

const AGAIN_MS = 2000;
const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const who = /** @type {HTMLElement} */ (document.getElementById("who"));
const nav = /** @type {HTMLElement} */ (document.querySelector("nav"));
/** @type {Session | null} */
let session = null;
let started = false;

/** @type {Router} */
const router = new Router(
  [
    { pattern: /^\/ui\/login$/, view: () => loginView(begin) },
    { pattern: /^\/ui\/tasks\/(?<id>[^/]+)$/, view: ({ params, query }) => guarded(() => taskView(router, params.id, query)) },
    { pattern: /^\/ui\/new$/, view: ({ query }) => guarded(() => newView(router, query)) },
    { pattern: /^\/ui$/, view: ({ query }) => guarded((logged) => tasksView(router, logged, query)) },
    { pattern: /.*/, view: nowhere },
  ],
  main,
);

/** A view for those who are logged in; the others learn how to be. @param {(logged: Session) => import("./router.js").View} view */
function guarded(view) {
  return session ? view(session) : loginView(begin);
}

/** @returns {import("./router.js").View} */
function nowhere() {
  const heading = h("h1", { tabindex: -1 }, "There is no such page");
  return { title: "Not found", element: h("section", null, heading, h("p", null, h("a", { href: "/ui" }, "All tasks"))) };
}

/** Find out who is logged in, and show the page. Waits for a server that is not there yet. */
async function begin() {
  try {
    session = await api.session();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 0 || error.status >= 500) {
      main.replaceChildren(h("section", null, h("h1", null, "Waiting for the server"), problemBox(error)));
      setTimeout(begin, AGAIN_MS);
      return;
    }
    session = null;
  }
  start();
}

/** Show the page, to whoever is logged in now. */
function start() {
  showWho();
  if (started) router.reload();
  else router.start();
  started = true;
}

function showWho() {
  const leave = button("Log out", async () => {
    await api.logout();
    session = null;
    showWho();
    router.go("/ui");
    router.reload();
  }, { class: "small", "data-test": "logout" });
  // Without a CSRF value there is no session to end: the server lets everybody in who is on this machine.
  nav.hidden = session === null;
  fill(who, session && h("span", { title: `namespace ${session.namespace}` }, session.owner), session?.csrf && leave);
}

api.onUnauthorized = () => {
  if (!session) return;
  session = null;
  showWho();
  router.reload();
};

startClock();
if (location.pathname === "/ui/login" && location.hash.length > 1) start(); // nobody is logged in yet, so there is no use in asking
else void begin();
