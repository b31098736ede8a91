// Moves a view that helpers/widgets/player.py made: all its pictures are in the page, it needs no kernel.
// The still picture calls this once it is loaded; where no script may run, that picture stays.
async (still) => {
  const box = still.parentNode, spec = JSON.parse(box.dataset.spec), [width, height] = spec.size;
  const make = (tag, attributes, ...inside) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...inside);
    return element;
  };

  // -- pictures: sheets of tiles, spec.columns in a row
  const sheets = {}, tiles = {};
  for (const [kind, source] of Object.entries(spec.sheets)) {
    const image = make("img", { src: source });
    await image.decode();
    const canvas = make("canvas", { width: image.width, height: image.height });
    sheets[kind] = canvas.getContext("2d", { willReadFrequently: true });
    sheets[kind].drawImage(image, 0, 0);
  }
  const tile = (kind, n) => (tiles[kind + n] ??= sheets[kind].getImageData(
    (n % spec.columns) * width, Math.floor(n / spec.columns) * height, width, height).data);
  const scale = (stops) => Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (stops.length - 1), k = Math.min(Math.floor(at), stops.length - 2);
    return stops[k].map((low, c) => low + (at - k) * (stops[k + 1][c] - low));
  });
  const depthColours = scale(spec.colours.depth), errorColours = scale(spec.colours.error);
  const among = (colours, x) => colours[Math.round(255 * Math.min(Math.max(x, 0), 1))];
  const grey = (x) => [x, x, x];
  const stripes = (i) => grey(spec.stripes[Math.floor(((i % width) + Math.floor(i / width)) / spec.stripe) % 2]);

  // Each of these gets what is shown, and gives a function from a pixel to its value or colour. A byte of "exact" is
  // the level of the predicted probability, with 32 added where the cat is, and 64 where the depth is known.
  const set = {};
  const level = () => Math.round(spec.levels * set.threshold);
  const exact = (shown) => { const data = tile("exact", shown.exact); return (i) => data[4 * i]; };
  const depth = (shown, k) => { const data = tile("depth", shown.depth[k]); return (i) => data[4 * i] / 255; };
  const photo = (shown, k) => {
    const data = tile("photo", shown.photo[k]), rgb = [0, 0, 0];
    return (i) => { for (let c = 0; c < 3; c++) rgb[c] = data[4 * i + c]; return rgb; };
  };
  const paints = {
    photo,
    overlay(shown, k) {
      const under = photo(shown, k), byte = exact(shown), least = level();
      const over = (x, c) => x + set.opacity * (spec.colours.mask[c] - x);
      return (i) => (byte(i) & 31) < least ? under(i) : under(i).map(over);
    },
    mask(shown) { const byte = exact(shown); return (i) => grey(byte(i) & 32 ? 255 : 0); },
    probability(shown) { const byte = exact(shown); return (i) => grey(255 * (byte(i) & 31) / (spec.levels - 1)); },
    wrong(shown) {
      const byte = exact(shown), least = level();
      return (i) => spec.colours.wrong[(byte(i) & 32 ? 2 : 0) + ((byte(i) & 31) >= least)];
    },
    depth(shown, k) {
      const value = depth(shown, k), byte = exact(shown), { near, far } = set;
      return (i) => k || byte(i) & 64 ? among(depthColours, (value(i) - near) / (far - near)) : stripes(i);
    },
    error(shown) {
      const target = depth(shown, 0), predicted = depth(shown, 1), byte = exact(shown);
      return (i) => byte(i) & 64 ? among(errorColours, Math.abs(target(i) - predicted(i)) / spec.limit) : stripes(i);
    },
    map(shown, k) { const value = depth(shown, k); return (i) => among(errorColours, value(i)); },
    divided(shown) {
      const left = photo(shown, 0), right = photo(shown, 1), line = Math.round(set.divider / 100 * width);
      return (i) => i % width === line ? grey(255) : (i % width < line ? left : right)(i);
    },
  };
  const panels = spec.panels.map(({ title, paint, which }) => {
    const caption = make("figcaption", {}), canvas = make("canvas", { width, height, role: "img" });
    const figure = make("figure", {}, caption, canvas);
    return { title, paint, which, caption, canvas, figure, context: canvas.getContext("2d") };
  });

  // -- controls: a choice of words, or a slider; without "sets" a slider chooses what is shown
  const moved = (input) => input.dispatchEvent(new Event("input", { bubbles: true }));
  const slider = (control) => {
    const { name, count = 1, start = 0, steps, plays } = control;
    const input = make("input", { type: "range", min: 0, max: count - 1, value: start, autocomplete: "off" });
    input.setAttribute("aria-label", name);
    const [back, forth] = steps.map((word, k) => {
      const label = `${name}, ${word}`; // not reached by the Tab key: the slider's arrow keys do the same
      const button = make("button", { type: "button", tabindex: -1, "aria-label": label }, word);
      button.onclick = () => { k ? input.stepUp() : input.stepDown(); moved(input); };
      return button;
    });
    const text = make("span", {}), row = make("div", { class: "setting" }, back, input, forth, text);
    if (plays) row.append(player(input, forth, plays));
    return { ...control, input, text, row };
  };
  const player = (input, forth, milliseconds) => {
    const button = make("button", { type: "button", "aria-pressed": false }, "play");
    let timer = null;
    const stop = () => { timer = clearInterval(timer); button.setAttribute("aria-pressed", false); };
    button.onclick = () => {
      if (timer) return stop();
      if (input.value === input.max) { input.value = 0; moved(input); }
      button.setAttribute("aria-pressed", true);
      timer = setInterval(() => {
        forth.click();
        if (input.value === input.max || !box.isConnected) stop();
      }, milliseconds);
    };
    return button;
  };
  const choice = (control) => {
    const input = make("select", { autocomplete: "off" }, ...control.options.map((word) => make("option", {}, word)));
    return { ...control, input, row: make("div", { class: "setting" }, make("label", {}, `${control.name}: `, input)) };
  };
  const controls = spec.controls.map((control) => (control.options ? choice : slider)(control));
  const say = ({ name, input, text }, words) => {
    text.textContent = `${name}: ${words}`;
    input.setAttribute("aria-valuetext", words);
  };

  const draw = (event) => {
    // The first colour stays nearer than the last: whichever end is moved pushes the other one along.
    const [near, far] = ["near", "far"].map((name) => controls.find(({ sets }) => sets === name)?.input);
    if (near && +near.value > +far.value) (event.target === near ? far : near).value = event.target.value;
    let shown = spec.shown, restart = false;
    Object.assign(set, spec.set);
    for (const control of controls) {
      const { input, sets, options, row } = control;
      if (sets) {
        set[sets] = control.low + control.step * input.value;
        say(control, control.words.replace("{}", set[sets].toFixed(control.digits)));
      } else {
        if (!options) {
          input.max = shown.length - 1;
          if (restart) input.value = 0;
          row.querySelectorAll("input, button").forEach((element) => { element.disabled = shown.length === 1; });
          say(control, `${+input.value + 1} of ${shown.length}`);
        }
        shown = shown[options ? input.selectedIndex : input.value];
        restart ||= control.restarts && event?.target === input;
      }
    }
    if (about.textContent !== shown.about) about.textContent = shown.about;
    for (const { title, paint, which, caption, canvas, context } of panels) {
      const colour = paints[paint](shown, which), image = context.createImageData(width, height), { data } = image;
      for (let i = 0; i < width * height; i++) {
        const rgb = colour(i);
        for (let c = 0; c < 3; c++) data[4 * i + c] = rgb[c];
        data[4 * i + 3] = 255;
      }
      context.putImageData(image, 0, 0);
      const words = (_, key) => Array.isArray(shown[key]) ? shown[key][level() - 1] : shown[key];
      caption.textContent = title.replace(/\{(\w+)\}/g, words);
      canvas.setAttribute("aria-label", caption.textContent);
    }
  };
  const about = box.querySelector(".about"), divider = controls.find(({ sets }) => sets === "divider")?.input;
  if (divider) panels[0].canvas.onpointerdown = panels[0].canvas.onpointermove = ({ buttons, offsetX, target }) => {
    if (!buttons) return;
    divider.value = 100 * offsetX / target.clientWidth;
    moved(divider);
  };
  draw();
  box.prepend(make("div", { class: "controls" }, ...controls.map(({ row }) => row)));
  still.replaceWith(make("div", { class: "panels" }, ...panels.map(({ figure }) => figure)));
  box.addEventListener("input", draw);
  box.addEventListener("keydown", (event) => event.stopPropagation()); // Jupyter has shortcuts on the arrow keys
}
