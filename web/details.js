// What a node opens to: metadata, items of a map, failed records, attempts, logs.

import { duration, el, elapsed, get, moment, records, request, state } from "./lib.js";

const MAX_LOG = 512 * 1024;

/** The details of the node at `path`: {element, update(node), end()}. */
export function showDetails(path, node) {
  return new Details(path, node);
}

class Details {
  constructor(path, node) {
    this.path = path;
    this.node = node;
    this.tabs = el("div", { className: "tabs", role: "tablist" });
    this.panel = el("div", { role: "tabpanel", className: "panel" });
    this.element = el("div", {}, this.tabs, this.panel);
    const names = ["Metadata", ...(node.items ? ["Items"] : []), "Failed records", "Attempts", "Logs"];
    for (const name of names) {
      const tab = el("button", { type: "button", role: "tab", ariaSelected: "false" }, name);
      tab.addEventListener("click", () => this.show(name));
      this.tabs.append(tab);
    }
    this.show(node.error || !node.items ? "Metadata" : "Items");
  }

  end() {
    this.reading?.abort();
  }

  /** The node changed: what is cheap to show again is. */
  update(node) {
    const moved = JSON.stringify([node.status, node.attempt, node.items]) !== JSON.stringify([this.node.status, this.node.attempt, this.node.items]);
    this.node = node;
    if (this.shown === "Metadata" || (moved && this.shown !== "Logs")) this.show(this.shown);
  }

  async show(name) {
    this.end();
    this.shown = name;
    for (const tab of this.tabs.children) tab.ariaSelected = String(tab.textContent === name);
    const draw = { Metadata: "metadata", Items: "items", "Failed records": "records", Attempts: "attempts", Logs: "logs" };
    try {
      const content = await this[draw[name]]();
      if (this.shown === name) this.panel.replaceChildren(...[content].flat());
    } catch (error) {
      if (error.name === "AbortError" || this.shown !== name) return;
      this.panel.replaceChildren(el("p", { className: "hint" }, error.message));
    }
  }

  metadata() {
    const { metadata, error, step, seq, epoch, infrastructure_faults: faults } = this.node;
    const facts = [
      ["type", this.node.type], ["last step", step], ["position", seq], ["epoch", epoch], ["infrastructure faults", faults],
    ].filter(([, value]) => value);
    return [
      el("p", { className: "hint" }, facts.map(([key, value]) => `${key} ${value}`).join(" · ")),
      ...(error ? [el("pre", { className: "bad" }, JSON.stringify(error, null, 2))] : []),
      metadata === null ? el("p", { className: "hint" }, "No metadata.") : el("pre", {}, JSON.stringify(metadata, null, 2)),
    ];
  }

  async items() {
    const { items, next_cursor: more } = await get(`${this.path}/items`, { limit: 200 });
    if (!items.length) return el("p", { className: "hint" }, "No item has started.");
    const rows = items.map((item) => [
      String(item.item), state(item.status), duration(elapsed(item.started, item.ended)), String(item.attempt),
      item.error?.message ?? (item.failed_records ? records(item.failed_records) : ""),
    ]);
    const tail = more ? [el("p", { className: "hint" }, "Only the first 200 are shown.")] : [];
    return [table(["Item", "State", "Time", "Attempt", ""], rows), ...tail];
  }

  /** The ledger; of a map the ledgers of its items that have one. */
  async records() {
    let owners = [null];
    if (this.node.items) {
      const { items } = await get(`${this.path}/items`, { limit: 1000 });
      owners = items.filter((item) => item.failed_records).map((item) => item.item).slice(0, 20);
    }
    const rows = [];
    for (const item of owners) {
      const { items } = await get(`${this.path}/records`, { item, limit: 100 });
      for (const record of items) {
        rows.push([item === null ? "" : String(item), record.key ?? String(record.index), record.type, record.message]);
      }
    }
    return rows.length ? table(["Item", "Record", "Error", ""], rows) : el("p", { className: "hint" }, "None failed.");
  }

  async attempts() {
    const { items } = await get(`${this.path}/attempts`);
    const rows = items.map((one) => [
      String(one.attempt), one.status ? state(one.status) : one.infrastructure ? "infrastructure fault" : "failed",
      moment(one.started), duration(elapsed(one.started, one.ended)), one.error?.message ?? "",
    ]);
    return rows.length ? table(["Attempt", "State", "Started", "Time", ""], rows) : el("p", { className: "hint" }, "Not started.");
  }

  /** The log of the last attempt as it grows; of a map that of the item chosen. */
  async logs() {
    const output = el("pre", { className: "log", tabIndex: 0 });
    if (!this.node.items) {
      this.follow(output, {});
      return output;
    }
    const item = el("input", { type: "number", min: 0, max: Math.max((this.node.items.count ?? 1) - 1, 0), value: 0, id: "item" });
    item.addEventListener("change", () => this.follow(output, { item: item.value }));
    this.follow(output, { item: 0 });
    return [el("label", { htmlFor: "item" }, "Item "), item, output];
  }

  async follow(output, query) {
    this.reading?.abort();
    const reading = (this.reading = new AbortController());
    output.textContent = "";
    try {
      const search = new URLSearchParams({ ...query, follow: "true" });
      const response = await request(`${this.path}/logs?${search}`, { signal: reading.signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 20;
        output.append(part.value);
        if (output.textContent.length > MAX_LOG) output.textContent = `…${output.textContent.slice(-MAX_LOG / 2)}`;
        if (atEnd) output.scrollTop = output.scrollHeight;
      }
      if (!output.textContent) output.textContent = "(nothing was written)";
    } catch (error) {
      if (error.name !== "AbortError") output.append(error.message);
    }
  }
}

function table(columns, rows) {
  const head = el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell))));
  return el("table", {}, el("thead", {}, head), el("tbody", {}, body));
}
