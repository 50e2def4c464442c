"use strict";
// without this script the matrix leads to the first image of a pair, and all images are shown
const one = (selector) => document.querySelector(selector);
const filters = one("#filters");
if (filters) {
  const figures = [...document.querySelectorAll("#gallery figure")];
  const chosen = { true: one("#true"), said: one("#said") };
  const show = () => {
    let shown = 0;
    for (const figure of figures) {
      figure.hidden = Object.entries(chosen).some(([key, select]) => select.value && select.value !== figure.dataset[key]);
      shown += !figure.hidden;
    }
    one("#gallery").scrollTop = 0;
    one("#shown").textContent = shown ? `shown: ${shown} of the ${figures.length} on this page` : "none on this page";
    one("#all").disabled = shown === figures.length;
  };
  for (const select of Object.values(chosen)) select.addEventListener("change", show);
  one("#all").addEventListener("click", () => {
    for (const select of Object.values(chosen)) select.value = "";
    show();
    chosen.true.focus();
  });
  for (const link of document.querySelectorAll("a[data-true]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      for (const [key, select] of Object.entries(chosen)) select.value = link.dataset[key];
      show();
      one("#mistakes").focus({ preventScroll: true });
      one("#mistakes").scrollIntoView();
    });
  }
  filters.hidden = false;
  show();
}
