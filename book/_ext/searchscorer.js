// Scores of the search: pages of the book before the reference of the library, whose pages hold every name of the code.
var Scorer = {
  score: ([docname, title, anchor, descr, score]) => {
    if (docname.startsWith("book/library/") || docname === "book/api") return score - 200;
    if (docname === "book/glossary") return score + 20; // who asks for a word wants its meaning first
    if (/^notebooks\/[^/]+\/./.test(docname)) return score - 50; // the same chapter for another size of model
    return score;
  },
  // The rest as in Sphinx.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
