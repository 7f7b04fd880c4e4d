// What the interactive figures share: elements, controls, axes, and the parts of every figure. No library, no network.
//
// A figure is `figures.define(name, (ui, data) => draw)`. `ui` makes controls and outputs; `draw` is called when one of them moved and
// when the width changed. Text enters the page as text nodes alone, so data cannot become markup. These are classic scripts
// and not modules, so that the book also works where it is opened from a disk.
"use strict";

window.figures = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const setups = {};

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  }
  const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

  // --- numbers -------------------------------------------------------------------------------------------------------

  const minus = (text) => text.replace("-", "\u2212");
  const fixed = (digits) => (value) => minus(value.toFixed(digits));
  const rounded = (value, digits = 3) => Number(value.toPrecision(digits));
  function plain(value) { // 12,000 as 12k, as the book's figures have it
    for (const [unit, name] of [[1e12, "t"], [1e9, "b"], [1e6, "m"], [1e3, "k"]]) {
      if (value >= unit * 0.9995) return `${rounded(value / unit)}${name}`;
    }
    return minus(String(rounded(value)));
  }
  function words(value) { // the same for ears
    for (const [unit, name] of [[1e12, "trillion"], [1e9, "billion"], [1e6, "million"], [1e3, "thousand"]]) {
      if (value >= unit * 0.9995) return `${rounded(value / unit)} ${name}`;
    }
    return String(rounded(value));
  }
  function power(value) { // 3e12 as 3·10¹²
    const exponent = Math.floor(Math.log10(value) + 1e-9);
    const digits = rounded(value / 10 ** exponent, 2);
    const raised = String(exponent).replace(/./g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"["0123456789".indexOf(c)] ?? "⁻");
    return digits === 1 ? `10${raised}` : `${digits}·10${raised}`;
  }

  // --- scales and axes ---------------------------------------------------------------------------------------------------

  function scale(domain, range, log = false) {
    const f = log ? Math.log : (x) => x;
    const [a, b] = domain.map(f);
    const at = (x) => range[0] + ((f(x) - a) / (b - a)) * (range[1] - range[0]);
    return Object.assign(at, { domain, range, log, inverse: (y) => {
      const t = a + ((y - range[0]) / (range[1] - range[0])) * (b - a);
      return log ? Math.exp(t) : t;
    } });
  }
  function ticks({ domain: [low, high], log, range }, room = 70) {
    const n = Math.max(2, Math.abs(range[1] - range[0]) / room);
    const found = [];
    if (log) {
      const decades = Math.log10(high / low);
      const steps = decades / n > 0.7 ? [1] : decades / n > 0.3 ? [1, 3] : [1, 2, 5];
      const skip = Math.max(1, Math.ceil(decades / n));
      for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e += 1) {
        if (steps.length === 1 && e % skip !== 0) continue;
        for (const m of steps) {
          const x = m * 10 ** e;
          if (x >= low * 0.999 && x <= high * 1.001) found.push(x);
        }
      }
      return found;
    }
    const raw = (high - low) / n;
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * unit).find((s) => s >= raw);
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) found.push(i * step);
    return found;
  }
  function axes(x, y, { xlabel = "", ylabel = "", xformat = plain, yformat = plain, xroom, yroom = 44, yticks = true } = {}) {
    const [left, right] = x.range, [bottom, top] = y.range;
    const group = svg("g", { class: "axes" });
    for (const t of yticks ? ticks(y, yroom) : []) {
      const at = y(t);
      group.append(svg("line", { class: "grid", x1: left, x2: right, y1: at, y2: at }));
      group.append(svg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, yformat(t)));
    }
    for (const t of ticks(x, xroom)) {
      const at = x(t);
      group.append(svg("line", { class: "grid", x1: at, x2: at, y1: bottom, y2: top }));
      group.append(svg("text", { x: at, y: bottom + 17, "text-anchor": "middle" }, xformat(t)));
    }
    group.append(svg("path", { class: "spine", d: `M${left} ${top}V${bottom}H${right}` }));
    if (xlabel) group.append(svg("text", { x: right, y: bottom + 35, "text-anchor": "end" }, xlabel));
    if (ylabel) group.append(svg("text", { x: Math.max(2, left - 34), y: top - 9 }, ylabel));
    return group;
  }
  const path = (points, x, y, closed = false) =>
    points.map(([u, v], i) => `${i ? "L" : "M"}${x(u).toFixed(1)} ${y(v).toFixed(1)}`).join("") + (closed ? "Z" : "");

  // --- one figure ----------------------------------------------------------------------------------------------------------

  let count = 0;
  class Figure {
    constructor(root, title) {
      this.id = `${root.id || "interactive"}-${(count += 1)}`;
      this.root = root;
      this.controls = el("div", { class: "controls", role: "group", "aria-label": `Controls of the figure: ${title}` });
      this.stage = el("div", { class: "stage" });
      this.readout = el("dl", { class: "readout" });
      this.status = el("p", { class: "visually-hidden", role: "status", "aria-live": "polite" });
      this.values = el("details", { class: "values" });
      this.outputs = new Map();
      this.drawn = () => {};
      const body = el("div", { class: "interactive-body" }, this.controls, this.stage, this.readout, this.status, this.values);
      root.prepend(body);
    }
    redraw() {
      if (this.asked) return; // one drawing, however many controls were set
      this.asked = true;
      queueMicrotask(() => { this.asked = false; this.drawn(); });
    }
    get width() { return Math.max(260, Math.floor(this.stage.clientWidth)); }

    // A slider over `values`, or from `low` to `high` (on a logarithmic scale with `log`); its value may also be set in between.
    slider({ key, label, values, low, high, log = false, steps = 200, digits = 3, value, format = plain, say = format, moved }) {
      const n = values ? values.length - 1 : steps;
      const place = (v) => (log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low)) * n;
      const at = (i) => (values ? values[i] : rounded(log ? low * (high / low) ** (i / n) : low + ((high - low) * i) / n, digits));
      const nearest = (v) => values.reduce((best, u, i) => (Math.abs(u - v) < Math.abs(values[best] - v) ? i : best), 0);
      const input = el("input", { type: "range", id: `${this.id}-${key}`, min: 0, max: n, step: 1, "data-key": key });
      const output = el("output", { for: input.id });
      const control = { value, input, set: (v) => {
        control.value = v;
        input.dataset.value = String(v); // as it is, where the handle stands at the nearest place
        input.value = String(Math.round(values ? nearest(v) : Math.min(n, Math.max(0, place(v)))));
        output.textContent = format(v);
        input.setAttribute("aria-valuetext", say(v));
        this.redraw();
      } };
      input.addEventListener("input", () => { control.set(at(Number(input.value))); moved?.(); });
      this.controls.append(el("div", { class: "control" }, el("label", { for: input.id }, label), output, input));
      control.set(value);
      return control;
    }
    // A choice among [value, label], or among groups {group: [[value, label], ...]}.
    choice({ key, label, options, groups, value, moved }) {
      const one = ([v, text]) => el("option", { value: v }, text);
      const parts = groups ? Object.entries(groups).map(([name, all]) => el("optgroup", { label: name }, all.map(one))) : options.map(one);
      const select = el("select", { id: `${this.id}-${key}`, "data-key": key }, parts);
      select.value = value;
      const control = { input: select, get value() { return select.value; }, set: (v) => { select.value = v; this.redraw(); } };
      select.addEventListener("change", () => { moved?.(select.value); this.redraw(); });
      this.controls.append(el("div", { class: "control wide" }, el("label", { for: select.id }, label), select));
      return control;
    }
    toggle({ key, label, value, moved }) {
      const input = el("input", { type: "checkbox", id: `${this.id}-${key}`, "data-key": key });
      input.checked = value;
      const control = { input, get value() { return input.checked; }, set: (v) => { input.checked = v; this.redraw(); } };
      input.addEventListener("change", () => { moved?.(input.checked); this.redraw(); });
      this.controls.append(el("div", { class: "control box" }, input, el("label", { for: input.id }, label)));
      return control;
    }
    buttons(all) { // {key: [label, what it does]}
      const made = Object.entries(all).map(([key, [label, pressed]]) =>
        el("button", { type: "button", "data-key": key, onclick: () => { pressed(); this.redraw(); } }, label));
      this.controls.append(el("div", { class: "control buttons wide" }, made));
    }
    // A number beside its name; the full value is in the `value` of a <data> element.
    number(key, label, value, format = fixed(3)) {
      let out = this.outputs.get(key);
      if (!out) {
        out = { term: el("dt"), data: el("data", { "data-key": key }) };
        this.outputs.set(key, out);
        this.readout.append(el("div", {}, out.term, el("dd", {}, out.data)));
      }
      out.term.textContent = label;
      out.data.setAttribute("value", String(value));
      out.data.textContent = Number.isFinite(value) ? format(value) : "–";
    }
    // The drawing: an image with words for those who do not see it.
    plot(height, words) {
      const image = svg("svg", {
        role: "img", "aria-label": words, width: this.width, height, viewBox: `0 0 ${this.width} ${height}`,
      });
      this.stage.replaceChildren(image);
      return image;
    }
    // The numbers in words, spoken when the controls have come to rest.
    say(text) {
      clearTimeout(this.speaking);
      this.speaking = setTimeout(() => { if (this.status.textContent !== text) this.status.textContent = text; }, 500);
    }
    table(caption, head, rows) {
      const open = this.values.open;
      const cells = ([first, ...rest]) => el("tr", {}, el("th", { scope: "row" }, first), rest.map((cell) => el("td", {}, cell)));
      this.values.replaceChildren(
        el("summary", {}, "These values as a table"),
        el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, el("table", { class: "table" },
          el("caption", {}, caption),
          el("thead", {}, el("tr", {}, head.map((cell) => el("th", { scope: "col" }, cell)))),
          el("tbody", {}, rows.map(cells)))));
      this.values.open = open;
    }
  }

  function start(root) {
    const setup = setups[root.dataset.figure], source = root.querySelector("script.interactive-data");
    if (!setup || !source || root.dataset.state) return;
    root.dataset.state = "starting";
    const data = JSON.parse(source.textContent);
    for (const [name, { colour }] of Object.entries(data.terms)) root.style.setProperty(`--${name.replaceAll("_", "-")}`, colour);
    const figure = new Figure(root, data.title);
    figure.drawn = setup(figure, data);
    let width = 0;
    new ResizeObserver(() => { if (figure.width !== width) { width = figure.width; figure.redraw(); } }).observe(figure.stage);
    figure.drawn();
    root.dataset.state = "ready";
  }

  return {
    define(name, setup) {
      setups[name] = setup;
      const all = () => document.querySelectorAll(`.interactive-figure[data-figure="${name}"]`).forEach(start);
      if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
      else all();
    },
    el, svg, scale, ticks, axes, path, plain, words, power, fixed, rounded, minus,
  };
})();
