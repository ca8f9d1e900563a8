// Sliders beside the numbers, and answers without a button; the form does the same without this.
"use strict";

(() => {
  const form = document.getElementById("explore");
  if (!form) return;

  const slide = () => {
    form.querySelectorAll("td input[type=number]").forEach((number) => {
      const range = document.createElement("input");
      range.type = "range";
      range.min = number.min;
      range.max = number.max;
      range.step = number.dataset.step;
      range.value = number.value;
      range.tabIndex = -1;
      range.setAttribute("aria-hidden", "true");
      range.addEventListener("input", () => { number.value = range.value; soon(); });
      number.addEventListener("input", () => { range.value = number.value; });
      number.after(range);
    });
  };

  let waiting = 0;
  let asked = 0;
  const ask = async () => {
    if (!form.checkValidity()) return;
    const mine = (asked += 1);
    const address = `${form.action}?${new URLSearchParams(new FormData(form))}`;
    const answer = document.getElementById("answer");
    answer.setAttribute("aria-busy", "true");
    try {
      const reply = await fetch(address, { headers: { Accept: "text/html" } });
      if (!reply.ok || reply.redirected) { form.requestSubmit(); return; }
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      if (mine !== asked) return;
      answer.replaceWith(document.adoptNode(page.getElementById("answer")));
      form.querySelectorAll("tr[id] > th").forEach((head) => {
        const fresh = page.querySelector(`#${head.parentElement.id} > th`);
        if (fresh) head.replaceWith(document.adoptNode(fresh));
      });
      history.replaceState(null, "", address);
    } catch {
      answer.removeAttribute("aria-busy");
    }
  };
  const soon = () => { clearTimeout(waiting); waiting = setTimeout(ask, 200); };

  form.addEventListener("input", (event) => { if (event.target.type === "number") soon(); });
  form.addEventListener("change", (event) => {
    if (event.target.id === "n") form.requestSubmit();
    else if (event.target.tagName === "SELECT") soon();
  });
  slide();
})();
