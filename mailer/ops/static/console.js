// What pages of the console do beyond htmx: rest while nobody looks, say when the service is gone,
// write instants in the reader's own time. No page needs it to show what it shows.
"use strict";

(() => {
  const LOCAL = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric",
    hour: "numeric", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  });
  let heard = new Date();

  const localise = (root) => {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const words = LOCAL.format(new Date(time.dateTime));
      time.dataset.local = "";
      if (time.title) {
        time.title = `${words} (${time.title})`;
      } else {
        time.title = time.textContent; // in UTC, as filters and the command line have it
        time.textContent = words;
      }
    }
  };

  const tell = (isLost) => {
    const notice = document.getElementById("lost");
    if (!notice || notice.hidden !== isLost) return;
    notice.querySelector("span").textContent = LOCAL.format(heard);
    notice.hidden = !isLost;
  };

  // On a phone the menu is wider than the screen.
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  document.addEventListener("htmx:before:request", (event) => {
    const isPoll = event.target.classList?.contains("live");
    const isBusy = isPoll && event.target.querySelector("details[open] form, input:checked, input:focus, textarea:focus, select:focus");
    if (isPoll && (document.hidden || isBusy)) event.preventDefault();
  });
  document.addEventListener("htmx:after:request", () => { heard = new Date(); tell(false); });
  document.addEventListener("htmx:error", () => tell(true));
  document.addEventListener("htmx:response:error", () => tell(true));
  document.addEventListener("htmx:after:swap", () => localise(document));

  // A form that sends a lot, or cannot be undone, is sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const target = event.submitter?.formTarget || form.target;
    if (form.method !== "post" || event.defaultPrevented || (target && target !== "_self")) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => localise(document));
  else localise(document);
})();
