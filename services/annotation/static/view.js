// A canvas on which a picture is zoomed and moved: by wheel, pinch and drag, and by the calls of the keyboard.
const LARGEST_ZOOM = 40;
const DOTS = 4; // from so many pixels of the screen for one of the picture, its pixels are shown as squares

export class View {
  // `onWindow(across, up)` is called when the reader drags with the right button or Shift, in parts of the canvas.
  constructor(canvas, { onWindow, onMove = () => {} }) {
    Object.assign(this, { canvas, onWindow, onMove, layers: [], box: null, height: 1, width: 1 });
    this.pointers = new Map();
    this.reset();
    new ResizeObserver(() => this.moved()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.onDown(event));
    canvas.addEventListener("pointermove", (event) => this.onDrag(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.reset());
  }

  // Shows layers { canvas, row, column, height, width } of a picture of height x width pixels, and a box in it.
  show(height, width, layers, box = null) {
    Object.assign(this, { height, width, layers, box });
    this.draw();
  }

  reset() {
    Object.assign(this, { zoom: 1, row: 0.5, column: 0.5, isMoved: false });
    this.moved();
  }

  // Pixels of the screen for one pixel of the picture.
  get scale() {
    return Math.min(this.canvas.clientWidth / this.width, this.canvas.clientHeight / this.height) * this.zoom;
  }

  // Zooms by a factor around the middle; or into the box, unless the reader has moved the picture.
  zoomIn(factor) {
    const isAimed = !this.isMoved && this.box !== null;
    this.zoomBy(factor);
    if (isAimed) this.aim();
  }

  // Shows the box in the middle.
  aim() {
    const { row, column, height, width } = this.box;
    Object.assign(this, { row: (row + height / 2) / this.height, column: (column + width / 2) / this.width, isMoved: false });
    this.moved();
  }

  // Zooms by a factor around a place of the canvas, in pixels from its centre.
  zoomBy(factor, across = 0, down = 0) {
    const before = this.scale;
    this.zoom = Math.min(LARGEST_ZOOM, Math.max(1, this.zoom * factor));
    const change = 1 / before - 1 / this.scale;
    this.isMoved = true;
    this.column += (across * change) / this.width;
    this.row += (down * change) / this.height;
    this.moved();
  }

  // Moves the picture by pixels of the screen.
  panBy(across, down) {
    this.isMoved = true;
    this.column -= across / (this.scale * this.width);
    this.row -= down / (this.scale * this.height);
    this.moved();
  }

  // The visible part of the picture: row, column, height and width in its pixels.
  get visible() {
    const part = (length, shown, middle) => {
      const first = Math.max(0, middle * length - shown / this.scale / 2);
      return [first, Math.min(length, middle * length + shown / this.scale / 2) - first];
    };
    const [row, height] = part(this.height, this.canvas.clientHeight, this.row);
    const [column, width] = part(this.width, this.canvas.clientWidth, this.column);
    return { row, column, height, width };
  }

  moved() {
    const within = (length, shown, middle) => {
      const half = Math.min(0.5, shown / (this.scale * length) / 2);
      return Math.min(1 - half, Math.max(half, middle));
    };
    if (this.canvas.clientWidth > 0) {
      this.row = within(this.height, this.canvas.clientHeight, this.row);
      this.column = within(this.width, this.canvas.clientWidth, this.column);
    }
    this.draw();
    this.onMove();
  }

  draw() {
    const { canvas, scale } = this;
    const dots = window.devicePixelRatio;
    canvas.width = Math.round(canvas.clientWidth * dots);
    canvas.height = Math.round(canvas.clientHeight * dots);
    canvas.dataset.zoom = this.zoom.toFixed(2);
    const context = canvas.getContext("2d");
    const left = canvas.width / 2 - this.column * this.width * scale * dots;
    const top = canvas.height / 2 - this.row * this.height * scale * dots;
    context.setTransform(scale * dots, 0, 0, scale * dots, left, top);
    context.imageSmoothingEnabled = scale * dots < DOTS;
    context.imageSmoothingQuality = "high";
    for (const layer of this.layers) context.drawImage(layer.canvas, layer.column, layer.row, layer.width, layer.height);
    if (this.box !== null) this.drawBox(context, 1 / scale);
  }

  drawBox(context, line) {
    const { row, column, height, width } = this.box;
    for (const [colour, thick] of [["#000", 4], ["#f2b84b", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = thick * line;
      context.strokeRect(column, row, width, height);
    }
  }

  onWheel(event) {
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1;
    const steps = Math.max(-3, Math.min(3, (event.deltaY * lines) / 100));
    this.zoomBy(1.25 ** -steps, event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
  }

  onDown(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.pointers.set(event.pointerId, event);
    event.preventDefault();
  }

  onDrag(event) {
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) return;
    const across = event.clientX - before.clientX;
    const down = event.clientY - before.clientY;
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) this.pinch(before, event);
    else if (event.buttons === 2 || event.shiftKey) this.onWindow(across / this.canvas.clientWidth, -down / this.canvas.clientHeight);
    else this.panBy(across, down);
  }

  pinch(before, now) {
    const other = [...this.pointers.values()].find((one) => one.pointerId !== now.pointerId);
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    const box = this.canvas.getBoundingClientRect();
    const across = (now.clientX + other.clientX) / 2 - box.left - box.width / 2;
    const down = (now.clientY + other.clientY) / 2 - box.top - box.height / 2;
    this.zoomBy(apart(now) / Math.max(1, apart(before)), across, down);
  }
}
