/* What a reader does with charts, tables and pictures: choose, filter, enlarge, take along. */
(function () {
  const NO_MORE = 20000;

  function plotOf(id) { return document.querySelector("[data-figure='" + id + "']"); }

  function hand(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(function () { URL.revokeObjectURL(link.href); }, 1000);
  }

  /* Charts: choices that Plotly's own menus would make, zoom, and pictures of them. */
  async function choose(box, number) {
    await page.ready;
    const plot = plotOf(box.dataset.for);
    page.draw(plot);
    const button = page.read(box.dataset.for).menus[Number(box.dataset.menu)][number];
    Plotly[button.method].apply(Plotly, [plot].concat(JSON.parse(JSON.stringify(button.args))));
    box.querySelectorAll("button").forEach(function (one, place) {
      one.setAttribute("aria-pressed", String(place === number));
    });
  }

  document.querySelectorAll("[data-menu]").forEach(function (box) {
    box.addEventListener("click", function (event) {
      const button = event.target.closest("button");
      if (button) choose(box, Number(button.dataset.choice));
    });
    box.addEventListener("change", function (event) { choose(box, Number(event.target.value)); });
  });

  document.querySelectorAll("[data-one]").forEach(function (list) {
    list.addEventListener("change", function () {
      document.querySelectorAll("[data-of='" + list.dataset.one + "']").forEach(function (part, place) {
        part.classList.toggle("put-away", place !== list.selectedIndex);
      });
    });
  });

  async function save(box, format) {
    await page.ready;
    const plot = plotOf(box.dataset.for);
    page.draw(plot);
    const white = {paper_bgcolor: "#ffffff", font: Object.assign({}, plot.layout.font, {color: "#000000"})};
    const size = {width: Math.max(plot.clientWidth, 700), height: plot.clientHeight};
    const layout = Object.assign({}, plot.layout, white, size);
    const uri = await Plotly.toImage({data: plot.data, layout: layout},
      Object.assign({format: format, scale: format === "png" ? 2 : 1}, size));
    const body = uri.slice(uri.indexOf(",") + 1);
    const name = box.dataset.file + "." + format;
    if (format === "svg") hand(name, new Blob([decodeURIComponent(body)], {type: "image/svg+xml"}));
    else hand(name, new Blob([Uint8Array.from(atob(body), function (one) { return one.charCodeAt(0); })], {type: "image/png"}));
    box.querySelector(".said").textContent = name + " is saved.";
  }

  document.querySelectorAll("[data-save]").forEach(function (button) {
    button.addEventListener("click", function () { save(button.parentNode, button.dataset.save); });
  });

  document.querySelectorAll("[data-zoom]").forEach(function (button) {
    button.addEventListener("click", async function () {
      await page.ready;
      const plot = plotOf(button.parentNode.dataset.for);
      page.draw(plot);
      const on = button.getAttribute("aria-pressed") === "false";
      if (on) button.dataset.before = plot.layout.dragmode;
      button.setAttribute("aria-pressed", String(on));
      const before = button.dataset.before === "lasso" ? "lasso" : false;
      const change = on ? {dragmode: "zoom"} : {dragmode: before, "xaxis.autorange": true, "yaxis.autorange": true};
      const given = page.read(button.parentNode.dataset.for).figure.layout;
      ["xaxis", "yaxis"].forEach(function (axis) {
        if (on || !given[axis] || !(given[axis].range || typeof given[axis].autorange === "string")) return;
        delete change[axis + ".autorange"];
        if (given[axis].range) change[axis + ".range"] = given[axis].range.slice();
        else change[axis + ".autorange"] = given[axis].autorange;
      });
      Plotly.relayout(plot, change);
    });
  });

  /* Tables: all rows are kept compressed, and unpacked when one of them is asked for. */
  let kept = null;
  function rowsOf(box) {
    if (!kept) kept = page.unpack("rows").then(JSON.parse);
    return kept.then(function (every) { return every[box.dataset.table]; });
  }

  function cellOf(value) {
    if (value === null) return "";
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }

  async function csv(box) {
    const whole = await rowsOf(box);
    const lines = [whole.columns].concat(whole.rows).map(function (row) { return row.map(cellOf).join(","); });
    const name = box.dataset.file + ".csv";
    hand(name, new Blob([lines.join("\r\n") + "\r\n"], {type: "text/csv;charset=utf-8"}));
    box.querySelector(".said").textContent = name + " is saved, " + whole.rows.length + " rows.";
  }

  async function showAll(box) {
    const button = box.querySelector("[data-all]");
    if (!button) return;
    const whole = await rowsOf(box);
    if (!button.isConnected) return;
    const body = box.querySelector("tbody");
    const heads = box.querySelectorAll("thead th");
    whole.more.slice(0, NO_MORE).forEach(function (row) {
      const line = document.createElement("tr");
      row.forEach(function (text, place) {
        const cell = page.html("td", text, line);
        if (text.length > 24 && !heads[place].classList.contains("number")) cell.className = "long";
      });
      body.appendChild(line);
    });
    button.remove();
    box.querySelector(".said").textContent = "All " + body.rows.length + " rows are shown.";
  }

  async function filter(box, wanted) {
    await showAll(box);
    const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = Array.from(box.querySelector("tbody").rows);
    let count = 0;
    rows.forEach(function (row) {
      const text = row.textContent.toLowerCase();
      const fits = words.every(function (word) { return text.includes(word); });
      row.hidden = !fits;
      if (fits) count += 1;
    });
    box.querySelector(".said").textContent = words.length ? count + " of " + rows.length + " rows." : "";
  }

  /* Tables sort by the head that is pressed: by numbers as they were saved, not as they are shown. */
  function number(body) {
    const rows = Array.from(body.rows);
    let next = rows.filter(function (row) { return row.at !== undefined; }).length;
    rows.forEach(function (row) { if (row.at === undefined) row.at = next++; });
    return rows;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a.localeCompare(b, undefined, {numeric: true});
  }

  async function sort(box, head) {
    const kept = await rowsOf(box);
    const body = box.querySelector("tbody");
    const column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    const pairs = number(body).map(function (row) {
      const value = kept.rows[row.at][column];
      return [typeof value === "number" ? value : row.cells[column].textContent, row];
    });
    pairs.sort(function (a, b) { return (down ? -1 : 1) * compare(a[0], b[0]); });
    pairs.forEach(function (pair) { body.appendChild(pair[1]); });
    Array.from(head.parentNode.cells).forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  document.querySelectorAll(".tabled").forEach(function (box) {
    box.querySelectorAll("th button").forEach(function (button) {
      button.addEventListener("click", function () { sort(box, button.closest("th")); });
    });
    box.querySelector("[data-csv]").addEventListener("click", function () { csv(box); });
    const all = box.querySelector("[data-all]");
    if (all) all.addEventListener("click", function () { showAll(box); });
    box.querySelector("input").addEventListener("input", function (event) { filter(box, event.target.value); });
  });

  /* Citations. */
  document.querySelectorAll("[data-copy]").forEach(function (button) {
    button.addEventListener("click", async function () {
      const texts = Array.from(document.querySelectorAll(".bibtex")).map(function (one) { return one.textContent; });
      const said = button.parentNode.querySelector(".said");
      if (button.dataset.copy === "file") {
        hand(button.dataset.file + ".bib", new Blob([texts.join("\n\n") + "\n"], {type: "text/plain"}));
        said.textContent = button.dataset.file + ".bib is saved.";
        return;
      }
      try {
        await navigator.clipboard.writeText(texts.join("\n\n") + "\n");
        said.textContent = "Copied.";
      } catch (error) {
        said.textContent = "This browser does not let a file copy; select the text above.";
      }
    });
  });

  /* Pictures, enlarged one by one. */
  const large = document.getElementById("large");
  let shown = [];
  let at = 0;

  function show(place) {
    at = (place + shown.length) % shown.length;
    const figure = shown[at];
    const svg = figure.querySelector("svg");
    const box = large.querySelector(".shown");
    box.textContent = "";
    box.appendChild(svg.cloneNode(true));
    const caption = figure.querySelector("figcaption");
    document.getElementById("large-said").textContent = svg.getAttribute("aria-label") +
      (caption ? " (" + caption.textContent.trim() + ")" : "");
    large.querySelector(".place").textContent = (at + 1) + " of " + shown.length;
  }

  function open(row, place) {
    shown = Array.from(row.querySelectorAll(".picture"));
    show(place);
    large.showModal();
  }

  large.querySelectorAll("[data-step]").forEach(function (button) {
    button.addEventListener("click", function () { show(at + Number(button.dataset.step)); });
  });
  large.querySelector("[data-close]").addEventListener("click", function () { large.close(); });
  large.addEventListener("keydown", function (event) {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      show(at + (event.key === "ArrowLeft" ? -1 : 1));
      event.preventDefault();
    }
  });
  large.addEventListener("click", function (event) { if (event.target === large) large.close(); });
  document.querySelectorAll("[data-large]").forEach(function (button) {
    button.addEventListener("click", function () { open(button.parentNode.previousElementSibling, 0); });
  });
  document.querySelectorAll(".pictures .picture > svg").forEach(function (svg) {
    svg.addEventListener("click", function () {
      const row = svg.closest("div.pictures, table.pictures");
      open(row, Array.from(row.querySelectorAll(".picture > svg")).indexOf(svg));
    });
  });

  /* What is linked to may be folded away, or be one of several that are chosen from. */
  function reveal() {
    const id = decodeURIComponent(location.hash.slice(1));
    const place = id && document.getElementById(id);
    if (!place) return;
    for (let box = place.parentElement; box; box = box.parentElement) {
      if (box.tagName === "DETAILS") box.open = true;
      if (box.classList.contains("put-away")) {
        const list = document.querySelector("[data-one='" + box.dataset.of + "']");
        list.selectedIndex = Array.from(box.parentElement.children).indexOf(box);
        list.dispatchEvent(new Event("change"));
      }
    }
    place.scrollIntoView();
  }
  window.addEventListener("hashchange", reveal);
  reveal();
})();
