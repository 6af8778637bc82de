// The page's half of explorer.py: functions that it calls by name, in window.watch.
window.watch = (() => {
  const frame = () => new Promise((go) => requestAnimationFrame(() => go(performance.now())));
  const same = (a, b) => a.length === b.length && a.every((pixel, i) => pixel === b[i]);
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  let image, now, kept, keys, frames, painted;

  function read() {
    const [w, h] = ([pen.canvas.width, pen.canvas.height] = [image.naturalWidth, image.naturalHeight]);
    pen.drawImage(image, 0, 0);
    return new Uint32Array(pen.getImageData(0, 0, w, h).data.buffer);
  }

  async function loaded() {
    try {
      await image.decode();
    } catch {
      return; // overtaken by a newer picture
    }
    const at = await frame();
    const next = read();
    if (same(now, next)) return;
    now = next;
    frames.push(at);
    painted.push(await frame());
  }

  const clear = () => ([keys, frames, painted] = [[], [], []]);
  const seen = () => ({ keys, frames, painted });
  return {
    clear,
    seen,
    keep: () => ((kept = now), seen()),
    isKept: () => same(kept, now),

    async run() {
      const app = window.jupyterapp;
      await app.restored;
      while (!app.shell.currentWidget?.sessionContext) await frame();
      await app.shell.currentWidget.context.ready;
      await app.shell.currentWidget.sessionContext.ready;
      app.commands.execute("notebook:run-all-cells"); // not awaited: the caller waits for what it wants to see
    },

    start(selector) {
      image = document.querySelector(selector);
      now = read();
      clear();
      addEventListener("keydown", (event) => event.key.startsWith("Arrow") && keys.push(event.timeStamp), true);
      image.addEventListener("load", loaded);
    },

    focused() {
      const one = document.activeElement;
      if (one?.getAttribute("role") !== "slider") return null;
      const label = one.closest(".jupyter-widgets").querySelector(".widget-label").textContent;
      return { label, full: one.getAttribute("aria-valuenow") === one.getAttribute("aria-valuemax") };
    },
  };
})();
