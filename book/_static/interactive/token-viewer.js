// The token viewer: a stretch of training text, each token coloured by what it means to a bound.
// It repeats gengap.bounds.smoothing.smoothed_nll and loss_range, concentration.shifted_log, companion_grids.CompanionChoice.summand.
"use strict";

figures.define("token-viewer", (ui, data) => {
  const { el, fixed } = figures;
  const V = data.vocab_size, n = data.texts.length;

  const reference = ui.choice({ key: "reference", label: "Reference", value: "uniform", options: [
    ["uniform", "uniform: the paper's"], ["companion", `the model before it read this (${data.companion.name})`]] });
  const shown = ui.choice({ key: "shown", label: "Coloured by", value: "loss", options: [] });
  const alpha = ui.slider({ key: "alpha", label: "Smoothing weight α", values: data.alphas, value: data.alphas[data.first], format: String });

  const NAMES = {
    uniform: { loss: "X, the loss", baseline: "Y, the entropy before it came", stray: "X − Y, how far it strays", summand: "f, what the bound is charged" },
    companion: { loss: "Z, the loss above the reference's", baseline: "Y, what was expected of Z", stray: "Z − Y, how far it strays", summand: "f, what the bound is charged" },
  };
  const wanted = { current: "loss" };
  shown.input.addEventListener("change", () => { wanted.current = shown.input.value; });
  function rename() {
    const options = Object.entries(NAMES[reference.value]).map(([key, text]) => el("option", { value: key }, text));
    shown.input.replaceChildren(...options);
    shown.input.value = wanted.current;
  }
  reference.input.addEventListener("change", rename);
  rename();

  const smoothed = (nll, a) => -Math.log((1 - a) * Math.exp(-nll) + a / V);
  const charge = (x, y, rate) => y - Math.log1p(rate * (y - x)) / rate;
  function values(kind, i) { // of every token, nats
    const a = data.alphas[i], x = data.nll.map((nll) => smoothed(nll, a));
    if (kind === "uniform") {
      const rate = data.s / Math.log1p(((1 - a) * V) / a), y = data.entropy[i];
      return { rate, loss: x, baseline: y, stray: x.map((v, k) => v - y[k]), summand: x.map((v, k) => charge(v, y[k], rate)) };
    }
    const { rate, s, loss, expected, most } = data.companion;
    const z = x.map((v, k) => v - loss[k]), y = expected[i].map((e, k) => Math.max(e, most[i][k] - s / rate));
    return { rate, loss: z, baseline: y, stray: z.map((v, k) => v - y[k]), summand: z.map((v, k) => charge(v, y[k], rate)) };
  }
  const mean = (all) => all.reduce((sum, v) => sum + v, 0) / all.length;
  const square = (all) => Math.sqrt(mean(all.map((v) => v * v)));

  let chosen = 0;
  const list = el("div", { class: "tokens", role: "listbox", tabindex: 0, "aria-label": "Tokens of the passage; arrow keys move", "data-key": "tokens" });
  const detail = el("p", { class: "note", "aria-live": "polite" });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8, Home: -n, End: n }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    chosen = Math.min(n - 1, Math.max(0, chosen + step));
    ui.redraw();
  });
  const spans = data.texts.map((text, k) => el("span", { role: "option", id: `${ui.id}-t${k}`, onclick: () => { chosen = k; ui.redraw(); } }, visible(text, "⏎\n")));
  list.append(...spans);

  return () => {
    const i = data.alphas.indexOf(alpha.value), now = values(reference.value, i), kind = shown.value || wanted.current, of = now[kind];
    const greatest = Math.max(6, ...of.map(Math.abs));
    spans.forEach((span, k) => {
      const strength = Math.min(1, Math.abs(of[k]) / greatest);
      span.style.setProperty("--strength", `${Math.round(6 + 48 * strength)}%`);
      span.style.setProperty("--hue", of[k] < 0 ? "var(--smoothing)" : "var(--loss-variation)");
      span.setAttribute("aria-selected", String(k === chosen));
      span.setAttribute("aria-label", `${spoken(data.texts[k])}: ${of[k].toFixed(2)}`);
      span.title = `${of[k].toFixed(3)} nats`;
    });
    list.setAttribute("aria-activedescendant", `${ui.id}-t${chosen}`);
    if (!list.isConnected) { ui.stage.append(list); ui.stage.after(detail); }
    const symbol = reference.value === "uniform" ? "X" : "Z";
    detail.textContent = `Token ${chosen + 1}, ${spoken(data.texts[chosen])}: ${symbol} = ${fixed(2)(now.loss[chosen])}, Y = ${fixed(2)(now.baseline[chosen])}, `
      + `${symbol} − Y = ${fixed(2)(now.stray[chosen])}, f = ${fixed(2)(now.summand[chosen])} nats.`;
    const sentence = `${n} tokens, alpha ${alpha.value}, reference ${reference.value}. Mean ${symbol} ${mean(now.loss).toFixed(3)}, `
      + `it strays from its baseline by ${square(now.stray).toFixed(2)} nats (root mean square), and is charged ${(mean(now.summand) - mean(now.loss)).toFixed(3)} nats above it.`;
    ui.number("mean-loss", `mean ${symbol}`, mean(now.loss));
    ui.number("mean-baseline", "mean Y", mean(now.baseline));
    ui.number("stray", `${symbol} − Y, root mean square`, square(now.stray));
    ui.number("mean-summand", "mean f", mean(now.summand));
    ui.number("charge", `charged above ${symbol}`, mean(now.summand) - mean(now.loss));
    ui.number("rate", "λ, 1/nats", now.rate);
    ui.say(sentence);
    ui.table("The tokens, nats", ["token", symbol, "Y", `${symbol} − Y`, "f"],
      data.texts.map((text, k) => [`${k + 1} ${visible(text)}`, ...["loss", "baseline", "stray", "summand"].map((key) => fixed(3)(now[key][k]))]));
  };

  function visible(text, line = "⏎") { return text.replaceAll("\n", line).replaceAll(" ", "\u00a0").replaceAll("\t", "⇥"); }
  function spoken(text) {
    const names = { "\n": "new line", " ": "space", "\t": "tab" };
    return text.trim() ? `“${text.trim()}”` : [...new Set(text)].map((c) => names[c] ?? c).join(" and ") || "nothing";
  }
});
