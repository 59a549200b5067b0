"use strict";
// Shows the cards whose text holds all words of the filter, and of the chosen verdict.
(() => {
  const words = document.getElementById("words");
  const verdict = document.getElementById("verdict");
  const shown = document.getElementById("shown");
  const cards = Array.from(document.querySelectorAll("article.run"));
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const card of cards) {
      const text = card.textContent.toLowerCase();
      const fits = wanted.every((word) => text.includes(word)) &&
        (verdict.value === "" || card.dataset.status === verdict.value);
      card.hidden = !fits;
      count += fits ? 1 : 0;
    }
    shown.textContent = `${count} of ${cards.length} runs`;
  };
  words.addEventListener("input", filter);
  verdict.addEventListener("change", filter);
  filter();
})();
