// One run, live: its nodes as a tree, each opening to its metadata, items, failed records, attempts and logs.
// Events only ring; what is shown is always asked for, so nothing is missed after a reconnect.

import { showDetails } from "./details.js";
import { duration, el, elapsed, get, moment, outline, pages, records, state, TERMINAL } from "./lib.js";

const BREATH = 300;

/** Shows a run in `main`; returns what ends it. */
export function showRun(main, id, { connected, failed }) {
  document.title = `${id} · Headrace`;
  const view = new RunPage(main, id, connected, failed);
  view.look();
  return () => view.end();
}

class RunPage {
  constructor(main, id, connected, failed) {
    Object.assign(this, { main, id, connected, failed, open: new Map(), over: false, looking: false, again: false });
    this.path = `/runs/${id}`;
    this.head = el("div", { className: "head" });
    this.body = el("tbody");
    this.output = el("div");
    const columns = ["Node", "State", "Time", "Attempt", "Progress"].map((text) => el("th", { scope: "col" }, text));
    const table = el("table", { className: "nodes" }, el("thead", {}, el("tr", {}, columns)), this.body);
    main.replaceChildren(
      el("p", {}, el("a", { href: "#/" }, "← All runs")),
      this.head,
      el("div", { className: "scroll" }, table),
      this.output,
    );
    this.ticking = setInterval(() => this.tick(), 500);
  }

  end() {
    this.over = true;
    clearInterval(this.ticking);
    clearTimeout(this.pause);
    this.events?.close();
    for (const details of this.open.values()) details.end();
  }

  /** Ask for the run and its nodes; rings that come meanwhile lead to one more look. */
  async look() {
    if (this.looking) return void (this.again = true);
    this.looking = true;
    try {
      const run = await get(this.path);
      const nodes = await pages(`${this.path}/nodes`, 2000);
      if (this.over) return;
      this.draw(run, nodes);
      if (TERMINAL.has(run.status)) this.ended();
      else if (!this.events) this.listen();
    } catch (error) {
      if (this.over) return;
      if (error.status && error.status !== 503) return this.failed(error);
      this.connected("lost", "disconnected, trying again");
      this.pause = setTimeout(() => this.look(), 2000);
    } finally {
      this.looking = false;
    }
    if (this.again && !this.over) {
      this.again = false;
      this.pause = setTimeout(() => this.look(), BREATH);
    }
  }

  listen() {
    const after = this.last ? `?after=${encodeURIComponent(this.last)}` : "";
    const events = (this.events = new EventSource(`/api/v1${this.path}/events${after}`));
    events.onopen = () => this.connected("live", "live");
    events.onmessage = (event) => {
      this.last = event.lastEventId;
      this.look();
    };
    events.addEventListener("end", () => this.look());
    events.onerror = () => {
      if (this.over || this.finished) return;
      this.connected("lost", "disconnected, trying again");
      if (events.readyState !== EventSource.CLOSED) return;
      this.events = null; // the browser has given up: begin anew, after the last event seen
      this.pause = setTimeout(() => this.look(), 2000);
    };
  }

  ended() {
    this.finished = true;
    this.events?.close();
    this.events = null;
    this.connected("ended", "ended");
  }

  draw(run, nodes) {
    this.run = run;
    this.drawHead(run);
    const byName = new Map(nodes.map((node) => [node.name, node]));
    const rows = outline(nodes).map(({ name, lead }) => this.row(byName.get(name), lead));
    this.body.replaceChildren(...rows.flat());
    const missing = (run.nodes?.total ?? 0) - nodes.length;
    if (missing > 0) this.body.append(el("tr", {}, el("td", { colSpan: 5, className: "hint" }, `… ${missing} more nodes`)));
    this.output.replaceChildren(...this.results(run));
    this.tick();
  }

  drawHead(run) {
    const facts = [
      ["Workflow", `${run.workflow} v${run.version}`],
      ["Source", run.source ?? ""],
      ["Created", moment(run.created)],
      ["Time", this.timer(run)],
    ];
    this.head.replaceChildren(
      el("h1", {}, el("span", { className: "mono" }, run.id), " ", state(run.status)),
      el("dl", { className: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    );
  }

  results(run) {
    const shown = [["Error", run.error], ["Output", run.output], ["Params", run.params]];
    return shown
      .filter(([, value]) => value !== null && value !== undefined && JSON.stringify(value) !== "{}")
      .map(([name, value]) => el("section", {}, el("h2", {}, name), el("pre", {}, JSON.stringify(value, null, 2))));
  }

  timer(record) {
    return el("span", { className: "timer", data: { started: record.started ?? "", ended: record.ended ?? "" } });
  }

  /** Durations go on by themselves between looks. */
  tick() {
    for (const timer of this.main.querySelectorAll(".timer")) {
      timer.textContent = duration(elapsed(timer.dataset.started, timer.dataset.ended));
    }
  }

  row(node, lead) {
    const open = this.open.get(node.name);
    const button = el(
      "button",
      { type: "button", className: "node", ariaExpanded: String(Boolean(open)), title: node.type ?? "" },
      node.name,
    );
    button.addEventListener("click", () => this.toggle(node));
    const cells = [
      [el("span", { className: "lead", ariaHidden: "true" }, lead), button],
      state(node.status),
      this.timer(node),
      node.attempt ? String(node.attempt) : "",
      progress(node),
    ];
    const line = el("tr", { data: { node: node.name } }, cells.map((cell) => el("td", {}, cell)));
    if (!open) return [line];
    open.update(node);
    return [line, el("tr", { className: "details" }, el("td", { colSpan: 5 }, open.element))];
  }

  toggle(node) {
    const open = this.open.get(node.name);
    if (open) {
      open.end();
      this.open.delete(node.name);
    } else {
      this.open.set(node.name, showDetails(`${this.path}/nodes/${node.name}`, node));
    }
    this.look().then(() => this.body.querySelector(`[data-node="${node.name}"] button`)?.focus());
  }
}

function progress(node) {
  const parts = [];
  if (node.items && node.status !== "pending") parts.push(...counts(node.items));
  else if (node.progress && !TERMINAL.has(node.status)) {
    const { done, total } = node.progress;
    parts.push(total ? el("progress", { value: done, max: total }) : null, ` ${done}${total ? `/${total}` : ""} records`);
  }
  if (node.failed_records) parts.push(el("span", { className: "warn" }, ` ${records(node.failed_records)}`));
  if (node.error && node.status !== "succeeded") parts.push(el("span", { className: "bad" }, [node.error.type, node.error.message].filter(Boolean).join(": ")));
  return parts;
}

function counts(items) {
  const bar = el("span", { className: "counts", ariaHidden: "true" });
  for (const kind of ["succeeded", "failed", "live", "pending"]) {
    const part = el("span", { data: { kind } });
    part.style.flexGrow = items[kind] ?? 0;
    bar.append(part);
  }
  const texts = [`${items.succeeded}/${items.count} items`];
  if (items.live) texts.push(`${items.live} live`);
  if (items.failed) texts.push(`${items.failed} failed`);
  return [bar, texts.join(", ")];
}
