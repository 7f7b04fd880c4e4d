// The frontier: how N and D share a compute budget, for the least loss and for the least bound.
// It repeats gengap.laws.fits.ChinchillaLaw, gengap.laws.allocation (the three laws, BoundLaw, allocate) and the count without
// embeddings of gengap.laws.frontier.
"use strict";

figures.define("frontier", (ui, data) => {
  const { svg, scale, axes, path, plain, words, power, fixed } = figures;
  const { E, A, B, alpha, beta } = data.loss;

  // --- mathematics ---------------------------------------------------------------------------------------------------------

  const loss = (n, d) => E + A * n ** -alpha + B * d ** -beta;
  function gap(n, d, bits) {
    const { limit, size_exponent, floor, turn, steepness } = data.variation, q = data.quantization;
    const c = (bits * n * Math.LN2) / d;
    const sigma = limit * n ** -size_exponent * (floor + (1 - floor) / (1 + (c / turn) ** steepness));
    const quantization = q.coefficient * Math.exp(-q.rate * bits) * n ** -q.size_exponent * (d / n) ** q.ratio_exponent;
    return c * Math.log(data.vocab_size) + (sigma + Math.SQRT2) * Math.sqrt(c) + quantization;
  }
  const bound = (n, d, bits) => loss(n, d) + gap(n, d, bits);
  const total = (n) => n + data.omega * Math.cbrt(n); // all parameters, from those outside the embeddings
  function outside(n) { // and back: t^3 + omega t = n by Newton's method, from the right
    let t = Math.cbrt(n);
    for (let i = 0; i < 60; i += 1) t -= (t ** 3 + data.omega * t - n) / (3 * t * t + data.omega);
    return t ** 3;
  }
  // The counted size with the least value at F = 6 (counted size) D: a grid over its logarithm, then golden sections.
  function least(value, flops, counted) {
    const f = (t) => { const m = Math.exp(t); return value(counted.all(m), flops / 6 / m); };
    const [low, high] = [0.1, 1e7].map((r) => 0.5 * Math.log(flops / 6 / r)).sort((a, b) => a - b), steps = 400;
    let best = 0;
    for (let i = 1, kept = f(low); i <= steps; i += 1) {
      const now = f(low + ((high - low) * i) / steps);
      if (now < kept) [best, kept] = [i, now];
    }
    let [a, b] = [best - 1, best + 1].map((i) => low + ((high - low) * i) / steps);
    const g = (Math.sqrt(5) - 1) / 2;
    for (let i = 0; i < 70; i += 1) {
      const [p, q] = [b - g * (b - a), a + g * (b - a)];
      if (f(p) < f(q)) b = q; else a = p;
    }
    const m = Math.exp((a + b) / 2);
    return { m, n: counted.all(m), d: flops / 6 / m, value: f((a + b) / 2) };
  }

  // The runs themselves, as in gengap.laws.frontier.isoflop: straight lines between lengths, a parabola through log L against log N.
  const trained = Map.groupBy ? Map.groupBy(data.runs, ([size]) => size) : data.runs.reduce((all, run) => all.set(run[0], [...(all.get(run[0]) ?? []), run]), new Map());
  function measured(flops, all) { // [counted size, loss] at this compute
    const points = [];
    for (const runs of trained.values()) {
      const curve = runs.map(([, n, d, l, m]) => [Math.log(6 * (all ? n : m) * d), Math.log(l), all ? n : m]).sort((a, b) => a[0] - b[0]), f = Math.log(flops);
      const i = curve.findIndex(([at]) => at >= f);
      if (i < 0 || (i === 0 && curve[0][0] > f)) continue;
      const [[f0, l0], [f1, l1, n]] = [curve[Math.max(0, i - 1)], curve[i]];
      points.push([n, Math.exp(i === 0 ? l1 : l0 + ((l1 - l0) * (f - f0)) / (f1 - f0))]);
    }
    return points.sort((a, b) => a[0] - b[0]);
  }
  function parabola(points) { // log L = c0 + c1 t + c2 t^2, t = log N less its mean: least squares
    if (points.length < 3) return null;
    const centre = points.reduce((sum, [n]) => sum + Math.log(n), 0) / points.length;
    const rows = points.map(([n, l]) => [Math.log(n) - centre, Math.log(l)]);
    const s = (p, q) => rows.reduce((sum, [t, l]) => sum + t ** p * l ** q, 0);
    const [a, b, c, d, e] = [s(0, 0), s(1, 0), s(2, 0), s(3, 0), s(4, 0)], [u, v, w] = [s(0, 1), s(1, 1), s(2, 1)];
    const det = a * (c * e - d * d) - b * (b * e - c * d) + c * (b * d - c * c);
    const c0 = (u * (c * e - d * d) - b * (v * e - d * w) + c * (v * d - c * w)) / det;
    const c1 = (a * (v * e - d * w) - u * (b * e - c * d) + c * (b * w - c * v)) / det;
    const c2 = (a * (c * w - d * v) - b * (b * w - c * v) + u * (b * d - c * c)) / det;
    const at = (n) => { const t = Math.log(n) - centre; return Math.exp(c0 + c1 * t + c2 * t * t); };
    const least_ = Math.exp(centre - c1 / (2 * c2));
    const inside = c2 > 0 && least_ > points[0][0] && least_ < points.at(-1)[0];
    return { at, n: inside ? least_ : NaN };
  }

  // --- controls ----------------------------------------------------------------------------------------------------------------

  const sizes = data.runs.map(([, n]) => n), tokens = data.runs.map(([, , d]) => d);
  const flops = ui.slider({ key: "flops", label: "Compute F = 6ND, operations", low: 1e10, high: 1e17, log: true, steps: 140, digits: 2, value: 1e13,
    format: power, say: (f) => `${f.toExponential(1)} operations` });
  const bits = ui.slider({ key: "bits", label: "Bits a parameter b", low: 2, high: 8, steps: 12, value: data.bits, format: String });
  const counting = ui.toggle({ key: "embeddings", label: "count embeddings", value: true });
  const kept = new Map(); // lines of both frontiers, by setting

  function lines(key, counted, b) {
    if (!kept.has(key)) {
      const budgets = Array.from({ length: 29 }, (_, i) => 10 ** (10 + i / 4));
      kept.set(key, {
        loss: budgets.map((f) => least((n, d) => loss(n, d), f, counted)),
        bound: budgets.map((f) => least((n, d) => bound(n, d, b), f, counted)),
      });
    }
    return kept.get(key);
  }

  return () => {
    const b = bits.value, all = counting.value, f = flops.value;
    const counted = all ? { all: (m) => m, of: (n) => n } : { all: total, of: outside };
    const best = { loss: least(loss, f, counted), bound: least((n, d) => bound(n, d, b), f, counted) };
    const both = lines(`${all} ${b}`, counted, b);
    const nudge = 1.02, exponent = Math.log(least(loss, f * nudge, counted).m / least(loss, f / nudge, counted).m) / (2 * Math.log(nudge));
    const name = all ? "parameters" : "parameters outside the embeddings";

    const width = ui.width, narrow = width < 640, height = narrow ? 640 : 360;
    const half = narrow ? width : Math.floor(width * 0.5);
    const first = { left: 42, right: half - 16, top: 28, bottom: narrow ? 270 : height - 44 };
    const second = narrow ? { left: 42, right: width - 16, top: 346, bottom: height - 44 } : { left: half + 46, right: width - 16, top: 28, bottom: height - 44 };
    const told = (kind) => `least ${kind} ${best[kind].value.toFixed(3)} at ${words(best[kind].m)} ${name} and ${words(best[kind].d)} tokens, ${words(best[kind].d / best[kind].m)} a parameter`;
    const sentence = `With ${f.toExponential(1)} operations: ${told("loss")}; ${told("bound")}. The loss-optimal size grows as compute to the power ${exponent.toFixed(2)}.`;
    const image = ui.plot(height, sentence);

    // at this compute: loss and bound against size
    const [low, high] = [Math.min(best.bound.m, best.loss.m) / 30, Math.max(best.bound.m, best.loss.m) * 12];
    const x = scale([low, high], [first.left, first.right], true);
    const at = Array.from({ length: 121 }, (_, i) => low * (high / low) ** (i / 120));
    const curves = { loss: at.map((m) => [m, loss(counted.all(m), f / 6 / m)]), bound: at.map((m) => [m, bound(counted.all(m), f / 6 / m, b)]) };
    const points_ = measured(f, all), fit = parabola(points_);
    const guess = Math.log(data.vocab_size), bottom = Math.max(0, Math.floor(best.loss.value - 0.3));
    const y = scale([bottom, Math.max(guess * 1.08, best.bound.value + 1)], [first.bottom, first.top]);
    image.append(axes(x, y, { xlabel: name, ylabel: "nats per token", xroom: 60 }));
    clip("a", first);
    image.append(svg("path", { d: path([[low, guess], [high, guess]], x, y), class: "dashed spine" }));
    image.append(svg("text", { x: first.right, y: y(guess) - 5, "text-anchor": "end", class: "halo" }, "guessing"));
    const colours = { loss: "--parameters", bound: "--loss-variation" };
    for (const kind of ["loss", "bound"]) {
      image.append(svg("path", { d: path(curves[kind], x, y), fill: "none", "stroke-width": 2.2, "clip-path": `url(#${ui.id}-a)`, style: `stroke: var(${colours[kind]})` }));
      image.append(svg("circle", { cx: x(best[kind].m), cy: y(best[kind].value), r: 5.5, style: `fill: var(${colours[kind]})` }));
      image.append(svg("text", { x: x(best[kind].m), y: y(best[kind].value) + (kind === "loss" ? 20 : -14), "text-anchor": "middle", class: "strong halo" },
        `least ${kind}: D/N = ${plain(best[kind].d / best[kind].m)}`));
    }

    for (const [n, l] of points_) image.append(svg("circle", { cx: x(n), cy: y(l), r: 3, fill: "#737b85", "clip-path": `url(#${ui.id}-a)` }));
    if (fit) {
      const range = Array.from({ length: 41 }, (_, i) => points_[0][0] * (points_.at(-1)[0] / points_[0][0]) ** (i / 40));
      image.append(svg("path", { d: path(range.map((n) => [n, fit.at(n)]), x, y), fill: "none", stroke: "#737b85", "stroke-width": 1.4, "clip-path": `url(#${ui.id}-a)` }));
    }
    if (fit && Number.isFinite(fit.n)) {
      const [cx, cy] = [x(fit.n), y(fit.at(fit.n))];
      image.append(svg("path", { d: `M${cx} ${cy - 6}l6 6l-6 6l-6 -6Z`, fill: "#737b85" }));
    }

    // the plane of N and D
    const u = scale([counted.of(Math.min(...sizes)) / 2.5, counted.of(Math.max(...sizes)) * 6], [second.left, second.right], true);
    const v = scale([Math.min(...tokens) / 2, Math.max(...tokens) * 20], [second.bottom, second.top], true);
    image.append(axes(u, v, { xlabel: name, ylabel: "tokens", xroom: 60 }));
    clip("b", second);
    const plane = svg("g", { "clip-path": `url(#${ui.id}-b)`, fill: "none" });
    const named = [["bound", "end", -10, 0, 1.2], ["loss", "start", 6, 14, 9]].map(([kind, anchor, dx, dy, room]) => ({ kind, anchor, dx, dy,
      place: both[kind].findLast(({ m, d }) => m < u.domain[1] / room && d < v.domain[1] / 8) }))
      .filter(({ place }) => place && place.d > v.domain[0] && place.m > u.domain[0] * 4);
    const labels = named.map(({ place, dx }) => [place.m * (dx > 0 ? 4 : 0.4), place.d]); // a level that would lie on another text is left out
    const sides = Array.from({ length: 91 }, (_, i) => u.domain[0] * (u.domain[1] / u.domain[0]) ** (i / 90));
    for (let level = Math.ceil((E + 0.05) * 2) / 2; level <= 7; level += 0.5) { // lines of equal loss
      const line = sides.map((m) => [m, ((level - E - A * counted.all(m) ** -alpha) / B) ** (-1 / beta)]).filter(([, d]) => Number.isFinite(d) && d < v.domain[1] * 3);
      if (line.length < 2) continue;
      plane.append(svg("path", { d: path(line, u, v), stroke: "#737b85", "stroke-opacity": 0.55 }));
      const label = line.findLast(([m, d]) => d > v.domain[0] * 1.2 && d < v.domain[1] / 1.4 && m < u.domain[1] / 1.3);
      const clear = label && labels.every(([m, d]) => Math.hypot(u(m) - u(label[0]), v(d) - v(label[1])) > 32) && u(label[0]) > second.left + 26;
      if (clear) labels.push(label);
      if (clear) plane.append(svg("text", { x: u(label[0]), y: v(label[1]) - 4, "text-anchor": "end", class: "halo", stroke: "none" }, level.toFixed(1)));
    }
    plane.append(svg("path", { d: path(sides.map((m) => [m, f / 6 / m]), u, v), class: "dashed spine", "stroke-width": 1.5 }));
    for (const kind of ["loss", "bound"]) plane.append(svg("path", { d: path(both[kind].map(({ m, d }) => [m, d]), u, v), "stroke-width": 2.2, style: `stroke: var(${colours[kind]})` }));
    for (const [, n, d, , m] of data.runs) plane.append(svg("circle", { cx: u(all ? n : m), cy: v(d), r: 2.4, fill: "#737b85" }));
    for (const kind of ["loss", "bound"]) plane.append(svg("circle", { cx: u(best[kind].m), cy: v(best[kind].d), r: 5.5, style: `fill: var(${colours[kind]})` }));
    image.append(plane);
    for (const { kind, place, anchor, dx, dy } of named) {
      image.append(svg("text", { x: u(place.m) + dx, y: v(place.d) + 4 + dy, "text-anchor": anchor, class: "strong halo" }, `least ${kind}`));
    }

    for (const kind of ["loss", "bound"]) {
      ui.number(`${kind}-value`, `least ${kind}`, best[kind].value);
      ui.number(`${kind}-size`, `N of the least ${kind}`, best[kind].n, plain);
      ui.number(`${kind}-ratio`, all ? "its tokens a parameter" : "its tokens a counted one", best[kind].d / best[kind].m, plain);
    }
    const ratio = fit ? f / 6 / fit.n ** 2 : NaN;
    ui.number("runs-ratio", `tokens a ${all ? "parameter" : "counted one"} by the runs' parabola`, ratio, plain);
    ui.number("exponent", "loss-optimal size ~ F to the power", exponent, fixed(3));
    ui.say(sentence);
    ui.table(`Both frontiers at ${b} bits, ${name}`, ["operations", "least loss at", "tokens a parameter", "loss", "least bound at", "tokens a parameter", "bound"],
      both.loss.filter((_, i) => i % 4 === 0).map((one, i) => { const other = both.bound[4 * i]; return [power(6 * one.m * one.d), plain(one.m), plain(one.d / one.m), fixed(3)(one.value), plain(other.m), plain(other.d / other.m), fixed(3)(other.value)]; }));

    function clip(key, { left, right, top, bottom: low_ }) {
      image.append(svg("defs", {}, svg("clipPath", { id: `${ui.id}-${key}` }, svg("rect", { x: left, y: top - 4, width: right - left, height: low_ - top + 4 }))));
    }
  };
});
