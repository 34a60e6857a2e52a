"use strict";
for (const button of document.querySelectorAll(".legend")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(shown));
    for (const mark of button.closest("figure").querySelectorAll(`.mark[data-series="${button.dataset.series}"]`))
      mark.classList.toggle("off", !shown);
  });
}
for (const button of document.querySelectorAll("[data-zoom]")) {
  const plot = button.closest("figure").querySelector("svg");
  const whole = plot.getAttribute("viewBox");
  button.addEventListener("click", () => {
    if (button.dataset.zoom === "reset") return plot.setAttribute("viewBox", whole);
    const [x, y, width, height] = plot.getAttribute("viewBox").split(" ").map(Number);
    const factor = button.dataset.zoom === "in" ? 0.7 : 1 / 0.7;
    plot.setAttribute("viewBox", [x + width * (1 - factor) / 2, y + height * (1 - factor) / 2,
      width * factor, height * factor].join(" "));
  });
}
for (const plot of document.querySelectorAll(".plot")) {
  let from = null;
  plot.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; });
  plot.addEventListener("pointermove", (event) => {
    if (!from || !event.buttons) return;
    const [x, y, width, height] = plot.getAttribute("viewBox").split(" ").map(Number);
    const scale = width / plot.clientWidth;
    plot.setAttribute("viewBox", [x - (event.clientX - from[0]) * scale, y - (event.clientY - from[1]) * scale,
      width, height].join(" "));
    from = [event.clientX, event.clientY];
  });
}
