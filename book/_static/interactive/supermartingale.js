// The supermartingale of the empirical Freedman inequality on texts from a known source (gengap.bounds.sources, coverage).
// Texts are numbered; each of their tokens comes from a hash of text and step, so text 7 is the same everywhere.
"use strict";

figures.define("supermartingale", (ui, data) => {
  const { svg, scale, axes, path, fixed } = figures;
  const size = data.probs.length, n = data.n_tokens;
  const totals = data.probs.map((row) => row.reduce((sums, p) => [...sums, (sums.at(-1) ?? 0) + p], []));
  const entropies = data.losses.map((row) => row.reduce((sum, x) => sum + Math.exp(-x) * x, 0));
  const risks = data.probs.map((row, i) => row.reduce((sum, p, j) => sum + p * data.losses[i][j], 0));
  const greatest = Math.max(...data.losses.flat());

  // --- texts -----------------------------------------------------------------------------------------------------------

  function mix(h) { // a permutation of the 32-bit numbers that leaves no pattern
    h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
    h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
    return (h ^ (h >>> 16)) >>> 0;
  }
  const uniform = (text, step) => mix(mix(text + 1) ^ Math.imul(step + 1, 0x9e3779b1)) / 2 ** 32;
  const drawn = new Map();
  function states(text) { // the token before each step, and the last one
    if (!drawn.has(text)) {
      const found = new Uint8Array(n + 1);
      found[0] = data.start;
      for (let k = 0; k < n; k += 1) {
        const sums = totals[found[k]], u = uniform(text, k) * sums[size - 1];
        let token = 0;
        while (token < size - 1 && sums[token] <= u) token += 1;
        found[k + 1] = token;
      }
      drawn.set(text, found);
    }
    return drawn.get(text);
  }

  // --- controls ----------------------------------------------------------------------------------------------------------

  const s = ui.slider({ key: "s", label: "s", low: 0.05, high: 0.95, steps: 90, digits: 2, value: 0.7, format: fixed(2) });
  const c = ui.slider({ key: "c", label: "Complexity 𝒞, nats", low: 0.5 / n, high: 10 / n, log: true, steps: 100, value: Math.log(20) / n, format: fixed(4) });
  const kind = ui.choice({ key: "baseline", label: "Baseline Y", value: "entropy", moved: (name) => level.set(name === "peeking" ? 0.05 : 1.5), options: [
    ["entropy", "entropy of the prediction"], ["constant", "a constant"], ["peeking", "X + ε, which peeks at the token"]] });
  const level = ui.slider({ key: "level", label: "the constant, or ε (nats)", low: 0, high: 3, steps: 60, value: 1.5, format: fixed(2) });
  let batches = 1;
  ui.buttons({
    draw: [`Draw ${data.n_texts} more texts`, () => { batches += 1; }],
    reset: ["Start again", () => { batches = 1; }],
  });

  // --- the process -----------------------------------------------------------------------------------------------------------

  function setting() { // the range, and by state and token: Y - X, and what the theorem takes for its conditional mean
    const baseline = { entropy: (i) => entropies[i], constant: () => level.value, peeking: (i, j) => data.losses[i][j] + level.value }[kind.value];
    // For a baseline that peeks the range is that of the honest one: the numbers give no reason for another.
    const low = (i) => (kind.value === "constant" ? level.value : entropies[i]);
    const range = Math.max(...data.losses.map((row, i) => Math.max(...row) - low(i)));
    const gaps = data.losses.map((row, i) => row.map((x, j) => (baseline(i, j) - x) / range));
    const means = data.losses.map((row, i) => row.map((x, j) => (baseline(i, j) - risks[i]) / range));
    return { range, gaps, means };
  }
  function steps(at, { gaps, means }) { // of log M, by state and token
    return gaps.map((row, i) => row.map((a, j) => Math.log1p(at * a) - at * means[i][j]));
  }
  function walk(text, table) { // log M after every step
    const found = new Float64Array(n + 1), of = states(text);
    for (let k = 0; k < n; k += 1) found[k + 1] = found[k] + table[of[k]][of[k + 1]];
    return found;
  }

  return () => {
    const now = setting(), budget = n * c.value, total = batches * data.n_texts;
    level.input.parentElement.hidden = kind.value === "entropy";
    const cut = budget + Math.log(data.s_grid.length); // with the grid paid for
    const count = { ever: 0, end: 0, chosen: 0, paid: 0 };
    const latest = [], table = steps(s.value, now), tables = data.s_grid.map((at) => steps(at, now));
    for (let text = 0; text < total; text += 1) {
      const log = walk(text, table), crossing = log.findIndex((m) => m >= budget);
      if (crossing >= 0) count.ever += 1;
      if (log[n] >= budget) count.end += 1;
      const best = Math.max(...tables.map((one) => highest(text, one)));
      if (best >= budget) count.chosen += 1;
      if (best >= cut) count.paid += 1;
      if (text >= total - data.n_texts) latest.push({ log, crossing });
    }

    const width = ui.width, height = width < 520 ? 270 : 330;
    const left = 40, right = width - 18, top = 24, bottom = height - 42;
    const low = Math.min(-4, ...latest.map(({ log }) => quantile(log)));
    const x = scale([0, n], [left, right]), y = scale([low, Math.max(budget * 1.5, 4)], [bottom, top]);
    const allowed = Math.exp(-budget);
    const sentence = `${total} texts of ${n} tokens. With s ${s.value} and this baseline the process reached its level, ${budget.toFixed(2)}, `
      + `on ${count.ever} of them; the theorem allows ${(100 * allowed).toFixed(1)} percent. `
      + `Watching ${data.s_grid.length} s at once, one of them did on ${count.chosen}; against the higher level that pays for all of them, on ${count.paid}.`;
    const image = ui.plot(height, sentence);
    image.append(axes(x, y, { xlabel: "tokens read", ylabel: "log M(s)" }));
    const inside = svg("clipPath", { id: `${ui.id}-clip` }, svg("rect", { x: left, y: top - 6, width: right - left, height: bottom - top + 6 }));
    image.append(svg("defs", {}, inside));
    const lines = svg("g", { "clip-path": `url(#${ui.id}-clip)`, fill: "none" });
    const every = Math.ceil(n / 130);
    for (const { log, crossing } of latest) {
      const points = [];
      for (let k = 0; k <= n; k += every) points.push([k, log[k]]);
      const over = crossing >= 0;
      lines.append(svg("path", { d: path(points, x, y), style: `stroke: var(${over ? "--loss-variation" : "--parameters"})`,
        "stroke-opacity": over ? 0.95 : 0.28, "stroke-width": over ? 1.5 : 1 }));
      if (over) lines.append(svg("circle", { cx: x(crossing), cy: y(log[crossing]), r: 3, style: "fill: var(--loss-variation)" }));
    }
    image.append(lines);
    image.append(svg("line", { class: "spine dashed", x1: left, x2: right, y1: y(budget), y2: y(budget), style: "stroke-width: 1.6" }));
    image.append(svg("text", { x: right, y: y(budget) - 6, "text-anchor": "end", class: "strong halo" }, `level n𝒞 = ${budget.toFixed(2)}: ${percent(allowed)} may reach it`));

    ui.number("texts", "texts drawn", total, String);
    ui.number("ever", "reached the level", count.ever, (k) => `${k} (${percent(k / total)})`);
    ui.number("end", "above it at the end", count.end, String);
    ui.number("allowed", "allowed", allowed, percent);
    ui.number("chosen", `some s of ${data.s_grid.length}`, count.chosen, (k) => `${k} (${percent(k / total)})`);
    ui.number("paid", "some s, log|G| paid", count.paid, (k) => `${k} (${percent(k / total)})`);
    ui.number("range", "range Δ, nats", now.range);
    ui.number("first", "log M at the end of text 1", walk(0, table)[n]);
    ui.say(sentence);
    ui.table("The latest texts", ["text", "log M at the end", "greatest log M", "reached the level at token"],
      latest.map(({ log, crossing }, i) => [String(total - data.n_texts + i + 1), fixed(3)(log[n]), fixed(3)(Math.max(...log)), crossing < 0 ? "never" : String(crossing)]));
  };

  function highest(text, table) {
    const of = states(text);
    let sum = 0, most = 0;
    for (let k = 0; k < n; k += 1) {
      sum += table[of[k]][of[k + 1]];
      if (sum > most) most = sum;
    }
    return most;
  }
  function quantile(log) { return Math.max(-40, Math.min(...log)); }
  function percent(share) { return share >= 0.0995 ? `${Math.round(100 * share)} %` : `${(100 * share).toFixed(1)} %`; }
});
