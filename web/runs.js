// The list of runs, looked at again every few seconds while the page is visible.

import { duration, el, elapsed, get, moment, state } from "./lib.js";

const EVERY = 3000;
const STATES = ["", "queued", "running", "succeeded", "failed", "cancelled"];

/** Shows the runs in `main`; returns what ends it. */
export function showRuns(main, { connected, failed }) {
  document.title = "Runs · Headrace";
  const status = el("select", { id: "status" }, STATES.map((name) => el("option", { value: name }, name || "any state")));
  const workflow = el("select", { id: "workflow" }, el("option", { value: "" }, "any workflow"));
  const body = el("tbody");
  const more = el("button", { type: "button", className: "quiet", hidden: true }, "Show more");
  const none = el("p", { className: "hint", hidden: true }, "No runs yet. headrace run submit WORKFLOW starts one.");
  let limit = 50;
  let timer = 0;
  let over = false;

  const head = ["Run", "Workflow", "State", "Created", "Time"].map((text) => el("th", { scope: "col" }, text));
  main.replaceChildren(
    el("div", { className: "bar" }, el("h1", {}, "Runs"), label("Workflow", workflow), label("State", status)),
    el("div", { className: "scroll" }, el("table", { className: "runs" }, el("thead", {}, el("tr", {}, head)), body)),
    none,
    more,
  );

  async function look() {
    clearTimeout(timer);
    try {
      const page = await get("/runs", { limit, status: status.value, workflow: workflow.value });
      if (over) return;
      body.replaceChildren(...page.items.map(row));
      none.hidden = page.items.length > 0;
      more.hidden = !page.next_cursor;
      connected("live", "live");
    } catch (error) {
      if (over) return;
      failed(error);
      if (error.status !== 0 && error.status !== 503) return;
    }
    if (!document.hidden) timer = setTimeout(look, EVERY);
  }

  async function names() {
    const page = await get("/workflows", { limit: 1000 });
    workflow.append(...page.items.map((item) => el("option", { value: item.name }, item.name)));
  }

  const visible = () => (document.hidden ? clearTimeout(timer) : look());
  document.addEventListener("visibilitychange", visible);
  for (const select of [status, workflow]) select.addEventListener("change", look);
  more.addEventListener("click", () => ((limit = Math.min(limit + 100, 1000)), look()));
  look();
  names().catch(() => {});
  return () => {
    over = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", visible);
  };
}

function label(text, control) {
  return el("label", { htmlFor: control.id, className: "inline" }, el("span", { className: "unseen" }, text), control);
}

function row(run) {
  const link = el("a", { href: `#/runs/${run.id}`, className: "mono" }, run.id);
  const cells = [
    link,
    `${run.workflow} v${run.version}`,
    state(run.status),
    moment(run.created),
    duration(elapsed(run.started, run.ended)),
  ];
  return el("tr", {}, cells.map((cell) => el("td", {}, cell)));
}
