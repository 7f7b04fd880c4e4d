// The area: information content K(h) of a rung as the area between its online loss and its final one.
"use strict";

figures.define("area", (ui, data) => {
  const { svg, scale, axes, path, plain, words, fixed } = figures;
  const names = data.rungs.map((rung) => rung.name);
  const find = (name) => data.rungs.find((rung) => rung.name === name);

  const rungs = ui.choice({ key: "rung", label: "Rung", value: names.at(-1), options: names.map((name) => [name, `${name} parameters`]),
    moved: () => cursor.set(cursor.value) });
  const mode = ui.choice({ key: "mode", label: "Who codes the text", value: "online", options: [
    ["online", "the model in training"], ["cooled", "a copy, cooled down"], ["averaged", "an average of its weights"]] });
  const places = 60;
  const cursor = ui.slider({ key: "cursor", label: "Tokens read", values: Array.from({ length: places + 1 }, (_, i) => i / places), value: 1,
    format: (share) => plain(share * find(rungs.value).n_train_tokens), say: (share) => `${words(share * find(rungs.value).n_train_tokens)} tokens` });

  // nats: what was paid for the first t tokens, less what the final model pays for them
  function paidAt(rung, kind, t) {
    const { tokens } = rung, paid = rung.paid[kind];
    const i = tokens.findIndex((at) => at >= t);
    const [t0, p0] = i > 0 ? [tokens[i - 1], paid[i - 1]] : [0, 0];
    return p0 + ((paid[i] - p0) * (t - t0)) / (tokens[i] - t0);
  }
  const total = (rung, kind) => (kind === "averaged"
    ? (rung.averaged ? rung.averaged.information * rung.n_train_tokens : NaN)
    : rung.paid[kind] ? rung.paid[kind].at(-1) - rung.final * rung.tokens.at(-1) : NaN);
  const bits = (rung, kind) => total(rung, kind) / Math.LN2 / rung.n_params;

  return () => {
    const rung = find(rungs.value), kind = mode.value, end = rung.n_train_tokens;
    cursor.input.disabled = kind === "averaged";
    const curve = rung.paid[kind] ?? rung.paid.online;
    const read = Math.max(rung.tokens[0], cursor.value * rung.tokens.at(-1));
    const whole = total(rung, kind), so = kind === "averaged" || !rung.paid[kind] ? whole : paidAt(rung, kind, read) - rung.final * read;

    // the curve: mean loss between two places, drawn half-way
    const points = rung.tokens.map((t, i) => {
      const [t0, p0] = i ? [rung.tokens[i - 1], curve[i - 1]] : [0, 0];
      return [(t0 + t) / 2, (curve[i] - p0) / (t - t0)];
    });
    points.unshift([0, points[0][1]]);
    points.push([rung.tokens.at(-1), points.at(-1)[1]]);
    const width = ui.width, narrow = width < 640;
    const height = narrow ? 560 : 330, half = narrow ? width : Math.floor(width * 0.56);
    const left = 40, top = 26, bottom = narrow ? 250 : height - 44;
    const x = scale([0, rung.tokens.at(-1)], [left, half - 22]);
    const y = scale([Math.max(0, rung.final - 0.5), Math.min(8, points[0][1])], [bottom, top]);
    const right = narrow ? { left: 40, right: width - 22, top: 320, bottom: height - 44 } : { left: half + 44, right: width - 22, top, bottom };
    const perParameter = Number.isFinite(whole) ? `${bits(rung, kind).toFixed(1)} bits a parameter` : "not measured";
    const sentence = `${rung.name} parameters, ${words(end)} tokens. Final loss ${rung.final.toFixed(2)} nats. `
      + (Number.isFinite(whole) ? `The area up to the cursor is ${(so / Math.LN2 / 1e6).toFixed(2)} megabits; the whole, ${perParameter}, is ${(whole / end).toFixed(3)} nats a token. But for a small remainder, the certified gap of the predictors that coded the text is no larger.` : "Not measured on this rung.");
    const image = ui.plot(height, sentence);

    image.append(axes(x, y, { xlabel: "tokens read", ylabel: "nats per token", xroom: 84 }));
    const level = rung.final + whole / end;
    if (kind !== "averaged" && Number.isFinite(so)) {
      const inside = points.filter(([t]) => t <= read);
      const outline = [[0, rung.final], ...inside, [read, inside.at(-1)[1]], [read, rung.final]];
      image.append(svg("path", { d: path(outline, x, y, true), style: "fill: var(--parameters)", "fill-opacity": 0.25 }));
    }
    image.append(svg("path", { d: path(points, x, y), fill: "none", "stroke-width": 2, style: "stroke: var(--parameters)", "stroke-opacity": kind === "averaged" ? 0.35 : 1 }));
    image.append(svg("path", { d: path([[0, rung.final], [rung.tokens.at(-1), rung.final]], x, y), class: "dashed", "stroke-width": 1.6, style: "stroke: var(--loss-variation)" }));
    image.append(svg("text", { x: x(rung.tokens.at(-1)), y: y(rung.final) + 16, "text-anchor": "end", class: "halo" }, `final loss ${rung.final.toFixed(2)}`));
    if (Number.isFinite(whole)) {
      image.append(svg("path", { d: path([[0, level], [rung.tokens.at(-1), level]], x, y), class: "dashed", "stroke-width": 1.6, style: "stroke: var(--smoothing)" }));
      image.append(svg("text", { x: x(rung.tokens.at(-1)), y: y(level) - 7, "text-anchor": "end", class: "strong halo" }, `mean online loss: K/D = ${(whole / end).toFixed(3)} higher`));
    }
    if (kind !== "averaged") image.append(svg("line", { x1: x(read), x2: x(read), y1: top, y2: bottom, class: "spine" }));

    // bits a parameter, over the rungs
    const shown = data.rungs.filter((r) => Number.isFinite(total(r, kind)));
    const u = scale([data.rungs[0].n_params / 1.5, data.rungs.at(-1).n_params * 1.5], [right.left, right.right], true);
    const v = scale([0, Math.max(...data.rungs.flatMap((r) => ["online", "cooled"].map((m) => bits(r, m)).filter(Number.isFinite))) * 1.12], [right.bottom, right.top]);
    image.append(axes(u, v, { xlabel: "parameters", ylabel: "bits a parameter", yformat: (b) => String(b), xroom: 60 }));
    image.append(svg("path", { d: path([[u.domain[0], data.bits], [u.domain[1], data.bits]], u, v), class: "dashed spine", "stroke-width": 1.4 }));
    image.append(svg("text", { x: right.left + 8, y: v(data.bits) - 6, class: "halo" }, `capacity, ${data.bits} bits`));
    image.append(svg("path", { d: path(shown.map((r) => [r.n_params, bits(r, kind)]), u, v), fill: "none", "stroke-width": 1.6, style: "stroke: var(--parameters)" }));
    image.append(svg("path", { d: path(data.rungs.map((r) => [r.n_params, r.archive_bits / r.n_params]), u, v), fill: "none", "stroke-width": 1.6, style: "stroke: var(--smoothing)" }));
    image.append(svg("text", { x: right.right, y: v(data.rungs.at(-1).archive_bits / data.rungs.at(-1).n_params) + 17, "text-anchor": "end", class: "halo" }, "the file"));
    for (const r of shown) {
      const own = r === rung;
      image.append(svg("circle", { cx: u(r.n_params), cy: v(bits(r, kind)), r: own ? 6 : 3.5, style: `fill: var(${own ? "--loss-variation" : "--parameters"})` }));
    }
    if (Number.isFinite(whole)) {
      image.append(svg("text", { x: u(rung.n_params), y: v(bits(rung, kind)) + 22, class: "strong halo", "text-anchor": rung.n_params > 2e6 ? "end" : rung.n_params < 8e4 ? "start" : "middle" }, `${rung.name}: ${bits(rung, kind).toFixed(1)}`));
    }

    ui.number("so-far", "area up to the cursor, Mbit", so / Math.LN2 / 1e6);
    ui.number("content", "K(h), Mbit", whole / Math.LN2 / 1e6);
    ui.number("per-parameter", "bits a parameter, K/N", bits(rung, kind), fixed(2));
    ui.number("per-token", "nats a token, K/D", whole / end);
    ui.number("certified", "certified gap of the averages", rung.averaged ? rung.averaged.gap : NaN);
    ui.say(sentence);
    ui.table("Information content of the rungs", ["rung", "K/N, bits: in training", "cooled", "averaged", "K/D, nats: in training", "cooled", "averaged", "file, bits a parameter"],
      data.rungs.map((r) => [r.name, ...["online", "cooled", "averaged"].map((m) => cell(bits(r, m), 1)),
        ...["online", "cooled", "averaged"].map((m) => cell(total(r, m) / r.n_train_tokens, 3)), cell(r.archive_bits / r.n_params, 2)]));
  };

  function cell(value, digits) { return Number.isFinite(value) ? fixed(digits)(value) : "–"; }
});
