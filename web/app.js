// The first page: sign in, the runs, and one run live. Routes live in the fragment: #/ and #/runs/ID.

import { el, get, post, Problem, request } from "./lib.js";
import { showRun } from "./run.js";
import { showRuns } from "./runs.js";

const main = document.getElementById("main");
const connection = document.getElementById("connection");
const signOut = document.getElementById("sign-out");
let leave = () => {};

/** Says how the page is connected: live, polling, ended, or disconnected. */
function connected(kind, text) {
  connection.dataset.kind = kind;
  connection.textContent = text;
}

/** Shows what went wrong; an ended session leads back to the form. */
function failed(error) {
  if (error instanceof Problem && error.status === 401) return showForm();
  if (error instanceof Problem && error.status === 0) return connected("lost", "disconnected, trying again");
  leave();
  main.replaceChildren(
    el("p", { className: "notice bad", role: "alert" }, error.message),
    el("p", {}, el("a", { href: "#/" }, "All runs")),
  );
}

function showForm(message = "") {
  leave();
  leave = () => {};
  connected("", "");
  signOut.hidden = true;
  const key = el("input", {
    id: "key", name: "key", type: "password", autocomplete: "current-password", required: true, placeholder: "hr_…",
  });
  const name = el("input", { type: "text", name: "username", autocomplete: "username", value: "API key", hidden: true });
  const button = el("button", { type: "submit" }, "Sign in");
  const form = el(
    "form",
    { className: "sign-in" },
    el("h1", {}, "Sign in"),
    el("label", { htmlFor: "key" }, "API key"),
    name,
    key,
    button,
    message ? el("p", { className: "notice bad", role: "alert" }, message) : null,
    el("p", { className: "hint" }, "headrace dev prints a link that signs you in; its key is in .headrace/api_key."),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    await signIn(key.value.trim());
  });
  main.replaceChildren(form);
  key.focus();
}

async function signIn(key) {
  try {
    await post("/session", { key });
    route();
  } catch (error) {
    showForm(error.message);
  }
}

signOut.addEventListener("click", async () => {
  await request("/session", { method: "DELETE" }).catch(() => {});
  showForm();
});

function route() {
  leave();
  signOut.hidden = false;
  connected("", "");
  const run = /^#\/runs\/([A-Za-z0-9_-]+)$/.exec(location.hash);
  leave = run ? showRun(main, run[1], { connected, failed }) : showRuns(main, { connected, failed });
}

async function start() {
  const key = /^#key=(.+)$/.exec(location.hash);
  if (key) {
    history.replaceState(null, "", `${location.pathname}#/`);
    await signIn(decodeURIComponent(key[1]));
    return;
  }
  try {
    await get("/session");
    route();
  } catch (error) {
    if (error.status === 401) showForm();
    else {
      failed(error);
      setTimeout(start, 2000);
    }
  }
}

window.addEventListener("hashchange", () => (/^#key=/.test(location.hash) ? start() : route()));
start();
