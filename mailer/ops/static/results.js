// Shows how far a task is, as in Flask's guide: asks for its result again and again until it is
// ready, less often while nothing changes or the service does not answer. data-result: where.
"use strict";

(() => {
  const LOST = "The service does not answer; trying again.";
  const THOUSANDS = new Intl.NumberFormat("en");
  const SHORTEST = 1000;
  const LONGEST = 5000;

  const number = (value) => THOUSANDS.format(value).replaceAll(",", "\u202f");

  const span = (seconds) => {
    if (seconds < 90) return `${Math.ceil(seconds)} s`;
    return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
  };

  const watch = (place) => {
    const bar = place.querySelector("progress");
    const say = (name, words) => {
      const found = place.querySelector(`[data-${name}]`);
      if (found.textContent !== words) found.textContent = words;
      if (name === "words") found.hidden = !words;
    };
    let wait = SHORTEST;
    let first = null; // where it was when it was last seen to begin or to go on, and when

    const show = (result) => {
      const { current, total, status, found, words } = result.progress;
      const phase = `${status} ${found?.phase} ${total}`;
      if (words || first?.phase !== phase) first = { phase, current, at: Date.now() };
      const before = bar.value;
      bar.max = Math.max(total, 1);
      bar.value = result.successful ? bar.max : current;
      say("count", `${number(current)} of ${number(total)}`);
      const rate = (current - first.current) / ((Date.now() - first.at) / 1000);
      const moves = status === "running" && rate > 0;
      say("pace", moves ? `${number(Math.round(rate))} a second, ${span((total - current) / rate)} left` : "");
      say("words", words || "");
      return bar.value !== before;
    };

    const ask = async () => {
      if (document.hidden) return setTimeout(ask, SHORTEST);
      try {
        const answer = await fetch(place.dataset.result, {
          headers: { Accept: "application/json" },
          redirect: "manual",
          signal: AbortSignal.timeout(10000),
        });
        if (answer.type === "opaqueredirect") return say("words", "You are signed out: load the page again.");
        if (answer.status === 404) return say("words", "There is no such task any more.");
        if (!answer.ok) throw new Error(answer.status);
        const result = await answer.json();
        wait = show(result) ? SHORTEST : Math.min(wait * 1.5, LONGEST);
        if (result.ready) return undefined;
      } catch {
        say("words", LOST);
        say("pace", "");
        first = null;
        wait = Math.min(wait * 2, LONGEST);
      }
      return setTimeout(ask, wait);
    };
    setTimeout(ask, SHORTEST);
  };

  const begin = () => document.querySelectorAll("[data-result]").forEach(watch);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
