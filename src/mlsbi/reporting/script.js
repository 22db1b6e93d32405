// Pictures open enlarged; without this script they are just pictures.
"use strict";
(() => {
  if (typeof HTMLDialogElement === "undefined") return;
  const dialog = document.createElement("dialog");
  const close = document.createElement("button");
  const box = document.createElement("div");
  close.type = "button";
  close.className = "close";
  close.textContent = "Close";
  box.className = "enlarged";
  box.tabIndex = 0;
  dialog.setAttribute("aria-label", "Enlarged picture");
  dialog.append(close, box);
  document.body.append(dialog);
  let home = null;
  const open = (picture) => {
    home = picture;
    picture.style.minHeight = `${picture.clientHeight}px`;
    box.append(picture.querySelector("svg"));
    dialog.showModal();
  };
  dialog.addEventListener("close", () => {
    if (home === null) return;
    home.prepend(box.querySelector("svg"));
    home.style.minHeight = "";
    home = null;
  });
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  for (const picture of document.querySelectorAll(".picture")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.textContent = "Enlarge";
    button.addEventListener("click", () => open(picture));
    picture.after(button);
    picture.addEventListener("click", () => open(picture));
    picture.classList.add("zoomable");
  }
})();
