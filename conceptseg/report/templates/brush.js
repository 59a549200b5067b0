/* Cells of an image that are painted, and the sum of their maps. `root` holds what is marked by
   data-brush; `content` is a block or page of report/brushed.py. */
function brushOn(root, content) {
  if (!content) return;
  function part(name) { return root.querySelector("[data-brush=" + name + "]"); }
  const [down, across] = content.cells, [h, w] = content.size, count = down * across;
  const bytes = atob(content.codes), codes = new Int8Array(bytes.length);
  for (let i = 0; i < bytes.length; i += 1) codes[i] = bytes.charCodeAt(i);
  const weights = new Array(count).fill(0), total = new Float64Array(h * w);
  const image = part("image"), map = part("map"), said = part("said");
  const width = content.side, height = Math.round(content.side * content.ratio);
  [image, map].forEach(function (one) { one.width = width; one.height = height; });
  const picture = new Image();
  let mode = 1, at = 0, drawing = false;

  function add(cell, by) {
    const scale = by * content.step[cell], start = cell * h * w;
    for (let i = 0; i < h * w; i += 1) total[i] += scale * codes[start + i];
  }
  function set(cell, weight) {
    if (weights[cell] === weight) return;
    add(cell, weight - weights[cell]);
    weights[cell] = weight;
  }
  function box(cell) {
    const y = Math.floor(cell / across), x = cell % across;
    const left = x * width / across, top = y * height / down;
    return [left, top, (x + 1) * width / across - left, (y + 1) * height / down - top];
  }
  function draw() {
    const brush = image.getContext("2d");
    brush.drawImage(picture, 0, 0, width, height);
    for (let cell = 0; cell < count; cell += 1) {
      if (!weights[cell]) continue;
      brush.fillStyle = weights[cell] > 0 ? "rgba(255,215,0,.45)" : "rgba(40,40,40,.6)";
      brush.fillRect(...box(cell));
    }
    brush.strokeStyle = "#0969da";
    brush.lineWidth = 2;
    if (document.activeElement === image) brush.strokeRect(...box(at));
    let most = 0;
    total.forEach(function (value) { most = Math.max(most, Math.abs(value)); });
    const small = document.createElement("canvas");
    small.width = w;
    small.height = h;
    const pixels = small.getContext("2d"), data = pixels.createImageData(w, h);
    for (let i = 0; i < h * w; i += 1) {
      const v = most ? total[i] / most : 0, pale = Math.round(255 * (1 - Math.abs(v)));
      data.data[4 * i] = v < 0 ? pale : 255;
      data.data[4 * i + 1] = pale;
      data.data[4 * i + 2] = v > 0 ? pale : 255;
      data.data[4 * i + 3] = 255;
    }
    pixels.putImageData(data, 0, 0);
    const shown = map.getContext("2d");
    shown.imageSmoothingEnabled = false;
    shown.drawImage(small, 0, 0, width, height);
    const painted = weights.filter(function (one) { return one > 0; }).length;
    const left = weights.filter(function (one) { return one < 0; }).length;
    said.textContent = painted + left
      ? painted + " cells painted, " + left + " left out; strongest: " + most.toPrecision(3)
      : "nothing is painted";
    map.dataset.total = Array.from(total).join(",");
  }
  function cellAt(event) {
    const frame = image.getBoundingClientRect();
    const x = Math.floor((event.clientX - frame.left) / frame.width * across);
    const y = Math.floor((event.clientY - frame.top) / frame.height * down);
    return Math.min(Math.max(y, 0), down - 1) * across + Math.min(Math.max(x, 0), across - 1);
  }
  function paint(event) { at = cellAt(event); set(at, mode); draw(); }
  image.addEventListener("pointerdown", function (event) {
    drawing = true;
    image.setPointerCapture(event.pointerId);
    paint(event);
  });
  image.addEventListener("pointermove", function (event) { if (drawing) paint(event); });
  image.addEventListener("pointerup", function () { drawing = false; });
  image.addEventListener("focus", draw);
  image.addEventListener("blur", draw);
  image.addEventListener("keydown", function (event) {
    const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across}[event.key];
    if (step !== undefined && at + step >= 0 && at + step < count) at += step;
    else if (event.key === " ") set(at, mode);
    else return;
    event.preventDefault();
    draw();
  });
  const modes = {include: 1, exclude: -1, erase: 0};
  Object.keys(modes).forEach(function (name) {
    part(name).addEventListener("click", function () {
      mode = modes[name];
      Object.keys(modes).forEach(function (other) {
        part(other).setAttribute("aria-pressed", String(other === name));
      });
    });
  });
  part("all").addEventListener("click", function () {
    for (let cell = 0; cell < count; cell += 1) set(cell, 1);
    draw();
  });
  part("none").addEventListener("click", function () {
    weights.fill(0);
    total.fill(0);
    draw();
  });
  picture.addEventListener("load", draw);
  const held = document.getElementById(content.picture);
  picture.src = held ? held.getAttribute("href") : content.picture;
}
