// What a page of the book looks like, measured in the page itself. Each function answers with what is wrong, in words, or with counts.

window.checklist = (() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const words = element => (element.innerText ?? element.textContent).trim().replace(/\s+/g, ' ').match(/^.{0,40}/u)[0];
  const where = element => `${element.tagName.toLowerCase()} "${words(element)}"`;

  // --- colours ---
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const seen = new Map();
  const rgba = (color, filter = 'none') => {
    const key = `${color} ${filter}`;
    if (!seen.has(key)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.filter = filter; canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
      seen.set(key, [...canvas.getImageData(0, 0, 1, 1).data]);
    }
    return seen.get(key);
  };
  const luminance = color => color.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const over = (top, below, opacity = 1) => top.slice(0, 3).map((v, k) => below[k] + (v - below[k]) * top[3] / 255 * opacity);
  const contrast = (ink, ground) => {
    const [dark, light] = [luminance(ink), luminance(ground)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  let grounds = new Map();
  const ground = element => {
    if (!element) return [255, 255, 255];
    if (!grounds.has(element)) {
      grounds.set(element, over(rgba(getComputedStyle(element).backgroundColor), ground(element.parentElement)));
    }
    return grounds.get(element);
  };

  // --- the drawings of a page: SVG files, whose words matplotlib draws as shapes ---
  const drawings = new Map();
  const drawing = async (url, theme) => {
    const key = `${url} ${theme}`;
    if (!drawings.has(key)) {
      const scheme = `@media ${theme === 'dark' ? 'all' : 'not all'}`; // as the page that shows the file has it
      const text = (await (await fetch(url)).text()).replaceAll('@media (prefers-color-scheme:dark)', scheme);
      const svg = document.importNode(new DOMParser().parseFromString(text, 'image/svg+xml').documentElement, true);
      const host = document.body.appendChild(document.createElement('div'));
      host.attachShadow({mode: 'open'}).append(svg);
      const texts = all('g[id^="text_"]', svg).filter(group => !group.parentElement.closest('g[id^="text_"]')).flatMap(group => {
        const shape = group.querySelector('g[transform*="scale("]');
        if (!shape) return [];
        const scale = +/scale\(([\d.]+)/.exec(shape.getAttribute('transform'))[1];
        const label = [...group.childNodes].find(node => node.nodeType === 8)?.data.trim() ?? '';
        return [{label, size: 100 * scale, fill: getComputedStyle(shape).fill, opacity: +getComputedStyle(shape).opacity}];
      });
      drawings.set(key, {texts, width: svg.viewBox.baseVal.width});
      host.remove();
    }
    return drawings.get(key);
  };
  const figures = () => all('article img').filter(image => /\.svg($|\?)/.test(image.currentSrc) && image.naturalWidth && image.checkVisibility());

  return {
    /** Everything folded is open, every image there. */
    async prepare() {
      document.head.appendChild(document.createElement('style')).textContent = '* { transition: none !important; animation: none !important; }';
      for (const folded of all('details')) folded.open = true;
      for (const folded of all('.toggle-hidden')) folded.classList.remove('toggle-hidden');
      await this.images();
    },

    images: () => Promise.all(all('article img').map(image => {
      image.loading = 'eager';
      return image.checkVisibility() ? image.decode().catch(() => 0) : 0;
    })).then(() => true),

    theme(name) { document.documentElement.dataset.theme = name; grounds = new Map(); },

    /** What is wider than its place: cut off, or to be scrolled sideways. */
    cut: () => [
      ...all('article *:not(.math, mjx-container, mjx-container *)').filter(element =>
        element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1 && getComputedStyle(element).overflowX !== 'visible'
      ).map(element => `${where(element)} by ${element.scrollWidth - element.clientWidth} px`),
      ...all('article .math:has(mjx-math)').flatMap(place => {
        const over = place.querySelector('mjx-math').getBoundingClientRect().right - place.getBoundingClientRect().right;
        return over > 1 ? [`${where(place)} by ${over.toFixed()} px`] : [];
      }),
    ],

    /** Equations that are not set, and images that are not there. */
    broken: async () => [
      ...all('.math:not(:has(mjx-container)), mjx-merror, [data-mjx-error]').map(where),
      ...(await Promise.all(all('article img').map(image => (image.loading = 'eager', image.decode()
        .then(() => image.naturalWidth ? '' : image.src, () => image.src))))).filter(Boolean),
    ],

    width: () => document.documentElement.scrollWidth,

    /** Words of less than 4.5:1 (WCAG 2, level AA). */
    faint() {
      const found = new Set();
      const text = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const elements = new Set(all('mjx-container'));
      while (text.nextNode()) if (text.currentNode.data.trim()) elements.add(text.currentNode.parentElement);
      for (const element of elements) {
        if (element.parentElement.closest('mjx-container, script, style, noscript') || element.matches('script, style, noscript, .headerlink')) continue;
        if (!element.checkVisibility({visibilityProperty: true, opacityProperty: true}) || element.clientWidth === 1) continue;
        const back = ground(element), style = getComputedStyle(element);
        const ink = over(rgba(element.closest('svg') ? style.fill : style.color), back, +style.opacity);
        const ratio = contrast(ink, back);
        if (ratio < 4.5) found.add(`${where(element)} ${ratio.toFixed(2)}`);
      }
      return [...found];
    },

    /** Words in drawings: how large they are at the least, px, and how well they stand out. */
    async drawn(theme) {
      const found = [];
      for (const image of figures()) {
        const {texts, width} = await drawing(image.currentSrc, theme), {filter} = getComputedStyle(image);
        for (const {label, size, fill, opacity} of texts) {
          const ink = over(rgba(fill, filter), ground(image), opacity);
          found.push([image.currentSrc.split('/').pop(), label, size * image.clientWidth / width, contrast(ink, ground(image))]);
        }
      }
      for (const text of all('article svg text').filter(text => text.checkVisibility() && text.textContent.trim())) {
        const style = getComputedStyle(text), {a, b} = text.getScreenCTM();
        const ink = over(rgba(style.fill), ground(text), +style.opacity);
        found.push(['in the page', words(text), parseFloat(style.fontSize) * Math.hypot(a, b), contrast(ink, ground(text))]);
      }
      return found;
    },

    /** Tables without a caption, and heads that do not say what they head. Lists of modules, and facts without a head, are no data. */
    tables: () => all('article table:has(th):not(.autosummary)').flatMap(table => [
      ...(table.caption?.textContent.trim() ? [] : [`no caption: ${where(table)}`]),
      ...all('th:not([scope])', table).filter(th => th.textContent.trim()).slice(0, 1).map(th => `no scope: ${where(th)}`),
    ]),

    n_tables: () => all('article table:has(th):not(.autosummary)').length,

    /** Ids that several elements have. */
    ids() {
      const counts = new Map();
      for (const {id} of all('[id]')) counts.set(id, (counts.get(id) ?? 0) + 1);
      return [...counts].filter(([, count]) => count > 1).map(([id, count]) => `${id} (${count})`);
    },

    /** Bytes of everything that was loaded, by address. */
    loaded: () => Object.fromEntries(
      [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .filter(entry => entry.initiatorType !== 'fetch')
        .map(entry => [entry.name.split('#')[0], entry.encodedBodySize])),

    height: () => document.documentElement.scrollHeight,

    /** Words of every sentence, and numbers of every paragraph, of the prose. A formula is a word; numbers of links are none. */
    prose() {
      const sentences = [], numbers = [];
      const apart = 'figcaption, table, .page-facts, .admonition-title, .cell_output, .cell_input, dl.py, .citation, .footnote, .interactive-figure, .prev-next-area';
      for (const paragraph of all('article p').filter(p => !p.closest(apart))) {
        const copy = paragraph.cloneNode(true);
        for (const math of all('mjx-container', copy)) {
          const tex = (math.querySelector('mjx-assistive-mml') ?? math).textContent;
          math.replaceWith(/^[\d.,×\s−-]+$/.test(tex) ? tex.replace(/[,×\s]/g, '') : 'x');
        }
        for (const code of all('code', copy)) code.replaceWith('x');
        for (const link of all('a, .std-numref, .eqno', copy)) link.replaceWith(link.textContent.replace(/[\d.]+/g, 'x'));
        const text = copy.textContent.replace(/\b(e\.g|i\.e|et al|cf|vs|Eq|Eqs|Fig|Figs|Thm|Sect|Sec|App|no|resp)\./g, '$1').replace(/\s+/g, ' ').trim();
        if (!text) continue;
        for (const sentence of text.split(/(?<=[.!?]["”’)\]]*) (?=["“‘([]?[A-Z0-9])/)) {
          const count = sentence.split(' ').filter(word => /[\p{L}\d]/u.test(word)).length;
          if (count) sentences.push([count, sentence.match(/^.{0,60}/u)[0]]);
        }
        numbers.push([(text.match(/(?<![\p{L}\d.-])[−-]?\d[\d.,]*/gu) ?? []).length, text.match(/^.{0,60}/u)[0]]);
      }
      return {sentences, numbers};
    },

    /** axe-core's violations. Of what comes in thousands from one mill, equations, code and rows of tables, samples are left. */
    async axe(rules) {
      await new Promise(resolve => setTimeout(resolve, 400)); // after which the theme has looked for what can be scrolled
      for (const math of all('mjx-container').slice(2)) math.replaceChildren('x');
      for (const code of all('.highlight pre').slice(2)) code.textContent = code.textContent;
      for (const row of all('article tbody tr:nth-child(n+4)')) row.remove();
      const {violations} = await axe.run(document, {resultTypes: ['violations'], rules});
      return violations.map(({id, nodes}) => `${id}: ${nodes.length}, ${nodes[0].target} ${nodes[0].html.replace(/\s+/g, ' ').slice(0, 80)}`);
    },
  };
})();
