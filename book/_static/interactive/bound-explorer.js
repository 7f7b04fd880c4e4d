// The bound explorer: closed forms of the paper (Thm 3.4), of Azuma's inequality and ours, for any model.
// They repeat gengap.bounds.theorems, smoothing and terms, and gengap.laws.allocation.VariationLaw.
"use strict";

figures.define("bound-explorer", (ui, data) => {
  const { svg, scale, axes, plain, words, fixed } = figures;
  const first = data.models.find((model) => model.name === data.first);
  let preset = first, quiet = false;

  // --- mathematics: nats per token ---------------------------------------------------------------------------------------

  const complexity = ({ n, ratio, bits, delta }, grid = data.grid_size) =>
    (bits * n * Math.LN2 + Math.log(grid / delta)) / Math.max(1, Math.round(n * ratio));
  const lossRange = (alpha, v) => Math.log1p(((1 - alpha) * v) / alpha);
  const shape = (c) => {
    const { floor, turn, steepness } = data.variation;
    return floor + (1 - floor) / (1 + (c / turn) ** steepness);
  };
  function paper(c, { v, sigma }) {
    return { parameters: c * Math.log(v), loss_variation: sigma * Math.sqrt(c), smoothing: Math.sqrt(2 * c) };
  }
  function azuma(c, { v }) {
    let best = { deviation: Infinity, smoothing: Infinity };
    for (let k = 1; k <= 1000; k += 1) {
      const alpha = k / 1001;
      const found = { deviation: lossRange(alpha, v) * Math.sqrt(c / 2), smoothing: -Math.log1p(-alpha) };
      if (found.deviation + found.smoothing < best.deviation + best.smoothing) best = found;
    }
    return best;
  }
  function evaluated(c, { v, sigma }) { // smoothing and range as they are, not over-estimated
    return { parameters: c * Math.log1p(v / c), loss_variation: sigma * Math.sqrt(c), smoothing: Math.log1p(c) };
  }
  function measured(kind, { bits: b, delta: d }) { // with the summands that were measured: C/lambda is all that moves
    const { train_risk: _, ...terms } = preset.measured[kind].terms, { rates } = preset.measured[kind];
    const more = { bits: (b - preset.bits) * preset.n_params * Math.LN2, delta: Math.log(preset.failure_prob / d) }; // nats
    terms.deviation += (more.bits + more.delta) / preset.n_train_tokens / rates.deviation;
    if (rates.companion) terms.companion += more.delta / preset.n_train_tokens / rates.companion;
    return terms;
  }

  // --- controls --------------------------------------------------------------------------------------------------------

  const grouped = Object.groupBy?.(data.models, (model) => model.group)
    ?? data.models.reduce((all, model) => ({ ...all, [model.group]: [...(all[model.group] ?? []), model] }), {});
  const groups = Object.fromEntries(Object.entries(grouped).map(([name, all]) => [name, all.map((m) => [m.name, m.name])]));
  ui.choice({ key: "model", label: "Start from a model", groups, value: first.name,
    moved: (name) => load(data.models.find((model) => model.name === name)) });
  const off = () => { if (!quiet) follow(); };
  const n = ui.slider({ key: "n", label: "Parameters N", low: 1e4, high: 1e12, log: true, value: first.n_params, say: words, moved: off });
  const ratio = ui.slider({ key: "ratio", label: "Tokens a parameter D/N", low: 1, high: 1e5, log: true, value: 20, say: words, moved: off });
  const bits = ui.slider({ key: "bits", label: "Bits a parameter b", low: 0.5, high: 16, steps: 62, value: 4, format: (x) => String(x), moved: off });
  const v = ui.slider({ key: "v", label: "Vocabulary V", low: 256, high: 262144, log: true, value: first.vocab_size, say: words, moved: off });
  const sigma = ui.slider({ key: "sigma", label: "Loss variation Σ", low: 0, high: 4, value: first.sigma, format: fixed(2),
    moved: () => following.set(false) });
  const loss = ui.slider({ key: "loss", label: "Training loss", low: 1, high: 8, value: first.loss, format: fixed(2) });
  const delta = ui.slider({ key: "delta", label: "Failure probability δ", low: 1e-12, high: 0.5, log: true, steps: 240, digits: 2,
    value: first.failure_prob, format: (x) => (x < 1e-3 ? figures.power(x) : String(x)), say: (x) => x.toExponential(1), moved: off });
  const following = ui.toggle({ key: "following", label: "Σ follows the complexity, as on the ladder", value: true, moved: off });

  const inputs = () => ({ n: n.value, ratio: ratio.value, bits: bits.value, v: v.value, sigma: sigma.value, delta: delta.value });
  function follow() { // Sigma is a minimum over s, and rises as C falls
    if (!following.value) return;
    const own = complexity({ n: preset.n_params, ratio: preset.n_train_tokens / preset.n_params, bits: preset.bits, delta: preset.failure_prob });
    sigma.set((preset.sigma * shape(complexity(inputs()))) / shape(own));
  }
  function load(model) {
    preset = model;
    quiet = true;
    n.set(model.n_params);
    ratio.set(model.n_train_tokens / model.n_params);
    bits.set(model.bits);
    v.set(model.vocab_size);
    sigma.set(model.sigma);
    loss.set(model.loss);
    delta.set(model.failure_prob);
    quiet = false;
  }
  load(first);
  const note = figures.el("p", { class: "note" });
  ui.readout.after(note);

  // --- the bars --------------------------------------------------------------------------------------------------------

  return () => {
    const now = inputs(), c = complexity(now);
    const same = n.value === preset.n_params && ratio.value === preset.n_train_tokens / preset.n_params && v.value === preset.vocab_size
      && loss.value === preset.loss;
    const rest = same && preset.measured && bits.value === preset.bits ? preset.measured : null;
    const extra = (kind) => (rest ? { quantization_gap: rest.quantization_gap, sampling: rest.sampling[kind] } : {});
    const bars = [
      { key: "azuma", name: "Azuma", short: "Azuma", terms: { ...azuma(complexity(now), now), ...extra("azuma") } },
      { key: "paper", name: "Paper, Thm 3.4", short: "paper", terms: { ...paper(c, now), ...extra("paper") } },
      { key: "evaluated", name: "Ours: smoothing and range evaluated", short: "evaluated", terms: { ...evaluated(c, now), ...extra("paper") } },
    ];
    if (same && preset.measured) {
      bars.push({ key: "tight", name: "Ours: measured, best smoothing", short: "measured", terms: measured("tight", now) });
      if (preset.measured.companion) bars.push({ key: "companion", name: "Ours: with a companion", short: "companion", terms: measured("companion", now) });
    }
    for (const bar of bars) {
      bar.gap = Object.values(bar.terms).reduce((sum, term) => sum + term, 0);
      bar.value = loss.value + bar.gap;
    }

    const guess = Math.log(v.value), width = ui.width, narrow = width < 520;
    const left = narrow ? 4 : 6, right = width - (narrow ? 44 : 52), step = 50, height = bars.length * step + 66;
    const most = Math.max(guess, ...bars.map((bar) => Math.min(bar.value, 2.2 * guess)));
    const x = scale([0, most * 1.04], [left, right]);
    const told = bars.map((bar) => `${bar.name}: bound ${bar.value.toFixed(2)}, gap ${bar.gap.toFixed(2)}`).join("; ");
    const sentence = `Bounds in nats per token. Training loss ${loss.value.toFixed(2)}, guessing ${guess.toFixed(2)}. ${told}.`;
    const image = ui.plot(height, sentence);
    const bottom = bars.length * step + 26;
    const y = scale([0, 1], [bottom, 20]);
    image.append(axes(x, y, { xlabel: "nats per token", yticks: false }));
    const used = new Set();
    bars.forEach((bar, i) => {
      const top = 28 + i * step + 17;
      image.append(svg("text", { x: left + 2, y: top - 5, class: "strong halo" }, bar.name));
      let from = 0;
      const all = { train_risk: loss.value, ...bar.terms };
      for (const term of Object.keys(data.terms).filter((name) => name in all)) {
        const size = all[term];
        const at = x(Math.min(from, x.domain[1])), end = x(Math.min(from + size, x.domain[1]));
        if (size > 0 && end > at) {
          used.add(term);
          image.append(svg("rect", { x: at, y: top, width: Math.max(0.6, end - at - 0.8), height: 20, rx: 1.5, style: `fill: var(--${term.replaceAll("_", "-")})` },
            svg("title", {}, `${data.terms[term].label}: ${size.toFixed(3)} nats`)));
        }
        from += size;
      }
      const vacuous = bar.value >= guess;
      image.append(svg("text", { x: x(Math.min(bar.value, x.domain[1])) + 5, y: top + 15, class: "strong halo" }, fixed(2)(bar.value)));
      if (vacuous) image.append(svg("text", { x: x(Math.min(bar.value, x.domain[1])) - 6, y: top - 5, "text-anchor": "end", class: "halo" }, "says nothing"));
    });
    image.append(svg("line", { class: "spine dashed", x1: x(guess), x2: x(guess), y1: 18, y2: bottom, style: "stroke-width: 1.6" }));
    image.append(svg("text", { x: x(guess), y: 12, "text-anchor": x(guess) > width - 120 ? "end" : "middle", class: "strong" }, `guessing, log V = ${guess.toFixed(2)}`));

    legend([...used]);
    ui.number("complexity", "complexity 𝒞", c, fixed(4));
    for (const bar of bars) ui.number(`${bar.key}-gap`, `gap, ${bar.short}`, bar.gap);
    for (const key of ["tight", "companion"]) {
      const shown = bars.some((bar) => bar.key === key), out = ui.outputs.get(`${key}-gap`);
      if (out) out.term.parentElement.hidden = !shown;
    }
    note.textContent = rest
      ? "As certified, quantization and sampling included. Bars with measured summands stay true at other b and δ; any other slider takes them away."
      : (same && preset.note) || (same && preset.measured
        ? "Quantization at another number of bits has not been measured, so the closed forms leave it out."
        : "Closed forms; quantization and sampling are left out.");
    ui.say(sentence);
    const names = ["train_risk", ...new Set(bars.flatMap((bar) => Object.keys(bar.terms)))];
    ui.table("Terms of the bounds, nats per token", ["term", ...bars.map((bar) => bar.name)], [
      ...names.map((name) => [data.terms[name]?.label ?? name,
        ...bars.map((bar) => { const t = name === "train_risk" ? loss.value : bar.terms[name]; return t === undefined ? "–" : fixed(4)(t); })]),
      ["bound", ...bars.map((bar) => fixed(4)(bar.value))],
      ["gap", ...bars.map((bar) => fixed(4)(bar.gap))],
    ]);
  };

  function legend(terms) {
    const order = Object.keys(data.terms).filter((term) => terms.includes(term));
    const list = figures.el("ul", { class: "legend" }, order.map((term) => figures.el("li", {},
      figures.el("span", { class: "swatch", style: `background: ${data.terms[term].colour}` }), data.terms[term].label)));
    ui.root.querySelector(".legend")?.remove();
    ui.stage.after(list);
  }
});
