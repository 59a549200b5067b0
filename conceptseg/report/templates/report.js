"use strict";
const page = (function () {
  const NARROW_PX = 560;
  const PRINT_PX = 660;
  const ROWS_IN_PRINT = 40;
  const MOST_SELECTED = 60;
  const plots = Array.from(document.querySelectorAll(".plot"));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let contents = {};

  function read(id) { return contents[id]; }

  /* What is kept compressed: plotly.js, whose hash the policy knows, what charts show, and all rows
     of all tables. */
  async function unpack(id) {
    const packed = atob(document.getElementById(id).textContent.trim());
    const bytes = Uint8Array.from(packed, function (one) { return one.charCodeAt(0); });
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  const ready = Promise.all([unpack("charts"), unpack("plotly")]).then(function (texts) {
    contents = JSON.parse(texts[0]);
    const script = document.createElement("script");
    script.textContent = texts[1];
    document.head.appendChild(script);
    document.documentElement.dataset.charts = "ready";
  }).catch(function () {
    plots.forEach(function (plot) {
      plot.textContent = "This browser is too old to draw charts; the table below holds the numbers.";
    });
    document.querySelectorAll("[data-paths] .said").forEach(function (said) {
      said.textContent = "This browser is too old to tell of single pixels.";
    });
  });

  /* Text colour and font come from the page, so that both themes and print are served. */
  function look(forPrint) {
    const style = getComputedStyle(document.body);
    const ink = forPrint ? "#000000" : style.color;
    const paper = forPrint ? "#ffffff" : style.backgroundColor;
    return {
      "font.family": style.fontFamily, "font.color": ink,
      "hoverlabel.bgcolor": paper, "hoverlabel.font.color": ink, "hoverlabel.bordercolor": ink
    };
  }

  function fitNarrow(figure, width) {
    if (width >= NARROW_PX) return;
    const layout = figure.layout;
    layout.font.size = 11;
    const named = figure.data.filter(function (trace) {
      return trace.showlegend !== false && trace.type !== "heatmap";
    }).length;
    if (layout.showlegend !== false && named > 3) layout.height += 11 * named;
    figure.data.forEach(function (trace) {
      if (trace.type === "heatmap") {
        trace.colorbar = Object.assign({}, trace.colorbar, {thickness: 8, title: {text: ""}});
      }
      if (trace.meta === "cell text" && width / layout.xaxis.tickvals.length < 100) trace.visible = false;
    });
    ["xaxis", "yaxis"].forEach(function (name) {
      const axis = layout[name];
      if (axis && axis.ticktext) {
        axis.ticktext = axis.ticktext.map(function (text) {
          return text.split("<br>").map(function (line) {
            return line.length > 20 && !line.includes("&") ? line.slice(0, 10) + "…" + line.slice(-9) : line;
          }).join("<br>");
        });
      }
    });
  }

  function draw(plot) {
    if (plot.dataset.drawn) return;
    if (!window.Plotly) { ready.then(function () { if (window.Plotly) draw(plot); }); return; }
    plot.dataset.drawn = "yes";
    const content = read(plot.dataset.figure);
    const figure = JSON.parse(JSON.stringify(content.figure));
    fitNarrow(figure, plot.clientWidth);
    Plotly.newPlot(plot, figure.data, figure.layout, {
      responsive: true, displayModeBar: false, displaylogo: false, showSendToCloud: false
    });
    Plotly.relayout(plot, look(false));
    if (content.hover.length) watchPoints(plot, content.hover);
  }

  function html(name, text, parent, className) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (className) made.className = className;
    parent.appendChild(made);
    return made;
  }

  /* Pictures beside the pointer. */
  const peek = document.getElementById("peek");
  const SVG = "http://www.w3.org/2000/svg";

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(function (pair) { made.setAttribute(pair[0], pair[1]); });
    parent.appendChild(made);
    return made;
  }

  function fill(box, entry) {
    const row = entry[0].length > 1 ? html("div", "", box, "several") : box;
    entry[0].forEach(function (shown) {
      const image = document.getElementById(shown[0]);
      const width = Number(image.getAttribute("width"));
      const height = Number(image.getAttribute("height"));
      const svg = element("svg", {viewBox: "0 0 " + width + " " + height}, row);
      element("use", {href: "#" + shown[0]}, svg);
      const scaled = element("g", {transform: "scale(" + width / 1000 + " " + height / 1000 + ")"}, svg);
      shown.slice(1).reverse().forEach(function (path, place, all) {
        element("path", {d: path, class: "halo"}, scaled);
        element("path", {d: path, class: place === all.length - 1 ? "region" : "context"}, scaled);
      });
    });
    html("div", entry[1], box);
  }

  function showPicture(entry, x, y) {
    if (!entry) { peek.hidden = true; return; }
    peek.textContent = "";
    fill(peek, entry);
    peek.hidden = false;
    const box = peek.getBoundingClientRect();
    const right = x + 18 + box.width < window.innerWidth ? x + 18 : x - 18 - box.width;
    peek.style.left = Math.max(6, Math.min(right, window.innerWidth - box.width - 6)) + "px";
    peek.style.top = Math.max(6, Math.min(y - box.height / 2, window.innerHeight - box.height - 6)) + "px";
  }

  function rowOf(point) {
    return Array.isArray(point.customdata) ? point.customdata[0] : point.customdata;
  }

  function watchPoints(plot, hover) {
    plot.on("plotly_hover", function (event) {
      showPicture(hover[rowOf(event.points[0])], event.event.clientX, event.event.clientY);
    });
    plot.on("plotly_unhover", function () { peek.hidden = true; });
    const box = plot.parentNode.querySelector(".selected");
    if (!box) return;
    plot.on("plotly_selected", function (event) { showSelected(box, hover, event ? event.points : []); });
    plot.on("plotly_deselect", function () { showSelected(box, hover, []); });
  }

  /* Pictures of all points that a line was drawn around, in the order of their rows. */
  function showSelected(box, hover, points) {
    const rows = Array.from(new Set(points.map(rowOf))).sort(function (a, b) { return a - b; });
    const entries = rows.map(function (row) { return hover[row]; }).filter(Boolean);
    box.textContent = "";
    box.hidden = !entries.length;
    if (!entries.length) return;
    const more = entries.length > MOST_SELECTED ? ", the first " + MOST_SELECTED + " are shown" : "";
    html("p", entries.length + " selected" + more + ". A double click on the chart ends the selection.", box);
    const list = html("div", "", box, "pictures");
    entries.slice(0, MOST_SELECTED).forEach(function (entry) { fill(html("div", "", list, "picture"), entry); });
  }

  /* A hover that a script causes emits no event, so the picture is placed here. */
  function walkTo(slider) {
    const plot = document.querySelector("[data-figure='" + slider.dataset.walk + "']");
    draw(plot);
    if (!plot.data) return;
    const wanted = Number(slider.value);
    plot.data.forEach(function (trace, curve) {
      const place = Array.from(trace.customdata || []).findIndex(function (data) {
        return rowOf({customdata: data}) === wanted;
      });
      if (place < 0) return;
      Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: place}]);
      const point = plot._hoverdata && plot._hoverdata[0];
      if (!point) return;
      const box = plot.getBoundingClientRect();
      const entry = read(slider.dataset.walk).hover[wanted];
      if (entry) slider.setAttribute("aria-valuetext", entry[1]);
      showPicture(
        entry,
        box.left + point.xaxis._offset + point.xaxis.c2p(point.x),
        box.top + point.yaxis._offset + point.yaxis.c2p(point.y)
      );
    });
  }

  document.querySelectorAll("[data-walk]").forEach(function (slider) {
    slider.addEventListener("input", function () { walkTo(slider); });
    slider.addEventListener("focus", function () { walkTo(slider); });
    slider.addEventListener("blur", function () { peek.hidden = true; });
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape") peek.hidden = true;
  });
  document.addEventListener("scroll", function () {
    if (!document.activeElement.dataset.walk) peek.hidden = true;  // focusing a slider scrolls to it
  }, {passive: true});

  /* Charts are drawn when they come near the window, and all of them for print. */
  if ("IntersectionObserver" in window) {
    const near = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
      });
    }, {rootMargin: "500px 0px"});
    plots.forEach(function (plot) { near.observe(plot); });
  } else {
    plots.forEach(draw);
  }

  function relook(forPrint) {
    plots.filter(function (plot) { return plot.dataset.drawn; }).forEach(function (plot) {
      const change = look(forPrint);
      if (forPrint) { change.width = Math.min(PRINT_PX, plot.clientWidth); change.autosize = false; }
      else { change.width = null; change.autosize = true; }
      Plotly.relayout(plot, change);
    });
  }

  let opened = [];
  window.addEventListener("beforeprint", function () {
    plots.forEach(draw);
    opened = Array.from(document.querySelectorAll("details.more:not([open])")).filter(function (one) {
      return !one.dataset.rows || Number(one.dataset.rows) <= ROWS_IN_PRINT;
    });
    opened.forEach(function (one) { one.open = true; });
    relook(true);
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (one) { one.open = false; });
    relook(false);
  });
  dark.addEventListener("change", function () { relook(false); });

  /* On a narrow page the contents start folded. */
  if (window.innerWidth < 1060) document.querySelector(".contents details").open = false;

  /* Pixels whose path of decisions is asked for, by pointer or arrow keys. */
  function inspector(box) {
    const content = read(box.dataset.paths);
    const view = content.views[Number(box.dataset.view)];
    const svg = box.querySelector("svg");
    const said = box.querySelector(".said");
    const width = svg.viewBox.baseVal.width / view.columns;
    const height = svg.viewBox.baseVal.height / view.rows;
    const mark = element("g", {class: "mark", visibility: "hidden"}, svg);
    ["halo", "region"].forEach(function (name) {
      const side = Math.max(width, svg.viewBox.baseVal.width / 40);
      const tall = Math.max(height, svg.viewBox.baseVal.width / 40);
      element("rect", {width: side, height: tall, x: (width - side) / 2, y: (height - tall) / 2, class: name}, mark);
    });
    const at = {row: Math.floor(view.start / view.columns), column: view.start % view.columns, shown: -1};

    function nameOf(number) { return number < 0 ? "none" : content.classes[number]; }

    function step(list, entry, depth, cell) {
      const item = html("li", "", list);
      const head = html("p", entry[1] + " → ", item);
      html("strong", entry[2], head);
      const sure = view.sure[depth][cell];
      html("span", " " + sure + " %", head);
      const bar = html("meter", "", item);
      bar.min = 0; bar.max = 100; bar.value = sure;
      bar.setAttribute("aria-hidden", "true");
      const id = view.evidence[entry[0]];
      if (id) {
        const image = document.getElementById(id);
        const shown = element("svg", {viewBox: "0 0 " + image.getAttribute("width") + " " + image.getAttribute("height"),
          role: "img", "aria-label": "Evidence for " + entry[2]}, item);
        element("use", {href: "#" + id}, shown);
      }
      if (entry[3]) {
        const link = html("a", "more on this node", item);
        link.href = "#" + entry[3];
      }
    }

    function show(row, column) {
      at.row = Math.max(0, Math.min(view.rows - 1, row));
      at.column = Math.max(0, Math.min(view.columns - 1, column));
      const cell = at.row * view.columns + at.column;
      mark.setAttribute("transform", "translate(" + at.column * width + " " + at.row * height + ")");
      mark.setAttribute("visibility", "visible");
      if (cell === at.shown) return;
      at.shown = cell;
      const leaf = view.leaf[cell];
      said.textContent = "";
      const head = html("p", "Pixel row " + (at.row + 1) + ", column " + (at.column + 1) + ": the tree says ", said);
      html("strong", nameOf(leaf), head);
      view.readings.forEach(function (pair) {
        const other = pair[1][cell];
        html("span", "; " + pair[0] + " " + nameOf(other), head, other >= 0 && other !== leaf ? "differs" : "");
      });
      const list = html("ol", "", said);
      content.paths[leaf].forEach(function (entry, depth) { step(list, entry, depth, cell); });
    }

    function point(event) {
      const area = svg.getBoundingClientRect();
      show(Math.floor((event.clientY - area.top) / area.height * view.rows),
        Math.floor((event.clientX - area.left) / area.width * view.columns));
    }

    let held = false;
    svg.addEventListener("pointermove", function (event) { if (!held) point(event); });
    svg.addEventListener("click", function (event) { point(event); held = !held; });
    svg.addEventListener("pointerleave", function () { held = false; });
    svg.addEventListener("focus", function () { if (at.shown < 0) show(at.row, at.column); });
    svg.addEventListener("keydown", function (event) {
      const far = event.shiftKey ? 10 : 1;
      const moves = {ArrowUp: [-far, 0], ArrowDown: [far, 0], ArrowLeft: [0, -far], ArrowRight: [0, far],
        Home: [0, -view.columns], End: [0, view.columns]};
      const move = moves[event.key];
      if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      show(at.row + move[0], at.column + move[1]);
    });
  }

  ready.then(function () {
    if (document.documentElement.dataset.charts) document.querySelectorAll("[data-paths]").forEach(inspector);
    document.querySelectorAll("[data-brushed]").forEach(function (one) { brushOn(one, read(one.dataset.brushed)); });
  });
  return {draw: draw, read: read, ready: ready, unpack: unpack, html: html, element: element};
})();
